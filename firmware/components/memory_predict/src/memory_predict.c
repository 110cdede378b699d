/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Only the monitor task changes the series. A reader copies a fall, and repeats the copy if the monitor task
 * has changed the series during it.
 */
#include "memory_predict.h"

#include <stdatomic.h>
#include <string.h>
#include "array_size.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "memory_manager.h"
#include "predict_logic.h"
#include "sdkconfig.h"
#include "telemetry.h"

#define STATES CONFIG_HOTPIN_MEM_PREDICT_STATES
#define MS_PER_HOUR 3600000

static struct {
    const char *state[STATES]; /* NULL: unused */
    predict_state_t series[STATES];
    atomic_uint version; /* odd: the series are being changed */
    memory_prediction_callback_t _Atomic callbacks[MEMORY_PREDICTION_CALLBACKS_MAX];
    memory_predict_cost_t cost;
    uint64_t cpu_us;
    memory_observer_t observer;
} s_predict;

static atomic_bool s_started;

static const char *const MEMORY_NAMES[PREDICT_MEMORIES] = {
    [PREDICT_INTERNAL] = "internal",
    [PREDICT_DMA] = "dma",
    [PREDICT_PSRAM] = "psram",
};

static uint32_t threshold_of(const memory_thresholds_t *thresholds, int memory, int level)
{
    const uint32_t levels[PREDICT_MEMORIES][PREDICT_LEVELS] = {
        [PREDICT_INTERNAL] = {thresholds->internal_ram_warning, thresholds->internal_ram_critical},
        [PREDICT_DMA] = {thresholds->dma_capable_warning, thresholds->dma_capable_critical},
        [PREDICT_PSRAM] = {thresholds->psram_warning, thresholds->psram_critical},
    };
    return levels[memory][level];
}

static void describe(memory_prediction_t *out, int memory, int level, uint32_t threshold, uint32_t at_ms,
                     const predict_fall_t *fall)
{
    predict_time_t time = predict_time(fall, threshold);
    uint64_t loss = (uint64_t)fall->expected.loss * MS_PER_HOUR / TREND_SCALE;
    out->memory = MEMORY_NAMES[memory];
    out->critical = level == PREDICT_CRITICAL;
    out->threshold = threshold;
    out->timestamp_ms = at_ms;
    out->free = fall->expected.level > 0 ? (uint32_t)fall->expected.level : 0;
    out->loss_per_hour = loss < UINT32_MAX ? (uint32_t)loss : UINT32_MAX;
    out->windows = fall->windows;
    out->expected_ms = time.expected_ms;
    out->earliest_ms = time.earliest_ms;
    out->latest_ms = time.latest_ms;
}

/* --- Monitor task --- */

static void send_event(const memory_prediction_t *prediction)
{
    telemetry_record_t record;
    telemetry_lock();
    telemetry_event_begin(&record, telemetry_scratch(), TELEMETRY_SCRATCH_SIZE, "mem.predicted");
    telemetry_str(&record, "memory", prediction->memory);
    telemetry_str(&record, "state", prediction->state);
    telemetry_bool(&record, "critical", prediction->critical);
    telemetry_u32(&record, "threshold", prediction->threshold);
    telemetry_u32(&record, "timestamp_ms", prediction->timestamp_ms);
    telemetry_u32(&record, "free", prediction->free);
    telemetry_u32(&record, "loss_per_hour", prediction->loss_per_hour);
    telemetry_u32(&record, "windows", prediction->windows);
    telemetry_u32(&record, "expected_ms", prediction->expected_ms);
    telemetry_u32(&record, "earliest_ms", prediction->earliest_ms);
    telemetry_u32(&record, "latest_ms", prediction->latest_ms);
    telemetry_send(&record);
    telemetry_unlock();
}

static void announce_falls(int number, uint32_t at_ms)
{
    memory_thresholds_t thresholds;
    memory_manager_get_thresholds(&thresholds);
    for (int memory = 0; memory < PREDICT_MEMORIES; memory++) {
        predict_series_t *series = &s_predict.series[number].series[memory];
        for (int level = 0; level < PREDICT_LEVELS; level++) {
            uint32_t threshold = threshold_of(&thresholds, memory, level);
            if (!predict_announce(series, level, threshold)) {
                continue;
            }
            memory_prediction_t prediction = {.state = s_predict.state[number]};
            describe(&prediction, memory, level, threshold, at_ms, &series->fall);
            send_event(&prediction);
            for (size_t i = 0; i < MEMORY_PREDICTION_CALLBACKS_MAX; i++) {
                memory_prediction_callback_t callback = atomic_load(&s_predict.callbacks[i]);
                if (callback != NULL) {
                    callback(&prediction);
                }
            }
        }
    }
}

/* Number of the state's series; STATES: all series are used for other states. */
static int number_of(const char *state)
{
    int number = 0;
    while (number < STATES && s_predict.state[number] != NULL &&
           strcmp(s_predict.state[number], state) != 0) {
        number++;
    }
    if (number < STATES && s_predict.state[number] == NULL) {
        predict_init(&s_predict.series[number]);
        s_predict.state[number] = state;
    }
    return number;
}

