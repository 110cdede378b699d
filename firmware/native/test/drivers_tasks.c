/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Waiting for the memory of deleted tasks.
 */
#include "drivers_test.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "task_end.h"

#define STACK_SIZE 4096

static volatile bool s_go;

static void end_at_once(void *arg)
{
    (void)arg;
    vTaskDelete(NULL);
}

static void end_when_told(void *arg)
{
    (void)arg;
    while (!s_go) {
        vTaskDelay(1);
    }
    vTaskDelete(NULL);
}

static void keep_busy(void *arg)
{
    (void)arg;
    while (!s_go) {
        taskYIELD();
    }
    vTaskDelete(NULL);
}

static void make(TaskFunction_t code, const char *name, UBaseType_t priority)
{
    CHECK_EQUAL(xTaskCreate(code, name, STACK_SIZE, NULL, priority, NULL), pdPASS);
}

/* Checks that the memory of a task is free after the wait, even if no idle task ran before the wait. */
static void case_task_ended(void)
{
    heaps_t before = heaps_now();
    make(end_at_once, "short", 10);
    CHECK(heaps_now().internal_free < before.internal_free);
    CHECK_EQUAL(task_end_wait(TASK_END_TIMEOUT_MS), ESP_OK);
    check_heaps("memory of a deleted task", before, heaps_now());
    make(end_at_once, "short", 10);
    CHECK_EQUAL(task_end_wait_for("short", TASK_END_TIMEOUT_MS), ESP_OK);
    check_heaps("memory of a deleted task, by its name", before, heaps_now());
}

static void case_task_still_runs(void)
{
    heaps_t before = heaps_now();
    make(end_when_told, "long", 10);
    CHECK_EQUAL(task_end_wait_for("long", 20), ESP_ERR_TIMEOUT);
    s_go = true;
    CHECK_EQUAL(task_end_wait_for("long", TASK_END_TIMEOUT_MS), ESP_OK);
    check_heaps("memory of a task that was waited for", before, heaps_now());
}

static void case_task_keeps_the_processor(void)
{
    make(keep_busy, "busy", 1);
    int64_t start_us = esp_timer_get_time();
    CHECK_EQUAL(task_end_wait(50), ESP_ERR_TIMEOUT);
    test_note("TASKS waited_ms %u\n", (unsigned)elapsed_ms(start_us));
    s_go = true;
    CHECK_EQUAL(task_end_wait(TASK_END_TIMEOUT_MS), ESP_OK);
}

const test_case_t g_task_cases[] = {
    {"task_ended", case_task_ended},
    {"task_still_runs", case_task_still_runs},
    {"task_keeps_the_processor", case_task_keeps_the_processor},
    {NULL, NULL},
};
