/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Task watchdog of the state manager's task. State task only.
 */
#pragma once

#include <stdint.h>
#include "freertos/FreeRTOS.h"

/** Longest wait of the task before it feeds the watchdog again. */
#define WATCH_SLICE_MS 1000

/** Subscribes the calling task to the task watchdog permanently. Without a task watchdog in the build the
 * other functions do nothing. */
void watch_begin(void);
void watch_feed(void);

/** Around a call that may legitimately take longer than the watchdog allows. */
void watch_suspend(void);
void watch_resume(void);

/** Waits, feeding the watchdog meanwhile. */
void watch_pause(uint32_t ms);
