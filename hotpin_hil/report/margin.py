"""How near measured values come to their limits: which one of many to show, and what is left of its limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hotpin_hil.evidence.model import LimitKind, Verdict

Measurement = Mapping[str, Any]
"""A line of results.jsonl."""


def nearest(measurements: Sequence[Measurement]) -> Measurement | None:
    """The one to show of at least one: of the worst verdict, and of those the one with the least left.

    None of several that are all exactly what they must be: any one of them would say less than their number.
    """
    order = [verdict.value for verdict in Verdict]

    def key(one: Measurement) -> tuple[int, float]:
        share = margin_share(one)
        return order.index(one["verdict"]), float("inf") if share is None else share

    found = min(measurements, key=key)
    is_exact = margin_share(found) is None and found["verdict"] == Verdict.PASS.value
    return None if is_exact and len(measurements) > 1 else found


def margin_share(measurement: Measurement) -> float | None:
    """What is left of the limit as a share of it (of a range: of half its width), negative when it is exceeded.

    A range from 0 up limits what has no sign, such as bytes lost: 0 is the best of its values, not an edge.
    None where a share has no meaning, as for a value that must be an exact one.
    """
    margin, limit = measurement["margin"], measurement["limit"]
    if margin is None:
        return None
    if limit["kind"] == LimitKind.RANGE.value and limit["low"] == 0 < limit["high"] and margin >= 0:
        return float(1 - measurement["value"] / limit["high"])
    scale = (
        (limit["high"] - limit["low"]) / 2 if limit["kind"] == LimitKind.RANGE.value else abs(limit["value"])
    )
    if scale == 0:  # such as at most 0: it is kept, or exceeded by all there is
        return None if margin >= 0 else -1.0
    return float(margin) / float(scale)
