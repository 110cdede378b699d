/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Thresholds and hysteresis, deltas, advice. Pure: no IDF header but esp_err.h.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "memory_manager.h"

#define MEM_HYSTERESIS_MIN 1024  //!< Bytes; or a tenth of the threshold, if that is more
#define MEM_HYSTERESIS_PERCENT 5 //!< Percentage points of fragmentation
#define MEM_AUDIO_RESTART 40     //!< Percent of DMA fragmentation that justifies an audio driver restart

/** ESP_ERR_INVALID_ARG: a critical level would be reached before its warning level, or is above 100 %. */
esp_err_t mem_thresholds_check(const memory_thresholds_t *thresholds);

/** State of one memory type. Initialise with {0}. */
typedef struct {
    bool low; //!< Within the warning level, hysteresis included
    bool critical;
    bool low_raised; //!< The warning was raised; false if the critical level was entered directly
} mem_level_t;

enum { MEM_INTERNAL, MEM_DMA, MEM_PSRAM, MEM_FRAGMENTATION, MEM_LEVELS };

typedef struct {
    mem_level_t level[MEM_LEVELS];
} mem_levels_t;

typedef struct {
    bool recovered; //!< true: the level was left; false: it was entered
    memory_warning_t warning;
} mem_change_t;

#define MEM_CHANGES_MAX (2 * MEM_LEVELS)

/**
 * Checks a sample. Writes the levels entered and left to out, in the order internal, DMA, PSRAM,
 * fragmentation, for each the critical level first. Returns their number.
 */
size_t mem_levels_update(mem_levels_t *levels, const memory_thresholds_t *thresholds,
                         const memory_stats_t *stats, mem_change_t out[MEM_CHANGES_MAX]);

/** Sets *low if any warning level is active, and *critical if any critical level is active (with hysteresis).
 */
void mem_levels_standing(const mem_levels_t *levels, bool *low, bool *critical);

memory_baseline_t mem_baseline(const memory_stats_t *stats);
memory_delta_t mem_delta(const memory_stats_t *stats, const memory_baseline_t *baseline);

/** Bit n is set if memory_advice_t n applies. */
uint32_t mem_advice(const memory_thresholds_t *thresholds, const memory_stats_t *stats);
