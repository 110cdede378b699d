"""Encodings of a capture: terminals save UTF-8 with or without a byte order mark, and Windows tools save UTF-16."""

from __future__ import annotations

import codecs

SAMPLE = 1_024
"""Number of bytes at the start of a log that decide its encoding."""
_UTF16 = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}
_NULS_MIN = 0.6
"""UTF-16 without a mark: the minimum share of characters with an upper byte of 0. A console log is mostly ASCII."""
_PAIRS_MIN = 8
"""Number of characters needed to recognise UTF-16 without a mark."""
_MARKED_NULS_MIN = 0.25
"""The same share with a mark, because noise at the start of a serial log may look like a mark. Boxes have fewer ASCII
characters."""


class TextDecoder:
    """Turns a capture in any of these encodings, fed in chunks of any size, into UTF-8."""

    def __init__(self, *, is_live: bool = False) -> None:
        """Start with an unknown encoding.

        Args:
            is_live: decide the encoding from the first line, without waiting for more.
        """
        self._is_live = is_live
        self._head: bytes | None = b""
        """The start of the log until it is long enough; None afterwards."""
        self._utf16: codecs.IncrementalDecoder | None = None

    def feed(self, data: bytes) -> bytes:
        """Decode the next chunk."""
        if self._head is not None:
            self._head += data
            line = self._head.find(b"\n") + 1 if self._is_live else 0
            if len(self._head) < SAMPLE and not line:
                return b""
            data = self._start(self._head, line or SAMPLE)
        return self._decode(data)

    def close(self) -> bytes:
        """End the log; returns the text that was still waiting for more bytes."""
        rest = self._start(self._head) if self._head is not None else b""
        return self._decode(rest, final=True)

    def _start(self, head: bytes, sample: int = SAMPLE) -> bytes:
        self._head = None
        if head.startswith(codecs.BOM_UTF8):
            return head[len(codecs.BOM_UTF8) :]
        encoding, begin = _utf16(head[: min(sample, SAMPLE)])
        if encoding:
            self._utf16 = codecs.getincrementaldecoder(encoding)(errors="replace")
        return head[begin:]

    def _decode(self, data: bytes, *, final: bool = False) -> bytes:
        if self._utf16 is None:
            return data
        return self._utf16.decode(data, final).encode("utf-8", errors="replace")


def _utf16(sample: bytes) -> tuple[str, int]:
    """UTF-16 encoding of a log's first bytes, and length of its byte order mark; ("", 0) if it is not UTF-16."""
    for encoding, mark in _UTF16.items():
        begin = len(mark) if sample.startswith(mark) else 0
        upper = 1 if encoding == "utf-16-le" else 0
        pairs = (len(sample) - begin) // 2
        end = begin + 2 * pairs
        nuls, others = (sample[begin + byte : end : 2].count(0) for byte in (upper, 1 - upper))
        if begin and nuls >= _MARKED_NULS_MIN * pairs and nuls >= others:
            return encoding, begin
        if pairs >= _PAIRS_MIN and not begin and nuls >= _NULS_MIN * pairs and not others:
            return encoding, 0
    return "", 0
