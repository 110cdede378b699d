/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The task watchdog; components see it as esp_task_wdt.h.
 */
#pragma once

/* ESP-IDF's own initialisation, and the kernel's hooks. */
void native_task_wdt_start(void);
/* Core 0's idle task ran. */
void native_task_wdt_idle_ran(void);
