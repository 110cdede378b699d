"""Notes about the output of one board during one test: its events, and the replies that a report needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hotpin_hil.evidence.lines import EventNote, Moment, ReplyNote, ResultsLine
from hotpin_hil.protocol.fragments import EventAssembler
from hotpin_hil.protocol.records import Record

KEPT_REPLIES = ("mode.ledger", "mem.thresholds")
"""Console commands with replies that the report needs."""
HISTORY = "mem.history"
"""Command for the history in flash. A test that has written a history for the report stores the reply itself."""
REGIONS = "heap.regions"
"""The reply to this command is stored if a test failed because of a memory shortage."""
RESOURCES = "sys.resources"
"""Only the heaps' blocks in a test's first reply to this command are stored."""
COMMANDS = (*KEPT_REPLIES, HISTORY, REGIONS, RESOURCES)
"""Commands whose replies may be in the results."""

_MODE_EVENT = "mode"
_ENVELOPE = frozenset(("t", "b", "n", "event", "more", "part_of"))
"""Fields that the results line stores elsewhere, or that matter only on the wire."""


class BoardNotes:
    """Writes the notes of one board in one test.

    The reader thread calls `record`, the test thread all other methods.
    """

    def __init__(
        self, test: str, board: Callable[[], str | None], sink: Callable[[ResultsLine], None]
    ) -> None:
        """Create the notes for one test.

        Args:
            test: node id.
            board: returns the board's MAC once it is known.
            sink: receives each line immediately; must be thread-safe.
        """
        self._test = test
        self._board = board
        self._sink = sink
        self._assembler = EventAssembler()
        self._index = 0
        self._mode: str | None = None
        self._boot: str | None = None
        self._t: int | None = None
        self._has_resources = False

    @property
    def moment(self) -> Moment:
        """Moment of the newest record."""
        return Moment(self._test, self._board(), self._boot, self._t)

    def record(self, record: Record) -> None:
        """Update boot, time and mode from any record; emit a note if the record completes an event."""
        if record.boot != self._boot:
            self._mode = None
        self._boot, self._t = record.boot, record.t_ms
        event = self._assembler.feed(record, self._index)
        self._index += 1
        if event is None:
            return
        if event.name == _MODE_EVENT:
            reached = event.data.get("to") if event.data.get("ok") is True else event.data.get("mode")
            self._mode = str(reached) if reached is not None else None
        self._sink(EventNote(self.moment, self._mode, event.name, _content(event.data)))

    def reply(self, command: str, data: Mapping[str, Any]) -> None:
        """Emit a note for the reply, if the report needs replies to this command."""
        if command in KEPT_REPLIES:
            self.keep_reply(command, data)
        elif command == RESOURCES and not self._has_resources:
            self._has_resources = True
            self.keep_reply(command, {"heaps": data.get("heaps")})

    def keep_reply(self, command: str, data: Mapping[str, Any]) -> None:
        """Emit a note for the reply to any command."""
        self._sink(ReplyNote(self.moment, self._mode, command, _content(data, "ok")))


def _content(data: Mapping[str, Any], *without: str) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name not in _ENVELOPE.union(without)}
