/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Scheduling, and the semantics of kernel objects.
 */
#include <inttypes.h>
#include <string.h>
#include "esp_log.h"
#include "esp_rom_sys.h"
#include "esp_system.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/event_groups.h"
#include "freertos/queue.h"
#include "freertos/ringbuf.h"
#include "freertos/semphr.h"
#include "freertos/task.h"
#include "esp_freertos_hooks.h"
#include "runtime_test.h"

static char s_trace[256];

static void trace(const char *text)
{
    strncat(s_trace, text, sizeof s_trace - strlen(s_trace) - 1);
}

static void start(TaskFunction_t code, const char *name, UBaseType_t priority, TaskHandle_t *handle)
{
    xTaskCreate(code, name, 2048, (void *)name, priority, handle);
}

/* --- Scheduling --- */

static void mark_and_end(void *name)
{
    trace(name);
    vTaskDelete(NULL);
}

static void mark_thrice(void *name)
{
    for (int i = 0; i < 3; i++) {
        trace(name);
        taskYIELD();
    }
    vTaskDelete(NULL);
}

static void case_priority(void)
{
    trace("m");
    start(mark_and_end, "H", 2, NULL); // runs at once, inside xTaskCreate
    trace("m");
    start(mark_and_end, "e", 1, NULL); // a task of equal priority waits for its turn
    start(mark_and_end, "L", 0, NULL);
    trace("m");
    vTaskDelay(1);
    printf("order %s\n", s_trace);
    s_trace[0] = '\0';
    vTaskPrioritySet(NULL, 10);
    start(mark_thrice, "a", 3, NULL);
    start(mark_thrice, "b", 3, NULL);
    start(mark_thrice, "c", 3, NULL);
    vTaskDelay(1);
    printf("yield %s\n", s_trace);
}

static void busy(void *name)
{
    for (int i = 0; i < 4; i++) {
        trace(name);
        esp_rom_delay_us(700);
    }
    vTaskDelete(NULL);
}

/* Busy tasks of equal priority share the CPU by ticks; a task of higher priority preempts them in time. */
static void high_ticker(void *name)
{
    vTaskDelay(1);
    trace(name);
    vTaskDelete(NULL);
}

static void case_time_slice(void)
{
    vTaskPrioritySet(NULL, 10);
    start(high_ticker, "H", 9, NULL);
    start(busy, "a", 3, NULL);
    start(busy, "b", 3, NULL);
    vTaskDelay(20);
    printf("slices %s\n", s_trace);
}

static void case_delay(void)
{
    TickType_t start_tick = xTaskGetTickCount();
    int64_t start_us = esp_timer_get_time();
    vTaskDelay(10);
    CHECK_EQUAL(xTaskGetTickCount() - start_tick, 10);
    int64_t passed = esp_timer_get_time() - start_us;
    CHECK(passed > 9 * 1000 && passed <= 10 * 1000 + 10); // the delay ends at a tick, as on the chip

    CHECK_EQUAL(esp_log_timestamp() % (1000 / configTICK_RATE_HZ),
                esp_log_timestamp() % (1000 / configTICK_RATE_HZ));
}

/* Waits for a long period of virtual time, measured only by the virtual clock. */
static void case_long_wait(void)
{
    int64_t begin = esp_timer_get_time();
    vTaskDelay(pdMS_TO_TICKS(3600 * 1000));
    printf("waited %" PRId64 "\n", esp_timer_get_time() - begin);
}

/* --- Queues --- */

static QueueHandle_t s_queue;

static void send_later(void *unused)
{
    (void)unused;
    vTaskDelay(5);
    int value = 42;
    xQueueSend(s_queue, &value, 0);
    vTaskDelete(NULL);
}

static void receive_later(void *unused)
{
    (void)unused;
    vTaskDelay(5);
    int value;
    xQueueReceive(s_queue, &value, 0);
    vTaskDelete(NULL);
}

