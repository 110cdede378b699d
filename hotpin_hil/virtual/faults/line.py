"""Faults on the serial line that change the bytes passing through."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Protocol

from hotpin_hil.virtual.faults.table import BOTH, TIME, Arguments

_HEADER = re.compile(rb"(?:\x1b\[[\d;]*m)?[EWIDV] \((\d+)\)")
_HEADER_MAX = 24


class Filter(Protocol):
    """A filter of a byte stream, chunk by chunk. `done` becomes true when it makes no further changes."""

    @property
    def done(self) -> bool: ...

    def __call__(self, data: bytes) -> bytes: ...


class _Bytes:
    """Changes single bytes at random: each byte with probability `rate`, and at most `count` bytes (0: no limit)."""

    def __init__(self, change: Callable[[int], bytes], rate: float, count: int, dice: random.Random) -> None:
        self._change = change
        self._rate = rate
        self._left = count or -1
        self._dice = dice

    @property
    def done(self) -> bool:
        return self._left == 0

    def __call__(self, data: bytes) -> bytes:
        out = bytearray()
        for byte in data:
            if self._left and self._dice.random() < self._rate:
                self._left -= 1
                out += self._change(byte)
            else:
                out.append(byte)
        return bytes(out)


class _Lines:
    """Breaks up `count` text lines, each after the first byte for which `place(length so far, byte)` is true.

    `inserted` is written there, with `{ms}` replaced by the time in the header of that line or of an earlier line; if
    it is None, the rest of the line is dropped instead.
    """

    def __init__(self, place: Callable[[int, int], bool], inserted: bytes | None, count: int) -> None:
        self._place = place
        self._inserted = inserted
        self._left = count
        self._length = 0
        self._header = bytearray()  # not the whole line: loader traffic may have no newline for megabytes
        self._time = b"0"
        self._losing = False

    @property
    def done(self) -> bool:
        return self._left == 0 and not self._losing

    def __call__(self, data: bytes) -> bytes:
        out = bytearray()
        for byte in data:
            if byte == 0x0A:
                out += b"\r\n" if self._losing else b"\n"
                self._losing = False
                self._length = 0
                self._header.clear()
                continue
            if self._losing:
                continue
            self._length += 1
            out.append(byte)
            if self._length <= _HEADER_MAX:
                self._header.append(byte)
            if self._left and self._place(self._length, byte):
                self._left -= 1
                self._length = 0
                if self._inserted is None:
                    self._losing = True
                else:
                    header = _HEADER.match(self._header)
                    self._time = header[1] if header else self._time
                    out += self._inserted.replace(TIME.encode(), self._time)
        return bytes(out)


def _inside_character(_length: int, byte: int) -> bool:
    """Whether the byte starts a multi-byte character."""
    return byte >= 0xC2


class _Place:
    """A random position in a line, drawn again for each line."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._at = dice.randint(2, 40)

    def __call__(self, length: int, _byte: int) -> bool:
        if length != self._at:
            return False
        self._at = self._dice.randint(2, 40)
        return True


class LineFaults:
    """Active faults on one serial line; the same seed changes the same bytes in the same way."""

    def __init__(self) -> None:
        self._to_host: list[Filter] = []
        self._to_board: list[Filter] = []
        self.changes = 0
        """Number of chunks that faults have changed since the board was created."""

    def add(self, name: str, arguments: Arguments, seed: str) -> None:
        """Add a fault of the table's group "line" that changes bytes."""
        dice = random.Random(seed)
        if name in ("cut-utf8", "foreign-line"):
            self._to_host.append(_lines_filter(name, arguments, dice))
            return
        for filters, direction in ((self._to_host, "to-host"), (self._to_board, "to-board")):
            if arguments["direction"] in (direction, BOTH):
                rate, count = float(arguments["rate"]), int(arguments["count"])
                filters.append(_Bytes(_change(name, dice), rate, count, dice))

    def clear(self) -> None:
        """Remove all faults; bytes pass unchanged."""
        self._to_host.clear()
        self._to_board.clear()

    def to_host(self, data: bytes) -> bytes:
        """The bytes that reach the client for `data` sent by the chip."""
        return self._through(self._to_host, data)

    def to_board(self, data: bytes) -> bytes:
        """The bytes that reach the chip for `data` sent by the client."""
        return self._through(self._to_board, data)

    def _through(self, filters: list[Filter], data: bytes) -> bytes:
        for fault in list(filters):
            before, data = data, fault(data)
            self.changes += data != before
            if fault.done:
                filters.remove(fault)
        return data


def _change(name: str, dice: random.Random) -> Callable[[int], bytes]:
    changes: dict[str, Callable[[int], bytes]] = {
        "noise": lambda byte: bytes([byte ^ 1 << dice.randrange(8)]),
        "drop": lambda byte: b"",
        "insert": lambda byte: bytes([dice.randrange(256), byte]),
        "duplicate": lambda byte: bytes([byte, byte]),
    }
    return changes[name]


def _lines_filter(name: str, arguments: Arguments, dice: random.Random) -> Filter:
    count = int(arguments["count"])
    if name == "cut-utf8":
        return _Lines(_inside_character, None, count)
    inserted = f"{arguments['text']}\r\n".encode()
    if arguments["inside"] == "character":
        return _Lines(_inside_character, inserted, count)
    return _Lines(_Place(dice), inserted, count)
