"""Finds the lines of a log that matter, fast, in a stream of any length.

A 1 GB log has about 15 million lines, and nearly all of them say nothing about memory. The scanner counts those
(levels, times) and drops them a run at a time, with a few searches over the text. It passes the other lines on one by
one, and joins those that another task's line split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from hotpin_hil.logs import shapes
from hotpin_hil.logs.blocks import BlockCutter
from hotpin_hil.logs.clock import BoardClock
from hotpin_hil.logs.cuts import LineJoiner, cut_up
from hotpin_hil.logs.format import LEVELS, LineTally
from hotpin_hil.logs.shapes import ROW, Row
from hotpin_hil.protocol.box import BOX_LINES, parse_whole
from hotpin_hil.protocol.headers import OtherHeaders
from hotpin_hil.protocol.log import ConsoleLine, LogLine
from hotpin_hil.protocol.panic import TRACES

LOOK_AHEAD = 8
"""Number of lines to examine after a time that falls, to distinguish a restart from a damaged time."""


class LineScanner:
    """Scans a log, fed in chunks of any size; the result does not depend on the chunks."""

    def __init__(
        self,
        wanted: Mapping[str, Sequence[str]],
        take: Callable[[LogLine | ConsoleLine], bool],
        take_box: Callable[[int, int, int, str, list[int]], None],
    ) -> None:
        """Make a scanner.

        Args:
            wanted: by tag, the texts that make a line wanted; no texts means all lines of the tag. The scanner also
                passes on lines about free memory and lines that may be a record, a reset or a failure.
            take: called with each line passed on, in order. Returns True if every following line is wanted too, until
                a call returns False.
            take_box: called with an uninterrupted statistics box instead of its lines: number and time of its first
                line, time of its second, context, figures.
        """
        self.tally = LineTally()
        self.blocks = BlockCutter(self.tally.format)
        self.lines = 0
        self._clock = BoardClock(self.tally, lambda offset: _times_after(self._text, offset))
        self._cut = LineJoiner()
        self._headers = OtherHeaders()
        self._take_line = take
        self._take_whole_box = take_box
        self._wants_all = False
        self._wanted = {tag.encode(): shapes.any_of(texts) for tag, texts in wanted.items()}
        self._before_special = shapes.before_special(wanted)
        self._traces: set[int] = set()
        """Numbers of the waiting lines that may be part of a panic."""
        self._has_records = False
        self._text = b"\n"
        """Lines that wait for later ones, after a leading newline."""

    @property
    def headed_lines(self) -> int:
        """Number of lines in ESP_LOG's shape so far."""
        return self.tally.headed_lines

    @property
    def high_ms(self) -> int | None:
        """Latest time of this boot so far; None before the first."""
        return self._clock.high if self._clock.high >= 0 else None

    def restart_clock(self) -> None:
        """Restart the log's clock: after a reset, timestamps begin at 0."""
        self._clock.restart()

    def feed(self, data: bytes) -> None:
        """Scan the lines that `data` completes."""
        block = self.blocks.feed(data)
        if block:
            self._text += block
            self._scan(_start_of_last(LOOK_AHEAD, self._text))

    def close(self) -> None:
        """End the log: scan the remaining lines."""
        self._text += self.blocks.close()
        self._scan(len(self._text))
        self._leave_cut()

    def _scan(self, end: int) -> None:
        """Scan the waiting lines before offset `end`."""
        at = 1
        for start in [*self._special(end), end]:
            if at < start and not (self._wants_all or self._cut.waiting):
                at = self._count_plain(at, start)
            while at < start:  # not plain after all: times fall or jump, or a box is open
                at = self._take(at, end)
            if at == start < end:
                at = self._take(at, end)
            while at < end and (self._wants_all or self._cut.waiting):
                at = self._take(at, end)
        self._text = self._text[at - 1 :]

    def _special(self, end: int) -> list[int]:
        """Offsets before `end` of the lines that may need more than counting, in order."""
        text = self._text
        starts = [found.end() for found in self._before_special.finditer(text, 0, end - 1)]
        self._has_records = b"@" in text
        marks = [b"ree", b"eap", b"@"] if self._has_records else [b"ree", b"eap"]
        others = {start for mark in marks for start in _lines_with(mark, text, end)}
        oldest = self._cut.oldest or self.lines + 1
        self._traces = {number for number in self._traces if number >= oldest}
        for trace in TRACES:
            for start in _lines_with(trace, text, end):
                others.add(start)
                self._traces.add(self.lines + text.count(b"\n", 0, start))
        return sorted(others.union(starts)) if others else starts

    def _count_plain(self, begin: int, end: int) -> int:
        """Count the plain lines from `begin` to `end` at once; returns the offset of the first line left.

        It counts no line if the clock may restart within them, or if one contains another line.
        """
        text = self._text
        if shapes.SECOND_TIME.search(text, begin, end):
            return begin
        times = list(map(int, shapes.PLAIN_TIME.findall(text, begin - 1, end - 1)))
        if not self._clock.take_run(times, self.lines + 1):
            return begin
        self.tally.count(b"I", len(times))
        self.lines += len(times)
        return end

    def _take(self, at: int, end: int) -> int:
        """Process the line at `at`, which may need more than counting; returns the offset of the next line."""
        found = ROW.match(self._text, at)
        assert found is not None
        level, stamp, tag, text = row = found.groups(b"")
        if not level and not self._cut.waiting and (other := self._headers.read(text)) is not None:
            level, stamp, tag, text = row = other
        self.lines += 1
        number, behind = self.lines, found.end()
        if text == shapes.BOX_TOP and not (self._wants_all or self._cut.waiting):
            box_end = self._take_box(at, end)
            if box_end:
                self.lines += BOX_LINES - 1
                return box_end
        if (
            self._cut.waiting
            or (b") " in text and shapes.INSERTED.search(text))
            or (self._has_records and b"@" in text and (level or text[:1] != b"@"))
        ):
            self._take_pieces(row, behind)
        elif not level:
            is_boards = self.tally.count_headless(number, text)
            if (is_boards and shapes.HEADLESS.search(text)) or self._wants_all or number in self._traces:
                self._hand_on(ConsoleLine(text.decode("utf-8", errors="replace"), 0, number))
        else:
            is_fall = self._take_header(number, level, stamp, tag, behind)
            if (
                self._wants_all
                or (level in b"EW" and shapes.FAILURE.search(text))
                or (tag in self._wanted and self._wanted[tag].search(text))
                or b"ree" in text
                or b"eap" in text
                or is_fall
                or number in self._traces
            ):
                name = self.tally.name(tag)
                line = LogLine(LEVELS[level], _time(stamp), name, _rest(text), 0, number, False, is_fall)
                self._hand_on(line)
        return behind

    def _hand_on(self, line: LogLine | ConsoleLine) -> None:
        self._wants_all = self._take_line(line)

    def _take_box(self, at: int, end: int) -> int:
        """Process an uninterrupted box at once; returns the offset after it, 0 if there is no such box."""
        box = _find_box(self._text, at, end)
        if box is None or not self._clock.take_steady(box.times):
            return 0
        self.tally.count(b"I", BOX_LINES)
        self._take_whole_box(self.lines, box.times[0], box.times[1], box.context, box.figures)
        return box.end

    def _take_pieces(self, row: Row, behind: int) -> None:
        """Separate a line from another line inside it, or join it with the line that it continues."""
        level, text = row[0], row[3]
        number = self.lines
        if not level:
            self.tally.count_headless(number, text)
            if not text:
                self._leave_cut()
                if self._wants_all:
                    self._hand_on(ConsoleLine("", 0, number))
                return
        elif self._cut.waiting:
            self._leave_cut()
        pieces = cut_up(row, self._clock.high)
        if not level and len(pieces) == 1 and not self._cut.waiting and shapes.INSERTED.search(text):
            self.tally.count_hidden_header(number)
        if len(pieces) > 1 and level and not pieces[1].startswith(b"@"):
            self.tally.count_second_header(number)
        for joined in self._cut.join(number, pieces):
            self._hand_on(self._line(*joined, behind))

    def _leave_cut(self) -> None:
        for joined in self._cut.leave():
            self._hand_on(self._line(*joined, len(self._text)))

    def _line(self, number: int, whole: bytes, is_joined: bool, behind: int) -> LogLine | ConsoleLine:
        row = ROW.match(whole + b"\n")
        assert row is not None
        level, stamp, tag, text = row.groups(b"")
        if not level:
            return ConsoleLine(text.decode("utf-8", errors="replace"), 0, number)
        is_fall = self._take_header(number, level, stamp, tag, behind)
        name = self.tally.name(tag)
        return LogLine(LEVELS[level], _time(stamp), name, _rest(text), 0, number, is_joined, is_fall)

    def _take_header(self, number: int, level: bytes, stamp: bytes, tag: bytes, behind: int) -> bool:
        """Count a header; returns whether its time shows a restart of the clock."""
        self.tally.count(level)
        if level in b"EW":
            self.tally.count_complaint(level, tag)
        return bool(stamp) and self._clock.take(number, int(stamp), behind)


