/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The monitor task only notes that there is a new sample. The application's task does everything else.
 */
#include "memory_optimize.h"

#include <inttypes.h>
#include <stdatomic.h>
#include "esp_log.h"
#include "esp_timer.h"
#include "memory_manager.h"
#include "optimize_logic.h"
#include "sdkconfig.h"
#include "telemetry.h"

static const char *TAG = "MEM_OPT";

#if CONFIG_HOTPIN_MEM_OPTIMIZE_AT_START
#define AT_START true
#else
#define AT_START false
#endif

#define COOLDOWN_MS (CONFIG_HOTPIN_MEM_OPTIMIZE_COOLDOWN_S * 1000U)

typedef struct {
    uint32_t fragmentation; /* of the most fragmented memory, percent */
    const char *cause;      /* why an attempt is needed; NULL: it is not */
} finding_t;

static void observe(const memory_observation_t *observation);

static struct {
    memory_observer_t observer;
    const memory_optimize_hooks_t *hooks;
    optimize_record_t record; /* written by the application's task only */
    uint32_t check_us;        /* likewise */
    atomic_bool started;
    atomic_bool enabled;
    atomic_bool sampled; /* since the last memory_optimize_run_pending() */
} s_optimize = {.observer.observe = observe, .enabled = AT_START};

static void observe(const memory_observation_t *observation)
{
    atomic_store(&s_optimize.sampled, observation->steady);
}

static finding_t find_cause(void)
{
    finding_t found = {0};
    memory_stats_t stats;
    memory_thresholds_t thresholds;
    if (memory_manager_get_stats(&stats) != ESP_OK || memory_manager_get_thresholds(&thresholds) != ESP_OK) {
        return found;
    }
    found.fragmentation = memory_manager_worst_fragmentation(&stats);
    if (found.fragmentation >= thresholds.fragmentation_critical) {
        found.cause = "fragmented";
    } else if (s_optimize.hooks->is_scattered != NULL && s_optimize.hooks->is_scattered()) {
        found.cause = "scattered";
    }
    return found;
}

static void report(const finding_t *before, const finding_t *after, int32_t reclaimed, bool restarted,
                   esp_err_t err)
{
    bool gave_up = s_optimize.record.gave_up;
    telemetry_record_t record;
    telemetry_lock();
    telemetry_event_begin(&record, telemetry_scratch(), TELEMETRY_SCRATCH_SIZE, "mem.optimized");
    telemetry_str(&record, "cause", before->cause);
    telemetry_u32(&record, "fragmentation_before", before->fragmentation);
    telemetry_u32(&record, "fragmentation_after", after->fragmentation);
    telemetry_i32(&record, "reclaimed", reclaimed);
    telemetry_bool(&record, "restarted", restarted);
    telemetry_str(&record, "err", esp_err_to_name(err));
    telemetry_bool(&record, "gave_up", gave_up);
    telemetry_send(&record);
    telemetry_unlock();
    if (err != ESP_OK) {
        ESP_LOGW(TAG, "The drivers' restart failed: %s", esp_err_to_name(err));
    }
    if (gave_up) {
        ESP_LOGW(TAG, "Fragmentation %" PRIu32 " %% -> %" PRIu32 " %%: no other attempt until the cause ends",
                 before->fragmentation, after->fragmentation);
    } else {
        ESP_LOGI(TAG, "Fragmentation %" PRIu32 " %% -> %" PRIu32 " %%", before->fragmentation,
                 after->fragmentation);
    }
}

static void attempt(const finding_t *before)
{
    memory_optimize_report_t reclaimed = {0};
    memory_manager_optimize_report(&reclaimed);
    finding_t after = find_cause();
    bool restarts = after.cause != NULL;
    esp_err_t err = ESP_OK;
    if (restarts) {
        err = s_optimize.hooks->restart();
        after = find_cause();
    }
    optimize_note(&s_optimize.record, err == ESP_OK && after.cause == NULL, esp_log_timestamp());
    report(before, &after, reclaimed.reclaimed, restarts, err);
}

void memory_optimize_run_pending(void)
{
    if (!atomic_exchange(&s_optimize.sampled, false) || !atomic_load(&s_optimize.enabled)) {
        return;
    }
    int64_t start_us = esp_timer_get_time();
    finding_t before = find_cause();
    uint32_t took_us = (uint32_t)(esp_timer_get_time() - start_us);
    s_optimize.check_us = took_us > s_optimize.check_us ? took_us : s_optimize.check_us;
    if (!optimize_is_due(&s_optimize.record, before.cause != NULL, esp_log_timestamp(), COOLDOWN_MS) ||
        !s_optimize.hooks->begin()) {
        return;
    }
    attempt(&before);
    s_optimize.hooks->end();
}

esp_err_t memory_optimize_start(const memory_optimize_hooks_t *hooks)
{
    if (hooks == NULL || hooks->begin == NULL || hooks->restart == NULL || hooks->end == NULL) {
        return ESP_ERR_INVALID_ARG;
    }
    if (atomic_exchange(&s_optimize.started, true)) {
        return ESP_ERR_INVALID_STATE;
    }
    s_optimize.hooks = hooks;
    esp_err_t err = memory_manager_register_observer(&s_optimize.observer);
    atomic_store(&s_optimize.started, err == ESP_OK);
    return err;
}

void memory_manager_set_auto_optimize(bool enable)
{
    atomic_store(&s_optimize.enabled, enable);
}

void memory_optimize_get(memory_optimize_state_t *out)
{
    *out = (memory_optimize_state_t){
        .enabled = atomic_load(&s_optimize.enabled),
        .gave_up = s_optimize.record.gave_up,
        .attempts = s_optimize.record.attempts,
        .helped = s_optimize.record.helped,
        .check_us = s_optimize.check_us,
    };
}

size_t memory_optimize_static_size(void)
{
    return sizeof(s_optimize);
}
