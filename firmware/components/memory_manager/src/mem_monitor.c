/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * One task, created on demand, which ends itself. It runs while an interval is set or output is queued.
 *
 * s_lock guards the variables below. A task must not be created, notified or deleted in a critical section.
 * Therefore the caller that changes NONE to STARTING creates the task afterwards. A caller that notifies the
 * task first counts itself in s_users. The task deletes itself only after it has changed RUNNING to NONE; it
 * may do so only if, under the same lock, s_users is 0 and there is no work.
 */
#include "mem_monitor.h"

#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "mem_log.h"
#include "sdkconfig.h"
#include "task_end.h"

#define TASK_NAME "mem_monitor"
#define RETRY_TICKS pdMS_TO_TICKS(20) /* polling interval of the transmit ring */
#define END_WAIT_MS 20
#define PATIENCE_US (500 * 1000) /* longest wait for room in the ring before a box is written */

static portMUX_TYPE s_lock = portMUX_INITIALIZER_UNLOCKED;
static enum { NONE, STARTING, RUNNING } s_state;
static TaskHandle_t s_task;       /* valid in state RUNNING */
static mem_periodic_t s_periodic; /* set once */
static uint32_t s_interval_ms;    /* 0: do not sample */
static uint32_t s_epoch;          /* number of changes to the interval */
static uint32_t s_generation;     /* number of tasks created */
static uint32_t s_users;

static void task_main(void *arg);

/* Counts the caller as a user of the running task and returns the task; NULL if none is running. */
static TaskHandle_t acquire(void)
{
    TaskHandle_t task = NULL;
    taskENTER_CRITICAL(&s_lock);
    if (s_state == RUNNING) {
        s_users++;
        task = s_task;
    }
    taskEXIT_CRITICAL(&s_lock);
    return task;
}

static void release(void)
{
    taskENTER_CRITICAL(&s_lock);
    s_users--;
    taskEXIT_CRITICAL(&s_lock);
}

static void notify(void)
{
    TaskHandle_t task = acquire();
    if (task != NULL) {
        xTaskNotifyGive(task);
        release();
    }
}

/*
 * Returns true if it has changed NONE to STARTING: then the caller must create the task. If another caller is
 * creating it, waits for the result.
 */
static bool begin_start(void)
{
    for (;;) {
        taskENTER_CRITICAL(&s_lock);
        bool begun = s_state == NONE;
        bool wait = s_state == STARTING;
        if (begun) {
            s_state = STARTING;
            s_generation++;
        }
        taskEXIT_CRITICAL(&s_lock);
        if (!wait) {
            return begun;
        }
        vTaskDelay(1);
    }
}

/* Queue the work before the call: then a running task does not end before it has done the work. */
static esp_err_t ensure_task(void)
{
    if (begin_start()) {
        TaskHandle_t task = NULL;
        bool created = xTaskCreate(task_main, TASK_NAME, MEM_MONITOR_STACK_SIZE, NULL,
                                   CONFIG_HOTPIN_MEM_TASK_PRIORITY, &task) == pdPASS;
        taskENTER_CRITICAL(&s_lock);
        s_task = task;
        s_state = created ? RUNNING : NONE;
        taskEXIT_CRITICAL(&s_lock);
        if (!created) {
            return ESP_ERR_NO_MEM;
        }
    }
    /* Also notify a new task: it may have checked for work, and blocked, before the work was queued. */
    notify();
    return ESP_OK;
}

void mem_monitor_init(mem_periodic_t periodic)
{
    s_periodic = periodic;
}

esp_err_t mem_monitor_start(uint32_t interval_ms)
{
    taskENTER_CRITICAL(&s_lock);
    s_interval_ms = interval_ms;
    s_epoch++;
    taskEXIT_CRITICAL(&s_lock);

    esp_err_t err = ensure_task();
    if (err != ESP_OK) {
        taskENTER_CRITICAL(&s_lock);
        s_interval_ms = 0;
        taskEXIT_CRITICAL(&s_lock);
    }
    return err;
}

void mem_monitor_stop(void)
{
    taskENTER_CRITICAL(&s_lock);
    s_interval_ms = 0;
    uint32_t generation = s_generation;
    taskEXIT_CRITICAL(&s_lock);
    notify();

    for (;;) {
        taskENTER_CRITICAL(&s_lock);
        bool self = s_state == RUNNING && s_task == xTaskGetCurrentTaskHandle();
        bool ended = s_state == NONE;
        bool restarted = s_generation != generation || s_interval_ms != 0;
        taskEXIT_CRITICAL(&s_lock);
        if (self || restarted) {
            return;
        }
        /* Wait in short steps, since a task started in the meantime has the same name. */
        if (ended && task_end_wait_for(TASK_NAME, END_WAIT_MS) != ESP_ERR_TIMEOUT) {
            return;
        }
        vTaskDelay(1);
    }
}

