/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Prediction: when free memory will reach its thresholds, if it falls steadily.
 *
 * Compares the lowest free memory (watermark) of windows during which the application stayed in one state
 * (memory_manager_set_state()). So a change of state does not look like a trend. Each state and memory type
 * has its own series.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "esp_err.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MEMORY_PREDICTION_CALLBACKS_MAX 4
#define MEMORY_PREDICTION_NEVER UINT32_MAX //!< The time cannot be predicted

/** A steady fall of one memory type towards one threshold, in the windows of one state. A window ends with a
 * periodic sample, and its value is the lowest free memory since the previous sample. */
typedef struct {
    const char *memory; //!< "internal", "dma", "psram"
    const char *state;
    bool critical;          //!< `threshold` is the critical one; false: the warning threshold
    uint32_t threshold;     //!< Bytes
    uint32_t timestamp_ms;  //!< End of the newest window
    uint32_t free;          //!< Free bytes at that time, on the line through the windows
    uint32_t loss_per_hour; //!< Bytes
    uint32_t windows;       //!< Duration of the fall so far, in windows
    uint32_t expected_ms;   //!< From timestamp_ms until a window is below the threshold; 0: now
    uint32_t earliest_ms;   //!< Confidence interval of expected_ms, to latest_ms
    uint32_t latest_ms;
} memory_prediction_t;

/** Called by the monitor task, under the same limits as a warning callback. */
typedef void (*memory_prediction_callback_t)(const memory_prediction_t *prediction);

/** Memory and time used by the prediction itself. */
typedef struct {
    uint32_t bytes_static; //!< Internal memory; nothing is allocated
    uint32_t windows;      //!< Windows evaluated since boot
    uint32_t cpu_us_mean;  //!< Per window
    uint32_t cpu_us_max;
} memory_predict_cost_t;

/** Starts to evaluate periodic samples. Call it after memory_manager_init(). ESP_ERR_INVALID_STATE: the
 * memory manager is not initialised, or already started. */
esp_err_t memory_predict_start(void);

/**
 * Registers a callback for predictions. It is called once for each state, memory and threshold, when the fall
 * has lasted long enough. It is called again only after the fall has ended. The event mem.predicted is sent
 * at the same time.
 *
 * @return
 *      - ESP_OK
 *      - ESP_ERR_INVALID_ARG: callback is NULL
 *      - ESP_ERR_NO_MEM: the list is full
 */
esp_err_t memory_manager_register_prediction_callback(memory_prediction_callback_t callback);
/** ESP_ERR_INVALID_ARG: callback is NULL; ESP_ERR_NOT_FOUND: not registered. */
esp_err_t memory_manager_unregister_prediction_callback(memory_prediction_callback_t callback);

/** Copies all falls in the newest windows, including those that are too slow to be announced. *count is the
 * number written to out. ESP_ERR_INVALID_STATE: not started; ESP_ERR_INVALID_ARG: count is NULL, or out is
 * NULL although max is not 0. */
esp_err_t memory_manager_get_predictions(memory_prediction_t *out, size_t max, size_t *count);

/** ESP_ERR_INVALID_STATE: not started; ESP_ERR_INVALID_ARG: out is NULL. */
esp_err_t memory_predict_get_cost(memory_predict_cost_t *out);

#ifdef __cplusplus
}
#endif
