"""Finds records, `@<id|!> {json}*<crc>`, in the bytes of a serial line.

A record may start anywhere: after another task's text, after a record without its newline, within the remains of a
damaged record. The checksum decides, not the line structure.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from hotpin_hil.protocol.crc import crc16

SPAN_MAX = 1024
"""Maximum length of a record in the search, bytes: twice the protocol's limit, to recognise overlong records."""

_HEAD = re.compile(rb"@(!|[0-9]{1,5}) \{")
_END = re.compile(rb"\}\*([0-9A-F]{4})")
_BREAK = re.compile(rb"[^\x20-\x7e]")
"""A record is printable ASCII on one line: any other byte ends it."""
_HEAD_MAX = len(b"@65535 {")

CHECKSUM_WRONG = "does not match"
"""Part of `Corrupt.reason` if only the checksum is wrong."""

Kind = Literal["reply", "event"]


@dataclass(frozen=True)
class Record:
    """One undamaged record."""

    kind: Kind
    id: int | None
    """Request id of a reply, None for an event."""
    data: dict[str, Any]
    raw: bytes = field(repr=False)
    """The received bytes of the record; empty if the record was not made from bytes."""
    offset: int
    """Offset of its `@` in the stream, bytes."""

    @property
    def t_ms(self) -> int:
        """Time of the record, ms since boot."""
        return int(self.data["t"])

    @property
    def boot(self) -> str:
        """Boot id: 8 hex digits, new at each boot."""
        return str(self.data["b"])

    @property
    def n(self) -> int:
        """Sequence number within the boot."""
        return int(self.data["n"])

    @property
    def more(self) -> bool:
        """Whether more records belong to the same reply or event."""
        return self.data.get("more") is True

    @property
    def event(self) -> str | None:
        """Name of an event, None for a reply."""
        return str(self.data.get("event", "")) if self.kind == "event" else None


@dataclass(frozen=True)
class Corrupt:
    """Bytes that start like a record but are damaged, cut off, or overwritten by another record."""

    raw: bytes
    offset: int
    reason: str


def encode(head: str, data: dict[str, Any]) -> bytes:
    """Encode a record as the firmware does; for tests and tools.

    Args:
        head: a request id, or `!` for an event.
        data: its fields.
    """
    body = f"{head} {json.dumps(data, separators=(',', ':'))}".encode("ascii")
    return b"@%s*%04X\n" % (body, crc16(body))


_WHOLE = re.compile(rb"@(!|[0-9]{1,5}) \{[\x20-\x7e]*\}\*([0-9A-F]{4})\r?\n?")


def read_record(line: bytes, offset: int = 0) -> Record | None:
    """Parse a line that is exactly one undamaged record; returns None for any other line."""
    found = _WHOLE.fullmatch(line)
    if found is None or len(line) > SPAN_MAX:
        return None
    body = line[1 : found.start(2) - 1]
    if crc16(body) != int(found[2], 16):
        return None
    item = _decode(found[1], body, line[: found.end(2)], offset)
    return item if isinstance(item, Record) else None


class RecordScanner:
    """Scans a stream, fed in chunks of any size, for records."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._base = 0
        """Stream offset of the buffer's first byte."""
        self.damaged = 0
        """Number of damaged records so far."""

    def feed(self, data: bytes) -> list[Record | Corrupt]:
        """Scan the next chunk; returns the intact and damaged records that it completes, in stream order."""
        self._buffer += data
        found: list[Record | Corrupt] = []
        while (head := _HEAD.search(self._buffer)) is not None:
            start = head.start()
            item, used = self._take(head)
            if item is None:
                self._drop(start)
                return found
            if isinstance(item, Corrupt):
                self.damaged += 1
            found.append(item)
            self._drop(start + used)
        # Keep a possible start of a record's head.
        at = self._buffer.rfind(b"@", max(0, len(self._buffer) - _HEAD_MAX))
        self._drop(len(self._buffer) if at < 0 else at)
        return found

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self._base += count

    def _take(self, head: re.Match[bytes]) -> tuple[Record | Corrupt | None, int]:
        """Parse the item that starts at `head`, and its length; (None, 0) if more bytes are needed to decide."""
        start = head.start()
        window = bytes(self._buffer[start : start + SPAN_MAX])
        offset = self._base + start
        stop = _BREAK.search(window)
        text = window[: stop.start()] if stop else window
        reason = "cut off"
        ends = list(_END.finditer(text))
        for end in ends:
            body = text[1 : end.start() + 1]
            if crc16(body) == int(end[1], 16):
                return _decode(head[1], body, text[: end.end()], offset), end.end()
            reason = f"checksum {end[1].decode()} {CHECKSUM_WRONG}"
        # An intact record later in the text means that this record will never be completed.
        following = _HEAD.search(text, 1) if ends else None
        while following is not None:
            rest = text[following.start() :]
            if any(crc16(rest[1 : end.start() + 1]) == int(end[1], 16) for end in _END.finditer(rest)):
                return Corrupt(text[: following.start()], offset, "overwritten"), following.start()
            following = _HEAD.search(text, following.start() + 1)
        if stop is None and len(window) < SPAN_MAX:
            return None, 0
        if stop is None:
            reason = f"longer than {SPAN_MAX} bytes"
        return Corrupt(text, offset, reason), len(text)


def _decode(head: bytes, body: bytes, raw: bytes, offset: int) -> Record | Corrupt:
    try:
        data = _JSON.decode(body[body.index(b"{") :].decode("ascii"))
    except (ValueError, RecursionError) as error:
        return Corrupt(raw, offset, f"checksum correct, JSON invalid: {error}")
    for key, kind in (("t", int), ("b", str), ("n", int)):
        if type(data.get(key)) is not kind:
            return Corrupt(raw, offset, f"checksum correct, but {key!r} is missing or not {kind.__name__}")
    if head == b"!":
        return Record("event", None, data, raw, offset)
    return Record("reply", int(head), data, raw, offset)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


_JSON = json.JSONDecoder(parse_constant=_refuse)
