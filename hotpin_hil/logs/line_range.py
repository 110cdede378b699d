"""A part of a log: one boot, or everything since a line or a time of day."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hotpin_hil.errors import UsageError
from hotpin_hil.logs.encoding import TextDecoder
from hotpin_hil.logs.reader import LogReader
from hotpin_hil.protocol import events as ev

_TIME = rb"(?:(\d{4}-\d\d-\d\d)[ T_])?(\d\d:\d\d(?::\d\d)?)"
_GIVEN = re.compile(_TIME)
_STAMP = re.compile(
    rb"(?:[EWIDV] )?\W{0,4}(?:[A-Z][a-z]{2},? {1,2}){0,2}(?:\d{1,2} {1,2})?(?:\d{4} )?%s" % _TIME
)
"""A time stamp at the start of a line: of a terminal, of syslog, or in a header of ESP_LOG."""


@dataclass(frozen=True)
class LineRange:
    """Lines of a log, numbered from 1, both ends included."""

    first: int = 1
    last: int | None = None
    """None for the end of the log."""
    boot: int = 0
    """Number of the boot at the start of the part."""

    def __str__(self) -> str:
        last = "to the end" if self.last is None else f"to {self.last:,}"
        return f"lines {self.first:,} {last}, from boot {self.boot}"

    def cut(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Cut the part out of the log; yields its text as UTF-8."""
        before = 0
        for block in _decoded(chunks):
            count = block.count(b"\n")
            if before + count >= self.first - 1:
                begin = _offset(block, self.first - 1 - before)
                is_end = self.last is not None and before + count >= self.last
                end = _offset(block, (self.last or 0) - before) if is_end else len(block)
                if block[begin:end]:
                    yield block[begin:end]
                if is_end:
                    return
            before += count


WHOLE = LineRange()


def find_boot(chunks: Iterable[bytes], number: int) -> LineRange:
    """The lines of one boot, from its first sign to the first sign of the next boot.

    Args:
        chunks: the log.
        number: number of the boot, from 0; a negative number counts from the last boot, which is -1.

    Raises:
        UsageError: the log has no such boot.
    """
    starts = {0: 1}
    newest = 0
    reader = LogReader()
    for event in _events(reader, chunks):
        newest = max(newest, event.boot)
        if isinstance(event, ev.BootStarted):
            starts.setdefault(event.boot, event.line)
            if number >= 0:
                starts = {boot: line for boot, line in starts.items() if boot in (number, number + 1)}
        if 0 <= number < newest and number + 1 in starts:
            return LineRange(starts[number], starts[number + 1] - 1, number)
    wanted = number if number >= 0 else newest + 1 + number
    if wanted not in starts:
        boots = "only boot 0" if not newest else f"the boots 0 to {newest}"
        raise UsageError(f"there is no boot {number} in the log", f"it has {boots}; -1 is the last one")
    return LineRange(starts[wanted], starts[wanted + 1] - 1 if wanted + 1 in starts else None, wanted)


def find_since(chunks: Iterable[bytes], since: str) -> LineRange:
    """The part of a log that starts at a line.

    Args:
        chunks: the log.
        since: number of a line, or a time of day with or without a date (`10:15`, `2026-03-01 10:15:30`), compared with
            the terminal's time stamps in front of the lines.

    Raises:
        UsageError: `since` is neither, or all lines are earlier.
    """
    if re.fullmatch(r"\d{1,12}", since) and int(since) > 0:
        return LineRange(int(since))
    given = _GIVEN.fullmatch(since.encode())
    if given is None:
        raise UsageError(
            f"--since {since!r} is neither a line nor a time",
            "give 1200, 10:15, 10:15:30 or '2026-03-01 10:15'",
        )
    number, rest = 0, b""
    for block in _decoded(chunks):
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            number += 1
            if _is_since(line, given):
                return LineRange(number)
    if _is_since(rest, given):
        return LineRange(number + 1)
    raise UsageError(f"no line of the log has a time stamp since {since}", "give a line number instead")


def _is_since(line: bytes, given: re.Match[bytes]) -> bool:
    stamp = _STAMP.match(line)
    if stamp is None or (given[1] and not stamp[1]):
        return False
    day = stamp[1] if given[1] else b""
    return (day, stamp[2]) >= (given[1] or b"", given[2])


def _events(reader: LogReader, chunks: Iterable[bytes]) -> Iterator[ev.LogEvent]:
    for chunk in chunks:
        yield from reader.feed(chunk)
    yield from reader.close()


def _decoded(chunks: Iterable[bytes]) -> Iterator[bytes]:
    decoder = TextDecoder()
    for chunk in chunks:
        yield decoder.feed(chunk)
    yield decoder.close()


def _offset(block: bytes, lines: int) -> int:
    """Offset after a number of lines; 0 if the number is not positive."""
    at = 0
    for _ in range(lines):
        at = block.index(b"\n", at) + 1
    return at
