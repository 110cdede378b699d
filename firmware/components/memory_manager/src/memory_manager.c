/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "memory_manager.h"

#include <stdatomic.h>
#include <string.h>
#include "esp_attr.h"
#include "esp_heap_caps.h"
#include "esp_log.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "mem_alloc_failed.h"
#include "mem_log.h"
#include "mem_logic.h"
#include "mem_monitor.h"
#include "mem_observe.h"
#include "mem_sample.h"
#include "sdkconfig.h"
#include "telemetry.h"

#if CONFIG_HOTPIN_MEM_PERIODIC_BOX
#define PERIODIC_BOX true
#else
#define PERIODIC_BOX false
#endif

/* Control block (ESP-IDF v5.4), and the block headers of control block and stack. */
#define TASK_OVERHEAD (352 + 2 * 4)

enum { NEW, INITIALISING, READY };

typedef struct {
    char name[MEMORY_STATE_NAME_SIZE]; /* "": the entry is free */
    memory_baseline_t baseline;
} state_baseline_t;

static struct {
    portMUX_TYPE lock; /* guards this struct; held only to copy a few words, never during a call */
    memory_thresholds_t thresholds;
    mem_levels_t levels;
    memory_baseline_t baseline;
    state_baseline_t states[MEMORY_STATES_MAX];
    memory_warning_callback_t warning_callbacks[MEMORY_CALLBACKS_MAX];
    memory_warning_callback_t recovery_callbacks[MEMORY_CALLBACKS_MAX];
    memory_reclaimer_t reclaimers[MEMORY_RECLAIMERS_MAX];
    uint32_t samples;                   /* number of periodic samples */
    uint64_t sample_us;                 /* total duration of the periodic samples */
    TaskHandle_t volatile watched_task; /* NULL: none; not guarded, like the following member */
    uint32_t watched_failure;           /* used by that task only */
} s_mm = {.lock = portMUX_INITIALIZER_UNLOCKED};

static atomic_int s_phase = NEW;

static bool ready(void)
{
    return atomic_load(&s_phase) == READY;
}

static void lock(void)
{
    taskENTER_CRITICAL(&s_mm.lock);
}

static void unlock(void)
{
    taskEXIT_CRITICAL(&s_mm.lock);
}

/* --- Sampling and checking --- */

static void log_sample(const memory_stats_t *stats, const char *context, bool box)
{
    lock();
    memory_baseline_t baseline = s_mm.baseline;
    unlock();
    memory_delta_t delta = mem_delta(stats, &baseline);
    mem_log_put(stats, &delta, context, box);
}

static void call_back(const memory_warning_callback_t registered[MEMORY_CALLBACKS_MAX],
                      const memory_warning_t *warning)
{
    memory_warning_callback_t callbacks[MEMORY_CALLBACKS_MAX];
    lock();
    memcpy(callbacks, registered, sizeof(callbacks));
    unlock();
    for (int i = 0; i < MEMORY_CALLBACKS_MAX; i++) {
        if (callbacks[i] != NULL) {
            callbacks[i](warning);
        }
    }
}

/* Updates the levels with a sample. Returns the number of changes. */
static size_t update_levels(const memory_stats_t *stats, mem_change_t changes[MEM_CHANGES_MAX])
{
    memory_thresholds_t thresholds;
    memory_manager_get_thresholds(&thresholds);
    mem_observe_adapt(stats, &thresholds);
    lock();
    size_t count = mem_levels_update(&s_mm.levels, &thresholds, stats, changes);
    unlock();
    return count;
}

/* Reports the changes: records and the box first, because the callbacks may change the heap. */
static void announce(const memory_stats_t *stats, const mem_change_t *changes, size_t count)
{
    bool warned = false;
    for (size_t i = 0; i < count; i++) {
        mem_log_change(&changes[i]);
        warned |= !changes[i].recovered;
    }
    if (warned) {
        log_sample(stats, "Memory Warning", true);
    }
    for (size_t i = 0; i < count; i++) {
        call_back(changes[i].recovered ? s_mm.recovery_callbacks : s_mm.warning_callbacks,
                  &changes[i].warning);
    }
    for (size_t i = 0; i < count; i++) {
        if (!changes[i].recovered) {
            mem_observe_warning(&changes[i].warning);
        }
    }
}