void mem_monitor_wake(void)
{
    if (ensure_task() != ESP_OK) {
        while (mem_log_write_one(true)) {
        }
    }
}

bool mem_monitor_running(uint32_t *interval_ms)
{
    taskENTER_CRITICAL(&s_lock);
    *interval_ms = s_interval_ms;
    taskEXIT_CRITICAL(&s_lock);
    return *interval_ms != 0;
}

bool mem_monitor_has_task(void)
{
    taskENTER_CRITICAL(&s_lock);
    bool has = s_state != NONE;
    taskEXIT_CRITICAL(&s_lock);
    return has;
}

uint32_t mem_monitor_stack_unused(void)
{
    uint32_t unused = 0;
    TaskHandle_t task = acquire();
    if (task != NULL) {
        unused = (uint32_t)uxTaskGetStackHighWaterMark(task);
        release();
    }
    return unused;
}

size_t mem_monitor_static_size(void)
{
    return sizeof(s_lock) + sizeof(s_state) + sizeof(s_task) + sizeof(s_periodic) + sizeof(s_interval_ms) +
           sizeof(s_epoch) + sizeof(s_generation) + sizeof(s_users);
}

/* Changes RUNNING to NONE unless there is work. */
static bool try_end(void)
{
    taskENTER_CRITICAL(&s_lock);
    bool end = s_state == RUNNING && s_users == 0 && s_interval_ms == 0 && !mem_log_waiting();
    if (end) {
        s_state = NONE;
    }
    taskEXIT_CRITICAL(&s_lock);
    return end;
}

typedef struct {
    uint32_t epoch;
    uint32_t interval_ms;
    int64_t due_us;
} schedule_t;

/* Returns whether a sample is due, and sets the time of the next one. Applies a change of the interval. Each
 * time is computed from the previous due time, so that the period does not drift; missed samples are skipped.
 */
static bool sample_due(schedule_t *schedule)
{
    int64_t now = esp_timer_get_time();
    taskENTER_CRITICAL(&s_lock);
    uint32_t epoch = s_epoch;
    schedule->interval_ms = s_interval_ms;
    taskEXIT_CRITICAL(&s_lock);

    int64_t interval_us = (int64_t)schedule->interval_ms * 1000;
    if (epoch != schedule->epoch) {
        schedule->epoch = epoch;
        schedule->due_us = now + interval_us;
    }
    if (interval_us == 0 || now < schedule->due_us) {
        return false;
    }
    schedule->due_us += (now - schedule->due_us) / interval_us * interval_us + interval_us;
    return true;
}

/* Ticks until the next sample is due, rounded up. */
static TickType_t ticks_until(const schedule_t *schedule)
{
    if (schedule->interval_ms == 0) {
        return portMAX_DELAY;
    }
    int64_t wait_us = schedule->due_us - esp_timer_get_time();
    const int64_t tick_us = 1000000 / configTICK_RATE_HZ;
    return wait_us <= 0 ? 0 : (TickType_t)((wait_us + tick_us - 1) / tick_us);
}

static void task_main(void *arg)
{
    (void)arg;
    schedule_t schedule = {0};
    int64_t waiting_since_us = 0; /* start of the wait for room in the transmit ring; 0: not waiting */

    for (;;) {
        if (sample_due(&schedule)) {
            s_periodic();
            continue;
        }
        bool impatient = waiting_since_us != 0 && esp_timer_get_time() - waiting_since_us > PATIENCE_US;
        if (mem_log_write_one(impatient)) {
            waiting_since_us = 0;
            continue;
        }
        if (mem_log_waiting()) {
            if (waiting_since_us == 0) {
                waiting_since_us = esp_timer_get_time();
            }
            TickType_t wait = ticks_until(&schedule);
            vTaskDelay(wait < RETRY_TICKS ? wait : RETRY_TICKS);
        } else if (schedule.interval_ms != 0) {
            ulTaskNotifyTake(pdTRUE, ticks_until(&schedule));
        } else if (try_end()) {
            break;
        } else {
            vTaskDelay(1); /* another task is about to notify this task, or has just queued work */
        }
    }
    vTaskDelete(NULL);
}
