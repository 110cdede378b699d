/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The app description; esp_app_desc.h is the interface for components.
 */
#pragma once

void native_app_desc_init(void);
