"""Records the measurements of one test and derives a verdict per requirement."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from hotpin_hil.evidence.lines import FaultNote, LeftOutNote, MeasurementLine, ResultsLine, SeriesNote
from hotpin_hil.evidence.model import (
    LimitArguments,
    Measurement,
    MeasurementClass,
    Value,
    Verdict,
    json_value,
    make_limit,
    worst,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

Sink = Callable[[ResultsLine], None]
"""Writes a line of results.jsonl at once, so that a killed run keeps what it has measured."""


class Recorder:
    """The measurements of one test. A value out of limit does not stop the test, which fails at its end.

    `where` may be set to a function that returns (boot id, ms since boot) of the newest record from the board; it is
    called for each measurement.
    """

    def __init__(self, test: str, requirements: Iterable[str], sink: Sink) -> None:
        self.test = test
        self.requirements = tuple(requirements)
        self.measurements: list[Measurement] = []
        self.board: str | None = None
        """MAC of the board under test, once known."""
        self.where: Callable[[], tuple[str | None, int | None]] = lambda: (None, None)
        self._sink = sink

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
        """Records `value` against the one limit given and returns the record.

        Args:
            name: What was measured, the same in every run.
            value: The value.
            unit: Unit of value and limit ("B", "ms", "" for none).
            requirement: Id or ids that it shows; None for all ids of the test.
            klass: "modelled" for a value that only echoes the board profile.
            limit: Exactly one limit, see LimitArguments.

        Raises:
            TypeError: There is not exactly one limit.
            ValueError: The test is not marked with an id.
        """
        boot, t = self.where()
        measurement = Measurement(
            test=self.test,
            requirement=self._ids(requirement),
            name=name,
            value=value,
            unit=unit,
            limit=make_limit(**limit),
            klass=MeasurementClass(klass),
            board=self.board,
            boot=boot,
            t=t,
        )
        line = line_of(measurement)
        self.measurements.append(measurement)
        self._sink(line)
        return measurement

    def series(self, name: str, values: Sequence[float], unit: str = "", budget: float | None = None) -> None:
        """Records the readings that a leak verdict is based on: one value per cycle, in the same state.

        Args:
            name: What was read.
            values: One value per cycle.
            unit: Unit of values and budget.
            budget: Allowed loss per cycle; None if the series is not judged for a leak.
        """
        self._sink(SeriesNote(self.test, self.board, name, unit, tuple(values), budget))

    def left_out(self, what: str) -> None:
        """Records what the test would show on another bench or another kind of board."""
        ids = ", ".join(self.requirements)
        self._sink(LeftOutNote(f"{ids} without {what}" if ids else what))

    def fault(self, fault: str) -> None:
        """Records an injected fault: name, arguments, seed."""
        self._sink(FaultNote(self.test, self.board, fault))

    def _ids(self, requirement: str | Iterable[str] | None) -> tuple[str, ...]:
        if requirement is None:
            return self.requirements
        ids = (requirement,) if isinstance(requirement, str) else tuple(requirement)
        foreign = [one for one in ids if one not in self.requirements]
        if foreign:
            raise ValueError(
                f"{self.test} measures for {', '.join(foreign)} but is marked "
                f"@pytest.mark.requirement({', '.join(map(repr, self.requirements))})"
            )
        return ids

    @property
    def failures(self) -> list[Measurement]:
        """The measurements out of limit."""
        return [one for one in self.measurements if one.verdict is Verdict.FAIL]

    def verdicts(self) -> dict[str, Verdict]:
        """The verdict of each requirement from its measurements alone; UNSET if there are none."""
        return {one: self._verdict(one) for one in self.requirements}

    def _verdict(self, requirement: str) -> Verdict:
        own = [one for one in self.measurements if requirement in one.requirement]
        failed = any(one.verdict is Verdict.FAIL for one in own)
        measured = [one.verdict for one in own if one.klass is MeasurementClass.MEASURED]
        if failed:
            return Verdict.FAIL
        if own and not measured:
            return Verdict.NOT_APPLICABLE
        return worst(measured) or Verdict.UNSET


def line_of(measurement: Measurement) -> MeasurementLine:
    """The line of results.jsonl."""
    return MeasurementLine(
        test=measurement.test,
        requirement=measurement.requirement,
        name=measurement.name,
        value=json_value(measurement.value),
        unit=measurement.unit,
        limit=measurement.limit,
        margin=measurement.limit.margin(measurement.value),
        verdict=measurement.verdict,
        klass=measurement.klass,
        board=measurement.board,
        boot=measurement.boot,
        t=measurement.t,
    )
