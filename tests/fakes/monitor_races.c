/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Stress test of the monitor task and the log path: some tasks log, others start and stop the monitor, the
 * UART is sometimes full, and task creation sometimes fails. Prints "ok" or the first error.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "array_size.h"
#include "esp_log.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "mem_alloc_failed.h"
#include "mem_log.h"
#include "mem_monitor.h"
#include "record.h"
#include "task_end.h"
#include "telemetry.h"

#define LOGGERS 3
#define LOGS_EACH 400
#define STARTS_EACH 500
#define FAILERS 2
#define FAILURES_EACH 4000

/* A FreeRTOS task, which runs on a pthread. */
struct tskTaskControlBlock {
    pthread_mutex_t mutex;
    pthread_cond_t given;
    uint32_t count;
    TaskFunction_t code;
};

static _Thread_local TaskHandle_t s_self;
static _Thread_local unsigned s_random = 1;
static atomic_int s_failers = FAILERS;
static atomic_bool s_slow_end; /* vTaskDelete takes some time */
static atomic_int s_tasks, s_tasks_most, s_created, s_periodic;

static pthread_mutex_t s_stdout;
static unsigned s_failures, s_last_snapshot, s_records, s_boxes, s_dropped; /* under s_stdout */
static char s_scratch[TELEMETRY_SCRATCH_SIZE];

static void fail(const char *what, unsigned a, unsigned b)
{
    printf("%s: %u %u\n", what, a, b);
    exit(1);
}

static unsigned any(unsigned below)
{
    s_random = s_random * 1103515245 + 12345;
    return (s_random >> 16) % below;
}

/* --- FreeRTOS --- */

/* Delays the caller sometimes, so that other tasks run between its critical sections. */
void vPortEnterCritical(portMUX_TYPE *mux)
{
    if (any(16) == 0) {
        usleep(any(100));
    }
    while (__atomic_exchange_n(&mux->owner, SPINLOCK_FREE + 1, __ATOMIC_ACQUIRE) != SPINLOCK_FREE) {
        sched_yield();
    }
}

void vPortExitCritical(portMUX_TYPE *mux)
{
    __atomic_store_n(&mux->owner, SPINLOCK_FREE, __ATOMIC_RELEASE);
}

static void *run(void *task)
{
    s_self = task;
    s_self->code(NULL);
    fail("task function returned", 0, 0);
    return NULL;
}

/* Fails sometimes, as it does when memory is low. */
BaseType_t xTaskCreatePinnedToCore(TaskFunction_t code, const char *name, uint32_t stack, void *arg,
                                   UBaseType_t priority, TaskHandle_t *out, BaseType_t core)
{
    (void)name, (void)stack, (void)arg, (void)priority, (void)core;
    if (any(10) == 0) {
        return pdFAIL;
    }
    TaskHandle_t task = calloc(1, sizeof(*task));
    pthread_mutex_init(&task->mutex, NULL);
    pthread_cond_init(&task->given, NULL);
    task->code = code;
    int tasks = atomic_fetch_add(&s_tasks, 1) + 1;
    if (tasks > atomic_load(&s_tasks_most)) {
        atomic_store(&s_tasks_most, tasks);
    }
    atomic_fetch_add(&s_created, 1);
    pthread_t thread;
    pthread_create(&thread, NULL, run, task);
    pthread_detach(thread);
    if (any(2) == 0) {
        usleep(50); /* lets the new task run before its creator has the handle */
    }
    *out = task;
    return pdPASS;
}

/* Frees the handle, so that the sanitizer reports a later notification as a use after free. */
void vTaskDelete(TaskHandle_t task)
{
    if (task != NULL) {
        fail("deleted from outside", 0, 0);
    }
    if (s_slow_end) {
        usleep(5000);
    }
    free(s_self);
    atomic_fetch_sub(&s_tasks, 1);
    pthread_exit(NULL);
}

void vTaskDelay(TickType_t ticks)
{
    usleep(ticks > 3 ? 300 : ticks * 100);
}

