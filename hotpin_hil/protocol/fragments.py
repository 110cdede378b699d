"""Events from their records: one that did not fit into a record comes in several."""

from __future__ import annotations

from hotpin_hil.protocol.answers import Event, merge_parts
from hotpin_hil.protocol.records import Record


class EventAssembler:
    """Feed it the records of a channel in the order of arrival."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Record]] = {}

    def feed(self, record: Record, index: int) -> Event | None:
        """The event that this record completes; index: the record's place on the channel."""
        if record.event is None:
            return None
        parts = self._parts.setdefault(record.event, [])
        if parts and (parts[-1].boot, parts[-1].n + 1) != (record.boot, record.n):
            parts.clear()  # its other records were lost, which the sequence tells
        parts.append(record)
        if record.more:
            return None
        data = merge_parts([part.data for part in parts])
        parts.clear()
        return Event(record.event, data, record.t_ms, record.boot, record.n, index)
