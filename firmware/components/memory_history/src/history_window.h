/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The samples of a row in progress, and when it is due. Pure: no IDF header but esp_err.h.
 */
#pragma once

#include "memory_history.h"
#include "memory_manager.h"

typedef struct {
    memory_history_row_t row; //!< Lowest and highest values so far
    uint32_t samples;         //!< In this row
    uint32_t regular_ms;      //!< Time of the last regular row; before that, of the first sample
    bool begun;               //!< regular_ms is set
    uint32_t critical_rows;   //!< Rows for critical warnings since regular_ms
} history_window_t;

typedef struct {
    uint32_t warnings; //!< Levels entered since the last row
    uint32_t failed_allocations;
} history_counts_t;

/** Adds a sample to the row. */
void history_window_add(history_window_t *window, const memory_observation_t *observation);

/** Whether the row is due, and why. `critical`: a critical level was entered since the last row. */
bool history_window_due(const history_window_t *window, uint32_t now_ms, uint32_t interval_ms, bool critical,
                        uint32_t critical_rows_max, memory_history_reason_t *reason);

/** Completes the row (all but sequence and boot count) and starts the next row. */
void history_window_take(history_window_t *window, uint32_t now_ms, uint32_t interval_ms,
                         memory_history_reason_t reason, const history_counts_t *counts,
                         memory_history_row_t *out);

/** True if the warning is about a critical level. `fragmentation_critical`: its threshold, which is
 * needed because both levels of fragmentation have the same type of warning. */
bool history_is_critical(const memory_warning_t *warning, uint32_t fragmentation_critical);
