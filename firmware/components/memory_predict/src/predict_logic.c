/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "predict_logic.h"

#include <string.h>

#define NOISE_SPREADS 9 /* spreads (median distances) in six standard deviations of 1.4826 each */
#define DIPS_MAX 2
#define NEW_LOW_SHARE 4 /* at least a quarter of a fall must be below all earlier readings */

void predict_init(predict_state_t *state)
{
    memset(state, 0, sizeof(*state));
    state->warm_up = PREDICT_WARM_UP;
    for (int memory = 0; memory < PREDICT_MEMORIES; memory++) {
        state->series[memory].forgotten_low[0] = INT32_MAX;
        state->series[memory].forgotten_low[1] = INT32_MAX;
    }
}

/* --- Windows --- */

/* Removes the oldest windows. */
static void forget(predict_state_t *state, size_t gone)
{
    size_t kept = state->count - gone;
    memmove(state->at_ms, state->at_ms + gone, kept * sizeof(state->at_ms[0]));
    for (size_t memory = 0; memory < PREDICT_MEMORIES; memory++) {
        predict_series_t *series = &state->series[memory];
        for (size_t i = 0; i < gone; i++) {
            int32_t *low = &series->forgotten_low[0];
            *low = series->free[i] < *low ? series->free[i] : *low;
        }
        memmove(series->free, series->free + gone, kept * sizeof(series->free[0]));
    }
    state->count = (uint8_t)kept;
    state->forgotten = (uint8_t)(state->forgotten + gone);
    if (state->forgotten < PREDICT_WINDOWS) {
        return;
    }
    state->forgotten = 0;
    for (size_t memory = 0; memory < PREDICT_MEMORIES; memory++) {
        int32_t *low = state->series[memory].forgotten_low;
        low[1] = low[0];
        low[0] = INT32_MAX;
    }
}

static int32_t limited(int32_t free)
{
    return free < 0 ? 0 : free > TREND_VALUE_MAX ? TREND_VALUE_MAX : free;
}

/* --- Falls --- */

/* Index of the first of the newest windows that lie on one line: the line through the newest
 * TREND_POINTS_MIN windows predicts the earlier ones. So a step, a warm-up or the start of a fall does not
 * bend the line. */
static size_t start_of_line(const uint32_t at_ms[], const int32_t free[], size_t count)
{
    size_t start = count - TREND_POINTS_MIN;
    int32_t spread;
    int64_t slope = trend_slope(at_ms + start, free + start, TREND_POINTS_MIN);
    int32_t level = trend_level(at_ms + start, free + start, TREND_POINTS_MIN, slope, &spread);
    int32_t noise = spread * NOISE_SPREADS > TREND_GRANULE ? spread * NOISE_SPREADS : TREND_GRANULE;
    size_t off = 0; /* consecutive windows off the line; a single one is a dip */
    for (size_t i = start; i > 0 && off < DIPS_MAX; i--) {
        uint32_t age_ms = at_ms[count - 1] - at_ms[i - 1];
        int32_t residual = trend_residual(free[i - 1], age_ms, level, slope);
        bool fits = residual <= noise && residual >= -noise;
        off = fits ? 0 : off + 1;
        start = fits ? i - 1 : start;
    }
    return start;
}

/* Lowest reading before window number `start`, including windows that have left the series. */
static int32_t earlier_low(const predict_series_t *series, size_t start)
{
    const int32_t *forgotten = series->forgotten_low;
    int32_t low = forgotten[0] < forgotten[1] ? forgotten[0] : forgotten[1];
    for (size_t i = 0; i < start; i++) {
        low = series->free[i] < low ? series->free[i] : low;
    }
    return low;
}

static predict_line_t line_of(const uint32_t at_ms[], const int32_t free[], size_t count, int64_t slope)
{
    int64_t loss = -slope;
    return (predict_line_t){
        .loss = loss > INT32_MAX ? INT32_MAX : (int32_t)loss,
        .level = trend_level(at_ms, free, count, slope, NULL),
    };
}

/* The window that crosses a threshold may be as far off the line as any window so far. */
static void allow_for_noise(predict_fall_t *fall, const uint32_t at_ms[], const int32_t free[], size_t count,
                            int64_t slope)
{
    int32_t below = -TREND_GRANULE;
    int32_t above = TREND_GRANULE;
    for (size_t i = 0; i < count; i++) {
        int32_t off = trend_residual(free[i], at_ms[count - 1] - at_ms[i], fall->expected.level, slope);
        below = off < below ? off : below;
        above = off > above ? off : above;
    }
    fall->earliest.level += below;
    fall->latest.level += above;
}