/* The stdout lock ensures one reader at a time. */
static void report_failed_allocations(void)
{
    mem_alloc_failed_t failed;
    telemetry_lock();
    for (uint32_t lost = 0; mem_alloc_failed_take(&failed, &lost); lost = 0) {
        mem_log_alloc_failed(&failed, lost);
    }
    telemetry_unlock();
}

static void periodic(void)
{
    memory_stats_t stats;
    mem_change_t changes[MEM_CHANGES_MAX];
    int64_t start_us = esp_timer_get_time();
    mem_sample_take(&stats);
    mem_sample_new_window();
    size_t count = update_levels(&stats, changes);
    uint64_t took_us = (uint64_t)(esp_timer_get_time() - start_us);
    bool low, critical;
    lock();
    s_mm.samples++;
    s_mm.sample_us += took_us;
    mem_levels_standing(&s_mm.levels, &low, &critical);
    unlock();

    report_failed_allocations();
    log_sample(&stats, "Periodic", PERIODIC_BOX);
    announce(&stats, changes, count);
    mem_observe_sample(&stats, low, critical);
}

esp_err_t memory_manager_check_thresholds(void)
{
    memory_stats_t stats;
    mem_change_t changes[MEM_CHANGES_MAX];
    if (!ready()) {
        return ESP_ERR_INVALID_STATE;
    }
    mem_sample_take(&stats);
    size_t count = update_levels(&stats, changes);
    if (count > 0) {
        announce(&stats, changes, count);
        mem_monitor_wake();
    }
    return ESP_OK;
}

/* --- Starting --- */

/* Called by the heap in the task of the failed allocation, even while the flash cache is off: all code called
 * from here must be in IRAM. */
static IRAM_ATTR void on_alloc_failed(size_t size, uint32_t caps, const char *function)
{
    const mem_alloc_failed_t failed = {
        .time_ms = esp_log_timestamp(),
        .size = (uint32_t)size,
        .caps = caps,
        .function = function,
    };
    mem_alloc_failed_put(&failed);
    TaskHandle_t watched = s_mm.watched_task;
    if (watched != NULL && watched == xTaskGetCurrentTaskHandle() && s_mm.watched_failure == 0) {
        s_mm.watched_failure = (uint32_t)size;
    }
    mem_observe_failed((uint32_t)size, caps, function);
}

esp_err_t memory_manager_init(const memory_thresholds_t *thresholds)
{
    const memory_thresholds_t defaults = MEMORY_THRESHOLDS_DEFAULT();
    memory_stats_t stats;
    int phase = NEW;
    if (thresholds != NULL && mem_thresholds_check(thresholds) != ESP_OK) {
        return ESP_ERR_INVALID_ARG;
    }
    if (!atomic_compare_exchange_strong(&s_phase, &phase, INITIALISING)) {
        return ESP_ERR_INVALID_STATE;
    }
    s_mm.thresholds = thresholds != NULL ? *thresholds : defaults;
    esp_err_t err = mem_sample_init();
    if (err == ESP_OK) {
        err = heap_caps_register_failed_alloc_callback(on_alloc_failed);
    }
    if (err != ESP_OK) {
        atomic_store(&s_phase, NEW);
        return err;
    }
    mem_monitor_init(periodic);
    mem_log_init(); /* once, when nothing can fail: a second call would select the wrong bank */
    mem_sample_take(&stats);
    s_mm.baseline = mem_baseline(&stats);
    atomic_store(&s_phase, READY);
    return ESP_OK;
}

esp_err_t memory_manager_start_monitoring(uint32_t interval_ms)
{
    if (interval_ms < CONFIG_HOTPIN_MEM_MIN_INTERVAL_MS) {
        return ESP_ERR_INVALID_ARG;
    }
    return ready() ? mem_monitor_start(interval_ms) : ESP_ERR_INVALID_STATE;
}

