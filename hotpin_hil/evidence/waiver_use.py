"""Outcome of each waiver in a run: needed, expired, unneeded, insufficient, or not tested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hotpin_hil.evidence.lines import MeasurementLine
from hotpin_hil.evidence.model import Verdict
from hotpin_hil.evidence.results import Results
from hotpin_hil.evidence.waivers import Waiver

USED = "used"
EXPIRED = "expired"
UNNEEDED = "unneeded"
INSUFFICIENT = "insufficient"
NOT_TESTED = "not tested"


@dataclass(frozen=True)
class WaiverUse:
    """A waiver and the values that it covers."""

    waiver: Waiver
    state: str
    """USED, EXPIRED, UNNEEDED, INSUFFICIENT or NOT_TESTED."""
    values: tuple[MeasurementLine, ...] = ()
    """The values that it waives."""

    @property
    def problem(self) -> str:
        """Why the waiver makes the run fail; empty if it does not."""
        if self.state == EXPIRED:
            return f"the waiver of {self.waiver} expired on {self.waiver.expires}: renew it or remove it"
        if self.state == UNNEEDED:
            return f"the waiver of {self.waiver} is unneeded (no value needs it): remove it"
        return ""

    def as_json(self) -> dict[str, Any]:
        """The entry in qualification.json."""
        return {
            **self.waiver.as_json(),
            "state": self.state,
            "problem": self.problem,
            "values": [line.as_json() for line in self.values],
        }


def waiver_uses(results: Results) -> list[WaiverUse]:
    """Outcome of each waiver of the run.

    In a partial or interrupted run, a waiver without a measured value is NOT_TESTED.
    """
    is_whole = not (results.is_selection or results.unfinished() or results.without_verdict())
    return [_use(waiver, results, is_whole) for waiver in results.waivers]


def _use(waiver: Waiver, results: Results, is_whole: bool) -> WaiverUse:
    values = [line for line in results.measurements if waiver.concerns(line)]
    if not values and not is_whole:
        return WaiverUse(waiver, NOT_TESTED)
    if results.waivers.is_expired(waiver):
        return WaiverUse(waiver, EXPIRED)
    waived = _with(Verdict.WAIVED, values)
    used = tuple(line for line in waived if waiver.allows(line))
    if used:
        return WaiverUse(waiver, USED, used)
    is_short = bool(waived or _with(Verdict.FAIL, values))
    return WaiverUse(waiver, INSUFFICIENT if is_short else UNNEEDED)


def _with(verdict: Verdict, lines: Sequence[MeasurementLine]) -> list[MeasurementLine]:
    return [line for line in lines if line.verdict is verdict]
