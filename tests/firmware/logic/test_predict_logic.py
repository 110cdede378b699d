"""Tests the prediction from windows: planted falls must be announced in time, and other changes must not."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pytest

from tests.support.c_build import build

MODULE = build(
    "predict_logic",
    ["memory_predict/src/predict_logic.c", "memory_predict/src/trend.c"],
    ["predict_logic.h"],
)
ffi, lib, new = MODULE.ffi, MODULE.lib, MODULE.new

KB = 1024
SPACING_MS = 15_000
WARNING, CRITICAL = 50 * KB, 20 * KB
CAMERA_FREE = 173_000
PLENTY = 3_900_000
AHEAD_MIN = 10
RUNS = 100
INSIDE_MIN = 95
CLEAN_WINDOWS = 1_000
NEVER = 2**32 - 1


@dataclass(frozen=True)
class Announcement:
    """One prediction, times in ms."""

    at: int
    level: int
    expected: int
    earliest: int
    latest: int


class Windows:
    """Passes windows of one application state to the prediction. Only internal memory varies; the other memory types
    always have enough free memory."""

    def __init__(self) -> None:
        self.state = new("predict_state_t *")
        lib.predict_init(self.state)
        self.now = 2**32 - 50 * SPACING_MS

    @property
    def series(self) -> object:
        return ffi.addressof(self.state.series[0])

    @property
    def fall(self) -> object:
        return ffi.addressof(self.state.series[0].fall)

    def add(self, free: float, after_ms: int = SPACING_MS) -> list[Announcement]:
        self.now += after_ms
        window = new("predict_window_t *", {"free": [int(free), PLENTY, PLENTY]})
        lib.predict_add(self.state, self.now % 2**32, window)
        found = []
        for level, threshold in enumerate((WARNING, CRITICAL)):
            if lib.predict_announce(self.series, level, threshold):
                time = lib.predict_time(self.fall, threshold)
                found.append(
                    Announcement(self.now, level, time.expected_ms, time.earliest_ms, time.latest_ms)
                )
        return found

    def add_all(self, frees: Iterable[float]) -> list[Announcement]:
        return [announcement for free in frees for announcement in self.add(free)]


@dataclass(frozen=True)
class Drain:
    """Result of one simulated memory drop."""

    ahead: float
    """Number of windows from the announcement to the warning level; negative if the fall was not announced."""
    is_inside: bool
    """The warning level was reached within the announced interval."""


def run_drain(rng: random.Random, size: int, noise: int) -> Drain:
    """Simulates some steady windows, and then windows that each lose `size` bytes, until the warning level is
    reached."""
    windows = Windows()
    clean = rng.choice([4, rng.randint(4, 80)])
    start = min(CAMERA_FREE, WARNING + size * rng.randint(60, 120))
    first: Announcement | None = None
    for number in range(10_000):
        free = start - size * max(0, number - clean) - abs(rng.gauss(0, noise))
        announced = [one for one in windows.add(free) if one.level == 0]
        if free < WARNING:
            break
        first = first or next(iter(announced), None)
    if first is None:
        return Drain(-1, False)
    left = windows.now - first.at
    return Drain(left / SPACING_MS, first.earliest <= left <= first.latest)


@pytest.mark.parametrize(("size", "noise"), [(64, 20), (256, 50), (1024, 300), (2048, 300), (4096, 1000)])
def test_planted_drains_are_announced_with_a_true_interval(size: int, noise: int) -> None:
    rng = random.Random(size)
    drains = [run_drain(rng, size, noise) for _ in range(RUNS)]
    assert sum(drain.is_inside for drain in drains) >= INSIDE_MIN
    assert sum(drain.ahead >= AHEAD_MIN for drain in drains) >= INSIDE_MIN


def test_drain_without_scatter_is_foreseen_to_the_window() -> None:
    windows = Windows()
    (warning,) = (
        one for one in windows.add_all(CAMERA_FREE - 4 * KB * number for number in range(25)) if not one.level
    )
    reached = (CAMERA_FREE - WARNING) // (4 * KB) + 1
    left = reached * SPACING_MS - (warning.at - (2**32 - 50 * SPACING_MS) - SPACING_MS)
    assert abs(warning.expected - left) <= SPACING_MS
    assert warning.latest - warning.earliest < 3 * SPACING_MS


def test_fall_is_announced_once_per_level_and_again_after_a_calm() -> None:
    windows = Windows()
    falling = [CAMERA_FREE - 2 * KB * number for number in range(50)]
    assert [one.level for one in windows.add_all(falling)] == [0, 1]
    assert windows.add_all([falling[-1]] * 40) == []
    again = [falling[-1] - 256 * number for number in range(100)]
    assert [one.level for one in windows.add_all(again)] == [0, 1]


def test_level_that_has_been_reached_is_not_announced() -> None:
    windows = Windows()
    start = WARNING + 2 * KB
    levels = [one.level for one in windows.add_all(start - 512 * number for number in range(50))]
    assert levels == [1]


SHAPES: dict[str, Callable[[random.Random, int], float]] = {
    "constant": lambda rng, number: 0,
    "sawtooth": lambda rng, number: number % 20 / 20 * 30 * KB,
    "short sawtooth": lambda rng, number: number % 5 / 5 * 30 * KB,
    "warm-up": lambda rng, number: 8 * KB * (1 - math.exp(-number / 3)),
    "slow warm-up": lambda rng, number: 4 * KB * (1 - math.exp(-number / 12)),
    "one step": lambda rng, number: 30 * KB if number > 100 else 0,
    "square wave": lambda rng, number: number // 16 % 2 * 20 * KB,
    "dips": lambda rng, number: 30 * KB if rng.random() < 0.1 else 0,
}


@pytest.mark.parametrize("noise", [0, 200, 1000])
@pytest.mark.parametrize("shape", SHAPES)
def test_clean_windows_raise_nothing(shape: str, noise: int) -> None:
    rng = random.Random(noise)
    windows = Windows()
    frees = (
        CAMERA_FREE - SHAPES[shape](rng, number) - abs(rng.gauss(0, noise)) for number in range(CLEAN_WINDOWS)
    )
    assert windows.add_all(frees) == []


def test_fall_of_the_past_is_forgotten() -> None:
    """A slow fall that starts long after a transient low must be announced before memory is that low again."""
    windows = Windows()
    windows.add_all([CAMERA_FREE] * 40 + [70 * KB] * 3 + [CAMERA_FREE] * 70)
    falling = [CAMERA_FREE - 2 * KB * number for number in range(50)]
    announced = windows.add_all(falling)
    assert announced
    assert announced[0].expected > AHEAD_MIN * SPACING_MS


def test_old_and_crowded_windows_are_not_used() -> None:
    windows = Windows()
    windows.add_all([CAMERA_FREE] * 20)
    count = windows.state.count
    assert count == 20 - MODULE.const("PREDICT_WARM_UP")
    crowded = MODULE.const("TREND_SPACING_MIN_MS") - 1
    windows.add(CAMERA_FREE, after_ms=crowded)
    assert windows.state.count == count, "a window too close to the previous one must not be used"
    windows.add(CAMERA_FREE, after_ms=MODULE.const("TREND_SPAN_MAX_MS") - crowded)
    assert windows.state.count == 2, "the previous window is still within the span"


def test_time_of_a_level_line_is_never() -> None:
    fall = new("predict_fall_t *", {"windows": 12, "spacing_ms": 10, "span_ms": 110})
    for line in (fall.expected, fall.earliest, fall.latest):
        line.level = WARNING + 1
    time = lib.predict_time(fall, WARNING)
    assert (time.expected_ms, time.earliest_ms, time.latest_ms) == (NEVER, NEVER, NEVER)
    fall.expected.loss = fall.earliest.loss = 1 << 20
    time = lib.predict_time(fall, WARNING)
    assert (time.expected_ms, time.earliest_ms, time.latest_ms) == (1, 1, NEVER)
    time = lib.predict_time(fall, WARNING + 1)
    assert (time.expected_ms, time.earliest_ms, time.latest_ms) == (0, 0, 10)
