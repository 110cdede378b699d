"""Chunks of a log → blocks of whole lines, without colours and carriage returns."""

from __future__ import annotations

import re

from hotpin_hil.logs.format import LogFormat
from hotpin_hil.protocol.log import COLOUR, ERASED

LINE_MAX = 64 * 1024
"""Bytes; a longer line is truncated and counted."""

_COLOURED = re.compile(rb"\x1b\[[0-9;]*m[^\n]*\n")
_BROKEN_COLOUR = re.compile(rb"\x1b[^\n]*\n")
_COLOUR_REST = re.compile(rb"\[0(?:;3\d)?m[^\n]*\n")
_REPLACED = re.compile("�[^\n]*\n")


class BlockCutter:
    """Cuts a stream into blocks of whole lines; counts the colours and damage that it removes in `form`."""

    def __init__(self, form: LogFormat) -> None:
        self.bytes = 0
        self.overlong_lines = 0
        self.ends_with_newline = True
        self._form = form
        self._carry = b""
        self._is_skipping = False

    def feed(self, data: bytes) -> bytes:
        """The lines that `data` completes."""
        block = self._whole_lines(data)
        return self._plain(block) if block else b""

    def close(self) -> bytes:
        """End the log; returns its unterminated last line with a newline added, or nothing."""
        self.ends_with_newline = not self._carry and not self._is_skipping
        if self.ends_with_newline:
            return b""
        rest, self._carry = self._carry, b""
        return self._plain(rest + b"\n")

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
            block = ERASED.sub(b"", block)
            form.ansi_lines += len(_COLOURED.findall(block))
            block = COLOUR.sub(b"", block)
            form.broken_ansi_lines += len(_BROKEN_COLOUR.findall(block))
        if b"[0" in block:
            form.broken_ansi_lines += len(_COLOUR_REST.findall(block))
        if b"\r" in block:
            block = block.replace(b"\r\n", b"\n")
        if not block.isascii():
            text = block.decode("utf-8", errors="replace")
            lines = _REPLACED.findall(text) if "�" in text else []
            form.replacement_chars += sum(line.count("�") for line in lines)
            form.lines_with_replacement += len(lines)
        return block
