"""How near measured values come to their limits: which one of many to show, and what is left of its limit."""

from __future__ import annotations

from collections.abc import Sequence

from hotpin_hil.evidence.lines import MeasurementLine
from hotpin_hil.evidence.model import LimitKind, Value, Verdict


def nearest(measurements: Sequence[MeasurementLine]) -> MeasurementLine | None:
    """The one to show of at least one: of the worst verdict, and of those the one with the least left.

    None of several that are all exactly what they must be: any one of them would say less than their number.
    """
    order = list(Verdict)

    def key(one: MeasurementLine) -> tuple[int, float]:
        share = margin_share(one)
        return order.index(one.verdict), float("inf") if share is None else share

    found = min(measurements, key=key)
    is_exact = margin_share(found) is None and found.verdict is Verdict.PASS
    return None if is_exact and len(measurements) > 1 else found


def margin_share(measurement: MeasurementLine) -> float | None:
    """What is left of the limit as a share of it (of a range: of half its width), negative when it is exceeded.

    A range from 0 up limits what has no sign, such as bytes lost: 0 is the best of its values, not an edge.
    None where a share has no meaning, as for a value that must be an exact one.
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
    if scale == 0:  # such as at most 0: it is kept, or exceeded by all there is
        return None if margin >= 0 else -1.0
    return margin / scale


def _number(value: Value | None) -> float:
    """A value that has a margin is a number, and so is its limit."""
    assert isinstance(value, (int, float))
    return float(value)
