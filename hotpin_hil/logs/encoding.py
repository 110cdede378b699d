"""Encodings of a capture: terminals save UTF-8 with or without a mark, and Windows tools save UTF-16."""

from __future__ import annotations

import codecs

SAMPLE = 1_024
"""Bytes at the start of a log that decide about its encoding."""
_MARKS = (
    (codecs.BOM_UTF8, ""),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_NULS_MIN = 0.6
"""UTF-16 without a mark: the share of characters whose upper byte is 0. A console log is mostly ASCII."""


class TextDecoder:
    """Turns a capture of any of these encodings into UTF-8, in chunks of any size."""

    def __init__(self) -> None:
        self._head: bytes | None = b""
        """The start of the log until it is long enough; None afterwards."""
        self._utf16: codecs.IncrementalDecoder | None = None

    def feed(self, data: bytes) -> bytes:
        """Decode the next chunk."""
        if self._head is not None:
            self._head += data
            if len(self._head) < SAMPLE:
                return b""
            data = self._start(self._head)
        return self._decode(data)

    def close(self) -> bytes:
        """End the log; returns its rest."""
        rest = self._start(self._head) if self._head is not None else b""
        return self._decode(rest, final=True)

    def _start(self, head: bytes) -> bytes:
        self._head = None
        mark, encoding = next((known for known in _MARKS if head.startswith(known[0])), (b"", _guess(head)))
        if encoding:
            self._utf16 = codecs.getincrementaldecoder(encoding)(errors="replace")
        return head[len(mark) :]

    def _decode(self, data: bytes, *, final: bool = False) -> bytes:
        if self._utf16 is None:
            return data
        return self._utf16.decode(data, final).encode("utf-8", errors="replace")


def _guess(head: bytes) -> str:
    """The UTF-16 without a mark that a log starts with, empty for any other encoding."""
    sample = head[:SAMPLE]
    pairs = len(sample) // 2
    if not pairs:
        return ""
    even, odd = sample[0 : 2 * pairs : 2].count(0), sample[1 : 2 * pairs : 2].count(0)
    if odd >= _NULS_MIN * pairs and not even:
        return "utf-16-le"
    return "utf-16-be" if even >= _NULS_MIN * pairs and not odd else ""
