"""The predictions that boards sent, each with the warning that followed, as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hotpin_hil.evidence.lines import EventNote
from hotpin_hil.report.chart import Table
from hotpin_hil.report.story import TestStory

EVENT = "mem.predicted"
NEVER = 2**32 - 1
ROWS_MAX = 60
TYPES = {
    ("internal", False): "INTERNAL_LOW",
    ("internal", True): "INTERNAL_CRITICAL",
    ("dma", False): "DMA_LOW",
    ("dma", True): "DMA_CRITICAL",
    ("psram", False): "PSRAM_LOW",
    ("psram", True): "PSRAM_CRITICAL",
}
"""Type of the warning that a prediction of this memory type and level announces."""
COLUMNS = (
    "test",
    "mode",
    "warning",
    "loss, B/h",
    "windows",
    "expected, s",
    "earliest, s",
    "latest, s",
    "actual, s",
    "in the interval",
)


def predictions_table(stories: Iterable[TestStory]) -> Table | None:
    """One row for each prediction, at most ROWS_MAX; None if there are none."""
    rows = [row for story in stories for row in _rows(story)]
    return Table(COLUMNS, tuple(rows[:ROWS_MAX])) if rows else None


def _rows(story: TestStory) -> Iterable[tuple[str, ...]]:
    for number, event in enumerate(story.events):
        if event.event != EVENT:
            continue
        try:
            yield (
                story.test.rpartition("::")[2],
                *_cells(event.data, _warning(event, story.events[number:])),
            )
        except (KeyError, TypeError, ValueError):
            story.odd += 1


def _cells(data: Mapping[str, Any], warned: EventNote | None) -> tuple[str, ...]:
    times = [int(data[name]) for name in ("expected_ms", "earliest_ms", "latest_ms")]
    after_ms = None if warned is None else int(warned.data["timestamp_ms"]) - int(data["timestamp_ms"])
    is_inside = None if after_ms is None else times[1] <= after_ms <= times[2]
    return (
        str(data["state"]),
        TYPES[str(data["memory"]), bool(data["critical"])],
        f"{int(data['loss_per_hour']):,}",
        f"{int(data['windows'])}",
        *(_seconds(time) for time in times),
        "" if after_ms is None else _seconds(after_ms),
        {None: "no warning came", True: "yes", False: "no"}[is_inside],
    )


def _warning(prediction: EventNote, later: Sequence[EventNote]) -> EventNote | None:
    """The first warning of the announced type in the same boot."""
    wanted = TYPES[str(prediction.data["memory"]), bool(prediction.data["critical"])]
    return next(
        (
            event
            for event in later
            if event.moment.boot == prediction.moment.boot
            and event.event == "mem.warning"
            and event.data.get("type") == wanted
        ),
        None,
    )


def _seconds(time_ms: int) -> str:
    return "never" if time_ms == NEVER else f"{time_ms / 1000:,.1f}"
