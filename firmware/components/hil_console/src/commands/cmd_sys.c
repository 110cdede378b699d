/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * sys.*: identity, resets, and data that survived the last reset.
 */
#include <stdatomic.h>
#include <string.h>

#include "array_size.h"
#include "console.h"
#include "console_snapshots.h"
#include "esp_system.h"
#include "freertos/FreeRTOS.h"
#include "freertos/idf_additions.h"
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

static const char *const PERMANENT[] = {"mem_monitor", "mem_history", "state", "hil_console"};
static const char *const OF_A_MODE[] = {"stt_capture", "tts_playback", "cam_task"};

typedef void (*add_figure_t)(console_reply_t *reply, const char *name, TaskHandle_t task);

static void add_unused_stack(console_reply_t *reply, const char *name, TaskHandle_t task)
{
    console_u32(reply, name, (uint32_t)uxTaskGetStackHighWaterMark(task));
}

static void add_priority(console_reply_t *reply, const char *name, TaskHandle_t task)
{
    console_u32(reply, name, (uint32_t)uxTaskPriorityGet(task));
}

static void add_core(console_reply_t *reply, const char *name, TaskHandle_t task)
{
    BaseType_t core = xTaskGetCoreID(task);
    if (core != tskNO_AFFINITY) {
        console_u32(reply, name, (uint32_t)core);
    }
}

static void add_figures(console_reply_t *reply, const char *const names[], size_t count, add_figure_t add)
{
    for (size_t i = 0; i < count; i++) {
        TaskHandle_t task = xTaskGetHandle(names[i]);
        if (task != NULL) {
            add(reply, names[i], task);
        }
    }
}

static void add_tasks(console_reply_t *reply, const char *key, add_figure_t add)
{
    console_object_begin(reply, key);
    add_figures(reply, PERMANENT, ARRAY_SIZE(PERMANENT), add);
    /* While this task holds the lock, no driver ends its task. */
    if (state_manager_lock(SYSTEM_STATE_ANY, 0) == ESP_OK) {
        add_figures(reply, OF_A_MODE, ARRAY_SIZE(OF_A_MODE), add);
        state_manager_unlock();
    }
    console_container_end(reply);
}

static esp_err_t sys_tasks(const console_request_t *request, console_reply_t *reply)
{
    (void)request;
    console_u32(reply, "tasks", (uint32_t)uxTaskGetNumberOfTasks());
    console_object_begin(reply, "stack_unused");
    add_figures(reply, PERMANENT, ARRAY_SIZE(PERMANENT), add_unused_stack);
    console_container_end(reply);
    add_tasks(reply, "priorities", add_priority);
    add_tasks(reply, "cores", add_core);
    return ESP_OK;
}

/* --- Holding a lock --- */

#define LOCK_MS_MAX 20000
#define LOCK_STACK 2560
#define LOCK_PRIORITY 7 /* high enough to take a free lock at once */

static atomic_bool s_is_held;

static void hold_drivers(void *arg)
{
    if (state_manager_lock(SYSTEM_STATE_ANY, LOCK_MS_MAX) == ESP_OK) {
        vTaskDelay(pdMS_TO_TICKS((uintptr_t)arg));
        state_manager_unlock();
    }
    s_is_held = false;
    vTaskDelete(NULL);
}

static void hold_output(void *arg)
{
    telemetry_record_t record;
    telemetry_lock();
    vTaskDelay(pdMS_TO_TICKS((uintptr_t)arg));
    telemetry_event_begin(&record, telemetry_scratch(), TELEMETRY_SCRATCH_SIZE, "lock");
    telemetry_send(&record);
    telemetry_unlock();
    s_is_held = false;
    vTaskDelete(NULL);
}

static uint32_t s_hold_ms;
static TaskFunction_t s_hold;

/** Runs after the reply, because nothing can be written while the output lock is held. */
static void start_to_hold(void)
{
    if (xTaskCreate(s_hold, "lock", LOCK_STACK, (void *)(uintptr_t)s_hold_ms, LOCK_PRIORITY, NULL) !=
        pdPASS) {
        s_is_held = false;
    }
}

static esp_err_t sys_lock(const console_request_t *request, console_reply_t *reply)
{
    s_hold_ms = console_arg_u32(request, "ms", 0);
    if (s_hold_ms == 0 || s_hold_ms > LOCK_MS_MAX) {
        return console_bad_argument(reply, "ms", console_arg(request, "ms"), "must be 1 to 20000");
    }
    if (atomic_exchange(&s_is_held, true)) {
        return console_fail(reply, ESP_ERR_INVALID_STATE, "a lock is still held");
    }
    s_hold = strcmp(console_arg(request, "what"), "drivers") == 0 ? hold_drivers : hold_output;
    reply->after = start_to_hold;
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
    {"sys.tasks", "", sys_tasks,
     "number of tasks, the unused stack of the permanent ones, priorities, cores"},
    {"sys.lock", "what=drivers|output ms=N", sys_lock,
     "let a task hold the drivers' lock or the output lock, at most 20 s"},
    {"sys.reboot", "", sys_reboot, "restart"},
    {"sys.panic", "kind=abort|null|store|stack|wdt|task_wdt|heap|iram [step=TEXT]", sys_panic,
     "crash now, or when this step of a mode change is next entered"},
    {"sys.last", "", sys_last, "the memory snapshots that survived the last reset"},
};

const console_group_t CMD_SYS = CONSOLE_GROUP(COMMANDS);
