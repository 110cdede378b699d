"""Chooses which measured value to show, and computes its margin as a share of the limit."""

from __future__ import annotations

from collections.abc import Sequence

from hotpin_hil.evidence.lines import MeasurementLine
from hotpin_hil.evidence.model import LimitKind, Value, Verdict


def nearest(measurements: Sequence[MeasurementLine]) -> MeasurementLine | None:
    """Choose the measurement to show: the worst verdict first, then the smallest margin.

    None if several values all match exactly, since their number is more informative than a single value.
    """
    order = list(Verdict)

    def key(measurement: MeasurementLine) -> tuple[int, float]:
        share = margin_share(measurement)
        return order.index(measurement.verdict), float("inf") if share is None else share

    found = min(measurements, key=key)
    is_exact = margin_share(found) is None and found.verdict is Verdict.PASS
    return None if is_exact and len(measurements) > 1 else found


def margin_share(measurement: MeasurementLine) -> float | None:
    """The margin as a share of the limit (of half the width for a range), negative if the limit is exceeded.

    A range that starts at 0 bounds an unsigned quantity such as lost bytes, so 0 is the best value, not an edge. None
    if a share is meaningless, as for exact limits.
    """
    margin, limit = measurement.margin, measurement.limit
    if margin is None:
        return None
    if limit.kind is LimitKind.RANGE:
        low, high = _number(limit.low), _number(limit.high)
        if low == 0 < high and margin >= 0:
            return 1 - _number(measurement.value) / high
        scale = (high - low) / 2
    else:
        scale = abs(_number(limit.value))
    if scale == 0:  # for example "at most 0", where any excess counts as 100 %
        return None if margin >= 0 else -1.0
    return margin / scale


def _number(value: Value | None) -> float:
    """Narrow the type of a value or limit to a number. A margin exists only for numbers."""
    assert isinstance(value, (int, float))
    return float(value)