static void case_queue(void)
{
    s_queue = xQueueCreate(2, sizeof(int));
    int value = 1;
    CHECK_EQUAL(xQueueSend(s_queue, &value, 0), pdPASS);
    value = 2;
    CHECK_EQUAL(xQueueSendToFront(s_queue, &value, 0), pdPASS);
    CHECK_EQUAL(uxQueueMessagesWaiting(s_queue), 2);
    CHECK_EQUAL(uxQueueSpacesAvailable(s_queue), 0);
    TickType_t before = xTaskGetTickCount();
    CHECK_EQUAL(xQueueSend(s_queue, &value, 0), errQUEUE_FULL);
    CHECK_EQUAL(xTaskGetTickCount() - before, 0);
    CHECK_EQUAL(xQueueSend(s_queue, &value, 3), errQUEUE_FULL);
    CHECK_EQUAL(xTaskGetTickCount() - before, 3);
    CHECK_EQUAL(xQueueReceive(s_queue, &value, 0), pdTRUE);
    CHECK_EQUAL(value, 2);
    CHECK_EQUAL(xQueueReceive(s_queue, &value, 0), pdTRUE);
    CHECK_EQUAL(value, 1);
    CHECK_EQUAL(xQueueReceive(s_queue, &value, 2), errQUEUE_EMPTY);

    before = xTaskGetTickCount();
    start(send_later, "send", 1, NULL);
    CHECK_EQUAL(xQueueReceive(s_queue, &value, 100), pdTRUE);
    CHECK_EQUAL(value, 42);
    CHECK_EQUAL(xTaskGetTickCount() - before, 5);
    xQueueSend(s_queue, &value, 0);
    xQueueSend(s_queue, &value, 0);
    before = xTaskGetTickCount();
    start(receive_later, "receive", 1, NULL);
    CHECK_EQUAL(xQueueSend(s_queue, &value, portMAX_DELAY), pdPASS);
    CHECK_EQUAL(xTaskGetTickCount() - before, 5);
    CHECK_EQUAL(xQueueReset(s_queue), pdPASS);
    CHECK_EQUAL(uxQueueMessagesWaiting(s_queue), 0);
    vQueueDelete(s_queue);

    static StaticQueue_t s_static;
    static uint8_t s_storage[sizeof(int)];
    QueueHandle_t mailbox = xQueueCreateStatic(1, sizeof(int), s_storage, &s_static);
    value = 7;
    CHECK_EQUAL(xQueueOverwrite(mailbox, &value), pdPASS);
    value = 8;
    CHECK_EQUAL(xQueueOverwrite(mailbox, &value), pdPASS);
    xQueueReceive(mailbox, &value, 0);
    CHECK_EQUAL(value, 8);
}

/* --- Semaphores and mutexes --- */

static SemaphoreHandle_t s_mutex;
static TaskHandle_t s_low;
static volatile UBaseType_t s_low_priority_seen;

static void hold_mutex(void *unused)
{
    (void)unused;
    xSemaphoreTake(s_mutex, portMAX_DELAY);
    trace("l");
    esp_rom_delay_us(5000);
    s_low_priority_seen = uxTaskPriorityGet(NULL);
    trace("l");
    xSemaphoreGive(s_mutex);
    trace("l");
    vTaskDelete(NULL);
}

static void want_mutex(void *unused)
{
    (void)unused;
    vTaskDelay(2);
    trace("h");
    xSemaphoreTake(s_mutex, portMAX_DELAY);
    trace("H");
    xSemaphoreGive(s_mutex);
    vTaskDelete(NULL);
}

static void be_busy(void *unused)
{
    (void)unused;
    vTaskDelay(3);
    trace("m");
    vTaskDelete(NULL);
}

static void case_mutex(void)
{
    s_mutex = xSemaphoreCreateMutex();
    CHECK(s_mutex != NULL);
    CHECK_EQUAL(xSemaphoreTake(s_mutex, 0), pdTRUE);
    CHECK_EQUAL(xSemaphoreTake(s_mutex, 1), pdFALSE);
    CHECK_EQUAL(xSemaphoreGive(s_mutex), pdTRUE);
    CHECK_EQUAL(xSemaphoreGive(s_mutex), pdFALSE);

    // the middle task must not keep the low one from giving the mutex that the high one waits for
    vTaskPrioritySet(NULL, 20);
    start(hold_mutex, "low", 2, &s_low);
    start(be_busy, "middle", 5, NULL);
    start(want_mutex, "high", 8, NULL);
    vTaskDelay(20);
    printf("inheritance %s\n", s_trace);
    CHECK_EQUAL(s_low_priority_seen, 8);

    SemaphoreHandle_t recursive = xSemaphoreCreateRecursiveMutex();
    CHECK_EQUAL(xSemaphoreTakeRecursive(recursive, 0), pdTRUE);
    CHECK_EQUAL(xSemaphoreTakeRecursive(recursive, 0), pdTRUE);
    CHECK_EQUAL(xSemaphoreGiveRecursive(recursive), pdTRUE);
    CHECK_EQUAL(xSemaphoreGiveRecursive(recursive), pdTRUE);
    CHECK_EQUAL(xSemaphoreGiveRecursive(recursive), pdFALSE);

    SemaphoreHandle_t binary = xSemaphoreCreateBinary();
    CHECK_EQUAL(xSemaphoreTake(binary, 0), pdFALSE);
    CHECK_EQUAL(xSemaphoreGive(binary), pdTRUE);
    CHECK_EQUAL(xSemaphoreGive(binary), pdFALSE);
}

