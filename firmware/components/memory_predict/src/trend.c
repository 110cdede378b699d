/*
 * SPDX-License-Identifier: Apache-2.0
 */
#include "trend.h"

#define ONE (1LL << 16) /* 1 as a fixed-point number */

/* Normal quantile of 99.99 %, two-sided, and the terms of Student's t around it (A&S 26.7.5), times ONE. */
#define QUANTILE 254974
#define QUANTILE_1 1028609
#define QUANTILE_2 3693898
#define QUANTILE_3 9959888

#define FINE 16 /* residuals are in 1/16 bytes, so that few of them are equal by rounding */
#define RESIDUAL_MAX (1L << 30)
#define WIDEST 16           /* see _widest() in hotpin_hil/analysis/leak.py */
#define CORRELATED_MIN 8    /* minimum number of readings for an estimate of the correlation */
#define CORRELATION_SHARE 4 /* lags up to a quarter of the readings */

static int32_t s_residual[TREND_POINTS_MAX];
static int8_t s_rank[TREND_POINTS_MAX]; /* twice the rank, minus twice the mean rank */

static int64_t gap(const uint32_t at_ms[], size_t earlier, size_t later)
{
    return (int64_t)(uint32_t)(at_ms[later] - at_ms[earlier]);
}

static size_t pairs_of(size_t count)
{
    return count * (count - 1) / 2;
}

/* --- Order statistics of the slopes, without storing the slopes --- */

static size_t slopes_up_to(const uint32_t at_ms[], const int32_t value[], size_t count, int64_t slope)
{
    size_t found = 0;
    for (size_t later = 1; later < count; later++) {
        for (size_t earlier = 0; earlier < later; earlier++) {
            int64_t change = (int64_t)(value[later] - value[earlier]) * TREND_SCALE;
            found += change <= slope * gap(at_ms, earlier, later);
        }
    }
    return found;
}

/* Largest absolute slope of a pair, rounded up. */
static int64_t steepest(const uint32_t at_ms[], const int32_t value[], size_t count)
{
    int32_t lowest = value[0];
    int32_t highest = value[0];
    int64_t shortest = INT64_MAX;
    for (size_t i = 1; i < count; i++) {
        lowest = value[i] < lowest ? value[i] : lowest;
        highest = value[i] > highest ? value[i] : highest;
        shortest = gap(at_ms, i - 1, i) < shortest ? gap(at_ms, i - 1, i) : shortest;
    }
    return (highest - lowest) * TREND_SCALE / shortest + 1;
}

/* Slope number `index` in ascending order, rounded up. Every second step interpolates, which takes a third of
 * the steps of a plain bisection. */
static int64_t slope_at(const uint32_t at_ms[], const int32_t value[], size_t count, size_t index,
                        int64_t reach)
{
    int64_t below = -reach - 1;
    int64_t found = reach;
    size_t up_to_below = 0;
    size_t up_to_found = pairs_of(count);
    for (bool interpolate = true; found - below > 1; interpolate = !interpolate) {
        int64_t middle = below + (found - below) / 2;
        if (interpolate) {
            int64_t part = (int64_t)(2 * (index - up_to_below) + 1);
            int64_t parts = (int64_t)(2 * (up_to_found - up_to_below));
            middle = below + (found - below) / parts * part;
            middle = middle > below ? middle : below + 1;
        }
        size_t up_to_middle = slopes_up_to(at_ms, value, count, middle);
        if (up_to_middle > index) {
            found = middle;
            up_to_found = up_to_middle;
        } else {
            below = middle;
            up_to_below = up_to_middle;
        }
    }
    return found;
}

static int64_t median_slope(const uint32_t at_ms[], const int32_t value[], size_t count, int64_t reach)
{
    size_t pairs = pairs_of(count);
    int64_t upper = slope_at(at_ms, value, count, pairs / 2, reach);
    return pairs % 2 != 0 ? upper : (upper + slope_at(at_ms, value, count, pairs / 2 - 1, reach)) / 2;
}

int64_t trend_slope(const uint32_t at_ms[], const int32_t value[], size_t count)
{
    return median_slope(at_ms, value, count, steepest(at_ms, value, count));
}

