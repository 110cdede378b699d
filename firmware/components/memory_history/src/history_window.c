/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "history_window.h"

#include <string.h>

static uint16_t at_most_16_bits(uint32_t value)
{
    return value < UINT16_MAX ? (uint16_t)value : UINT16_MAX;
}

static void add_memory(history_window_t *window, int memory, uint32_t least_free, uint32_t largest,
                       uint32_t fragmentation)
{
    memory_history_row_t *row = &window->row;
    bool first = window->samples == 0;
    if (first || least_free < row->least_free[memory]) {
        row->least_free[memory] = least_free;
    }
    if (first || largest < row->least_largest[memory]) {
        row->least_largest[memory] = largest;
    }
    if (first || fragmentation > row->worst_fragmentation[memory]) {
        row->worst_fragmentation[memory] = (uint8_t)fragmentation;
    }
}

void history_window_add(history_window_t *window, const memory_observation_t *observation)
{
    const memory_stats_t *stats = observation->stats;
    add_memory(window, MEMORY_HISTORY_INTERNAL, stats->internal_watermark, stats->internal_largest,
               stats->internal_fragmentation);
    add_memory(window, MEMORY_HISTORY_DMA, stats->dma_watermark, stats->dma_largest,
               stats->dma_fragmentation);
    add_memory(window, MEMORY_HISTORY_PSRAM, stats->psram_watermark, stats->psram_largest,
               stats->psram_fragmentation);
    memset(window->row.state, 0, sizeof(window->row.state));
    memcpy(window->row.state, observation->state, strnlen(observation->state, sizeof(window->row.state) - 1));
    window->samples++;
    if (!window->begun) {
        window->begun = true;
        window->regular_ms = stats->timestamp_ms;
    }
}

bool history_window_due(const history_window_t *window, uint32_t now_ms, uint32_t interval_ms, bool critical,
                        uint32_t critical_rows_max, memory_history_reason_t *reason)
{
    if (now_ms - window->regular_ms >= interval_ms) {
        *reason = critical ? MEMORY_HISTORY_CRITICAL : MEMORY_HISTORY_REGULAR;
        return true;
    }
    *reason = MEMORY_HISTORY_CRITICAL;
    return critical && window->critical_rows < critical_rows_max;
}

void history_window_take(history_window_t *window, uint32_t now_ms, uint32_t interval_ms,
                         memory_history_reason_t reason, const history_counts_t *counts,
                         memory_history_row_t *out)
{
    *out = window->row;
    out->uptime_s = now_ms / 1000;
    out->reason = (uint8_t)reason;
    out->warnings = at_most_16_bits(counts->warnings);
    out->failed_allocations = at_most_16_bits(counts->failed_allocations);
    window->samples = 0;
    if (now_ms - window->regular_ms >= interval_ms) {
        window->regular_ms = now_ms;
        window->critical_rows = 0;
    } else {
        window->critical_rows++;
    }
}

bool history_is_critical(const memory_warning_t *warning, uint32_t fragmentation_critical)
{
    switch (warning->type) {
    case MEMORY_WARNING_INTERNAL_CRITICAL:
    case MEMORY_WARNING_DMA_CRITICAL:
    case MEMORY_WARNING_PSRAM_CRITICAL: return true;
    case MEMORY_WARNING_FRAGMENTATION_HIGH: return warning->threshold_value >= fragmentation_critical;
    default: return false;
    }
}
