"""SLIP framing as the ESP32's serial loader uses it (RFC 1055, one frame per packet)."""

from __future__ import annotations

END = 0xC0
ESC = 0xDB
ESC_END = 0xDC
ESC_ESC = 0xDD

MAX_FRAME = 8 + 0x4000 + 0xFF
"""Longest frame a decoder keeps, in bytes: the stub's buffer for a header and a flash block of 16 KB."""


def encode(packet: bytes) -> bytes:
    """One frame with `packet` inside."""
    body = packet.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc")
    return b"\xc0" + body + b"\xc0"


class Decoder:
    """Finds frames in a byte stream; a frame that is malformed or too long is dropped and counted.

    Whatever lies between two frames looks like a frame of its own and is handed out: the loader drops it
    because it is no packet.
    """

    def __init__(self) -> None:
        self._frame = bytearray()
        self._bad = False
        self.dropped = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Frames completed by `data`, without their escapes; empty ones are not reported."""
        frames: list[bytes] = []
        start = 0
        while True:
            end = data.find(END, start)
            self._append(data[start:] if end < 0 else data[start:end])
            if end < 0:
                return frames
            frame = self._finish()
            if frame:
                frames.append(frame)
            start = end + 1

    def _append(self, part: bytes) -> None:
        if len(self._frame) + len(part) > MAX_FRAME:
            self._bad = True
            self._frame.clear()
        if not self._bad:
            self._frame += part

    def _finish(self) -> bytes | None:
        raw, bad = bytes(self._frame), self._bad
        self._frame.clear()
        self._bad = False
        packet = None if bad else _unescape(raw)
        if packet is None:
            self.dropped += 1
        return packet


def _unescape(raw: bytes) -> bytes | None:
    first, *rest = raw.split(b"\xdb")
    parts = [first]
    for part in rest:
        if part[:1] == b"\xdc":
            parts.append(b"\xc0" + part[1:])
        elif part[:1] == b"\xdd":
            parts.append(b"\xdb" + part[1:])
        else:
            return None
    return b"".join(parts)