static void add_window(int number, const memory_stats_t *stats)
{
    const predict_window_t window = {{
        [PREDICT_INTERNAL] = (int32_t)stats->internal_watermark,
        [PREDICT_DMA] = (int32_t)stats->dma_watermark,
        [PREDICT_PSRAM] = (int32_t)stats->psram_watermark,
    }};
    int64_t start_us = esp_timer_get_time();
    predict_add(&s_predict.series[number], stats->timestamp_ms, &window);
    uint32_t took_us = (uint32_t)(esp_timer_get_time() - start_us);
    memory_predict_cost_t *cost = &s_predict.cost;
    s_predict.cpu_us += took_us;
    cost->windows++;
    cost->cpu_us_mean = (uint32_t)(s_predict.cpu_us / cost->windows);
    cost->cpu_us_max = took_us > cost->cpu_us_max ? took_us : cost->cpu_us_max;
}

static void observe(const memory_observation_t *observation)
{
    if (!observation->steady) {
        return;
    }
    atomic_fetch_add(&s_predict.version, 1);
    int number = number_of(observation->state);
    if (number < STATES) {
        add_window(number, observation->stats);
    }
    atomic_fetch_add(&s_predict.version, 1);
    if (number < STATES) {
        announce_falls(number, observation->stats->timestamp_ms);
    }
}

/* --- API --- */

esp_err_t memory_predict_start(void)
{
    bool started = false;
    if (!atomic_compare_exchange_strong(&s_started, &started, true)) {
        return ESP_ERR_INVALID_STATE;
    }
    s_predict.observer.observe = observe;
    s_predict.cost.bytes_static = sizeof(s_predict) + sizeof(s_started) + trend_static_size();
    esp_err_t err = memory_manager_register_observer(&s_predict.observer);
    atomic_store(&s_started, err == ESP_OK);
    return err;
}

static esp_err_t replace_callback(memory_prediction_callback_t old, memory_prediction_callback_t callback,
                                  esp_err_t if_none)
{
    if (old == NULL && callback == NULL) {
        return ESP_ERR_INVALID_ARG;
    }
    for (size_t i = 0; i < MEMORY_PREDICTION_CALLBACKS_MAX; i++) {
        memory_prediction_callback_t expected = old;
        if (atomic_compare_exchange_strong(&s_predict.callbacks[i], &expected, callback)) {
            return ESP_OK;
        }
    }
    return if_none;
}

esp_err_t memory_manager_register_prediction_callback(memory_prediction_callback_t callback)
{
    return replace_callback(NULL, callback, ESP_ERR_NO_MEM);
}

esp_err_t memory_manager_unregister_prediction_callback(memory_prediction_callback_t callback)
{
    return replace_callback(callback, NULL, ESP_ERR_NOT_FOUND);
}

/* Copies a fall with its state and time; false if there is none. */
static bool read_fall(int number, int memory, const char **state, uint32_t *at_ms, predict_fall_t *fall)
{
    unsigned version;
    do {
        while ((version = atomic_load(&s_predict.version)) % 2 != 0) {
            vTaskDelay(1);
        }
        const predict_state_t *series = &s_predict.series[number];
        *state = s_predict.state[number];
        *at_ms = series->at_ms[series->count > 0 ? series->count - 1 : 0];
        *fall = series->series[memory].fall;
    } while (atomic_load(&s_predict.version) != version);
    return fall->windows > 0;
}

esp_err_t memory_manager_get_predictions(memory_prediction_t *out, size_t max, size_t *count)
{
    memory_thresholds_t thresholds;
    if ((out == NULL && max > 0) || count == NULL) {
        return ESP_ERR_INVALID_ARG;
    }
    if (!atomic_load(&s_started) || memory_manager_get_thresholds(&thresholds) != ESP_OK) {
        return ESP_ERR_INVALID_STATE;
    }
    *count = 0;
    for (int each = 0; each < STATES * PREDICT_MEMORIES; each++) {
        int memory = each % PREDICT_MEMORIES;
        const char *state;
        uint32_t at_ms;
        predict_fall_t fall;
        if (!read_fall(each / PREDICT_MEMORIES, memory, &state, &at_ms, &fall)) {
            continue;
        }
        for (int level = 0; level < PREDICT_LEVELS && *count < max; level++) {
            memory_prediction_t *prediction = &out[(*count)++];
            prediction->state = state;
            describe(prediction, memory, level, threshold_of(&thresholds, memory, level), at_ms, &fall);
        }
    }
    return ESP_OK;
}

esp_err_t memory_predict_get_cost(memory_predict_cost_t *out)
{
    if (out == NULL) {
        return ESP_ERR_INVALID_ARG;
    }
    if (!atomic_load(&s_started)) {
        return ESP_ERR_INVALID_STATE;
    }
    *out = s_predict.cost;
    return ESP_OK;
}
