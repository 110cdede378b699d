/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * mem.priority: tasks whose priority depends on memory pressure. For tests: a worker that uses the CPU on the
 * audio core, holds a mutex, and can end without being unregistered.
 */
#include <stdatomic.h>
#include <string.h>

#include "console.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/semphr.h"
#include "freertos/task.h"
#include "memory_priority.h"
#include "task_core.h"
#include "task_end.h"

#define WORKER "worker"
#define WORKER_STACK 3072
#define PERIOD_MS 500 /* the worker computes for busy= ms of each period */
#define BUSY_MS_MAX 450
#define PRIORITY_MAX 15
#define WAIT_MS_MAX 5000
#define SHOWN_MAX 8
#define ROW_SIZE 140

static memory_priority_t s_entry;
static StaticSemaphore_t s_mutex_memory;
static SemaphoreHandle_t s_mutex; /* held by the worker from its start to its end */
static TaskHandle_t s_worker;     /* NULL: none */
static atomic_bool s_stop, s_waited_for;
/* s_lowest: the worker's lowest priority while the console waits for the mutex */
static atomic_uint s_rounds, s_lowest;
static uint32_t s_busy_ms;

static void note_priority(void)
{
    unsigned priority = uxTaskPriorityGet(NULL);
    if (s_waited_for && priority < s_lowest) {
        s_lowest = priority;
    }
}

static void work(void *arg)
{
    (void)arg;
    xSemaphoreTake(s_mutex, portMAX_DELAY);
    while (!s_stop) {
        int64_t end_us = esp_timer_get_time() + (int64_t)s_busy_ms * 1000;
        while (esp_timer_get_time() < end_us) {
        }
        for (uint32_t waited_ms = s_busy_ms; waited_ms < PERIOD_MS && !s_stop; waited_ms += 10) {
            note_priority();
            vTaskDelay(pdMS_TO_TICKS(10));
        }
        s_rounds++;
    }
    xSemaphoreGive(s_mutex);
    vTaskDelete(NULL);
}

static void end_worker(void)
{
    s_stop = true;
    task_end_wait_for(WORKER, TASK_END_TIMEOUT_MS);
    vSemaphoreDelete(s_mutex);
    s_worker = NULL;
}

static esp_err_t start_worker(const console_request_t *request, console_reply_t *reply)
{
    uint32_t priority = console_arg_u32(request, "work", 0);
    uint32_t busy_ms = console_arg_u32(request, "busy", 0);
    if (priority > PRIORITY_MAX) {
        return console_bad_argument(reply, "work", console_arg(request, "work"), "at most 15");
    }
    if (busy_ms > BUSY_MS_MAX) {
        return console_bad_argument(reply, "busy", console_arg(request, "busy"), "at most 450");
    }
    if (s_worker != NULL) {
        return console_fail(reply, ESP_ERR_INVALID_STATE,
                            "the worker is already running (stop it with mem.priority off=1)");
    }
    s_mutex = xSemaphoreCreateMutexStatic(&s_mutex_memory);
    s_stop = false;
    s_busy_ms = busy_ms;
    if (xTaskCreatePinnedToCore(work, WORKER, WORKER_STACK, NULL, priority > 0 ? priority : 1, &s_worker,
                                TASK_CORE_SOUND) != pdPASS) {
        vSemaphoreDelete(s_mutex);
        return console_fail(reply, ESP_ERR_NO_MEM, "no memory for a task");
    }
    esp_err_t err =
        memory_priority_register(&s_entry, s_worker, priority, console_arg_u32(request, "under", 0));
    if (err != ESP_OK) {
        end_worker();
        return console_fail(reply, err, "the worker cannot be registered with these priorities");
    }
    return ESP_OK;
}

/** Waits for the mutex that the worker holds, so that the worker inherits the console's higher priority. */
static void wait_for_mutex(console_reply_t *reply, uint32_t wait_ms)
{
    s_lowest = configMAX_PRIORITIES;
    TickType_t start = xTaskGetTickCount();
    /* From here on the worker records its priority; it inherits this task's priority below. */
    s_waited_for = true;
    if (xSemaphoreTake(s_mutex, pdMS_TO_TICKS(wait_ms < WAIT_MS_MAX ? wait_ms : WAIT_MS_MAX)) == pdTRUE) {
        xSemaphoreGive(s_mutex);
    }
    s_waited_for = false;
    console_u32(reply, "waited_ms", (xTaskGetTickCount() - start) * portTICK_PERIOD_MS);
    console_u32(reply, "lowest", s_lowest);
}

static void add_tasks(console_reply_t *reply)
{
    static memory_priority_info_t s_tasks[SHOWN_MAX];
    size_t count = memory_priority_get_all(s_tasks, SHOWN_MAX);
    console_array_begin(reply, "registered");
    for (size_t i = 0; i < count; i++) {
        telemetry_record_t *record = console_room(reply, ROW_SIZE);
        telemetry_object_begin(record, NULL);
        telemetry_str(record, "name", s_tasks[i].name);
        telemetry_u32(record, "normal", s_tasks[i].normal);
        telemetry_u32(record, "pressed", s_tasks[i].pressed);
        telemetry_u32(record, "now", s_tasks[i].now);
        telemetry_bool(record, "is_pressed", s_tasks[i].is_pressed);
        telemetry_object_end(record);
    }
    console_container_end(reply);
    telemetry_bool(console_room(reply, sizeof("\"pressed\":false,")), "pressed",
                   memory_priority_is_pressed());
    console_u32(reply, "rounds", s_rounds);
    console_u32(reply, "bytes_static", (uint32_t)memory_priority_static_size());
}

static esp_err_t mem_priority(const console_request_t *request, console_reply_t *reply)
{
    if (console_arg(request, "off") != NULL) {
        memory_priority_unregister(&s_entry);
        if (s_worker != NULL) {
            console_u32(reply, "unregistered", (uint32_t)uxTaskPriorityGet(s_worker));
            end_worker();
        }
    } else if (console_arg(request, "work") != NULL) {
        esp_err_t err = start_worker(request, reply);
        if (err != ESP_OK) {
            return err;
        }
    } else if (s_worker == NULL && request->arg_count > 0) {
        return console_fail(reply, ESP_ERR_INVALID_STATE,
                            "no worker is running; start one with mem.priority work=");
    } else if (console_arg(request, "end") != NULL) {
        end_worker();
    } else if (console_arg(request, "wait") != NULL) {
        wait_for_mutex(reply, console_arg_u32(request, "wait", 0));
    }
    add_tasks(reply);
    return ESP_OK;
}

static const console_command_t COMMANDS[] = {
    {"mem.priority", "[work=N] [under=N] [busy=N] [wait=N] [end=1] [off=1]", mem_priority,
     "tasks with another priority under memory pressure; work= starts a worker of this priority (under= "
     "pressure), busy= ms of every 500; wait= ms for its mutex; end=1: it ends without unregistering; off=1: "
     "end it"},
};

const console_group_t CMD_PRIORITY = CONSOLE_GROUP(COMMANDS);