def _times_after(text: bytes, offset: int) -> list[int]:
    return [int(row[2]) for row in islice(ROW.finditer(text, offset), LOOK_AHEAD) if row[1]][:2]


class _FoundBox(NamedTuple):
    """A box in the text, with the offset after it."""

    times: list[int]
    context: str
    figures: list[int]
    end: int


def _find_box(text: bytes, at: int, end: int) -> _FoundBox | None:
    """The whole box that starts at `at`, None if there is none. Three times as fast as line by line."""
    found = shapes.BOX.match(text, at, end)
    if found is None:
        return None
    stamps, texts = zip(*shapes.BOX_LINE.findall(found[0]), strict=True)
    if texts[-1] != shapes.BOX_BOTTOM or b") " in texts[1] or b"@" in texts[1]:
        return None
    try:
        box = parse_whole(b"".join(texts).decode())
    except UnicodeDecodeError:
        return None
    return None if box is None else _FoundBox(list(map(int, stamps)), *box, found.end())


def _lines_with(mark: bytes, text: bytes, end: int) -> Iterator[int]:
    """Offsets of the lines that contain `mark`, before `end`."""
    at = text.find(mark, 0, end)
    while at >= 0:
        yield text.rfind(b"\n", 0, at) + 1
        at = text.find(mark, at + 1, end)


def _start_of_last(count: int, text: bytes) -> int:
    """Offset of the last `count` lines; 1, after the leading newline, if there are fewer."""
    end = len(text)
    for _ in range(count + 1):
        end = text.rfind(b"\n", 0, end)
        if end < 0:
            return 1
    return end + 1


def _time(stamp: bytes) -> int | None:
    return int(stamp) if stamp else None


def _rest(text: bytes) -> str:
    """Text of a line, from the bytes after its header's colon."""
    return (text[1:] if text[:1] == b" " else text).decode("utf-8", errors="replace")
