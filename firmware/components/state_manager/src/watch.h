/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The state manager's task under the task watchdog. State task only.
 */
#pragma once

#include <stdint.h>
#include "freertos/FreeRTOS.h"

/** How long the task may wait for anything before it feeds again. */
#define WATCH_SLICE_MS 1000

/** Has the calling task watched, for ever. Without a task watchdog in the build the rest does nothing. */
void watch_begin(void);
void watch_feed(void);

/** Around a call of another's code that may rightly take longer than the watchdog allows. */
void watch_suspend(void);
void watch_resume(void);

/** Waits, and feeds meanwhile. */
void watch_pause(uint32_t ms);
