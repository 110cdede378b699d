"""What was wrong with memory in a test, found again from what results.jsonl keeps of it.

The board's records of the test and its complaints are written out as the board sent them, with its panics where they
stood, and read by the reader of console logs: a report and `hotpin-hil analyze` never differ about the same events.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hotpin_hil.analysis.diagnosis import Diagnosis, diagnose
from hotpin_hil.evidence.lines import Line
from hotpin_hil.logs.reader import read_events
from hotpin_hil.protocol.records import encode
from hotpin_hil.report.story import TestStory

EVENT_HEAD = "!"
REPLY_HEAD = "1"


def diagnoses_of(story: TestStory) -> list[Diagnosis]:
    """All that the test's events and panics show, in the order in which it was first seen."""
    return diagnose(read_events(b"".join(_console(story))))


def _console(story: TestStory) -> Iterator[bytes]:
    """The test's records, complaints and panics as console lines. A panic ends a boot: it stands before the next one's
    records."""
    panics = [_line(one["text"]) for one in story.panics]
    complaints: dict[str, list[Line]] = {}
    for one in story.complaints:
        complaints.setdefault(one["boot"], []).append(one)
    boot: str | None = None
    for number, line in enumerate(story.events):
        if boot is not None and boot != line["boot"]:
            yield from _logged(complaints.pop(boot, []))
            if panics:
                yield panics.pop(0)
        boot = line["boot"]
        if isinstance(line["t"], int):
            yield from _logged(complaints.get(boot, []), line["t"])
        yield _record(EVENT_HEAD, line, number, {**line["data"], "event": line["event"]})
    yield from _logged(complaints.pop(boot or "", []))
    for answer in story.regions:
        heaps = answer["data"]["regions"]
        for place, heap in enumerate(heaps, start=1):
            part = {"ok": True, "regions": [heap], "more": place < len(heaps)}
            yield _record(REPLY_HEAD, answer, len(story.events) + place, part)
    yield from panics


def _record(head: str, line: Line, number: int, data: dict[str, Any]) -> bytes:
    return encode(head, {**data, "t": line["t"], "b": line["boot"], "n": number})


def _logged(complaints: list[Line], until_ms: int | None = None) -> Iterator[bytes]:
    """Takes from their front those that had been logged by then, or all."""
    while complaints and (until_ms is None or complaints[0]["t"] <= until_ms):
        yield _line(complaints.pop(0)["text"])


def _line(text: str) -> bytes:
    return text.encode("utf-8", errors="replace") + b"\n"
