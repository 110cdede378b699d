"""Tests the report's table of predictions, which compares the firmware's announcements with the warnings that
follow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hotpin_hil.evidence.lines import EventNote, Moment
from hotpin_hil.report.predictions import predictions_table
from hotpin_hil.report.story import read_stories

PREDICTED = {
    "memory": "psram",
    "state": "voice",
    "critical": False,
    "threshold": 512_000,
    "timestamp_ms": 10_000,
    "loss_per_hour": 72_000,
    "windows": 24,
    "expected_ms": 5_000,
    "earliest_ms": 4_000,
    "latest_ms": 6_500,
}


def note(event: str, data: Mapping[str, Any], boot: str = "1") -> EventNote:
    return EventNote(Moment("test_x.py::test_fall", "mac", boot, 10_000), "voice", event, data)


def warning(kind: str, at_ms: int, boot: str = "1") -> EventNote:
    data = {"type": kind, "value": 1, "threshold": 2, "timestamp_ms": at_ms}
    return note("mem.warning", data, boot)


def last_cells(*notes: EventNote) -> tuple[str, ...]:
    table = predictions_table(read_stories(notes).values())
    assert table is not None
    (row,) = table.rows
    assert row[:8] == ("test_fall", "voice", "PSRAM_LOW", "72,000", "24", "5.0", "4.0", row[7])
    return row[7:]


def test_prediction_is_shown_with_the_warning_that_followed() -> None:
    predicted = note("mem.predicted", PREDICTED)
    assert last_cells(predicted, warning("PSRAM_LOW", 16_500)) == ("6.5", "6.5", "yes")
    assert last_cells(predicted, warning("PSRAM_LOW", 16_501)) == ("6.5", "6.5", "no")
    assert last_cells(predicted, warning("PSRAM_LOW", 13_999)) == ("6.5", "4.0", "no")
    other = (warning("PSRAM_CRITICAL", 14_500), warning("PSRAM_LOW", 14_500, boot="2"))
    assert last_cells(warning("PSRAM_LOW", 9_000), predicted, *other) == ("6.5", "", "no warning came")
    endless = note("mem.predicted", {**PREDICTED, "latest_ms": 2**32 - 1})
    assert last_cells(endless, warning("PSRAM_LOW", 99_000)) == ("never", "89.0", "yes")


def test_no_predictions_make_no_table_and_malformed_ones_are_counted() -> None:
    stories = read_stories([note("mem.predicted", {**PREDICTED, "memory": "unknown"})])
    assert predictions_table(stories.values()) is None
    assert [story.odd for story in stories.values()] == [1]