esp_err_t memory_manager_stop_monitoring(void)
{
    if (!ready()) {
        return ESP_ERR_INVALID_STATE;
    }
    mem_monitor_stop();
    return ESP_OK;
}

esp_err_t memory_manager_get_monitoring(memory_monitoring_t *out)
{
    if (out == NULL) {
        return ESP_ERR_INVALID_ARG;
    }
    if (!ready()) {
        return ESP_ERR_INVALID_STATE;
    }
    out->running = mem_monitor_running(&out->interval_ms);
    lock();
    out->samples = s_mm.samples;
    unlock();
    return ESP_OK;
}

/* --- Queries and logs --- */

esp_err_t memory_manager_get_stats(memory_stats_t *out)
{
    if (out == NULL) {
        return ESP_ERR_INVALID_ARG;
    }
    if (!ready()) {
        return ESP_ERR_INVALID_STATE;
    }
    mem_sample_take(out);
    return ESP_OK;
}

esp_err_t memory_manager_log_stats(const char *context)
{
    memory_stats_t stats;
    if (context == NULL) {
        return ESP_ERR_INVALID_ARG;
    }
    if (!ready()) {
        return ESP_ERR_INVALID_STATE;
    }
    mem_sample_take(&stats);
    log_sample(&stats, context, true);
    mem_monitor_wake();
    return ESP_OK;
}

esp_err_t memory_manager_get_history(memory_snapshot_t *out, size_t max, size_t *count)
{
    if ((out == NULL && max > 0) || count == NULL) {
        return ESP_ERR_INVALID_ARG;
    }
    if (!ready()) {
        return ESP_ERR_INVALID_STATE;
    }
    *count = mem_log_history(out, max);
    return ESP_OK;
}

esp_err_t memory_manager_get_last_boot(memory_last_boot_t *info, memory_snapshot_t *out, size_t max,
                                       size_t *count)
{
    memory_last_boot_t boot;
    if ((out == NULL && max > 0) || count == NULL) {
        return ESP_ERR_INVALID_ARG;
    }
    if (!ready()) {
        return ESP_ERR_INVALID_STATE;
    }
    if (!mem_log_last_boot(&boot, out, max, count)) {
        *count = 0;
        return ESP_ERR_NOT_FOUND;
    }
    if (info != NULL) {
        *info = boot;
    }
    return ESP_OK;
}

esp_err_t memory_manager_get_events(uint32_t since, memory_event_t *out, size_t max, size_t *count)
{
    if ((out == NULL && max > 0) || count == NULL) {
        return ESP_ERR_INVALID_ARG;
    }
    if (!ready()) {
        return ESP_ERR_INVALID_STATE;
    }
    report_failed_allocations();
    *count = mem_log_events(since, out, max);
    return ESP_OK;
}

void memory_manager_watch_failures(void)
{
    s_mm.watched_failure = 0;
    s_mm.watched_task = xTaskGetCurrentTaskHandle();
}

uint32_t memory_manager_first_failure(void)
{
    s_mm.watched_task = NULL;
    return s_mm.watched_failure;
}

/* --- Thresholds and callbacks --- */

esp_err_t memory_manager_get_thresholds(memory_thresholds_t *out)
{
    if (out == NULL) {
        return ESP_ERR_INVALID_ARG;
    }
    if (!ready()) {
        return ESP_ERR_INVALID_STATE;
    }
    lock();
    *out = s_mm.thresholds;
    unlock();
    return ESP_OK;
}

esp_err_t memory_manager_set_thresholds(const memory_thresholds_t *thresholds)
{
    const memory_thresholds_t defaults = MEMORY_THRESHOLDS_DEFAULT();
    if (thresholds != NULL && mem_thresholds_check(thresholds) != ESP_OK) {
        return ESP_ERR_INVALID_ARG;
    }
    if (!ready()) {
        return ESP_ERR_INVALID_STATE;
    }
    lock();
    s_mm.thresholds = thresholds != NULL ? *thresholds : defaults;
    unlock();
    return ESP_OK;
}

