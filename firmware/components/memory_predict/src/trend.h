/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Slope of a series of readings: the Theil-Sen estimator with Sen's confidence interval, widened for readings
 * that depend on each other. hotpin_hil/analysis/leak.py (theil_sen) is the same estimator on the host, and
 * names its sources.
 *
 * Pure integer arithmetic, because ESP-IDF pins a task that uses the FPU to one core. The functions share
 * static memory, so only one task may call them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TREND_POINTS_MAX 32
#define TREND_POINTS_MIN 12     //!< With fewer readings the interval always contains 0
#define TREND_GRANULE 16        //!< Bytes; a smaller difference between readings is meaningless
#define TREND_SCALE (1LL << 20) //!< Slopes are in bytes per this number of ms (17.5 minutes)

/* Limits that keep all products below 2^63. */
#define TREND_VALUE_MAX (1L << 22)    //!< Bytes
#define TREND_SPAN_MAX_MS (1UL << 26) //!< 18 hours
#define TREND_SPACING_MIN_MS 64

typedef struct {
    int64_t slope; //!< Median slope of all pairs of readings
    int64_t low;   //!< Confidence interval of 99.99 %
    int64_t high;
} trend_t;

/**
 * Fits a line to `count` readings, 2 to TREND_POINTS_MAX, oldest first. The times are at least
 * TREND_SPACING_MIN_MS apart and at most TREND_SPAN_MAX_MS in all; they may wrap around. The values are
 * between 0 and TREND_VALUE_MAX.
 */
trend_t trend_fit(const uint32_t at_ms[], const int32_t value[], size_t count);

/** As trend_fit(), but returns only the median slope. */
int64_t trend_slope(const uint32_t at_ms[], const int32_t value[], size_t count);

/** @return false: the interval of trend_fit() certainly contains 0. Much faster than the fit. */
bool trend_may_fall(const int32_t value[], size_t count);

/**
 * The line of this slope with half of the readings above it.
 *
 * @param[out] spread median distance of the readings from the line, bytes; NULL: not needed
 * @return value of the line at the time of the newest reading
 */
int32_t trend_level(const uint32_t at_ms[], const int32_t value[], size_t count, int64_t slope,
                    int32_t *spread);

/** Distance of a reading from a line; the reading is `age_ms` older than the newest. */
int32_t trend_residual(int32_t value, uint32_t age_ms, int32_t level, int64_t slope);

size_t trend_static_size(void);
