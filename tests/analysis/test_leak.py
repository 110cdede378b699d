"""Tests the leak verdict on series without a leak and with a leak of known size."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from hotpin_hil.analysis.leak import (
    BUDGET_PER_CYCLE,
    READINGS_MIN,
    WARM_UP_MIN,
    LeakVerdict,
    LevelStep,
    find_leak,
    find_step,
    find_warm_up,
    theil_sen,
)

FREE = 105_767
CYCLES = 100

Noise = Callable[[random.Random, int], list[float]]


def whole_words(values: Sequence[float]) -> list[int]:
    """Rounds readings as a board reports them: free memory changes in steps of 4 bytes."""
    return [FREE + 4 * round(value / 4) for value in values]


def leaking(per_cycle: float, count: int, *, block: int = 16, phase: float = 0.0) -> list[float]:
    """Readings that fall by `per_cycle` bytes per cycle on average, in whole blocks."""
    return [-block * math.floor(per_cycle * number / block + phase) for number in range(count)]


def constant(_rng: random.Random, count: int) -> list[float]:
    return [0.0] * count


def ties(rng: random.Random, count: int) -> list[float]:
    """Readings that scatter by 0 to 8 bytes, as in the recorded logs."""
    return [rng.choice([0.0, 0.0, 0.0, -4.0, -8.0]) for _ in range(count)]


def scatter(rng: random.Random, count: int) -> list[float]:
    return [rng.gauss(0, 30) for _ in range(count)]


def sawtooth(rng: random.Random, count: int) -> list[float]:
    """Readings while a buffer grows for 11 cycles and is then freed."""
    phase = rng.randrange(11)
    return [-20.0 * ((number + phase) % 11) for number in range(count)]


def outliers(rng: random.Random, count: int) -> list[float]:
    """Constant readings, except for a few that are taken while another task holds memory."""
    return [-800.0 if rng.random() < 0.05 else 0.0 for _ in range(count)]


def dependent(rng: random.Random, count: int) -> list[float]:
    """Readings that each depend on the previous one (autocorrelated)."""
    values = [0.0]
    while len(values) < count:
        values.append(0.6 * values[-1] + rng.gauss(0, 30))
    return values


def settling(rng: random.Random, count: int) -> list[float]:
    """Readings that fall by 0.6 to 0.85 KB over the first cycles, as in the recorded logs."""
    fall = rng.uniform(600, 850)
    return add(ties(rng, count), [fall * max(0, 3 - number) / 3 for number in range(count)])


def stepped(rng: random.Random, count: int) -> list[float]:
    """Readings that fall by 8,196 bytes once, as in older builds."""
    at = rng.randrange(count)
    return add(ties(rng, count), [0.0] * at + [-8_196.0] * (count - at))


CLEAN: list[Noise] = [constant, ties, scatter, sawtooth, outliers, dependent]
EVENTFUL: list[Noise] = [settling, stepped]

AS_RECORDED: list[Noise] = [ties, settling]
"""Kinds of noise of real boards, for which 40 cycles are enough."""


def add(*series: Sequence[float]) -> list[float]:
    return [sum(values) for values in zip(*series, strict=True)]


# --- Slope --------------------------------------------------------------------------------------------------


def test_slope_of_a_line_is_exact_and_its_interval_closed() -> None:
    trend = theil_sen([3.0 * number for number in range(50)])
    assert (trend.slope, trend.low, trend.high) == (3.0, 3.0, 3.0)


def test_slope_is_not_moved_by_outliers() -> None:
    values = [2.0 * number for number in range(60)]
    for number in range(0, 60, 5):
        values[number] += 10_000
    assert theil_sen(values).slope == pytest.approx(2.0, abs=0.05)


def test_interval_covers_the_true_slope_at_its_confidence_level() -> None:
    """Uses 90 % instead of the verdict's level, because 400 series are then enough to reveal an interval of the wrong
    width."""
    rng = random.Random(5)
    inside = 0
    for _ in range(400):
        values = [0.5 * number + rng.gauss(0, 10) for number in range(40)]
        trend = theil_sen(values, confidence=0.9)
        inside += trend.low <= 0.5 <= trend.high
    assert 0.85 <= inside / 400 <= 0.96


def test_tied_readings_narrow_the_interval() -> None:
    """With the formula for 20 different readings, the upper bound would be 0.7 instead of 0."""
    trend = theil_sen([0.0] * 18 + [8.0] * 2)
    assert (trend.slope, trend.low, trend.high) == (0.0, 0.0, 0.0)


def test_autocorrelation_widens_the_interval() -> None:
    rng = random.Random(3)
    smooth = dependent(rng, CYCLES)
    mixed = list(smooth)
    rng.shuffle(mixed)
    wide, narrow = theil_sen(smooth), theil_sen(mixed)
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_long_series_gets_the_same_verdict_in_bounded_time() -> None:
    leak = find_leak(whole_words(leaking(16, 20_000)))
    assert leak.slope == pytest.approx(16, rel=0.01)
    assert leak.cycles == 20_000 - leak.warm_up


# --- Verdicts -----------------------------------------------------------------------------------------------


def test_leak_is_found_while_a_block_fills_a_larger_hole() -> None:
    """A leaked block takes up to 12 bytes more if it fills a hole whose remainder is too small to be a block."""
    free = [FREE - 20 * cycle - (12 if cycle >= 17 else 0) for cycle in range(30)]
    leak = find_leak(free)
    assert leak.verdict is LeakVerdict.LEAK
    assert 19 <= leak.low <= 20 <= leak.high <= 22


@pytest.mark.parametrize("noise", CLEAN, ids=lambda noise: noise.__name__)
@pytest.mark.parametrize("per_cycle", [3.0, 16.0, 44.0])
def test_planted_leak_is_found_and_its_size_estimated(noise: Noise, per_cycle: float) -> None:
    """44 B per cycle is the leak of one recorded log; 16 B is what the smallest block costs."""
    rng = random.Random(per_cycle)
    for _ in range(5):
        leak = find_leak(whole_words(add(noise(rng, CYCLES), leaking(per_cycle, CYCLES))))
        assert leak.verdict is LeakVerdict.LEAK, leak
        assert leak.low <= per_cycle <= leak.high, leak
        assert leak.slope == pytest.approx(per_cycle, abs=2.0)


@pytest.mark.parametrize(
    ("noise", "cycles", "series"),
    [
        (constant, CYCLES, 1),
        (sawtooth, CYCLES, 100),  # its period is 11 readings
        (scatter, CYCLES, 3_000),
        (dependent, CYCLES, 3_000),
        *((noise, CYCLES, 1_000) for noise in (ties, outliers, settling, stepped)),
        *((noise, 40, 1_000) for noise in (ties, scatter, outliers, settling, stepped)),
    ],
)
def test_clean_series_is_not_called_a_leak_in_999_of_1000(noise: Noise, cycles: int, series: int) -> None:
    """Holds for each kind of noise. `dependent` is not tested with 40 cycles, which are too few for its
    autocorrelation."""
    rng = random.Random(noise.__name__)
    verdicts = Counter(find_leak(whole_words(noise(rng, cycles))).verdict for _ in range(series))
    assert verdicts[LeakVerdict.LEAK] <= series // 1_000, verdicts


@pytest.mark.parametrize("noise", [constant, ties], ids=lambda noise: noise.__name__)
def test_flat_series_is_within_budget(noise: Noise) -> None:
    leak = find_leak(whole_words(noise(random.Random(1), CYCLES)))
    assert leak.verdict is LeakVerdict.WITHIN_BUDGET
    assert leak.lost_at_most <= BUDGET_PER_CYCLE * leak.cycles


def found_of_stated(noise: Noise, cycles: int, series: int) -> tuple[float, int]:
    """The median of the smallest leaks that the verdicts call detectable, and how many of `series` leaks of that size
    are found."""
    rng = random.Random(noise.__name__)
    stated = [find_leak(whole_words(noise(rng, cycles))).detectable for _ in range(51)]
    planted = sorted(stated)[25]
    found = 0
    for _ in range(series):
        loss = leaking(planted, cycles, block=4, phase=rng.random())
        found += find_leak(whole_words(add(noise(rng, cycles), loss))).verdict is LeakVerdict.LEAK
    return planted, found


@pytest.mark.parametrize("noise", [*CLEAN, settling], ids=lambda noise: noise.__name__)
def test_leak_of_the_stated_minimum_is_found_in_99_of_100(noise: Noise) -> None:
    planted, found = found_of_stated(noise, CYCLES, 300)
    assert found >= 297, f"{found} of 300 leaks of {planted:.3f} B/cycle"


@pytest.mark.parametrize("noise", AS_RECORDED, ids=lambda noise: noise.__name__)
def test_leak_of_the_stated_minimum_is_found_in_a_short_series_too(noise: Noise) -> None:
    planted, found = found_of_stated(noise, 40, 300)
    assert found >= 297, f"{found} of 300 leaks of {planted:.3f} B/cycle"
    assert planted < 2


@pytest.mark.parametrize("noise", [constant, *AS_RECORDED], ids=lambda noise: noise.__name__)
def test_stated_minimum_is_close_to_the_budget(noise: Noise) -> None:
    """A verdict that can only detect large leaks would be useless: with a board's noise, the smallest detectable leak
    must be close to the budget."""
    leak = find_leak(whole_words(noise(random.Random(7), CYCLES)))
    assert leak.detectable <= 1.5 * BUDGET_PER_CYCLE


def test_leak_of_varying_block_sizes_is_found_in_a_short_series() -> None:
    """The virtual board loses memory like this: 20 bytes per cycle, but 24, 28 or 32 when a block fills a hole."""
    changes = [24, 32, 24, *[20] * 6, 32, *[20] * 11, 28, *[20] * 7]
    free = [FREE - sum(changes[:number]) for number in range(len(changes) + 1)]
    leak = find_leak(free)
    assert leak.verdict is LeakVerdict.LEAK, leak
    assert 20 <= leak.slope <= 22
    assert leak.low > 16


def test_leak_within_the_budget_is_within_the_budget() -> None:
    """The budget is 1,024 bytes in 1,000 cycles; 16 bytes every 20 cycles are 800."""
    leak = find_leak(whole_words(leaking(0.8, 1_000)))
    assert leak.verdict is LeakVerdict.WITHIN_BUDGET
    assert leak.slope == pytest.approx(0.8, abs=0.01)
    assert find_leak(whole_words(leaking(1.2, 1_000))).verdict is LeakVerdict.LEAK


def test_scatter_larger_than_the_budget_is_undecided() -> None:
    rng = random.Random(2)
    leak = find_leak(whole_words([rng.gauss(0, 1_000) for _ in range(CYCLES)]))
    assert leak.verdict is LeakVerdict.UNDECIDED
    assert leak.detectable > 5


@pytest.mark.parametrize("count", [0, 1, WARM_UP_MIN, WARM_UP_MIN + READINGS_MIN - 1])
def test_too_few_readings_are_undecided(count: int) -> None:
    leak = find_leak([FREE] * count)
    assert leak.verdict is LeakVerdict.UNDECIDED
    assert leak.high == math.inf


def test_growing_free_memory_is_not_a_leak() -> None:
    assert find_leak(whole_words(leaking(-16, CYCLES))).verdict is LeakVerdict.WITHIN_BUDGET


def test_any_growth_of_the_block_count_is_a_leak() -> None:
    blocks = [140.0] * CYCLES
    assert find_leak([-count for count in blocks], 0).verdict is LeakVerdict.WITHIN_BUDGET
    growing = [140.0 + number // 10 for number in range(CYCLES)]
    assert find_leak([-count for count in growing], 0).verdict is LeakVerdict.LEAK


# --- Warm-up and steps --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "early",
    [
        pytest.param([850, 500, 200, 0], id="recorded_0.85_KB_over_4_cycles"),
        pytest.param([8_196], id="recorded_8196_B_after_the_first_cycle"),
        pytest.param([0], id="none"),
    ],
)
def test_short_warm_up_drops_only_the_minimum_number_of_cycles(early: list[int]) -> None:
    values = [*early, *[0] * (CYCLES - len(early))]
    leak = find_leak(whole_words(values))
    assert leak.warm_up == WARM_UP_MIN
    assert leak.verdict is LeakVerdict.WITHIN_BUDGET
    assert leak.slope == 0


def test_length_of_a_longer_warm_up_is_detected() -> None:
    values = [2_000 * 0.6**number for number in range(CYCLES)]
    leak = find_leak(whole_words(values))
    assert 8 <= leak.warm_up <= 14, leak
    assert leak.verdict is LeakVerdict.WITHIN_BUDGET


def test_leak_is_not_mistaken_for_warm_up() -> None:
    assert find_warm_up([16.0 * number for number in range(CYCLES)]) == WARM_UP_MIN


@pytest.mark.parametrize("at", [30, 50, 90])
def test_single_step_is_reported_and_is_not_a_leak(at: int) -> None:
    values = whole_words(add(ties(random.Random(4), CYCLES), [0] * at + [-8_196] * (CYCLES - at)))
    leak = find_leak(values)
    assert leak.verdict is LeakVerdict.WITHIN_BUDGET, leak
    assert leak.step is not None
    assert leak.step.cycle == at
    assert leak.step.lost == pytest.approx(8_196, abs=8)


def test_repeated_steps_are_a_leak() -> None:
    values = [-8_196.0 * (number // 20) for number in range(CYCLES)]
    leak = find_leak(whole_words(values))
    assert leak.step is None
    assert leak.verdict is LeakVerdict.LEAK
    assert leak.slope == pytest.approx(8_196 / 20, rel=0.15)


def test_leak_under_a_step_is_found() -> None:
    values = add(leaking(16, CYCLES), [0] * 40 + [-8_196] * (CYCLES - 40))
    leak = find_leak(whole_words(values))
    assert leak.verdict is LeakVerdict.LEAK
    assert leak.slope == pytest.approx(16, abs=0.5)


def test_single_outlier_is_not_a_step() -> None:
    values = [0.0] * CYCLES
    values[50] = 8_196.0
    assert find_step(values) is None
    assert find_step([0.0] * 50 + [64.0] * 50) == LevelStep(50, 64.0)
    assert find_leak(whole_words(values)).verdict is LeakVerdict.WITHIN_BUDGET


def test_verdict_text_states_slope_cycles_and_warm_up() -> None:
    text = str(find_leak(whole_words(leaking(16, CYCLES))))
    assert text.startswith("leak: +16.000 B/cycle [")
    assert "96 cycles (4 warm-up cycles dropped)" in text
    assert "detectable" in text
