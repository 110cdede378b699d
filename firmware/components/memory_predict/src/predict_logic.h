/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Steady falls of free memory, found in windows of the same state. Pure: no IDF header. Only one task at a
 * time may call these functions.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "trend.h"

#define PREDICT_WINDOWS TREND_POINTS_MAX
#define PREDICT_WARM_UP 4 //!< First windows of a state, ignored while caches fill
/* A fall is announced at most PREDICT_SETTLED windows ahead until it has lasted that long, then at most
 * PREDICT_HORIZON times its duration so far. */
#define PREDICT_SETTLED 24
#define PREDICT_HORIZON 8
#define PREDICT_CALM 12 //!< Number of windows without a fall before the next fall is announced
#define PREDICT_NEVER UINT32_MAX

enum { PREDICT_INTERNAL, PREDICT_DMA, PREDICT_PSRAM, PREDICT_MEMORIES };
enum { PREDICT_WARNING, PREDICT_CRITICAL, PREDICT_LEVELS };

/** Lowest free bytes of one window, per memory type. */
typedef struct {
    int32_t free[PREDICT_MEMORIES];
} predict_window_t;

/** Loss in bytes per TREND_SCALE ms, and the current free memory according to this line. */
typedef struct {
    int32_t loss;
    int32_t level;
} predict_line_t;

typedef struct {
    uint8_t windows; //!< Duration of the fall in windows; 0: memory does not fall steadily
    uint32_t span_ms;
    uint32_t spacing_ms; //!< Mean time between windows
    predict_line_t expected;
    predict_line_t earliest; //!< The steepest line that the readings allow
    predict_line_t latest;   //!< The flattest
} predict_fall_t;

typedef struct {
    int32_t free[PREDICT_WINDOWS];
    /* Lowest of the windows dropped from `free`: [0] since `forgotten` was last reset, [1] in the period
     * before. */
    int32_t forgotten_low[2];
    predict_fall_t fall;
    uint8_t announced; //!< Bit n: level n
    uint8_t calm;      //!< Windows since the last fall, at most PREDICT_CALM
} predict_series_t;

/** Windows of one state. Initialise with predict_init(). */
typedef struct {
    uint32_t at_ms[PREDICT_WINDOWS];
    uint8_t count;
    uint8_t warm_up;   //!< Windows that are still to be skipped
    uint8_t forgotten; //!< Windows dropped from the series; reset at PREDICT_WINDOWS
    predict_series_t series[PREDICT_MEMORIES];
} predict_state_t;

/** Times from the newest window until free memory is below a threshold, ms; PREDICT_NEVER: unpredictable. */
typedef struct {
    uint32_t expected_ms;
    uint32_t earliest_ms;
    uint32_t latest_ms;
} predict_time_t;

void predict_init(predict_state_t *state);

/** Adds a window and evaluates every memory type again. A window too close to the last window is ignored. */
void predict_add(predict_state_t *state, uint32_t at_ms, const predict_window_t *window);

/** Time when this fall reaches the threshold. Call it only if there is a fall. */
predict_time_t predict_time(const predict_fall_t *fall, uint32_t threshold);

/**
 * Returns true if the fall towards this threshold must be announced now, and marks it as announced. That is
 * the case if it has not been announced yet, the threshold has not been reached, and the fall has lasted long
 * enough for the time that remains (see PREDICT_SETTLED).
 */
bool predict_announce(predict_series_t *series, int level, uint32_t threshold);
