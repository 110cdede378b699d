/*
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

/** Waits, and feeds meanwhile. */
void watch_pause(uint32_t ms);
