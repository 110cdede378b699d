"""Memory over the whole log: one series for each memory type and each source that prints it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.fields import MEMORIES

SERIES_MAX = 64
POINTS_KEPT = 512
"""A series that reaches this length is thinned out to its extremes, so that memory does not grow with the log."""
_GROUP = 4
FREE, LARGEST, USED = "free", "largest", "used"
RECORDS, BOXES = "statistics (record)", "statistics (box)"
NO_TAG = "the firmware"
"""Source of readings in lines without a tag."""


class Point(NamedTuple):
    """One reading."""

    boot: int
    t_ms: int | None
    line: int
    bytes: int


@dataclass
class MemorySeries:
    """The readings of one quantity from one source. Longer series keep only the extremes of groups of points."""

    source: str
    """Tag of the component that printed it, RECORDS, BOXES or NO_TAG."""
    memory: str
    """"internal", "dma", "psram" or "heap"."""
    quantity: str
    """FREE, LARGEST or USED."""
    first: Point
    lowest: Point
    highest: Point
    last: Point
    count: int = 0
    points: list[Point] = field(default_factory=list)

    def add(self, point: Point) -> None:
        """Add the next reading."""
        self.count += 1
        self.last = point
        if point.bytes < self.lowest.bytes:
            self.lowest = point
        if point.bytes > self.highest.bytes:
            self.highest = point
        self.points.append(point)
        if len(self.points) == POINTS_KEPT:
            self.points = _thinned(self.points)

    def to_json(self) -> dict[str, Any]:
        """The series as a JSON-serializable dict; each point is [boot, time in ms, line, bytes]."""
        return {
            "source": self.source,
            "memory": self.memory,
            "quantity": self.quantity,
            "readings": self.count,
            "first": self.first.bytes,
            "lowest": self.lowest.bytes,
            "lowest_line": self.lowest.line,
            "highest": self.highest.bytes,
            "last": self.last.bytes,
            "points": [list(point) for point in self.points],
        }


def _thinned(points: list[Point]) -> list[Point]:
    """The lowest and the highest point of each group of points."""
    kept: list[Point] = []
    for at in range(0, len(points), _GROUP):
        group = points[at : at + _GROUP]
        extremes = (
            min(group, key=lambda point: point.bytes),
            max(group, key=lambda point: point.bytes),
        )
        kept += sorted(set(extremes), key=lambda point: point.line)
    return kept


class SeriesBuilder:
    """Collects all readings of memory in a log."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str, str], MemorySeries] = {}

    def feed(self, event: ev.LogEvent) -> None:
        """Add the readings of an event, if it has any."""
        if isinstance(event, ev.HeapPrint):
            source = event.tag or NO_TAG
            self._add(event, source, event.memory, FREE, event.free)
            if event.largest is not None:
                self._add(event, source, event.memory, LARGEST, event.largest)
        elif isinstance(event, ev.LargestPrint):
            self._add(event, event.tag or NO_TAG, event.memory, LARGEST, event.largest)
        elif isinstance(event, ev.TaskMemory):
            self._add(event, f"task {event.task}", "heap", USED, event.used)
        elif isinstance(event, ev.Sample):
            source = RECORDS if event.source == "record" else BOXES
            for memory in MEMORIES:
                free, largest, _ = event.stats.memory(memory)
                self._add(event, source, memory, FREE, free)
                self._add(event, source, memory, LARGEST, largest)

    def _add(self, event: ev.LogEvent, source: str, memory: str, quantity: str, size: int) -> None:
        point = Point(event.boot, event.t_ms, event.line, size)
        known = self._series.get((source, memory, quantity))
        if known is None:
            if len(self._series) == SERIES_MAX:
                return
            known = MemorySeries(source, memory, quantity, point, point, point, point)
            self._series[source, memory, quantity] = known
        known.add(point)

    def result(self) -> tuple[MemorySeries, ...]:
        """All series. Boxes repeat the records, so they count only in a log without records."""
        every = self._series.values()
        has_records = any(series.source == RECORDS for series in every)
        return tuple(series for series in every if not (has_records and series.source == BOXES))
