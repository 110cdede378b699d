"""Collector for the events of a log's handlers."""

from __future__ import annotations

from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.decode import Place
from hotpin_hil.protocol.log import ConsoleLine, LogLine


class EventSink:
    """Collects events in order and counts boots."""

    def __init__(self, first_boot: int = 0) -> None:
        self._first_boot = self._boot = first_boot
        self._events: list[ev.LogEvent] = []

    @property
    def boot(self) -> int:
        """Number of the current boot; the log's first boot is 0."""
        return self._boot

    @property
    def is_first_boot(self) -> bool:
        """Whether no boot has ended yet."""
        return self._boot == self._first_boot

    def next_boot(self) -> None:
        """Assign the following events to the next boot."""
        self._boot += 1

    def place(self, line: int, t_ms: int | None) -> Place:
        """A place in the current boot."""
        return Place(line, self._boot, t_ms)

    def emit(self, event: ev.LogEvent) -> None:
        """Append an event."""
        self._events.append(event)

    def emit_unreadable(self, what: str, reason: str, line: ConsoleLine | LogLine) -> None:
        """Append an Unreadable event for a line."""
        place = self.place(line.number, None)
        self.emit(ev.Unreadable(*place, what=what, reason=reason, quote=ev.quote(line.whole)))

    def take(self) -> list[ev.LogEvent]:
        """Return the events since the last call, and forget them."""
        taken, self._events = self._events, []
        return taken
