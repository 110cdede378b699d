"""Models RTC memory across a reset: two banks of snapshots, used alternately. Each part has its own CRC.

Written from mem_ring.h. A flipped bit must invalidate exactly the part that contains it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.model.memory import expect, expect_rows
from tests.model.rings import HISTORY

BOOT_AT = 8
"""Offset of boot count and boot id in a bank, after magic and generation."""
HEADER_BYTES, SLOT_BYTES = 20, 124
HINT_BYTES = 16
"""Bytes at the end of RTC memory with ESP-IDF's reset hint, which are not part of the firmware's data."""

Row = dict[str, Any]


@dataclass
class Bank:
    """Snapshots of one boot."""

    generation: int
    count: int
    boot_id: str
    rows: list[Row] = field(default_factory=list)
    valid: bool = True


class Survival:
    """Expected content of the two banks."""

    def __init__(self, rtc_file: Path) -> None:
        self._file = rtc_file
        self._banks: list[Bank | None] = [None, None]
        self._present = 0

    def _last(self) -> Bank | None:
        valid = [bank for bank in self._banks if bank is not None and bank.valid]
        return max(valid, key=lambda bank: bank.generation, default=None)

    def check_last(self, reply: Row, reason: str, count: int, boot_id: str) -> None:
        """Check the reply of `sys.last` at the start of boot `count`. This boot then takes over the other bank."""
        last = self._last()
        said = {key: reply.get(key) for key in ("reset_reason", "boot_count", "boot_id")}
        rows = [dict(zip(reply.get("fields", []), row, strict=True)) for row in reply["snapshots"]]
        survived = last is not None and bool(last.rows)
        wanted = {"reset_reason": reason, "boot_count": last.count if last and survived else None,
                  "boot_id": last.boot_id if last and survived else None}  # fmt: skip
        expect(said == wanted, f"sys.last says {said} instead of {wanted}")
        kept = last.rows if last is not None else []
        seen = [{key: row.get(key) for key in known} for row, known in zip(rows, kept, strict=False)]
        expect_rows(seen + rows[len(seen) :], kept, "sys.last")
        self._present = 1 - self._banks.index(last) if last is not None else 0
        generation = last.generation + 1 if last is not None else 1
        self._banks[self._present] = Bank(generation, count, boot_id)

    def boot_ended(self, rows: list[Row], power_lost: bool) -> None:
        """Note the end of the boot; its snapshots are passed newest first."""
        if power_lost:
            self._banks = [None, None]
            return
        bank = self._banks[self._present]
        assert bank is not None
        bank.rows = rows[:HISTORY]

    def flip(self, bits: list[int]) -> None:
        """Flip bits of RTC memory, counted from the start of the current boot's bank. The program must have ended."""
        content = bytearray(self._file.read_bytes())
        room = (len(content) - HINT_BYTES) * 8
        start = self._find(content, self._banks[self._present])
        for bit in sorted({(start * 8 + bit) % room for bit in bits}):
            content[bit // 8] ^= 1 << bit % 8
            for bank in self._banks:
                if bank is not None and bank.valid:
                    self._damage(bank, bit // 8 - self._starts[id(bank)])
        self._file.write_bytes(content)

    def _find(self, content: bytearray, present: Bank | None) -> int:
        self._starts = {}
        for bank in self._banks:
            if bank is not None and bank.valid:
                at = content.find(struct.pack("<II", bank.count, int(bank.boot_id, 16)))
                expect(at >= BOOT_AT, f"boot {bank.boot_id}, count {bank.count}, is not in RTC memory")
                self._starts[id(bank)] = at - BOOT_AT
        return self._starts[id(present)]

    @staticmethod
    def _damage(bank: Bank, offset: int) -> None:
        if 0 <= offset < HEADER_BYTES:
            bank.valid = False
        slot = (offset - HEADER_BYTES) // SLOT_BYTES
        if 0 <= slot < HISTORY:
            bank.rows = [row for row in bank.rows if row["sequence"] % HISTORY != slot]