/* --- Notifications, event groups --- */

static TaskHandle_t s_main;

static void notify_main(void *unused)
{
    (void)unused;
    vTaskDelay(3);
    xTaskNotifyGive(s_main);
    xTaskNotifyGive(s_main);
    vTaskDelete(NULL);
}

static void case_notify(void)
{
    s_main = xTaskGetCurrentTaskHandle();
    start(notify_main, "notify", 1, NULL);
    CHECK_EQUAL(ulTaskNotifyTake(pdTRUE, 1), 0);
    vTaskDelay(5);
    CHECK_EQUAL(ulTaskNotifyTake(pdFALSE, 0), 2);
    CHECK_EQUAL(ulTaskNotifyTake(pdTRUE, 0), 1);
    CHECK_EQUAL(ulTaskNotifyTake(pdTRUE, 0), 0);
}

static EventGroupHandle_t s_group;

static void set_bits(void *unused)
{
    (void)unused;
    vTaskDelay(2);
    xEventGroupSetBits(s_group, 1);
    vTaskDelay(2);
    EventBits_t after = xEventGroupSetBits(s_group, 2);
    CHECK_EQUAL(after, 0); // xClearOnExit: the setter clears both bits on behalf of the waiter
    vTaskDelete(NULL);
}

static void case_event_group(void)
{
    s_group = xEventGroupCreate();
    TickType_t before = xTaskGetTickCount();
    start(set_bits, "set", 3, NULL);
    CHECK_EQUAL(xEventGroupWaitBits(s_group, 3, pdTRUE, pdTRUE, 100), 3);
    CHECK_EQUAL(xTaskGetTickCount() - before, 4);
    CHECK_EQUAL(xEventGroupGetBits(s_group), 0);
    CHECK_EQUAL(xEventGroupSetBits(s_group, 4), 4);
    CHECK_EQUAL(xEventGroupWaitBits(s_group, 6, pdFALSE, pdTRUE, 2), 4); // timed out
    CHECK_EQUAL(xEventGroupWaitBits(s_group, 6, pdTRUE, pdFALSE, 0), 4);
    CHECK_EQUAL(xEventGroupClearBits(s_group, 7), 0);
}

/* --- Ring buffers --- */

#define ALL SIZE_MAX

static void case_buffers(void)
{
    char text[32] = "";
    // no-split: headers, alignment, wrap-around of items that do not fit at the end
    RingbufHandle_t ring = xRingbufferCreateWithCaps(64, RINGBUF_TYPE_NOSPLIT, MALLOC_CAP_INTERNAL);
    CHECK_EQUAL(xRingbufferGetMaxItemSize(ring), 24);
    CHECK_EQUAL(xRingbufferSend(ring, text, 25, 0), pdFALSE);
    size_t size = 0;
    int sent = 0;
    int received = 0;
    bool right = true;
    for (int round = 0; round < 200; round++) {
        char item[24];
        memset(item, round, sizeof item);
        while (xRingbufferSend(ring, item, 1 + (size_t)(sent * 7) % 24, 0)) {
            item[0] = (char)sent++;
            memset(item, sent, sizeof item);
        }
        char *got = xRingbufferReceiveUpTo(ring, &size, 0, ALL);
        right = right && got != NULL && size == 1 + (size_t)(received * 7) % 24;
        received++;
        vRingbufferReturnItem(ring, got);
    }
    CHECK(right);
    while (xRingbufferReceiveUpTo(ring, &size, 0, ALL) != NULL) {
        received++;
    }
    CHECK_EQUAL(received, sent);
    vRingbufferDeleteWithCaps(ring);

    ring = xRingbufferCreateWithCaps(8, RINGBUF_TYPE_BYTEBUF, MALLOC_CAP_INTERNAL);
    CHECK_EQUAL(xRingbufferSend(ring, "12345", 5, 0), pdTRUE);
    char *got = xRingbufferReceiveUpTo(ring, &size, 0, 3);
    CHECK_EQUAL(size, 3);
    CHECK(xRingbufferReceiveUpTo(ring, &size, 0, ALL) == NULL); // only one piece at a time
    vRingbufferReturnItem(ring, got);
    CHECK_EQUAL(xRingbufferSend(ring, "678901", 6, 0), pdTRUE);
    got = xRingbufferReceiveUpTo(ring, &size, 0, ALL);
    CHECK_EQUAL(size, 5); // up to the end of the storage
    vRingbufferReturnItem(ring, got);
    got = xRingbufferReceiveUpTo(ring, &size, 0, ALL);
    CHECK_EQUAL(size, 3);
    CHECK(memcmp(got, "901", 3) == 0);
    vRingbufferReturnItem(ring, got);
    vRingbufferDeleteWithCaps(ring);
}

