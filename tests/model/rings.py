"""Models the bounded buffers of the memory manager: which entries each buffer keeps when it is full, as specified in
memory_manager.h."""

from __future__ import annotations

from collections import deque
from typing import Any

HISTORY, EVENTS, BOXES, FAILURES = 16, 8, 8, 4

Row = dict[str, Any]


class Boxes:
    """Queue of statistics boxes: the oldest is dropped when more than `BOXES` are waiting."""

    def __init__(self) -> None:
        self.waiting: deque[str] = deque()
        self.dropped = 0
        """Number of boxes dropped since boot."""
        self.reported = 0
        """Number of dropped boxes that records have reported."""

    def put(self, context: str) -> None:
        """Note a logged snapshot, whose box must be written or dropped."""
        self.waiting.append(context)
        if len(self.waiting) > BOXES:
            self.waiting.popleft()
            self.dropped += 1


class Events:
    """Warnings, recoveries and failed allocations: the newest `EVENTS` are kept."""

    def __init__(self) -> None:
        self.newest = 0
        self._kept: deque[Row] = deque(maxlen=EVENTS)

    def put(self, event: Row) -> None:
        """Add an event and number it; numbers start at 1."""
        self.newest += 1
        self._kept.append({"sequence": self.newest, **event})

    def since(self, sequence: int) -> list[Row]:
        """Events after this number, oldest first."""
        return [event for event in self._kept if event["sequence"] > sequence]


class History:
    """Snapshots of one boot: the newest `HISTORY` are kept."""

    def __init__(self) -> None:
        self.newest = 0
        self._kept: deque[Row] = deque(maxlen=HISTORY)

    def put(self, row: Row) -> None:
        """Note a logged snapshot."""
        self.newest = row["sequence"]
        self._kept.append(row)

    def rows(self, last: int = HISTORY) -> list[Row]:
        """The newest `last` snapshots, newest first."""
        return list(reversed(self._kept))[:last]


class FailureSlots:
    """Failed allocations waiting for the monitor: the first `FAILURES` are kept, later failures are only counted."""

    def __init__(self) -> None:
        self._kept: deque[Row] = deque()
        self._lost = 0

    def put(self, failure: Row) -> None:
        """Note a failed allocation."""
        if len(self._kept) < FAILURES:
            self._kept.append(failure)
        else:
            self._lost += 1

    def take(self) -> Row | None:
        """Removes the next failure to be reported and returns it with the number of lost failures; None if there is no
        failure."""
        if not self._kept:
            return None
        failure = {**self._kept.popleft(), "lost": self._lost}
        self._lost = 0
        return failure

    def __len__(self) -> int:
        return len(self._kept)
