/*
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#define CONFIG_HOTPIN_MEM_TASK_PRIORITY 1
