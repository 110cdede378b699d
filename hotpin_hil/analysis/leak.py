"""Leak detection: does free memory in the same state fall from cycle to cycle?

The input is one reading of free memory per cycle, always in the same state. The first cycles are warm-up (caches,
driver objects created on first use) and dropped. For the others, the loss per cycle is the Theil-Sen slope, that is,
the median of the slopes between all pairs of readings, with Sen's confidence interval from Kendall's variance. A few
outliers do not move it, and equal readings are allowed. Readings that depend on each other (a sawtooth) carry less
information than their number suggests; the interval is widened accordingly.

A single step is not a leak. It is reported, and removed before the slope is estimated.

Sources: P. K. Sen, Estimates of the regression coefficient based on Kendall's tau, JASA 63 (1968) 1379;
K. H. Hamed and A. R. Rao, A modified Mann-Kendall trend test for autocorrelated data, J. Hydrology 204 (1998)
182.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist, median

from hotpin_hil.compat import StrEnum

BUDGET_PER_CYCLE = 1_024 / 1_000
"""Bytes per cycle: 1,024 in 1,000 cycles (requirement TRN-04)."""

WARM_UP_MIN = 4
"""Minimum number of warm-up readings: in the recorded logs, boards settle over the first 3 to 4 cycles."""
WARM_UP_SHARE_MAX = 4
"""At most a quarter of the readings can be warm-up."""

READINGS_MIN = 8
"""Minimum number of readings after warm-up; with fewer, an interval of this confidence is infinite."""

CONFIDENCE = 0.999
"""Confidence of the two-sided interval: a clean series is called a leak less than once in 1,000 times."""
POWER = 0.9999
"""Calculated probability of finding a leak of the size `Leak.detectable`. The calculation uses the interval, which is
itself an estimate, so the real probability is 99 in 100."""

NOISE_SPREADS = 6
"""A reading is not noise if it deviates by more than this many typical deviations."""
GRANULE = 16
"""Bytes: cost of the smallest block, so a smaller difference between readings is meaningless."""

READINGS_MAX = 600
"""Longer series are reduced to this number of group medians, since the number of pairs grows quadratically."""


class LeakVerdict(StrEnum):
    """Verdict on a series of readings."""

    WITHIN_BUDGET = "within budget"
    LEAK = "leak"
    UNDECIDED = "undecided"
    """The readings scatter too much, or are too few, to exclude a leak beyond the budget."""


@dataclass(frozen=True)
class Trend:
    """Change per cycle, with the bounds of its confidence interval."""

    slope: float
    low: float
    high: float
    inflation: float = 1.0
    """Variance, divided by the variance of equally many independent readings."""


@dataclass(frozen=True)
class LevelStep:
    """Memory lost once (negative: gained) between the readings `cycle - 1` and `cycle`."""

    cycle: int
    lost: float


@dataclass(frozen=True)
class Leak:
    """The result for a series of readings. Slopes are in bytes per cycle; a loss is positive."""

    cycles: int
    """Number of readings after warm-up."""
    warm_up: int
    """Number of readings dropped at the start."""
    slope: float
    low: float
    high: float
    detectable: float
    """Steady loss per cycle that would be reported as a leak in 99 of 100 series like this one."""
    step: LevelStep | None
    budget: float
    """Allowed loss per cycle."""

    @property
    def lost_at_most(self) -> float:
        """Upper bound of the bytes leaked after warm-up: the upper bound of the slope times the cycles."""
        return self.high * self.cycles

    @property
    def verdict(self) -> LeakVerdict:
        """Within the budget if the upper bound is; otherwise a leak if the lower bound is above 0."""
        if self.lost_at_most <= self.budget * self.cycles:
            return LeakVerdict.WITHIN_BUDGET
        return LeakVerdict.LEAK if self.low > 0 else LeakVerdict.UNDECIDED

    def __str__(self) -> str:
        once = f", {self.step.lost:+.0f} B lost once at cycle {self.step.cycle}" if self.step else ""
        return (
            f"{self.verdict}: {self.slope:+.3f} B/cycle [{self.low:+.3f}, {self.high:+.3f}] over {self.cycles} "
            f"cycles ({self.warm_up} warm-up cycles dropped), {self.detectable:.3f} B/cycle detectable{once}"
        )


def find_leak(free: Sequence[float], budget_per_cycle: float = BUDGET_PER_CYCLE) -> Leak:
    """Decide whether a series of free-memory readings contains a leak.

    The function also works for other counts that should stay constant, such as the number of allocated blocks. Negate
    them, so that growth becomes a loss.

    Args:
        free: bytes, one reading per cycle in the same state.
        budget_per_cycle: allowed loss per cycle, bytes.
    """
    lost = [-value for value in free]
    warm_up = find_warm_up(lost)
    settled = lost[warm_up:]
    if len(settled) < READINGS_MIN:
        return Leak(len(settled), warm_up, 0.0, -math.inf, math.inf, math.inf, None, budget_per_cycle)
    step = find_step(settled)
    if step is not None:
        settled = [
            value - step.lost if number >= step.cycle else value for number, value in enumerate(settled)
        ]
        step = LevelStep(step.cycle + warm_up, step.lost)
    trend = theil_sen(settled)
    return Leak(
        cycles=len(settled),
        warm_up=warm_up,
        slope=trend.slope,
        low=trend.low,
        high=trend.high,
        detectable=_detectable(trend, len(settled), budget_per_cycle),
        step=step,
        budget=budget_per_cycle,
    )


# --- Warm-up and single steps -------------------------------------------------------------------------------


def find_warm_up(values: Sequence[float]) -> int:
    """Number of warm-up readings, which differ from the rest; at least WARM_UP_MIN, if the series is long enough.

    Each reading is compared with a line through the second half, so a steady slope is not warm-up.
    """
    count = len(values)
    if count < WARM_UP_MIN + READINGS_MIN:
        return min(WARM_UP_MIN, count)
    half = count // 2
    slope = theil_sen(values[half:]).slope
    level = median(value - slope * number for number, value in enumerate(values[half:], half))
    off = [value - slope * number - level for number, value in enumerate(values)]
    allowed = _noise(off[half:])
    warm_up = next((number for number, value in enumerate(off) if abs(value) <= allowed), count)
    return max(warm_up, WARM_UP_MIN) if warm_up <= count // WARM_UP_SHARE_MAX else WARM_UP_MIN


def find_step(values: Sequence[float]) -> LevelStep | None:
    """The only step in a series; None if there is no step or more than one.

    A step is permanent: the levels before and after it differ by the lost bytes. Several steps are a leak in large
    portions.
    """
    changes = [later - earlier for earlier, later in pairwise(values)]
    centre = median(changes)
    allowed = _noise([change - centre for change in changes])
    large = [number for number, change in enumerate(changes, 1) if abs(change - centre) > allowed]
    if len(large) != 1:
        return None
    cycle = large[0]
    return LevelStep(cycle, changes[cycle - 1] - centre)


def _noise(deviations: Sequence[float]) -> float:
    """The largest deviation that counts as noise."""
    return max(GRANULE, NOISE_SPREADS * 1.4826 * median(abs(value) for value in deviations))


# --- Slope --------------------------------------------------------------------------------------------------


def theil_sen(values: Sequence[float], confidence: float = CONFIDENCE) -> Trend:
    """Median slope between all pairs of values (change per reading), with its confidence interval."""
    points = _thinned(values)
    if len(points) < 2:
        return Trend(0.0, -math.inf, math.inf)
    slopes = _slopes(points)
    slope = median(slopes)
    residuals = [value - slope * at for at, value in points]
    inflation = _inflation(residuals)
    variance = _kendall_variance([value for _, value in points]) * inflation
    reach = _quantile((1 + confidence) / 2, len(points), inflation) * math.sqrt(variance)
    low = math.floor((len(slopes) - reach) / 2)
    high = math.ceil((len(slopes) + reach) / 2)
    bounds = slopes[low] if low >= 0 else -math.inf, slopes[high] if high < len(slopes) else math.inf
    widest = _widest(residuals, values)
    if max(slope - bounds[0], bounds[1] - slope) <= widest:
        return Trend(slope, *bounds, inflation)
    return Trend(slope, max(bounds[0], slope - widest), min(bounds[1], slope + widest))


def _slopes(points: Sequence[tuple[float, float]]) -> list[float]:
    """Slopes between all pairs of points, in ascending order. NumPy takes a tenth of the time of a Python loop."""
    import numpy as np  # imported here, because the import takes 0.1 s, and most runs check no series

    at, value = np.array(points, dtype=float).T
    earlier, later = np.triu_indices(len(points), 1)
    slopes: list[float] = np.sort((value[later] - value[earlier]) / (at[later] - at[earlier])).tolist()
    return slopes


def _quantile(probability: float, count: int, inflation: float) -> float:
    """Half width of the interval in standard deviations.

    For independent readings the variance is known, so the normal distribution holds. For others the variance is an
    estimate, from the equivalent number of independent readings: Student's t, expanded around the normal quantile
    (M. Abramowitz and I. A. Stegun, Handbook of Mathematical Functions, 26.7.5).
    """
    z = NormalDist().inv_cdf(probability)
    if inflation <= 1:
        return z
    freedom = max(2.0, count / inflation - 2)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def _widest(residuals: Sequence[float], values: Sequence[float]) -> float:
    """Largest possible error of the slope for readings this close to the line.

    Sen's interval can be infinite for a short series with a few bytes of dependent scatter, for example when each
    leaked block costs a word more or less than the last. In the worst case, a random walk, the standard error of
    the slope is a seventh of this.
    """
    middle = median(residuals)
    return 16 * max(abs(value - middle) for value in residuals) / len(values)


def _thinned(values: Sequence[float]) -> list[tuple[float, float]]:
    """Position and value of each reading, or of group medians in a long series."""
    size = math.ceil(len(values) / READINGS_MAX) or 1
    return [
        (start + (len(values[start : start + size]) - 1) / 2, median(values[start : start + size]))
        for start in range(0, len(values), size)
    ]


def _kendall_variance(values: Sequence[float]) -> float:
    """Variance of Kendall's S for values without trend, corrected for ties."""

    def term(count: int) -> int:
        return count * (count - 1) * (2 * count + 5)

    return (term(len(values)) - sum(term(count) for count in Counter(values).values())) / 18


