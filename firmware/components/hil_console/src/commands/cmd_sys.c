/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * sys.*: identity, resets, and data that survived the last reset.
 */
#include "array_size.h"
#include "console.h"
#include "console_snapshots.h"
#include "esp_system.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "memory_manager.h"
#include "number_format.h"
#include "panic_kinds.h"
#include "state_manager.h"
#include "step_hook.h"

/* Longest wait for a mode change in progress. */
#define SHUTDOWN_MS 5000

static esp_err_t sys_info(const console_request_t *request, console_reply_t *reply)
{
    (void)request;
    for (size_t field = 0;
         (field = telemetry_add_identity(&reply->record, field)) < TELEMETRY_IDENTITY_FIELDS;) {
        console_next_record(reply);
    }
    return ESP_OK;
}

static esp_err_t sys_tasks(const console_request_t *request, console_reply_t *reply)
{
    /* Permanent tasks only: the handle of any other task could become stale. */
    static const char *const NAMES[] = {"mem_monitor", "state", "hil_console"};
    (void)request;
    console_u32(reply, "tasks", (uint32_t)uxTaskGetNumberOfTasks());
    console_object_begin(reply, "stack_unused");
    for (size_t i = 0; i < ARRAY_SIZE(NAMES); i++) {
        TaskHandle_t task = xTaskGetHandle(NAMES[i]);
        if (task != NULL) {
            console_u32(reply, NAMES[i], (uint32_t)uxTaskGetStackHighWaterMark(task));
        }
    }
    console_container_end(reply);
    return ESP_OK;
}

/* A reset does not power-cycle the camera sensor, so stop the drivers first. */
static void shut_down_and_restart(void)
{
    state_manager_request(SYSTEM_STATE_SHUTDOWN, SHUTDOWN_MS);
    esp_restart();
}

static esp_err_t sys_reboot(const console_request_t *request, console_reply_t *reply)
{
    (void)request;
    reply->after = shut_down_and_restart;
    return ESP_OK;
}

static esp_err_t sys_panic(const console_request_t *request, console_reply_t *reply)
{
    void (*crash)(void);
    const char *step = console_arg(request, "step");
    esp_err_t err = panic_find(console_arg(request, "kind"), &crash);
    if (err == ESP_ERR_NOT_SUPPORTED) {
        return console_fail(reply, err, "no free IRAM to write to");
    }
    if (err != ESP_OK) {
        return err;
    }
    if (step == NULL) {
        reply->after = crash;
    } else if (!step_hook_crash(step, crash)) {
        return console_bad_argument(reply, "step", step,
                                    "not a step of any mode change; mode.steps lists them");
    }
    return ESP_OK;
}

static esp_err_t sys_last(const console_request_t *request, console_reply_t *reply)
{
    (void)request;
    memory_last_boot_t boot;
    size_t count = 0;
    esp_err_t err =
        memory_manager_get_last_boot(&boot, g_console_table.snapshots, MEMORY_HISTORY_SIZE, &count);
    telemetry_str(console_room(reply, 40), "reset_reason", telemetry_reset_reason());
    if (err == ESP_ERR_NOT_FOUND) {
        count = 0;
    } else if (err != ESP_OK) {
        return err;
    } else {
        console_u32(reply, "boot_count", boot.boot_count);
        char boot_id[NUMBER_TEXT_SIZE];
        number_hex(boot_id, boot.boot_id, 8, false);
        telemetry_str(console_room(reply, 40), "boot_id", boot_id);
    }
    console_add_snapshots(reply, count);
    return ESP_OK;
}

static const console_command_t COMMANDS[] = {
    {"sys.info", "", sys_info, "identity of the board and the build"},
    {"sys.tasks", "", sys_tasks, "number of tasks, and the unused stack of the permanent ones"},
    {"sys.reboot", "", sys_reboot, "restart"},
    {"sys.panic", "kind=abort|null|store|stack|wdt|task_wdt|heap|iram [step=TEXT]", sys_panic,
     "crash now, or when this step of a mode change is next entered"},
    {"sys.last", "", sys_last, "the memory snapshots that survived the last reset"},
};

const console_group_t CMD_SYS = CONSOLE_GROUP(COMMANDS);
