"""Compares the firmware's trend estimator with the host's estimator, which the leak verdict uses."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotpin_hil.analysis.leak import theil_sen
from tests.support.c_build import build

MODULE = build("trend", ["memory_predict/src/trend.c"], ["trend.h"])
lib, new = MODULE.lib, MODULE.new
CONFIDENCE = 0.9999
SPACING_MS = 15_000
POINTS_MIN, POINTS_MAX = MODULE.const("TREND_POINTS_MIN"), MODULE.const("TREND_POINTS_MAX")
PER_READING = SPACING_MS / (1 << 20)


@dataclass(frozen=True)
class Fit:
    """A slope and the bounds of its interval, in bytes per reading."""

    slope: float
    low: float
    high: float

    def differs_from(self, other: Fit) -> float:
        """The largest difference of the three values, divided by the interval's width (by 1 B if that is larger)."""
        scale = max(1.0, other.high - other.low)
        return max(abs(mine - theirs) for mine, theirs in zip(self.row, other.row, strict=True)) / scale

    @property
    def row(self) -> tuple[float, float, float]:
        return self.slope, self.low, self.high


def arrays(values: list[int], start_ms: int = 0) -> tuple[object, object, int]:
    times = [(start_ms + number * SPACING_MS) % 2**32 for number in range(len(values))]
    return new("uint32_t[]", times), new("int32_t[]", values), len(values)


def on_board(values: list[int], start_ms: int = 0) -> Fit:
    trend = lib.trend_fit(*arrays(values, start_ms))
    return Fit(trend.slope * PER_READING, trend.low * PER_READING, trend.high * PER_READING)


def on_host(values: list[int]) -> Fit:
    trend = theil_sen(values, CONFIDENCE)
    return Fit(trend.slope, trend.low, trend.high)


def series(count: int, seed: int) -> Iterator[list[int]]:
    """Random series of readings: falls with scatter, random walks, curves, sawtooth curves."""
    rng = random.Random(seed)
    for _ in range(count):
        readings = rng.randint(POINTS_MIN, POINTS_MAX)
        loss, scatter = rng.choice([0, 64, 300, 4096]), rng.choice([20, 200, 2000])
        period, walk = rng.randint(2, 20), 0.0
        kind = rng.randrange(4)
        values = []
        for number in range(readings):
            walk += rng.gauss(0, scatter)
            value = 200_000 - loss * number - rng.gauss(0, scatter)
            value -= {0: 0.0, 1: walk, 2: 5_000 * 0.8**number, 3: number % period * 100}[kind]
            values.append(max(0, int(value)))
        yield values


def test_board_and_host_find_the_same_slope_and_interval() -> None:
    """Small differences are allowed: the board's slopes are multiples of 0.014 B per reading, so it may rank nearly
    equal slopes differently."""
    found = [(on_board(values), on_host(values)) for values in series(400, seed=1)]
    same = sum(board.differs_from(host) < 0.02 for board, host in found)
    assert same >= 0.95 * len(found)
    slopes = max(abs(board.slope - host.slope) for board, host in found)
    assert slopes < 0.03, "the slopes must be equal if no rank decides"


def test_board_and_host_give_the_same_verdict_on_a_fall() -> None:
    verdicts = [(on_board(values).high < 0, on_host(values).high < 0) for values in series(400, seed=2)]
    assert sum(board != host for board, host in verdicts) <= 2
    assert 100 < sum(host for _, host in verdicts) < 300, "the series must contain both"


def test_what_cannot_fall_has_no_falling_interval() -> None:
    for values in series(300, seed=3):
        if on_board(values).high < 0:
            assert lib.trend_may_fall(*arrays(values)[1:])


@pytest.mark.parametrize("loss", [0, 1, 64, 4096])
@pytest.mark.parametrize("readings", [POINTS_MIN, POINTS_MAX])
def test_line_without_scatter(loss: int, readings: int) -> None:
    values = [200_000 - loss * number for number in range(readings)]
    fit = on_board(values, start_ms=2**32 - 5 * SPACING_MS)
    assert all(abs(bound + loss) < 0.5 for bound in fit.row)
    assert lib.trend_may_fall(*arrays(values)[1:]) == (loss > 0)


def test_largest_values_and_times_do_not_overflow() -> None:
    """An overflow would end the process, because this build has a sanitizer."""
    highest, span = MODULE.const("TREND_VALUE_MAX"), MODULE.const("TREND_SPAN_MAX_MS")
    spacing = MODULE.const("TREND_SPACING_MIN_MS")
    close = [number * spacing for number in range(POINTS_MAX - 1)]
    for values in ([0, highest] * (POINTS_MAX // 2), [highest, *[0] * (POINTS_MAX - 1)]):
        for times in ([*close, span], [0, *(span - close[-1] + at for at in close)]):
            trend = lib.trend_fit(new("uint32_t[]", times), new("int32_t[]", values), POINTS_MAX)
            assert trend.low <= trend.slope <= trend.high


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(64, 2_000_000), st.integers(0, 1 << 22)), min_size=2, max_size=32))
def test_any_readings_have_an_interval_around_the_median_slope(readings: list[tuple[int, int]]) -> None:
    at, times = 0, []
    for gap, _ in readings:
        at += gap
        times.append(at)
    values = [value for _, value in readings]
    trend = lib.trend_fit(new("uint32_t[]", times), new("int32_t[]", values), len(values))
    assert trend.low <= trend.slope <= trend.high
    slopes = sorted(
        (values[later] - values[earlier]) / (times[later] - times[earlier]) * (1 << 20)
        for later in range(len(values))
        for earlier in range(later)
    )
    middle = (slopes[len(slopes) // 2] + slopes[(len(slopes) - 1) // 2]) / 2
    assert abs(trend.slope - middle) <= 2
