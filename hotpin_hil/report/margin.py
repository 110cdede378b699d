"""The margin of measured values: which of many values to show, and how much of its limit is left."""

from __future__ import annotations

from collections.abc import Sequence

from hotpin_hil.evidence.lines import MeasurementLine
from hotpin_hil.evidence.model import LimitKind, Value, Verdict


def nearest(measurements: Sequence[MeasurementLine]) -> MeasurementLine | None:
    """The measurement to show: the one with the worst verdict, and among those with the least margin.

    None if there are several and all are exactly right: their number says more than any one of them.
    """
    order = list(Verdict)

    def key(one: MeasurementLine) -> tuple[int, float]:
        share = margin_share(one)
        return order.index(one.verdict), float("inf") if share is None else share

    found = min(measurements, key=key)
    is_exact = margin_share(found) is None and found.verdict is Verdict.PASS
    return None if is_exact and len(measurements) > 1 else found


def margin_share(measurement: MeasurementLine) -> float | None:
    """The margin as a share of the limit (for a range: of half its width), negative if the limit is exceeded.

    A range from 0 up bounds an unsigned quantity, such as bytes lost: 0 is the best value, not an edge. None if a
    share has no meaning, as for exact limits.
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
    if scale == 0:  # such as "at most 0": any excess is all of it
        return None if margin >= 0 else -1.0
    return margin / scale


def _number(value: Value | None) -> float:
    """A value that has a margin is a number, and so is its limit."""
    assert isinstance(value, (int, float))
    return float(value)