/* Replaces the first entry that equals `old` with `callback`. */
static esp_err_t replace_callback(memory_warning_callback_t list[MEMORY_CALLBACKS_MAX],
                                  memory_warning_callback_t old, memory_warning_callback_t callback,
                                  esp_err_t if_none)
{
    if (old == NULL && callback == NULL) {
        return ESP_ERR_INVALID_ARG;
    }
    if (!ready()) {
        return ESP_ERR_INVALID_STATE;
    }
    esp_err_t err = if_none;
    lock();
    for (int i = 0; i < MEMORY_CALLBACKS_MAX && err == if_none; i++) {
        if (list[i] == old) {
            list[i] = callback;
            err = ESP_OK;
        }
    }
    unlock();
    return err;
}

esp_err_t memory_manager_register_warning_callback(memory_warning_callback_t callback)
{
    return replace_callback(s_mm.warning_callbacks, NULL, callback, ESP_ERR_NO_MEM);
}

esp_err_t memory_manager_register_recovery_callback(memory_warning_callback_t callback)
{
    return replace_callback(s_mm.recovery_callbacks, NULL, callback, ESP_ERR_NO_MEM);
}

esp_err_t memory_manager_unregister_warning_callback(memory_warning_callback_t callback)
{
    return replace_callback(s_mm.warning_callbacks, callback, NULL, ESP_ERR_NOT_FOUND);
}

esp_err_t memory_manager_unregister_recovery_callback(memory_warning_callback_t callback)
{
    return replace_callback(s_mm.recovery_callbacks, callback, NULL, ESP_ERR_NOT_FOUND);
}

/* --- Observation --- */

esp_err_t memory_manager_set_state(const char *state)
{
    if (!ready()) {
        return ESP_ERR_INVALID_STATE;
    }
    mem_observe_set_state(state != NULL ? state : "");
    return ESP_OK;
}

esp_err_t memory_manager_register_observer(memory_observer_t *observer)
{
    if (observer == NULL ||
        (observer->observe == NULL && observer->adapt == NULL && observer->entered == NULL &&
         observer->warned == NULL && observer->logged == NULL && observer->failed == NULL)) {
        return ESP_ERR_INVALID_ARG;
    }
    if (!ready()) {
        return ESP_ERR_INVALID_STATE;
    }
    mem_observe_register(observer);
    return ESP_OK;
}

/* --- Baselines --- */

static bool state_name_good(const char *state)
{
    return state == NULL ||
           (state[0] != '\0' && strnlen(state, MEMORY_STATE_NAME_SIZE) < MEMORY_STATE_NAME_SIZE);
}

/* The state's baseline; if there is none, the first free entry if `create`, otherwise NULL. Call with the
 * lock held. */
static memory_baseline_t *find_baseline(const char *state, bool create)
{
    state_baseline_t *unused = NULL;
    if (state == NULL) {
        return &s_mm.baseline;
    }
    for (int i = 0; i < MEMORY_STATES_MAX; i++) {
        if (strcmp(s_mm.states[i].name, state) == 0) {
            return &s_mm.states[i].baseline;
        }
        if (unused == NULL && s_mm.states[i].name[0] == '\0') {
            unused = &s_mm.states[i];
        }
    }
    if (!create || unused == NULL) {
        return NULL;
    }
    strcpy(unused->name, state);
    return &unused->baseline;
}

esp_err_t memory_manager_get_baseline(const char *state, memory_baseline_t *out)
{
    if (!state_name_good(state) || out == NULL) {
        return ESP_ERR_INVALID_ARG;
    }
    if (!ready()) {
        return ESP_ERR_INVALID_STATE;
    }
    lock();
    const memory_baseline_t *baseline = find_baseline(state, false);
    if (baseline != NULL) {
        *out = *baseline;
    }
    unlock();
    return baseline != NULL ? ESP_OK : ESP_ERR_NOT_FOUND;
}

