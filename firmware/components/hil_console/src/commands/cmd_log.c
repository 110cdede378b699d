/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * log.load: tasks that log, to test that their lines do not split a statistics box. log.quiet: suppresses
 * boxes and events for interactive use.
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "console.h"
#include "esp_log.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "quiet.h"
#include "task_end.h"
#include "telemetry.h"

#define TASKS_MAX 4
#define STACK_SIZE 3072

/* Above the memory monitor, so that these tasks' lines would split a box that is not written in one piece. */
#define PRIORITY 6

#define PERIOD_MS_DEFAULT 20
#define PERIOD_MS_MAX 1000
#define STOP_WAIT_MS 20
#define STOP_WAITS_MAX 100
_Static_assert(PERIOD_MS_MAX < STOP_WAIT_MS * STOP_WAITS_MAX, "stop=1 waits for a task's longest pause");

#define LINE_COST 96    /* bytes of the transmit ring that a load task's longest line takes */
#define ROOM_WAIT_MS 50 /* TASKS_MAX lines in this time are two thirds of what 115200 baud can carry */

static const char *const TAGS[TASKS_MAX] = {"LOAD0", "LOAD1", "LOAD2", "LOAD3"};

static atomic_bool s_stop;
static atomic_uint s_running;
static atomic_uint s_lines;
static uint32_t s_lines_each; /* 0: unlimited */
static uint32_t s_period_ms;

/** Waits until the transmit ring has room for a line of each load task, but at most ROOM_WAIT_MS. A box that
 * is wrongly written without the stdout lock keeps the ring full; after ROOM_WAIT_MS the tasks log anyway,
 * and split the box. The caller does not hold that lock: tasks that waited with it would pass it to each
 * other, and never to the console, whose priority is lower. */
static void wait_for_room(void)
{
    TickType_t start = xTaskGetTickCount();
    while (!s_stop && !telemetry_has_room(TASKS_MAX * LINE_COST) &&
           xTaskGetTickCount() - start < pdMS_TO_TICKS(ROOM_WAIT_MS)) {
        vTaskDelay(1);
    }
}

static void load_task(void *arg)
{
    const char *tag = arg;
    for (uint32_t line = 1; !s_stop && (s_lines_each == 0 || line <= s_lines_each); line++) {
        ESP_LOGI(tag, "line %" PRIu32 " of a logging task", line);
        s_lines++;
        vTaskDelay(pdMS_TO_TICKS(s_period_ms));
        wait_for_room();
    }
    s_running--;
    vTaskDelete(NULL);
}

static void stop(void)
{
    s_stop = true;
    for (int i = 0; i < STOP_WAITS_MAX && s_running > 0; i++) {
        vTaskDelay(pdMS_TO_TICKS(STOP_WAIT_MS));
    }
    for (int i = 0; i < TASKS_MAX && s_running == 0; i++) {
        task_end_wait_for(TAGS[i], TASK_END_TIMEOUT_MS);
    }
}

static void add_state(console_reply_t *reply)
{
    console_u32(reply, "running", s_running);
    console_u32(reply, "lines", s_lines);
}

static esp_err_t log_load(const console_request_t *request, console_reply_t *reply)
{
    if (console_arg(request, "stop") != NULL) {
        stop();
        add_state(reply);
        return s_running == 0 ? ESP_OK
                              : console_fail(reply, ESP_ERR_TIMEOUT, "%u tasks are still logging", s_running);
    }
    uint32_t tasks = console_arg_u32(request, "tasks", 0);
    uint32_t period_ms = console_arg_u32(request, "every", PERIOD_MS_DEFAULT);
    if (tasks == 0 || tasks > TASKS_MAX) {
        const char *given = console_arg(request, "tasks");
        return console_bad_argument(reply, "tasks", given != NULL ? given : "", "must be 1 to 4");
    }
    if (period_ms == 0 || period_ms > PERIOD_MS_MAX) {
        return console_bad_argument(reply, "every", console_arg(request, "every"), "must be 1 to 1000 ms");
    }
    if (s_running > 0) {
        return console_fail(reply, ESP_ERR_INVALID_STATE,
                            "%u task(s) already logging (stop with log.load stop=1)", s_running);
    }
    s_stop = false;
    s_lines = 0;
    s_lines_each = console_arg_u32(request, "lines", 0);
    s_period_ms = period_ms;
    for (uint32_t i = 0; i < tasks; i++) {
        s_running++;
        if (xTaskCreate(load_task, TAGS[i], STACK_SIZE, (void *)TAGS[i], PRIORITY, NULL) != pdPASS) {
            s_running--;
            stop();
            return console_fail(reply, ESP_ERR_NO_MEM, "no memory for task %u of %u", (unsigned)i + 1,
                                (unsigned)tasks);
        }
    }
    add_state(reply);
    return ESP_OK;
}

static void add_quiet(console_reply_t *reply, const char *key, bool silent)
{
    telemetry_str(console_room(reply, 2 * sizeof("silent")), key, silent ? "silent" : "shown");
}

static esp_err_t log_quiet(const console_request_t *request, console_reply_t *reply)
{
    if (reply->id != 0) {
        return console_fail(reply, ESP_ERR_NOT_SUPPORTED,
                            "for typed commands only: a request switches the output on again");
    }
    const char *what = console_arg(request, "what");
    bool on = console_arg(request, "off") == NULL;
    bool boxes = what == NULL || strcmp(what, "boxes") == 0;
    bool records = what == NULL || strcmp(what, "records") == 0;
    quiet_set(boxes ? on : quiet_boxes(), records ? on : quiet_records());
    add_quiet(reply, "boxes", quiet_boxes());
    add_quiet(reply, "records", quiet_records());
    return ESP_OK;
}

static const console_command_t COMMANDS[] = {
    {"log.load", "[tasks=N] [lines=N] [every=N] [stop=1]", log_load,
     "let 1-4 tasks log a line every= ms (default 20), lines= times (default: unlimited)"},
    {"log.quiet", "[what=boxes|records] [off=1]", log_quiet,
     "for people: hide statistics boxes and event records until off=1, a request or a reset"},
};

const console_group_t CMD_LOG = CONSOLE_GROUP(COMMANDS);
