"""Diagnoses memory problems of a test from its notes in results.jsonl.

The board's events, errors, warnings and panics pass through the same handlers and the same diagnosis as a console log,
so a report and `hotpin-hil analyze` agree about the same events.
"""

from __future__ import annotations

from typing import Any

from hotpin_hil.analysis.diagnosis import diagnose
from hotpin_hil.analysis.model import Diagnosis
from hotpin_hil.evidence.lines import ComplaintNote, EventNote, ReplyNote
from hotpin_hil.logs.interpreter import LineInterpreter
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.log import LineSplitter, LogLine, parse_log_line
from hotpin_hil.protocol.records import Kind, Record
from hotpin_hil.report.story import TestStory

REPLY_ID = 1


def diagnoses_of(story: TestStory) -> list[Diagnosis]:
    """Diagnoses from the test's events and panics, in the order of their first evidence."""
    return diagnose(_events(story))


def _events(story: TestStory) -> list[ev.LogEvent]:
    """The typed events of a test. A panic ends a boot, so it comes before the records of the next boot."""
    replay = _Replay()
    panics = [panic.text for panic in story.panics]
    complaints: dict[str | None, list[ComplaintNote]] = {}
    for complaint in story.complaints:
        complaints.setdefault(complaint.boot, []).append(complaint)
    boot: str | None = None
    for number, line in enumerate(story.events):
        if boot is not None and boot != line.boot:
            replay.complaints(complaints.pop(boot, []))
            if panics:
                replay.text(panics.pop(0))
        boot = line.boot
        if isinstance(line.t, int):
            replay.complaints(complaints.get(boot, []), line.t)
        replay.record("event", line, number, {**line.data, "event": line.event})
    replay.complaints(complaints.pop(boot or "", []))
    for answer in story.regions:
        replay.record("reply", answer, len(story.events) + 1, {"regions": answer.data["regions"]})
    for panic in panics:
        replay.text(panic)
    return replay.events()


class _Replay:
    """Feeds the notes of the results to the handlers of console logs, and also serves as their clock."""

    headed_lines = 0

    def __init__(self) -> None:
        self.high_ms: int | None = None
        self._number = 0
        self._lines = LineInterpreter(self)

    def restart_clock(self) -> None:
        """Restart the clock for the next boot."""
        self.high_ms = None

    def record(self, kind: Kind, line: EventNote | ReplyNote, number: int, data: dict[str, Any]) -> None:
        """Feed a record to the diagnosis. Records without board time or boot, which only damaged results have, are
        ignored."""
        if not isinstance(line.t, int) or not isinstance(line.boot, str):
            return
        self._number += 1
        data = {**data, "t": line.t, "b": line.boot, "n": number}
        self._lines.take_record(
            self._number, Record(kind, None if kind == "event" else REPLY_ID, data, raw=b"", offset=0)
        )

    def complaints(self, waiting: list[ComplaintNote], until_ms: int | None = None) -> None:
        """Remove the errors and warnings before a time (None: all) from the front of the list, and feed their text."""
        while waiting and (until_ms is None or (waiting[0].t or 0) <= until_ms):
            self.text(waiting.pop(0).text)

    def text(self, text: str) -> None:
        """Feed console text to the diagnosis, line by line."""
        for line in LineSplitter().feed(text.encode("utf-8", errors="replace") + b"\n"):
            self._number += 1
            parsed = parse_log_line(line) or line
            if isinstance(parsed, LogLine) and parsed.t_ms is not None:
                self.high_ms = max(self.high_ms or 0, parsed.t_ms)
            self._lines.take(parsed._replace(number=self._number))

    def events(self) -> list[ev.LogEvent]:
        """Complete the last events and return all."""
        self._lines.close()
        return self._lines.events()
