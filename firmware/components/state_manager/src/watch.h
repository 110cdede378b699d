/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Task watchdog of the state manager's task. State task only.
 */
#pragma once

#include <stdint.h>
#include "freertos/FreeRTOS.h"

/** Longest time in ms that the task may block before it feeds the watchdog again. */
#define WATCH_SLICE_MS 1000

/** Subscribes the calling task to the task watchdog permanently. If the build has no task watchdog, all these
 * functions only wait or do nothing. */
void watch_begin(void);
void watch_feed(void);

/** Suspends and resumes the watch, around a call that may legitimately take longer than the watchdog
 * allows. */
void watch_suspend(void);
void watch_resume(void);

/** Blocks the task for this time and feeds the watchdog. */
void watch_pause(uint32_t ms);