/* --- Lines --- */

static void sort_residuals(size_t count)
{
    for (size_t i = 1; i < count; i++) {
        int32_t moved = s_residual[i];
        size_t to = i;
        for (; to > 0 && s_residual[to - 1] > moved; to--) {
            s_residual[to] = s_residual[to - 1];
        }
        s_residual[to] = moved;
    }
}

static int32_t median_residual(size_t count)
{
    sort_residuals(count);
    return s_residual[count / 2] / 2 + s_residual[(count - 1) / 2] / 2;
}

/* Value minus the line of this slope through 0 at the newest reading, times FINE. */
static int32_t fine_residual(int32_t value, int64_t age_ms, int64_t slope)
{
    int64_t residual = (int64_t)value * FINE + slope * age_ms / (TREND_SCALE / FINE);
    residual = residual > RESIDUAL_MAX ? RESIDUAL_MAX : residual;
    return (int32_t)(residual < -RESIDUAL_MAX ? -RESIDUAL_MAX : residual);
}

static void set_residuals(const uint32_t at_ms[], const int32_t value[], size_t count, int64_t slope)
{
    for (size_t i = 0; i < count; i++) {
        s_residual[i] = fine_residual(value[i], gap(at_ms, i, count - 1), slope);
    }
}

int32_t trend_level(const uint32_t at_ms[], const int32_t value[], size_t count, int64_t slope,
                    int32_t *spread)
{
    set_residuals(at_ms, value, count, slope);
    int32_t level = median_residual(count);
    if (spread != NULL) {
        for (size_t i = 0; i < count; i++) {
            s_residual[i] = s_residual[i] < level ? level - s_residual[i] : s_residual[i] - level;
        }
        *spread = median_residual(count) / FINE;
    }
    return level / FINE;
}

int32_t trend_residual(int32_t value, uint32_t age_ms, int32_t level, int64_t slope)
{
    return fine_residual(value - level, age_ms, slope) / FINE;
}

/* --- Confidence interval --- */

static int64_t tie_term(int64_t count)
{
    return count * (count - 1) * (2 * count + 5);
}

/* 18 times the variance of Kendall's S for readings without a trend, corrected for ties. */
static int64_t kendall_variance_18(const int32_t value[], size_t count)
{
    int64_t sum = tie_term((int64_t)count);
    for (size_t i = 0; i < count; i++) {
        int64_t alike = 0;
        bool is_first = true;
        for (size_t other = 0; other < count; other++) {
            alike += value[other] == value[i];
            is_first &= other >= i || value[other] != value[i];
        }
        sum -= is_first ? tie_term(alike) : 0;
    }
    return sum;
}

static void set_ranks(size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int twice = 0;
        for (size_t other = 0; other < count; other++) {
            twice += 2 * (s_residual[other] < s_residual[i]) + (s_residual[other] == s_residual[i]);
        }
        s_rank[i] = (int8_t)(twice - (int)count);
    }
}

static int64_t lagged_sum(size_t count, size_t lag)
{
    int64_t sum = 0;
    for (size_t i = 0; i + lag < count; i++) {
        sum += s_rank[i] * s_rank[i + lag];
    }
    return sum;
}

/* Variance inflation factor due to the correlation of neighbours, times ONE; at least ONE. The residuals
 * must be set. */
static int64_t inflation(size_t count)
{
    int32_t lowest = s_residual[0];
    int32_t highest = s_residual[0];
    for (size_t i = 1; i < count; i++) {
        lowest = s_residual[i] < lowest ? s_residual[i] : lowest;
        highest = s_residual[i] > highest ? s_residual[i] : highest;
    }
    if (highest - lowest < TREND_GRANULE * FINE || count < CORRELATED_MIN) {
        return ONE;
    }
    set_ranks(count);
    int64_t energy = lagged_sum(count, 0);
    int64_t total = 0;
    for (size_t lag = 1; lag < count / CORRELATION_SHARE; lag++) {
        int64_t pairs = (int64_t)(count - lag);
        int64_t alike = lagged_sum(count, lag) * ONE / energy;
        alike += (2 * ONE + 4 * alike) / pairs; /* the line was subtracted, so the estimate is too low */
        if (alike <= 0) {
            break;
        }
        total += pairs * (pairs - 1) * (pairs - 2) * alike;
    }
    int64_t all = (int64_t)count;
    return ONE + 2 * total / (all * (all - 1) * (all - 2));
}

