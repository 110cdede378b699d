"""Turns chunks of a log into windows of whole lines in UTF-8, without colours, carriage returns and prefixes."""

from __future__ import annotations

import re

from hotpin_hil.logs.encoding import TextDecoder
from hotpin_hil.logs.format import LogFormat
from hotpin_hil.logs.prefix import LivePrefixRemover, PrefixRemover
from hotpin_hil.protocol.log import COLOUR, ERASED

LINE_MAX = 64 * 1024
"""Bytes; a longer line is truncated and counted."""
WINDOW = 64 * 1024
"""Size of a window of whole lines, in bytes, for the search of a prefix. Unlike chunks, windows depend only on the
log."""

_COLOURED = re.compile(rb"\x1b\[[0-9;]*m[^\n]*\n")
_BROKEN_COLOUR = re.compile(rb"\x1b[^\n]*\n")
_BARE_COLOUR = re.compile(
    rb"(?:\xe2\x90\x9b|\[1B\]|\[ESC\]|<ESC>|\^\[|\\(?:033|x1[bB]|u001[bB]|e)|#033)\[(?:\d{1,2}(?:;\d{1,2}){0,3})?[mK]|"
    rb"\[(?:0|[01];3\d|3\d|1)m"
)
"""A colour code without its ESC, which a clipboard, a web page or a system log has replaced or dropped."""
_ANY_COLOUR = re.compile(rb"\[[\d;]{0,11}[mK]")
"""The common part of all these codes; searching for it is ten times as fast."""
_COLOUR_REST = re.compile(rb"\[0(?:;3\d)?m[^\n]*\n")
_REPLACED = re.compile("�[^\n]*\n")


class BlockCutter:
    """Cuts a stream into windows of whole lines; counts the colours and damage that it removes in `form`."""

    def __init__(self, form: LogFormat, *, is_live: bool = False) -> None:
        """Start with an empty stream.

        Args:
            form: counts colours and damage.
            is_live: return each line as soon as it is whole, instead of windows.
        """
        self.bytes = 0
        """Bytes of the log as UTF-8."""
        self.overlong_lines = 0
        self.ends_with_newline = True
        self._form = form
        self._decoder = TextDecoder(is_live=is_live)
        self._prefix = PrefixRemover()
        self._live_prefix = LivePrefixRemover() if is_live else None
        self._carry = b""
        self._is_skipping = False
        self._waiting = b""
        """Whole lines that do not fill a window yet."""

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes of the log.

        Returns:
            The lines of each window that is now full (live: each complete line), without prefixes and colours.
        """
        return self._windows(self._whole_lines(self._decoder.feed(data)))

    def close(self) -> bytes:
        """End the log; returns its last lines. An unterminated line gets a newline."""
        block = self._whole_lines(self._decoder.close())
        self.ends_with_newline = not self._carry and not self._is_skipping
        if self._carry:
            block += self._carry + b"\n"
            self._carry = b""
        lines = self._windows(block)
        rest, self._waiting = self._waiting, b""
        return lines + (self._prefix.remove(rest) if rest else b"")

    def _windows(self, block: bytes) -> bytes:
        if not block:
            return b""
        if self._live_prefix is not None:
            return self._live_prefix.remove(self._plain(block))
        self._waiting += self._plain(block)
        lines, start = [], 0
        while len(self._waiting) - start >= WINDOW:
            end = self._waiting.index(b"\n", start + WINDOW - 1) + 1
            lines.append(self._prefix.remove(self._waiting[start:end]))
            start = end
        self._waiting = self._waiting[start:]
        return b"".join(lines)

    def _whole_lines(self, data: bytes) -> bytes:
        self.bytes += len(data)
        if self._is_skipping:
            end = data.find(b"\n")
            if end < 0:
                return b""
            data, self._is_skipping = data[end:], False
        end = data.rfind(b"\n") + 1
        block = self._carry + data[:end] if end else b""
        self._carry = data[end:] if end else self._carry + data
        if len(self._carry) > LINE_MAX:
            self._carry, self._is_skipping = self._carry[:LINE_MAX], True
            self.overlong_lines += 1
        return self._shortened(block)

    def _shortened(self, block: bytes) -> bytes:
        start = 0
        while len(block) - start > LINE_MAX + 1:
            end = block.rfind(b"\n", start, start + LINE_MAX + 1)
            if end < 0:
                end = start + LINE_MAX
                block = block[:end] + block[block.index(b"\n", end) :]
                self.overlong_lines += 1
            start = end + 1
        return block

    def _plain(self, block: bytes) -> bytes:
        form = self._form
        if b"\x1b" in block:
            if b"\r\x1b[K" in block:
                block = ERASED.sub(b"", block)
            form.ansi_lines += len(_COLOURED.findall(block))
            block = COLOUR.sub(b"", block)
            form.broken_ansi_lines += len(_BROKEN_COLOUR.findall(block))
        if b"[0" in block:
            form.broken_ansi_lines += len(_COLOUR_REST.findall(block))
        if _ANY_COLOUR.search(block):
            block = _BARE_COLOUR.sub(b"", block)
        if b"\r" in block:  # a Windows capture in text mode turns CR LF into CR CR LF
            block = block.replace(b"\r\r\n", b"\n").replace(b"\r\n", b"\n")
        if not block.isascii():
            text = block.decode("utf-8", errors="replace")
            lines = _REPLACED.findall(text) if "�" in text else []
            form.replacement_chars += sum(line.count("�") for line in lines)
            form.lines_with_replacement += len(lines)
        return block