static predict_fall_t find_fall(const predict_state_t *state, const predict_series_t *series)
{
    predict_fall_t none = {0};
    if (state->count < TREND_POINTS_MIN) {
        return none;
    }
    size_t start = start_of_line(state->at_ms, series->free, state->count);
    const uint32_t *at_ms = state->at_ms + start;
    const int32_t *free = series->free + start;
    size_t count = state->count - start;
    if (!trend_may_fall(free, count)) {
        return none;
    }
    trend_t trend = trend_fit(at_ms, free, count);
    if (trend.high >= 0) {
        return none;
    }
    predict_fall_t fall = {
        .windows = (uint8_t)count,
        .span_ms = at_ms[count - 1] - at_ms[0],
        .expected = line_of(at_ms, free, count, trend.slope),
        .earliest = line_of(at_ms, free, count, trend.low),
        .latest = line_of(at_ms, free, count, trend.high),
    };
    fall.spacing_ms = fall.span_ms / (uint32_t)(count - 1);
    int64_t fallen = -trend.slope * fall.span_ms / TREND_SCALE;
    if (fall.expected.level > earlier_low(series, start) - fallen / NEW_LOW_SHARE) {
        return none; /* memory rises and falls, and was this low before */
    }
    allow_for_noise(&fall, at_ms, free, count, trend.slope);
    return fall;
}

void predict_add(predict_state_t *state, uint32_t at_ms, const predict_window_t *window)
{
    if (state->warm_up > 0) {
        state->warm_up--;
        return;
    }
    if (state->count > 0 && at_ms - state->at_ms[state->count - 1] < TREND_SPACING_MIN_MS) {
        return;
    }
    size_t gone = state->count == PREDICT_WINDOWS;
    while (gone < state->count && at_ms - state->at_ms[gone] > TREND_SPAN_MAX_MS) {
        gone++;
    }
    forget(state, gone);
    state->at_ms[state->count] = at_ms;
    for (size_t memory = 0; memory < PREDICT_MEMORIES; memory++) {
        state->series[memory].free[state->count] = limited(window->free[memory]);
    }
    state->count++;
    for (size_t memory = 0; memory < PREDICT_MEMORIES; memory++) {
        predict_series_t *series = &state->series[memory];
        series->fall = find_fall(state, series);
        series->calm = series->fall.windows > 0 ? 0 : series->calm + (series->calm < PREDICT_CALM);
        series->announced = series->calm < PREDICT_CALM ? series->announced : 0;
    }
}

/* --- Times --- */

static uint32_t time_until(const predict_line_t *line, uint32_t threshold, uint32_t more_ms)
{
    int64_t distance = (int64_t)line->level - threshold;
    if (distance <= 0) {
        return more_ms;
    }
    if (line->loss <= 0) {
        return PREDICT_NEVER;
    }
    int64_t time_ms = distance * TREND_SCALE / line->loss + more_ms;
    return time_ms < PREDICT_NEVER ? (uint32_t)time_ms : PREDICT_NEVER;
}

predict_time_t predict_time(const predict_fall_t *fall, uint32_t threshold)
{
    predict_time_t time = {
        .expected_ms = time_until(&fall->expected, threshold, 0),
        .earliest_ms = time_until(&fall->earliest, threshold, 0),
        .latest_ms = time_until(&fall->latest, threshold, fall->spacing_ms), /* plus one window */
    };
    time.earliest_ms = time.earliest_ms < time.expected_ms ? time.earliest_ms : time.expected_ms;
    time.latest_ms = time.latest_ms > time.expected_ms ? time.latest_ms : time.expected_ms;
    return time;
}

bool predict_announce(predict_series_t *series, int level, uint32_t threshold)
{
    const predict_fall_t *fall = &series->fall;
    uint8_t bit = (uint8_t)(1U << level);
    if (fall->windows == 0 || (series->announced & bit) != 0) {
        return false;
    }
    uint64_t time_ms = predict_time(fall, threshold).expected_ms;
    bool is_near = time_ms <= (uint64_t)PREDICT_SETTLED * fall->spacing_ms;
    bool is_foreseeable = time_ms <= (uint64_t)PREDICT_HORIZON * fall->span_ms;
    bool announce = time_ms > 0 && (is_near || (is_foreseeable && fall->windows >= PREDICT_SETTLED));
    series->announced |= announce ? bit : 0;
    return announce;
}