def _inflation(residuals: Sequence[float]) -> float:
    """Variance inflation factor due to autocorrelation (Hamed and Rao); at least 1.

    It sums the autocorrelation up to the first lag where it is not positive, so the interval never becomes narrower.
    """
    count = len(residuals)
    if max(residuals) - min(residuals) < GRANULE:
        return 1.0  # a difference this small only shows which free block the allocator chose
    ranks = _ranks(residuals)
    mean = sum(ranks) / count
    centred = [rank - mean for rank in ranks]
    energy = sum(value * value for value in centred)
    if energy == 0 or count < READINGS_MIN:
        return 1.0
    total = 0.0
    for lag in range(1, count // 4):
        pairs = count - lag
        alike = sum(centred[i] * centred[i + lag] for i in range(pairs)) / energy
        alike += (
            2 + 4 * alike
        ) / pairs  # correct the estimate, which is too low because a line was subtracted
        if alike <= 0:
            break
        total += pairs * (pairs - 1) * (pairs - 2) * alike
    return 1 + 2 * total / (count * (count - 1) * (count - 2))


def _ranks(values: Sequence[float]) -> list[float]:
    """Rank of each value; equal values share their mean rank."""
    counts = Counter(values)
    rank: dict[float, float] = {}
    below = 0
    for value in sorted(counts):
        rank[value] = below + (counts[value] + 1) / 2
        below += counts[value]
    return [rank[value] for value in values]


def _detectable(trend: Trend, count: int, budget: float) -> float:
    """Steady loss per cycle that would be reported as a leak with probability POWER.

    The estimate must be high enough for both bounds: the lower one above 0, the upper one above the budget. Even
    without noise a leak appears only in whole blocks, and one block is just a step, so a leak needs two. The
    correlation of the readings is also an estimate: in another series it may be higher, and the interval wider.
    """
    probability = (1 + CONFIDENCE) / 2
    half_width = max(trend.high - trend.slope, trend.slope - trend.low)
    points = min(count, READINGS_MAX)
    inflation = _inflation_at_worst(trend.inflation, points)
    deviation = half_width / _quantile(probability, points, trend.inflation)
    deviation *= math.sqrt(inflation / trend.inflation)
    widest = deviation * _quantile(probability, points, inflation)
    luck = deviation * NormalDist().inv_cdf(POWER)
    return max(widest, max(budget - half_width, 0) + 2 * GRANULE / count) + luck


def _inflation_at_worst(inflation: float, count: int) -> float:
    """Largest inflation that another series may have, if each reading depends on the previous one.

    The correlation is then (inflation - 1) / (inflation + 1), with an error of 1 / sqrt(count).
    """
    correlation = (inflation - 1) / (inflation + 1) + CORRELATION_DEVIATIONS / math.sqrt(count)
    correlation = min(correlation, CORRELATION_MAX)
    return max(inflation, (1 + correlation) / (1 - correlation))


CORRELATION_DEVIATIONS = 3.3
"""Assumed error of the correlation between neighbouring readings, in standard deviations."""
CORRELATION_MAX = 0.95
"""Readings with a higher correlation carry almost no information."""
