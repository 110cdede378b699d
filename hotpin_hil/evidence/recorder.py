"""Records the measurements of one test and derives a verdict per requirement."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from hotpin_hil.evidence.lines import (
    AllocationsNote,
    FaultNote,
    LeftOutNote,
    MeasurementLine,
    ResultsLine,
    SeriesNote,
)
from hotpin_hil.evidence.model import (
    LimitArguments,
    Measurement,
    MeasurementClass,
    Value,
    Verdict,
    json_value,
    judge_all,
    make_limit,
)
from hotpin_hil.evidence.waivers import Waivers

if TYPE_CHECKING:
    from typing_extensions import Unpack

Sink = Callable[[ResultsLine], None]
"""Writes a line of results.jsonl immediately, so that a killed run keeps its measurements."""


class Recorder:
    """The measurements of one test. A value outside its limit does not stop the test; the test fails at its end.

    Set `where` to a function that returns (boot id, ms since boot) of the board's newest record; it is called for each
    measurement.
    """

    def __init__(
        self, test: str, requirements: Iterable[str], sink: Sink, waivers: Waivers | None = None
    ) -> None:
        self.test = test
        self.requirements = tuple(requirements)
        self.measurements: list[Measurement] = []
        self.places: dict[int, str] = {}
        """Index in `measurements` of a value outside its limit -> `file:line` of the call in the test."""
        self.board: str | None = None
        """MAC of the board under test, once known."""
        self.where: Callable[[], tuple[str | None, int | None]] = lambda: (None, None)
        self._sink = sink
        self._waivers = waivers

    def measure(
        self,
        name: str,
        value: Value,
        unit: str = "",
        *,
        requirement: str | Iterable[str] | None = None,
        klass: str = "measured",
        **limit: Unpack[LimitArguments],
    ) -> Measurement:
        """Record a value against exactly one limit.

        Args:
            name: the measured quantity; the same text in every run.
            value: The value.
            unit: Unit of value and limit ("B", "ms", "" for none).
            requirement: id or ids that the value belongs to; None for all ids of the test.
            klass: "modelled" for a value that only echoes the board profile.
            limit: Exactly one limit, see LimitArguments.

        Raises:
            TypeError: there is not exactly one limit, or the value or a bound has a wrong type.
            ValueError: the test is not marked with one of the ids, or `klass` is unknown.
        """
        boot, t = self.where()
        measurement = Measurement(
            test=self.test,
            requirement=self._ids(requirement),
            name=name,
            value=json_value(value),  # converted as for the results file, so that both get the same verdict
            unit=unit,
            limit=make_limit(**limit),
            klass=MeasurementClass(klass),
            board=self.board,
            boot=boot,
            t=t,
        )
        if self._waivers is not None and self._waivers.judge(measurement) is Verdict.WAIVED:
            measurement = replace(measurement, is_waived=True)
        line = line_of(measurement)
        if measurement.verdict is Verdict.FAIL:
            self.places[len(self.measurements)] = self._place()
        self.measurements.append(measurement)
        self._sink(line)
        return measurement

    def series(self, name: str, values: Sequence[float], unit: str = "", budget: float | None = None) -> None:
        """Record the readings behind a leak verdict: one value per cycle, in the same state.

        Args:
            name: The quantity.
            values: One value per cycle.
            unit: Unit of values and budget.
            budget: Allowed loss per cycle; None if the series is not evaluated for a leak.
        """
        self._sink(SeriesNote(self.test, self.board, name, unit, tuple(values), budget))

    def allocations(self, when: str, sites: Iterable[Mapping[str, Any]]) -> None:
        """Record an allocation profile, which the report draws as a treemap; see `AllocationsNote`."""
        self._sink(AllocationsNote(self.test, self.board, when, tuple(sites)))

    def left_out(self, what: str) -> None:
        """Record a check that the test can only make on another bench or kind of board."""
        ids = ", ".join(self.requirements)
        self._sink(LeftOutNote(f"{ids} tested without {what}" if ids else what))

    def fault(self, fault: str) -> None:
        """Record an injected fault: name, arguments, seed."""
        self._sink(FaultNote(self.test, self.board, fault))

    def _place(self) -> str:
        """`file:line` of the innermost call in the file of the test; empty if that file is not on the stack."""
        file = self.test.partition("::")[0]
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if Path(frame.f_code.co_filename).as_posix().endswith(f"/{file}"):
                return f"{file}:{frame.f_lineno}"
            frame = frame.f_back
        return ""

    def described(self, measurement: Measurement) -> str:
        """A measurement as text, with the file and line of its call if it is outside its limit."""
        places = [self.places.get(at, "") for at, own in enumerate(self.measurements) if own is measurement]
        return f"{measurement} at {places[0]}" if places and places[0] else str(measurement)

    def _ids(self, requirement: str | Iterable[str] | None) -> tuple[str, ...]:
        if requirement is None:
            return self.requirements
        ids = (requirement,) if isinstance(requirement, str) else tuple(requirement)
        foreign = [id_ for id_ in ids if id_ not in self.requirements]
        if foreign:
            raise ValueError(
                f"{self.test}: measure(requirement=…) names {', '.join(foreign)}, but the test's requirement marker "
                f"has {', '.join(self.requirements) or 'no ids'}"
            )
        return ids

    @property
    def failures(self) -> list[Measurement]:
        """The measurements outside their limits."""
        return [measurement for measurement in self.measurements if measurement.verdict is Verdict.FAIL]

    def verdicts(self) -> dict[str, Verdict]:
        """The verdict of each requirement, from its measurements alone; UNSET if it has none."""
        return {
            id_: judge_all(measurement for measurement in self.measurements if id_ in measurement.requirement)
            for id_ in self.requirements
        }


def line_of(measurement: Measurement) -> MeasurementLine:
    """The results.jsonl line for a measurement."""
    return MeasurementLine(
        test=measurement.test,
        requirement=measurement.requirement,
        name=measurement.name,
        value=measurement.value,
        unit=measurement.unit,
        limit=measurement.limit,
        margin=measurement.limit.margin(measurement.value),
        verdict=measurement.verdict,
        klass=measurement.klass,
        board=measurement.board,
        boot=measurement.boot,
        t=measurement.t,
    )