/* Waits until no task is left: all of them have the same name. */
esp_err_t task_end_wait_for(const char *name, uint32_t timeout_ms)
{
    (void)name;
    for (uint32_t waited_ms = 0; atomic_load(&s_tasks) > 0; waited_ms++) {
        if (waited_ms >= timeout_ms) {
            return ESP_ERR_TIMEOUT;
        }
        usleep(100);
    }
    return ESP_OK;
}

TaskHandle_t xTaskGetCurrentTaskHandle(void)
{
    return s_self;
}

BaseType_t xTaskGenericNotify(TaskHandle_t task, UBaseType_t index, uint32_t value, eNotifyAction action,
                              uint32_t *previous)
{
    (void)index, (void)value, (void)action, (void)previous;
    if (any(4) == 0) {
        usleep(20);
    }
    pthread_mutex_lock(&task->mutex);
    task->count++;
    pthread_cond_signal(&task->given);
    pthread_mutex_unlock(&task->mutex);
    return pdPASS;
}

uint32_t ulTaskGenericNotifyTake(UBaseType_t index, BaseType_t clear, TickType_t ticks)
{
    (void)index, (void)clear;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ticks / 1000;
    until.tv_nsec += ticks % 1000 * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_mutex_lock(&s_self->mutex);
    while (s_self->count == 0 && pthread_cond_timedwait(&s_self->given, &s_self->mutex, &until) == 0) {
    }
    uint32_t count = s_self->count;
    s_self->count = 0;
    pthread_mutex_unlock(&s_self->mutex);
    return count;
}

UBaseType_t uxTaskGetStackHighWaterMark(TaskHandle_t task)
{
    pthread_mutex_lock(&task->mutex);
    pthread_mutex_unlock(&task->mutex);
    return 500;
}