esp_err_t memory_manager_set_baseline(const char *state)
{
    memory_stats_t stats;
    if (!state_name_good(state)) {
        return ESP_ERR_INVALID_ARG;
    }
    if (!ready()) {
        return ESP_ERR_INVALID_STATE;
    }
    mem_sample_take(&stats);
    lock();
    memory_baseline_t *baseline = find_baseline(state, true);
    if (baseline != NULL) {
        *baseline = mem_baseline(&stats);
    }
    unlock();
    return baseline != NULL ? ESP_OK : ESP_ERR_NO_MEM;
}

esp_err_t memory_manager_get_delta(const char *state, memory_delta_t *out)
{
    memory_baseline_t baseline;
    memory_stats_t stats;
    if (out == NULL) {
        return ESP_ERR_INVALID_ARG;
    }
    esp_err_t err = memory_manager_get_baseline(state, &baseline);
    if (err == ESP_OK) {
        mem_sample_take(&stats);
        *out = mem_delta(&stats, &baseline);
    }
    return err;
}

/* --- Optimisation --- */

esp_err_t memory_manager_register_reclaimer(memory_reclaimer_t reclaimer)
{
    if (reclaimer == NULL) {
        return ESP_ERR_INVALID_ARG;
    }
    if (!ready()) {
        return ESP_ERR_INVALID_STATE;
    }
    esp_err_t err = ESP_ERR_NO_MEM;
    lock();
    for (int i = 0; i < MEMORY_RECLAIMERS_MAX && err != ESP_OK; i++) {
        if (s_mm.reclaimers[i] == NULL) {
            s_mm.reclaimers[i] = reclaimer;
            err = ESP_OK;
        }
    }
    unlock();
    return err;
}

static void run_reclaimers(void)
{
    for (int i = 0; i < MEMORY_RECLAIMERS_MAX; i++) {
        lock();
        memory_reclaimer_t reclaimer = s_mm.reclaimers[i];
        unlock();
        if (reclaimer != NULL) {
            reclaimer();
        }
    }
}

esp_err_t memory_manager_optimize_report(memory_optimize_report_t *report)
{
    memory_optimize_report_t found;
    memory_thresholds_t thresholds;
    memory_stats_t stats;
    if (memory_manager_get_thresholds(&thresholds) != ESP_OK) {
        return ESP_ERR_INVALID_STATE;
    }
    mem_sample_take(&stats);
    found.advice = mem_advice(&thresholds, &stats);
    for (int i = 0; i < MEMORY_ADVICE_KINDS_; i++) {
        if (found.advice & 1U << i) {
            mem_log_line('W', memory_advice_text((memory_advice_t)i), 0, NULL);
        }
    }
    size_t before = heap_caps_get_free_size(MEM_CAPS_TOTAL);
    run_reclaimers();
    found.reclaimed = (int32_t)(heap_caps_get_free_size(MEM_CAPS_TOTAL) - before);
    mem_log_line('I', "optimisation reclaimed ", found.reclaimed, " bytes");
    if (report != NULL) {
        *report = found;
    }
    return ESP_OK;
}

esp_err_t memory_manager_optimize(void)
{
    return memory_manager_optimize_report(NULL);
}

/* --- Own cost --- */

esp_err_t memory_manager_get_self(memory_self_t *out)
{
    if (out == NULL) {
        return ESP_ERR_INVALID_ARG;
    }
    if (!ready()) {
        return ESP_ERR_INVALID_STATE;
    }
    *out = (memory_self_t){
        .bytes_static = sizeof(s_mm) + sizeof(s_phase) + mem_log_static_size() + mem_monitor_static_size() +
                        mem_sample_static_size() + mem_alloc_failed_static_size() + mem_observe_static_size(),
        .bytes_task = mem_monitor_has_task() ? MEM_MONITOR_STACK_SIZE + TASK_OVERHEAD : 0,
        .bytes_rtc = mem_log_rtc_size(),
        .stack_size = MEM_MONITOR_STACK_SIZE,
        .stack_unused = mem_monitor_stack_unused(),
    };
    out->bytes_internal = out->bytes_static + out->bytes_task;
    lock();
    out->samples = s_mm.samples;
    out->cpu_us_per_sample = s_mm.samples == 0 ? 0 : (uint32_t)(s_mm.sample_us / s_mm.samples);
    unlock();
    return ESP_OK;
}
