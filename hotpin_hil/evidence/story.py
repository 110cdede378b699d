"""What the board said during one test, noted while it says it: events as they come, and the answers worth keeping."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hotpin_hil.evidence.lines import EventNote, Moment, ReplyNote, ResultsLine
from hotpin_hil.protocol.fragments import EventAssembler
from hotpin_hil.protocol.records import Record

KEPT_REPLIES = ("mode.ledger", "mem.thresholds")
"""Commands whose answers a report needs; the tests ask them."""
REGIONS = "heap.regions"
"""Its answer is kept where a test has failed for lack of memory."""

_MODE_EVENT = "mode"
_ENVELOPE = frozenset(("t", "b", "n", "event", "more", "part_of"))
"""Fields of a record that the line has elsewhere or that only matter on the wire."""


class Story:
    """Notes of one board in one test. `event` is called from the reader's thread, all else from the test's."""

    def __init__(
        self, test: str, board: Callable[[], str | None], sink: Callable[[ResultsLine], None]
    ) -> None:
        """board: its MAC, once known. sink: takes each line at once; must stand being called by two threads."""
        self._test = test
        self._board = board
        self._sink = sink
        self._assembler = EventAssembler()
        self._index = 0
        self._mode: str | None = None
        self._boot: str | None = None
        self._t: int | None = None

    @property
    def moment(self) -> Moment:
        """That of the newest record."""
        return Moment(self._test, self._board(), self._boot, self._t)

    def record(self, record: Record) -> None:
        """Takes the next record of the line, whatever it is."""
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
        """Takes the answer to a command; most are not kept."""
        if command in KEPT_REPLIES:
            self.keep_reply(command, data)

    def keep_reply(self, command: str, data: Mapping[str, Any]) -> None:
        """Takes an answer that is kept whatever it is."""
        self._sink(ReplyNote(self.moment, self._mode, command, _content(data, "ok")))


def _content(data: Mapping[str, Any], *without: str) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name not in _ENVELOPE.union(without)}