int64_t esp_timer_get_time(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

esp_log_level_t esp_log_level_get(const char *tag)
{
    (void)tag;
    return ESP_LOG_INFO;
}

uint32_t esp_log_timestamp(void)
{
    return (uint32_t)(esp_timer_get_time() / 1000);
}

/* --- Telemetry --- */

void telemetry_lock(void)
{
    pthread_mutex_lock(&s_stdout);
}

void telemetry_unlock(void)
{
    pthread_mutex_unlock(&s_stdout);
}

char *telemetry_scratch(void)
{
    return s_scratch;
}

bool telemetry_has_room(size_t len)
{
    (void)len;
    return any(3) != 0;
}

uint32_t telemetry_boot_id_bits(void)
{
    return 7;
}

uint32_t telemetry_boot_count(void)
{
    return 1;
}

static unsigned field(const char *text, const char *name)
{
    const char *found = strstr(text, name);
    return found == NULL ? 0 : (unsigned)strtoul(found + strlen(name), NULL, 10);
}

esp_err_t telemetry_send(telemetry_record_t *r)
{
    if (telemetry_record_finish(r, 4294967295U, "ffffffff", 4294967295U) != ESP_OK) {
        fail("record too long", (unsigned)r->len, 0);
    }
    if (strstr(r->buf, "\"log.dropped\"") != NULL) {
        s_dropped += field(r->buf, "\"boxes\":");
    } else if (strstr(r->buf, "\"context\"") != NULL) {
        unsigned snapshot = field(r->buf, "\"snapshot\":");
        if (snapshot != s_last_snapshot + 1) {
            fail("record out of order", snapshot, s_last_snapshot);
        }
        s_last_snapshot = snapshot;
        s_records++;
    }
    return ESP_OK;
}

void telemetry_write(const char *text, size_t len)
{
    static bool inside;
    for (size_t i = 0; i + 3 <= len; i++) {
        if (memcmp(text + i, "╔", 3) == 0) {
            if (inside) {
                fail("box inside a box", s_boxes, 0);
            }
            inside = true;
        }
        if (memcmp(text + i, "╚", 3) == 0) {
            inside = false;
            s_boxes++;
        }
    }
}

/* --- The test --- */

static void log_one(void)
{
    memory_stats_t stats;
    memory_delta_t delta = {INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN};
    memset(&stats, 0xFF, sizeof(stats)); /* the largest figures */
    mem_log_put(&stats, &delta, "a context as long as a context can be", true);
}

/* Reports failed allocations, which any number of tasks may do at once, without a lock. */
static void *fail_many(void *seed)
{
    for (unsigned i = 0; i < FAILURES_EACH; i++) {
        unsigned number = (unsigned)(uintptr_t)seed * FAILURES_EACH + i;
        const mem_alloc_failed_t failed = {
            .time_ms = number, .size = ~number, .caps = number * 3, .function = "f"};
        mem_alloc_failed_put(&failed);
        if (any(64) == 0) {
            usleep(10);
        }
    }
    atomic_fetch_sub(&s_failers, 1);
    return NULL;
}

static void drain_failures(void)
{
    mem_alloc_failed_t failed;
    uint32_t lost = 0;
    telemetry_lock();
    while (mem_alloc_failed_take(&failed, &lost)) {
        if (failed.size != ~failed.time_ms || failed.caps != failed.time_ms * 3) {
            fail("torn failure", failed.time_ms, failed.size);
        }
        s_failures++;
    }
    s_failures += lost;
    telemetry_unlock();
}

static void periodic(void)
{
    atomic_fetch_add(&s_periodic, 1);
    drain_failures();
    log_one();
}

static void *log_many(void *seed)
{
    s_random = (unsigned)(uintptr_t)seed;
    for (int i = 0; i < LOGS_EACH; i++) {
        log_one();
        mem_monitor_wake();
        mem_monitor_stack_unused();
        drain_failures();
        if (any(3) == 0) {
            usleep(any(3000));
        }
    }
    return NULL;
}

static void *drain_many(void *unused)
{
    while (atomic_load(&s_failers) > 0) {
        drain_failures();
    }
    return unused;
}

static void *start_and_stop(void *seed)
{
    s_random = (unsigned)(uintptr_t)seed;
    for (int i = 0; i < STARTS_EACH; i++) {
        mem_monitor_start(1 + any(3));
        if (any(4) == 0) {
            usleep(any(2000));
        }
        mem_monitor_stop();
    }
    return NULL;
}

int main(void)
{
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&s_stdout, &attr);
    mem_log_init();
    mem_monitor_init(periodic);

    static void *(*const bodies[])(void *) = {log_many,       log_many,  log_many,  start_and_stop,
                                              start_and_stop, fail_many, fail_many, drain_many};
    enum { THREADS = ARRAY_SIZE(bodies) };
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++) {
        pthread_create(&threads[i], NULL, bodies[i], (void *)(i + 1));
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    drain_failures();
    mem_alloc_failed_put(
        &(mem_alloc_failed_t){.size = ~0U}); /* this record also reports the earlier lost failures */
    drain_failures();
    if (s_failures != FAILERS * FAILURES_EACH + 1) {
        fail("failures neither reported nor counted", s_failures, FAILERS * FAILURES_EACH + 1);
    }
    mem_monitor_start(1);
    /* On a busy host, monitoring may have stopped each time before the first sample. */
    while (atomic_load(&s_periodic) == 0) {
        usleep(1000);
    }
    mem_monitor_stop();
    if (mem_log_waiting()) {
        fail("the task ended before it had written everything", s_records, 0);
    }
    /* The record of this log also reports the boxes dropped last. */
    log_one();
    mem_monitor_wake();
    s_slow_end = true;
    mem_monitor_stop();
    unsigned logged = LOGGERS * LOGS_EACH + (unsigned)atomic_load(&s_periodic) + 1;
    telemetry_lock();
    if (atomic_load(&s_tasks) != 0 || mem_monitor_has_task()) {
        fail("stray task", (unsigned)atomic_load(&s_tasks), 0);
    }
    if (s_records != logged) {
        fail("records lost: written, logged", s_records, logged);
    }
    if (s_boxes + s_dropped != logged) {
        fail("boxes neither written nor counted: written + dropped, logged", s_boxes + s_dropped, logged);
    }
    if (atomic_load(&s_periodic) == 0 || s_dropped == 0 || atomic_load(&s_created) < 10) {
        fail("the test did not reach: samples, dropped", (unsigned)atomic_load(&s_periodic), s_dropped);
    }
    telemetry_unlock();
    printf("ok: %u records, %u boxes, %u dropped, %d tasks, at most %d at a time\n", s_records, s_boxes,
           s_dropped, atomic_load(&s_created), atomic_load(&s_tasks_most));
    return 0;
}
