"""ESP-IDF console log: splits bytes into lines, and `I (123) TAG: text` into its parts."""

from __future__ import annotations

import re
from typing import NamedTuple

LINE_MAX = 4096
"""Maximum length of a line in bytes; a longer line must be noise, and is cut."""

COLOUR = re.compile(rb"\x1b\[[0-9;]*m")
ERASED = re.compile(rb"(?m)^[^\n]*\r\x1b\[K")
"""Text that a terminal would erase: the console's prompt and input line, when another task prints a line."""
_LINE = re.compile(r"([EWIDV]) \((\d{1,10})\) ([^\s:][^:]*): (.*)", re.DOTALL)


class ConsoleLine(NamedTuple):
    """One line of the stream: its text without colours and newline, and the offset of its first byte."""

    text: str
    offset: int
    number: int = 0
    """From 1; 0 if lines are not counted."""

    @property
    def whole(self) -> str:
        """The line as printed."""
        return self.text


class LogLine(NamedTuple):
    """A line in the format of ESP_LOG."""

    level: str
    """E, W, I, D or V."""
    t_ms: int | None
    """None for a header without a time."""
    tag: str
    text: str
    offset: int = 0
    number: int = 0
    """From 1; 0 if lines are not counted."""
    is_joined: bool = False
    """Another task's output split the line; the parts were joined again."""
    is_fall: bool = False
    """The time is far behind the times of earlier lines, so the board's clock must have restarted."""

    @property
    def whole(self) -> str:
        """The line as printed."""
        time = "" if self.t_ms is None else f" ({self.t_ms})"
        return f"{self.level}{time} {self.tag}: {self.text}"


class LineSplitter:
    """Splits a stream, fed in chunks of any size, into lines; drops CR before LF, ANSI colours and erased text."""

    def __init__(self, offset: int = 0) -> None:
        self._buffer = bytearray()
        self._base = offset

    def feed(self, data: bytes) -> list[ConsoleLine]:
        """Split the next chunk; returns the lines that it completes."""
        self._buffer += data
        lines: list[ConsoleLine] = []
        while True:
            end = self._buffer.find(b"\n", 0, LINE_MAX)
            used = end + 1
            if end < 0:
                if len(self._buffer) < LINE_MAX:
                    return lines
                end = used = LINE_MAX
            lines.append(self._line(bytes(self._buffer[:end])))
            del self._buffer[:used]
            self._base += used

    def flush(self) -> list[ConsoleLine]:
        """End the stream; returns its unfinished last line, if any."""
        rest, self._buffer = bytes(self._buffer), bytearray()
        return [self._line(rest)] if rest else []

    def _line(self, raw: bytes) -> ConsoleLine:
        plain = COLOUR.sub(b"", ERASED.sub(b"", raw)) if b"\x1b" in raw else raw
        return ConsoleLine(plain.rstrip(b"\r").decode("utf-8", errors="replace"), self._base)


def parse_log_line(line: ConsoleLine | str) -> LogLine | None:
    """Parse a line in the format of ESP_LOG; return None for any other line."""
    text, offset = (line, 0) if isinstance(line, str) else (line.text, line.offset)
    match = _LINE.fullmatch(text)
    if match is None:
        return None
    return LogLine(match[1], int(match[2]), match[3], match[4], offset)
