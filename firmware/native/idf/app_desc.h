/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The app description; components see it as esp_app_desc.h.
 */
#pragma once

void native_app_desc_init(void);
