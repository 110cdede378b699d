/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The task watchdog; esp_task_wdt.h is the interface for components.
 */
#pragma once

/* Initialises the watchdog as ESP-IDF does at startup, and registers the kernel's hooks. */
void native_task_wdt_start(void);
/* Call it when core 0's idle task has run. */
void native_task_wdt_idle_ran(void);
