"""Rows of the memory history, from the flash of a board (`memory_history`, history_group.h) or its console."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from hotpin_hil.protocol.answers import parse_answer
from hotpin_hil.protocol.crc import crc16
from hotpin_hil.protocol.errors import ProtocolError
from hotpin_hil.protocol.nvs import read_nvs

NAMESPACE = "mem_history"
REASONS = ("regular", "critical", "requested")
GROUP_ROWS, GROUPS = 6, 25
ROWS_MIN = GROUP_ROWS * (GROUPS - 1) + 1
"""Minimum number of rows that a board keeps, once it has written that number."""

_FORMAT = 0x4D48
_HEADER = struct.Struct("<4H")
_ROW = struct.Struct("<3I3I3I3BB2H12s")


@dataclass(frozen=True)
class HistoryRow:
    """One row: a summary of the samples since the last row."""

    sequence: int
    boot_count: int
    uptime_s: int
    internal_free: int
    """Minimum free bytes; `_largest`: the minimum of the largest free block; `_fragmentation`: the maximum, percent."""
    internal_largest: int
    internal_fragmentation: int
    dma_free: int
    dma_largest: int
    dma_fragmentation: int
    psram_free: int
    psram_largest: int
    psram_fragmentation: int
    warnings: int
    failed_allocations: int
    reason: str
    state: str


@dataclass(frozen=True)
class FlashHistory:
    """Reply to `mem.history store=flash`."""

    rows: tuple[HistoryRow, ...]
    """Newest first."""
    newest: int
    written: int
    damaged: int
    every_s: int
    paused: bool
    write_err: str
    bytes_internal: int
    stack_size: int
    observe_us: int


def parse_flash_history(reply: Mapping[str, Any], what: str) -> FlashHistory:
    """Parse the reply of the console: `fields` names the columns of each row of `rows`.

    Raises:
        ProtocolError: a field is missing or has another type, or a row does not fit the columns.
    """
    names = reply.get("fields", [])
    rows = []
    for row in reply.get("rows", []):
        if len(row) != len(names):
            raise ProtocolError(f"{what}: a row has {len(row)} values for {len(names)} fields")
        rows.append(parse_answer(HistoryRow, dict(zip(names, row, strict=True)), what))
    return parse_answer(FlashHistory, {**reply, "rows": tuple(rows)}, what)


def rows_in_flash(partition: bytes) -> list[HistoryRow]:
    """The rows in the content of an "nvs" partition, oldest first.

    Damaged groups, and groups of other firmware, are ignored.
    """
    found: dict[int, HistoryRow] = {}
    for key, blob in read_nvs(partition, NAMESPACE).blobs.items():
        found |= {row.sequence: row for row in _rows_in(key, blob)}
    newest = max(found, default=0)
    return [found[number] for number in sorted(found) if number > newest - GROUP_ROWS * GROUPS]


def _rows_in(key: str, blob: bytes) -> list[HistoryRow]:
    if len(blob) < _HEADER.size + _ROW.size:
        return []
    format_, count, check, _ = _HEADER.unpack_from(blob)
    content = blob[_HEADER.size :]
    is_whole = format_ == _FORMAT and len(content) == count * _ROW.size and count <= GROUP_ROWS
    if not is_whole or check != crc16(count.to_bytes(2, "little") + content):
        return []
    rows = [_row(values) for values in _ROW.iter_unpack(content)]
    first = rows[0].sequence
    is_in_place = key == f"g{(first - 1) // GROUP_ROWS % GROUPS:02d}" and (first - 1) % GROUP_ROWS == 0
    follow = all(row.sequence == first + place for place, row in enumerate(rows))
    return rows if first and is_in_place and follow else []


def _row(values: tuple[Any, ...]) -> HistoryRow:
    sequence, boot_count, uptime_s, *rest = values
    free, largest, fragmentation = rest[:3], rest[3:6], rest[6:9]
    reason, warnings, failed, state = rest[9:]
    memories = [value for memory in zip(free, largest, fragmentation, strict=True) for value in memory]
    name = REASONS[reason] if reason < len(REASONS) else str(reason)
    text = state.split(b"\0")[0].decode("utf-8", "replace")
    return HistoryRow(*[sequence, boot_count, uptime_s, *memories, warnings, failed, name, text])


COLUMNS = tuple(field.name for field in fields(HistoryRow))
