/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Records into RTC memory, which is not heap, and which ESP-IDF adds to its core dump. The counters are in
 * internal memory, because atomic operations do not work in RTC memory.
 */
#include "memory_crash.h"

#include <stdatomic.h>
#include "crash_story.h"
#include "esp_attr.h"
#include "esp_debug_helpers.h"
#include "esp_log.h"
#include "esp_private/cache_utils.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "memory_manager.h"
#include "telemetry.h"

/* Not RTC_NOINIT_ATTR: ESP-IDF v5.4 does not include such variables in a core dump. */
static COREDUMP_RTC_DATA_ATTR crash_story_t s_story;
static atomic_uint s_warnings;
static atomic_uint s_failures;
static atomic_flag s_started = ATOMIC_FLAG_INIT;

static void entered(const char *state)
{
    crash_story_state(&s_story, state);
}

static void logged(const memory_snapshot_t *snapshot)
{
    crash_story_snapshot(&s_story, snapshot);
}

static void warned(const memory_warning_t *warning)
{
    crash_story_warning(&s_story, atomic_fetch_add(&s_warnings, 1) + 1, warning);
}

/* Reads return addresses, starting with the caller of failed(). The first are in the memory manager and the
 * heap. */
static IRAM_ATTR NOINLINE_ATTR void read_frames(uint32_t frames[CRASH_FRAMES])
{
    esp_backtrace_frame_t frame = {0};
    esp_backtrace_get_start(&frame.pc, &frame.sp, &frame.next_pc);
    for (int skipped = 0; skipped < 3 && frame.next_pc != 0; skipped++) {
        if (!esp_backtrace_get_next_frame(&frame)) {
            return;
        }
    }
    for (int i = 0; i < CRASH_FRAMES && frame.next_pc != 0; i++) {
        if (!esp_backtrace_get_next_frame(&frame)) {
            return;
        }
        frames[i] = (uint32_t)frame.pc;
    }
}

static IRAM_ATTR void failed(uint32_t size, uint32_t caps, const char *function)
{
    crash_failure_t failure = {.timestamp_ms = esp_log_timestamp(), .size = size, .caps = caps};
    read_frames(failure.frames);
    if (spi_flash_cache_enabled()) { /* names are in flash */
        crash_copy(failure.function, sizeof(failure.function), function);
        if (!xPortInIsrContext() && xTaskGetCurrentTaskHandle() != NULL) {
            crash_copy(failure.task, sizeof(failure.task), pcTaskGetName(NULL));
        }
    }
    crash_story_failure(&s_story, atomic_fetch_add(&s_failures, 1) + 1, &failure);
}

esp_err_t memory_crash_start(void)
{
    static memory_observer_t s_observer = {
        .entered = entered, .logged = logged, .warned = warned, .failed = failed};
    memory_thresholds_t thresholds;
    if (memory_manager_get_thresholds(&thresholds) != ESP_OK || atomic_flag_test_and_set(&s_started)) {
        return ESP_ERR_INVALID_STATE;
    }
    crash_story_begin(&s_story, telemetry_boot_id_bits(), telemetry_boot_count());
    return memory_manager_register_observer(&s_observer);
}

void memory_crash_set_step(const char *step, bool undo)
{
    crash_story_step(&s_story, step, undo);
}
