"""SLIP framing as the ESP32's serial loader uses it (RFC 1055, one frame per packet)."""

from __future__ import annotations

END = 0xC0
ESC = 0xDB
ESC_END = 0xDC
ESC_ESC = 0xDD

MAX_FRAME = 8 + 0x4000 + 0xFF
"""Longest decoded frame, in bytes: the stub's buffer for a header and a flash block of 16 KB."""


def encode(packet: bytes) -> bytes:
    """Wrap `packet` in one frame."""
    body = packet.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc")
    return b"\xc0" + body + b"\xc0"


class Decoder:
    """Extracts frames from a byte stream; drops and counts frames that are malformed or too long.

    Bytes between two frames look like a frame and are returned like a frame; the loader ignores them
    because they are not a packet.
    """

    def __init__(self) -> None:
        self._frame = bytearray()
        self._bad = False
        self._escape_open = False
        self.dropped = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Return the decoded frames that `data` completes; empty frames are skipped."""
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
        if self._bad:
            return
        if self._escape_open:
            part = b"\xdb" + part
        self._escape_open = part.endswith(b"\xdb")
        content = _unescape(part[:-1] if self._escape_open else part)
        if content is None or len(self._frame) + len(content) > MAX_FRAME:
            self._bad = True
            self._frame.clear()
        else:
            self._frame += content

    def _finish(self) -> bytes | None:
        packet = None if self._bad or self._escape_open else bytes(self._frame)
        self._frame.clear()
        self._bad = self._escape_open = False
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
