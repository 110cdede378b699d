"""Follows a console log that is still being written. Pure: bytes in, state and news out.

    log = LiveLog()
    for chunk in port: print(log.feed(chunk), log.gauges, log.findings)

It uses the reader, the summary and the diagnoses of a finished log, so the findings after `close` match those of
`analyze`. The state and the news do not depend on how the log is split into chunks.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping

from hotpin_hil.analysis.diagnosis import Diagnoser
from hotpin_hil.analysis.gauges import Gauges
from hotpin_hil.analysis.model import Diagnosis
from hotpin_hil.analysis.news import News, news_of, news_of_diagnosis
from hotpin_hil.analysis.summary import BootSummary, SummaryBuilder
from hotpin_hil.logs.reader import LogReader
from hotpin_hil.protocol import events as ev

Key = tuple[str, str]

BOOT_EVENTS = 5_000
"""Maximum number of the current boot's newest events that an early diagnosis considers."""
READINGS_MIN = 16
"""Number of memory readings in a boot before the first early diagnosis."""
NEWS_MAX = 20
"""Of each type of news, the first items of a boot are all reported, up to this number; then only the 32nd, 64th, …"""
REPEAT_MS = 1_000
"""A record and a log line that report the same warning are at most this far apart."""


class LiveLog:
    """The state of a log so far. Its memory use does not grow with the log."""

    def __init__(self) -> None:
        self.reader = LogReader(is_live=True)
        self.summary = SummaryBuilder()
        self.gauges = Gauges()
        self.mode = ""
        """Mode after the newest complete transition of this boot; empty before the first."""
        self.target = ""
        """Target mode of the transition in progress; empty outside a transition."""
        self._diagnoser = Diagnoser()
        self._told: dict[Key, None] = {}
        """Keys of the reported diagnoses, in the order of their report."""
        self._early: dict[Key, Diagnosis] = {}
        """Diagnoses that `_diagnoser` has not made yet, because it waits for more of the log."""
        self._running = 0
        """Number of reported diagnoses that `_diagnoser` made."""
        self._boot_events: deque[ev.LogEvent] = deque(maxlen=BOOT_EVENTS)
        self._counts: Counter[str] = Counter()
        """Number of events of this boot, by type."""
        self._warning: ev.MemoryWarning | None = None

    @property
    def findings(self) -> list[Diagnosis]:
        """The diagnoses so far, in the order of their report."""
        known = {**self._early, **self._diagnoser.found}
        return [known[key] for key in self._told if key in known]

    @property
    def boot(self) -> BootSummary | None:
        """The current boot; None before the first event."""
        return self.summary.present

    def feed(self, data: bytes) -> list[News]:
        """Process the next bytes; returns the news items in the lines that they complete."""
        return self._take(self.reader.feed(data))

    def close(self) -> list[News]:
        """End the log; returns the news items that its end completes."""
        news = self._take(self.reader.close())
        self.summary.close(self.reader.scan.headed_lines)
        self._diagnoser.result()
        self._early.clear()
        return news + self._new_findings()

    def _take(self, events: Iterable[ev.LogEvent]) -> list[News]:
        news: list[News] = []
        for event in events:
            news += self._event(event)
        return news

    def _event(self, event: ev.LogEvent) -> list[News]:
        late = self._end_boot() if isinstance(event, ev.BootStarted) else []
        self.summary.feed(event)
        self.gauges.take(event)
        self._diagnoser.feed(event)
        self._boot_events.append(event)
        if isinstance(event, ev.TransitionStarted):
            self.target = event.to
        elif isinstance(event, ev.Transition):
            self.target = ""
            self.mode = event.to if event.result == "complete" else self.mode
        self._counts[type(event).__name__] += 1
        news = self._news(event)
        found = self._new_findings()
        early = self._judge_early() if self._is_due(event) else []
        return [*late, *([news] if news else []), *found, *early]

    def _end_boot(self) -> list[News]:
        ended = self._boot_events[-1].boot if self._boot_events else None
        news = self._judge_early() if any(found.boot == ended for found in self._early.values()) else []
        self.mode = self.target = ""
        self._boot_events.clear()
        self._counts.clear()
        return news

    def _news(self, event: ev.LogEvent) -> News | None:
        if isinstance(event, ev.MemoryWarning):
            before, self._warning = self._warning, event
            if before is not None and _is_repeated(before, event):
                return None
        count = self._counts[type(event).__name__]
        if count > NEWS_MAX and not _is_power_of_two(count):
            return None
        news = news_of(event)
        if news is None or count <= NEWS_MAX:
            return news
        text = f"{news.text} (number {count:,} of this boot; not all are shown)"
        return News(news.kind, news.line, news.boot, news.t_ms, text, event)

    def _new_findings(self) -> list[News]:
        if len(self._diagnoser.keys) == self._running:
            return []
        self._running = len(self._diagnoser.keys)
        return self._add(self._diagnoser.found)

    def _is_due(self, event: ev.LogEvent) -> bool:
        """Whether this event should trigger an early diagnosis of the boot: a failure, or a memory reading (for leaks).

        Frequent events trigger a diagnosis only when their number has doubled, so that the total time stays linear.
        """
        count = self._counts[type(event).__name__]
        match event:
            case ev.PanicSeen() | ev.AllocationFailed() | ev.Transition(result="failed"):
                return count <= NEWS_MAX or _is_power_of_two(count)
            case ev.Sample() | ev.HeapPrint():
                return count >= READINGS_MIN and _is_power_of_two(count)
        return False

    def _judge_early(self) -> list[News]:
        """Find the diagnoses that `analyze` would make from this boot's events if the log ended here."""
        judge = Diagnoser()
        for event in self._boot_events:
            judge.feed(event)
        judge.result()
        boot, running = self._boot_events[-1].boot, self._diagnoser.keys
        kept = {key: found for key, found in self._early.items() if found.boot != boot}
        self._early = kept | {key: found for key, found in judge.found.items() if key not in running}
        return self._add(self._early)

    def _add(self, found: Mapping[Key, Diagnosis]) -> list[News]:
        new = [key for key in found if key not in self._told]
        self._told |= dict.fromkeys(new)
        return [news_of_diagnosis(found[key]) for key in new]


def _is_repeated(before: ev.MemoryWarning, warning: ev.MemoryWarning) -> bool:
    is_same = (before.memory, before.level, before.recovered) == (
        warning.memory,
        warning.level,
        warning.recovered,
    )
    is_near = abs((before.t_ms or 0) - (warning.t_ms or 0)) <= REPEAT_MS
    return is_same and is_near and before.source != warning.source


def _is_power_of_two(count: int) -> bool:
    return count & (count - 1) == 0