/* --- Tasks --- */

static void sleeper(void *unused)
{
    (void)unused;
    while (true) {
        vTaskDelay(portMAX_DELAY);
    }
}

static void end_at_once(void *unused)
{
    (void)unused;
    vTaskDelete(NULL);
}

static void case_tasks(void)
{
    CHECK_EQUAL(uxTaskGetNumberOfTasks(), 5); // ipc0 ipc1 main IDLE0 IDLE1
    size_t before = heap_caps_get_free_size(MALLOC_CAP_INTERNAL);
    TaskHandle_t task;
    start(sleeper, "sleeper", 1, &task);
    CHECK_EQUAL(uxTaskGetNumberOfTasks(), 6);
    CHECK_EQUAL(before - heap_caps_get_free_size(MALLOC_CAP_INTERNAL), 2408);
    CHECK(xTaskGetHandle("sleeper") == task);
    CHECK_EQUAL(eTaskGetState(task), eReady);
    vTaskDelay(1);
    CHECK_EQUAL(eTaskGetState(task), eBlocked);
    CHECK_EQUAL(uxTaskGetStackHighWaterMark(task), 2048);
    vTaskSuspend(task);
    CHECK_EQUAL(eTaskGetState(task), eSuspended);
    vTaskDelete(task); // another task's memory is freed at once
    CHECK_EQUAL(heap_caps_get_free_size(MALLOC_CAP_INTERNAL), before);
    CHECK_EQUAL(uxTaskGetNumberOfTasks(), 5);

    start(end_at_once, "self", 5, NULL); // its memory is freed only when the idle task runs
    CHECK_EQUAL(before - heap_caps_get_free_size(MALLOC_CAP_INTERNAL), 2408);
    CHECK_EQUAL(uxTaskGetNumberOfTasks(), 5);
    vTaskDelay(1);
    CHECK_EQUAL(heap_caps_get_free_size(MALLOC_CAP_INTERNAL), before);

    for (int i = 0; i < 1000; i++) {
        start(i % 2 ? sleeper : end_at_once, "many", 1 + (UBaseType_t)i % 3, &task);
        if (i % 2) {
            vTaskDelete(task);
        }
        vTaskDelay(1);
    }
    CHECK_EQUAL(heap_caps_get_free_size(MALLOC_CAP_INTERNAL), before);
    CHECK_EQUAL(uxTaskGetNumberOfTasks(), 5);
}

/* Events have no effect while interrupts are masked. */
static portMUX_TYPE s_mux = portMUX_INITIALIZER_UNLOCKED;

static void case_critical(void)
{
    start(high_ticker, "H", 9, NULL);
    taskENTER_CRITICAL(&s_mux);
    esp_rom_delay_us(3000);
    trace("c");
    taskEXIT_CRITICAL(&s_mux);
    trace("x");
    printf("critical %s\n", s_trace);
}

/* Observes that the memory of the main task is freed after app_main() has returned. */
static void look_after_main(void *before)
{
    vTaskDelay(5);
    printf("main gave back %d\n", (int)(heap_caps_get_free_size(MALLOC_CAP_INTERNAL) - *(size_t *)before));
    printf("tasks %d\n", (int)uxTaskGetNumberOfTasks());
    vTaskDelete(NULL);
}

static void case_main_returns(void)
{
    static size_t s_before;
    static StaticTask_t s_block;
    static StackType_t s_stack[4096];
    s_before = heap_caps_get_free_size(MALLOC_CAP_INTERNAL);
    xTaskCreateStatic(look_after_main, "look", sizeof s_stack, &s_before, 1, s_stack, &s_block);
}

const test_case_t g_kernel_cases[] = {
    {"priority", case_priority},
    {"time_slice", case_time_slice},
    {"delay", case_delay},
    {"long_wait", case_long_wait},
    {"queue", case_queue},
    {"mutex", case_mutex},
    {"notify", case_notify},
    {"event_group", case_event_group},
    {"buffers", case_buffers},
    {"tasks", case_tasks},
    {"critical", case_critical},
    {"main_returns", case_main_returns},
    {NULL, NULL},
};
