"""What was wrong with memory in a test, found again from what results.jsonl keeps of it.

The board's records of the test are written out as the board sent them, with its panics where they stood, and read by
the reader of console logs: a report and `hotpin-hil analyze` never differ about the same events.
"""

from __future__ import annotations

from collections.abc import Iterator

from hotpin_hil.analysis.diagnosis import Diagnosis, diagnose
from hotpin_hil.link.records import encode
from hotpin_hil.report.story import Story
from hotpin_hil.telemetry.reader import read_events

EVENT_HEAD = "!"


def diagnoses_of(story: Story) -> list[Diagnosis]:
    """All that the test's events and panics show, in the order in which it was first seen."""
    return diagnose(read_events(b"".join(_console(story))))


def _console(story: Story) -> Iterator[bytes]:
    """The test's records and panics as console lines. A panic ends a boot: it stands before the next one's records."""
    panics = [line["text"].encode("utf-8", errors="replace") + b"\n" for line in story.panics]
    boot = None
    for number, line in enumerate(story.events):
        if boot not in (None, line["boot"]) and panics:
            yield panics.pop(0)
        boot = line["boot"]
        envelope = {"event": line["event"], "t": line["t"], "b": boot, "n": number}
        yield encode(EVENT_HEAD, {**line["data"], **envelope})
    yield from panics
