"""Joins events that did not fit into one record."""

from __future__ import annotations

from hotpin_hil.protocol.answers import Event, merge_parts
from hotpin_hil.protocol.records import Record


class EventAssembler:
    """Joins the records of events, in the order of arrival on a channel."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Record]] = {}

    def feed(self, record: Record, index: int) -> Event | None:
        """Add the next record to its event.

        Args:
            record: the record.
            index: its index on the channel.

        Returns:
            The event that the record completes, None if more records follow.
        """
        if record.event is None:
            return None
        parts = self._parts.setdefault(record.event, [])
        if parts and (parts[-1].boot, parts[-1].n + 1) != (record.boot, record.n):
            parts.clear()  # its other records were lost, which the sequence numbers reveal
        parts.append(record)
        if record.more:
            return None
        data = merge_parts([part.data for part in parts])
        parts.clear()
        return Event(record.event, data, record.t_ms, record.boot, record.n, index)