/* Half width of the interval in standard deviations, times ONE. */
static int64_t quantile(size_t count, int64_t inflated)
{
    if (inflated <= ONE) {
        return QUANTILE;
    }
    int64_t freedom = (int64_t)count * ONE * ONE / inflated - 2 * ONE;
    freedom = freedom > 2 * ONE ? freedom : 2 * ONE;
    int64_t inverse = ONE * ONE / freedom;
    return QUANTILE +
           (QUANTILE_1 + (QUANTILE_2 + QUANTILE_3 * inverse / ONE) * inverse / ONE) * inverse / ONE;
}

static uint64_t square_root(uint64_t number)
{
    uint64_t root = 0;
    for (uint64_t bit = 1ULL << 62; bit != 0; bit >>= 2) {
        if (number >= root + bit) {
            number -= root + bit;
            root = (root >> 1) + bit;
        } else {
            root >>= 1;
        }
    }
    return root;
}

/* Number of slopes, in ascending order, from one end of the interval to the other, times ONE. */
static int64_t rank_reach(int64_t variance_18, int64_t wide, int64_t inflated)
{
    int64_t variance = variance_18 * inflated / 18;
    int64_t square = (wide >> 4) * (wide >> 4) >> 8; /* times ONE, without overflow in the product */
    return (int64_t)square_root((uint64_t)variance * (uint64_t)square);
}

/* Largest possible error of the slope for readings this close to the line. The residuals must be set. */
static int64_t widest(const uint32_t at_ms[], size_t count)
{
    int32_t middle = median_residual(count);
    int64_t below = (int64_t)middle - s_residual[0];
    int64_t above = (int64_t)s_residual[count - 1] - middle;
    int64_t off = below > above ? below : above;
    int64_t all = (int64_t)count;
    return WIDEST * off * (TREND_SCALE / FINE) / gap(at_ms, 0, count - 1) * (all - 1) / all;
}

trend_t trend_fit(const uint32_t at_ms[], const int32_t value[], size_t count)
{
    int64_t reach = steepest(at_ms, value, count);
    int64_t pairs = (int64_t)pairs_of(count);
    trend_t trend = {.slope = median_slope(at_ms, value, count, reach)};
    set_residuals(at_ms, value, count, trend.slope);
    int64_t inflated = inflation(count);
    int64_t ranks = rank_reach(kendall_variance_18(value, count), quantile(count, inflated), inflated);
    int64_t limit = widest(at_ms, count);
    trend.low = trend.slope - limit;
    trend.high = trend.slope + limit;

    int64_t first = pairs * ONE - ranks;
    if (first < 0) {
        return trend; /* Sen's interval is infinite */
    }
    int64_t low = slope_at(at_ms, value, count, (size_t)(first / (2 * ONE)), reach);
    size_t last = (size_t)((pairs * ONE + ranks + 2 * ONE - 1) / (2 * ONE));
    int64_t high = last < (size_t)pairs ? slope_at(at_ms, value, count, last, reach) : INT64_MAX;
    trend.low = low > trend.low ? low : trend.low;
    trend.high = high < trend.high ? high : trend.high;
    return trend;
}

bool trend_may_fall(const int32_t value[], size_t count)
{
    size_t falling = 0;
    for (size_t later = 1; later < count; later++) {
        for (size_t earlier = 0; earlier < later; earlier++) {
            falling += value[later] < value[earlier];
        }
    }
    /* Without correlation, the interval spans the fewest ranks. */
    int64_t ranks = rank_reach(kendall_variance_18(value, count), QUANTILE, ONE);
    return 2 * (int64_t)falling * ONE > (int64_t)pairs_of(count) * ONE + ranks;
}

size_t trend_static_size(void)
{
    return sizeof(s_residual) + sizeof(s_rank);
}
