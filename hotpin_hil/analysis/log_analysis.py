"""One console log, read once from its beginning to its end → everything that can be said about it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from hotpin_hil.analysis.diagnosis import Diagnoser, Diagnosis
from hotpin_hil.analysis.log_facts import FactsBuilder
from hotpin_hil.telemetry import events as ev
from hotpin_hil.telemetry.reader import LogReader

QUOTES_FIRST, QUOTES_LAST = 20, 5
"""Quotes kept of what could not be read: from the beginning and from the end."""


@dataclass(frozen=True)
class LogAnalysis:
    """What a log says. Texts in it may hold anything that a serial line can deliver: show them escaped."""

    facts: dict[str, Any]
    """With the keys and meanings of `facts/log_analysis.md`."""
    not_kept: dict[str, int]
    """How many entries were left out of lists in `facts`, by the list's name; empty for logs of usual size."""
    records: int
    unreadable: dict[str, int]
    """How much could not be read, by what it seemed to be."""
    quotes: tuple[ev.Unreadable, ...]
    """The first and the last of these."""
    diagnoses: tuple[Diagnosis, ...]

    @property
    def is_log(self) -> bool:
        """Whether there is anything in it that an ESP32 prints."""
        boots = self.facts["boots"]
        return bool(self.facts["log_levels"] or self.records or boots["rom_banners"] or self.facts["panics"])

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "facts": self.facts,
            "not_kept": self.not_kept,
            "records": self.records,
            "unreadable": self.unreadable,
            "unreadable_quotes": [asdict(one) for one in self.quotes],
            "diagnoses": [asdict(one) for one in self.diagnoses],
        }


def analyze(chunks: Iterable[bytes], name: str) -> LogAnalysis:
    """The analysis of a log, given in any chunks; memory does not grow with its length."""
    reader, facts, diagnoser, unreadable = LogReader(), FactsBuilder(), Diagnoser(), _Unreadables()

    def take(events: Iterable[ev.Event]) -> None:
        for event in events:
            facts.feed(event)
            diagnoser.feed(event)
            if isinstance(event, ev.Unreadable):
                unreadable.add(event)

    for chunk in chunks:
        take(reader.feed(chunk))
    take(reader.close())
    scan = reader.scan
    counts = unreadable.counts + Counter(
        {
            "time stamp": len(scan.odd_stamps) + scan.not_kept["odd_stamps"],
            "overlong line": scan.overlong_lines,
        }
    )
    return LogAnalysis(
        facts=facts.result(name, reader),
        not_kept=dict(facts.not_kept),
        records=reader.records,
        unreadable=dict(counts),
        quotes=unreadable.quotes,
        diagnoses=tuple(diagnoser.result()),
    )


class _Unreadables:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._first: list[ev.Unreadable] = []
        self._last: deque[ev.Unreadable] = deque(maxlen=QUOTES_LAST)

    def add(self, event: ev.Unreadable) -> None:
        self.counts[event.what] += 1
        if len(self._first) < QUOTES_FIRST:
            self._first.append(event)
        else:
            self._last.append(event)

    @property
    def quotes(self) -> tuple[ev.Unreadable, ...]:
        return (*self._first, *self._last)
