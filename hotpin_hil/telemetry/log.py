"""ESP-IDF console log: splitting a byte stream into lines, and `I (123) TAG: text` into its parts."""

from __future__ import annotations

import re
from typing import NamedTuple

LINE_MAX = 4096
"""A longer run without a newline, bytes, is cut there: it is noise, not a log line."""

COLOUR = re.compile(rb"\x1b\[[0-9;]*m")
ERASED = re.compile(rb"[^\n]*\r\x1b\[K")
"""What a terminal is told to erase: prompt and line of the firmware's console, in front of another task's line."""
_LINE = re.compile(r"([EWIDV]) \((\d+)\) ([^\s:][^:]*): (.*)", re.DOTALL)


class Line(NamedTuple):
    """One line of the stream: text without colours and line end, and where its first byte stands."""

    text: str
    offset: int
    number: int = 0
    """Counted from 1, where lines are counted."""

    @property
    def whole(self) -> str:
        """The line as it was printed."""
        return self.text


class LogLine(NamedTuple):
    """A line in ESP_LOG's shape."""

    level: str
    """E, W, I, D or V."""
    t_ms: int
    tag: str
    text: str
    offset: int = 0
    number: int = 0
    """As of Line."""
    is_joined: bool = False
    """Another line had cut it, and it was put together again."""
    is_fall: bool = False
    """Its time lies so far below those before it that the clock must have started again."""

    @property
    def whole(self) -> str:
        """The line as it was printed."""
        return f"{self.level} ({self.t_ms}) {self.tag}: {self.text}"


class LineSplitter:
    """Incremental; feed it the stream in any chunks. Takes `\\n` and `\\r\\n`; drops ANSI colours and erased text."""

    def __init__(self, offset: int = 0) -> None:
        self._buffer = bytearray()
        self._base = offset

    def feed(self, data: bytes) -> list[Line]:
        """The lines that `data` completes."""
        self._buffer += data
        lines: list[Line] = []
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

    def flush(self) -> list[Line]:
        """The unfinished line at the end of a recording, if there is one."""
        rest, self._buffer = bytes(self._buffer), bytearray()
        return [self._line(rest)] if rest else []

    def _line(self, raw: bytes) -> Line:
        plain = COLOUR.sub(b"", ERASED.sub(b"", raw))
        return Line(plain.rstrip(b"\r").decode("utf-8", errors="replace"), self._base)


def parse_log_line(line: Line | str) -> LogLine | None:
    """The parts of a line in ESP_LOG's shape, None for any other."""
    text, offset = (line, 0) if isinstance(line, str) else (line.text, line.offset)
    match = _LINE.fullmatch(text)
    if match is None:
        return None
    return LogLine(match[1], int(match[2]), match[3], match[4], offset)
