/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * bench.run: duration of one call to the memory manager, measured with esp_timer.
 */
#include <string.h>

#include "console.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "memory_manager.h"

#define RUNS_MAX 128

/* Pause after each log for the monitor task to write it, so that each call finds the queue empty. */
#define LOG_PAUSE_MS 300

static uint32_t s_durations_us[RUNS_MAX];

static void call_get_stats(void)
{
    memory_stats_t stats;
    memory_manager_get_stats(&stats);
}

static void call_threshold(void)
{
    memory_manager_check_thresholds();
}

static void call_log(void)
{
    memory_manager_log_stats("Benchmark");
}

/** Insertion sort is enough: at most RUNS_MAX values, once per command. */
static void sort(uint32_t *values, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        uint32_t value = values[i];
        size_t at = i;
        for (; at > 0 && values[at - 1] > value; at--) {
            values[at] = values[at - 1];
        }
        values[at] = value;
    }
}

static esp_err_t bench_run(const console_request_t *request, console_reply_t *reply)
{
    const char *what = console_arg(request, "what");
    uint32_t runs = console_arg_u32(request, "n", 0);
    if (runs == 0 || runs > RUNS_MAX) {
        return console_bad_argument(reply, "n", console_arg(request, "n"), "must be 1 to 128");
    }
    bool logs = strcmp(what, "log") == 0;
    void (*call)(void) = logs ? call_log : strcmp(what, "threshold") == 0 ? call_threshold : call_get_stats;
    for (uint32_t i = 0; i < runs; i++) {
        int64_t start_us = esp_timer_get_time();
        call();
        s_durations_us[i] = (uint32_t)(esp_timer_get_time() - start_us);
        if (logs) {
            vTaskDelay(pdMS_TO_TICKS(LOG_PAUSE_MS));
        }
    }
    sort(s_durations_us, runs);
    console_u32(reply, "min_us", s_durations_us[0]);
    console_u32(reply, "median_us", s_durations_us[runs / 2]);
    console_u32(reply, "max_us", s_durations_us[runs - 1]);
    return ESP_OK;
}

static const console_command_t COMMANDS[] = {
    {"bench.run", "what=get_stats|threshold|log n=N", bench_run, "time n calls (at most 128)"},
};

const console_group_t CMD_BENCH = CONSOLE_GROUP(COMMANDS);
