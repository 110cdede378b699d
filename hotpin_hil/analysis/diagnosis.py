"""From a log's events to what was wrong with memory: by name, with the lines that show it and what to do.

Pure: events go in, diagnoses come out. What the log states is a fact; what only follows from it together with
what recorded boards have taught is called an inference.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from hotpin_hil.telemetry.events import Event


class Confidence(str, Enum):
    FACT = "fact"
    """The log itself says so."""
    INFERENCE = "inference"
    """It fits what the log says; something else could look the same."""

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Evidence:
    """A line of the log that shows it. The text may hold anything: show it escaped."""

    line: int
    t_ms: int | None
    text: str


@dataclass(frozen=True)
class Diagnosis:
    id: str
    """"DIAG-01" … "DIAG-04" of the guide's troubleshooting section, or the catalogue's name."""
    name: str
    finding: str
    """One sentence."""
    evidence: tuple[Evidence, ...]
    cause: str
    remedy: str
    confidence: Confidence
    boot: int
    """0-based boot of the log that it was first seen in."""
    count: int = 1
    """How many times the log shows it."""


def diagnose(events: Iterable[Event]) -> list[Diagnosis]:
    """All that the events show, in the order in which it was first seen."""
    diagnoser = Diagnoser()
    for event in events:
        diagnoser.feed(event)
    return diagnoser.result()


class Diagnoser:
    """`diagnose` for a stream; what it keeps does not grow with the log."""

    def feed(self, event: Event) -> None:
        """Take in the next event."""

    def result(self) -> list[Diagnosis]:
        """What was found so far."""
        return []
