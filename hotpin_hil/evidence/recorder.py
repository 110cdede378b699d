"""Takes the measurements of one test and knows what they come to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from hotpin_hil.evidence import lines
from hotpin_hil.evidence.model import (
    LimitArguments,
    Measurement,
    MeasurementClass,
    Value,
    Verdict,
    make_limit,
    worst,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

Sink = Callable[[dict[str, Any]], None]
"""Takes a line of results.jsonl at once, so that a killed run keeps what it had measured."""


class Recorder:
    """The measurements of one test. A value out of its limit does not stop the test; it fails at its end.

    `where` may be set to a function that returns (boot id, ms since boot) of the newest record from the
    board: it is asked at each measurement.
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

        name: what was measured, the same in every run. unit: of value and limit ("B", "ms", "" for none).
        requirement: the id or ids it shows; without it all ids of the test. klass: "modelled" for a value that
        only echoes the board profile. Raises TypeError for anything but exactly one limit, ValueError for an id
        the test does not name.
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
        line = measurement.as_json()
        self.measurements.append(measurement)
        self._sink(line)
        return measurement

    def series(self, name: str, values: Sequence[float], unit: str = "", budget: float | None = None) -> None:
        """Keeps what a leak verdict was made of: one value per cycle, in the same state.

        budget: how much may be lost per cycle, in `unit`; None where it is not a loss that was judged.
        """
        self._sink(lines.series(self.test, self.board, name=name, unit=unit, values=values, budget=budget))

    def left_out(self, what: str) -> None:
        """Keeps what the test would show on another bench, or another kind of board."""
        ids = ", ".join(self.requirements)
        self._sink(lines.left_out(f"{ids} without {what}" if ids else what))

    def fault(self, fault: str) -> None:
        """Keeps what was made to go wrong on purpose: name, arguments, seed."""
        self._sink(lines.fault(self.test, self.board, fault))

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
        """The measurements out of their limit."""
        return [one for one in self.measurements if one.verdict is Verdict.FAIL]

    def verdicts(self) -> dict[str, Verdict]:
        """Per requirement of the test, what its measurements alone come to. UNSET: nothing was measured for
        it."""
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
