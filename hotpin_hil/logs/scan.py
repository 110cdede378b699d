"""Finds the lines of a log that matter, fast, in a stream of any length.

A 1 GB log has about 15 million lines, and nearly all are not about memory. The scanner counts those
(levels, times) and drops them a run at a time, with a few searches over the text. It passes on the other lines one by
one, and joins lines that were split by another task's line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hotpin_hil.logs import shapes
from hotpin_hil.logs.blocks import BlockCutter
from hotpin_hil.logs.clock import LogClocks
from hotpin_hil.logs.cuts import LineJoiner, cut_up
from hotpin_hil.logs.format import LEVELS, LineTally
from hotpin_hil.logs.kinds import (
    BOX,
    NOT_PLAIN,
    OTHER,
    TRACE,
    UNSTAMPED,
    UNSURE,
    WANTED,
    LineKinds,
)
from hotpin_hil.logs.shapes import ROW, Row
from hotpin_hil.logs.sort import ShapeSorter
from hotpin_hil.logs.whole_box import WholeBox, find_whole_box, is_cut_off, is_other_box
from hotpin_hil.protocol.box import BOX_LINES
from hotpin_hil.protocol.headers import OtherHeaders
from hotpin_hil.protocol.log import ConsoleLine, LogLine

LOOK_AHEAD = 8
"""Number of lines to examine after a time that goes back, to distinguish a restart from a damaged time."""


class LineScanner:
    """Scans a log, fed in chunks of any size; the result does not depend on the chunks."""

    def __init__(
        self,
        wanted: Mapping[str, Sequence[str]],
        take: Callable[[LogLine | ConsoleLine], bool],
        take_box: Callable[[int, WholeBox], None],
        matters: Callable[[str, str, str], bool] = lambda *_: True,
    ) -> None:
        """Start to scan a log.

        Args:
            wanted: texts that select a line, by tag; without texts, all lines of the tag are selected. The scanner also
                passes on lines about free memory and lines that may be a record, a reset or a failure.
            take: called with each selected line, in order. While it returns True, every following line is selected as
                well.
            take_box: called with a whole statistics box instead of its lines, and with the number of its first line.
            matters: called with level, tag and text of a line that seems to be about free memory or a failure; returns
                False if `take` would ignore it. It is called once for all lines that differ only in numbers, so its
                result must not depend on a number unless a letter or a minus sign is next to it.
        """
        self.tally = LineTally()
        self.blocks = BlockCutter(self.tally.format)
        self.lines = 0
        self._clock = LogClocks(self.tally, lambda at: self._waiting[at : at + LOOK_AHEAD])
        self._cut = LineJoiner()
        self._headers = OtherHeaders()
        self._take_line = take
        self._take_whole_box = take_box
        self._wants_all = False
        self._sorter = ShapeSorter(wanted, matters)
        self.line_kinds = LineKinds(self._sorter.kind_of)
        self._waiting: list[bytes] = []
        """Lines that wait for later lines."""
        self._kinds = b""
        """Kinds of the waiting lines, one byte per line."""
        self._stamps: list[bytes] = []
        """Times of the waiting lines that start with a level and a time."""
        self._stamp = 0
        """Index of the first unread time."""

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
        self._add(self.blocks.feed(data))
        end = max(0, len(self._waiting) - LOOK_AHEAD)
        top = self._kinds.rfind(BOX, 0, end)
        self._scan(top if top >= 0 and is_cut_off(self._waiting[:end], top) else end)

    def close(self) -> None:
        """End the log: scan the remaining lines."""
        self._add(self.blocks.close())
        self._scan(len(self._waiting))
        self._leave_cut()

    def _add(self, block: bytes) -> None:
        if block:
            self._waiting += block.split(b"\n")[:-1]
            self._kinds += self.line_kinds.of_lines(block)
            self._stamps += shapes.STAMP.findall(b"\n" + block)

    def _scan(self, end: int) -> None:
        """Scan the waiting lines before index `end`."""
        at = self._stamp = 0
        while at < end:
            start = at
            if not (self._wants_all or self._cut.waiting):
                found = NOT_PLAIN.search(self._kinds, at, end)
                start = found.start() if found else end
            if at == start:
                at = self._take(at, end)
            elif self._count_plain(at, start):
                at = start
            else:  # not plain after all: times go back
                for index in range(at, start):
                    at = self._take(index, end)
        if at > 0:
            del self._waiting[:at], self._stamps[: self._stamp]
            self._kinds = self._kinds[at:]

    def _count_plain(self, begin: int, end: int) -> bool:
        """Count the plain lines from `begin` to `end` in one step; returns False if the clock may restart there."""
        if not self._take_times(begin, end):
            return False
        self.tally.count_plain(self._kinds[begin:end], self._waiting, begin)
        self.lines += end - begin
        return True

    def _take_times(self, begin: int, end: int) -> bool:
        """Advance the clock by the times of the lines from `begin` to `end`, unless it may restart within them."""
        kinds, first = self._kinds[begin:end], self.lines + 1
        behind = self._stamp + len(kinds.translate(None, UNSTAMPED))
        stamps = self._stamps[self._stamp : behind]
        if not self._clock.take_run(stamps, lambda index: first + _stamped_line(kinds, index)):
            return False
        self._stamp = behind
        return True

    def _take(self, at: int, end: int) -> int:
        """Process the line at `at` individually; returns the index of the next line."""
        kind = self._kinds[at]
        is_top = kind in BOX
        if is_top and not (self._wants_all or self._cut.waiting):
            behind = self._take_box(at, end)
            if behind:
                return behind
            is_top = not is_other_box(self._waiting, at)
        level, stamp, tag, text = row = _row(self._waiting[at])
        if kind in OTHER and not self._cut.waiting and (other := self._headers.read(text)) is not None:
            level, stamp, tag, text = row = other
        self._stamp += kind not in UNSTAMPED
        self.lines += 1
        number, behind = self.lines, at + 1
        if self._cut.waiting or (kind in UNSURE and _is_cut(level, text)):
            self._take_pieces(row, behind)
        elif not level:
            is_boards = self.tally.count_headless(number, text)
            is_wanted = kind in WANTED or (kind in OTHER and shapes.may_matter(text))
            if self._wants_all or (is_wanted and is_boards) or kind in TRACE:
                self._hand_on(ConsoleLine(text.decode("utf-8", errors="replace"), 0, number))
        else:
            is_fall = self._take_header(number, row, behind, is_core=self._waiting[at][:1] == b"[")
            is_wanted = kind in WANTED or (kind in OTHER and self._sorter.is_wanted(level, tag, text))
            if self._wants_all or is_wanted or is_top or is_fall or kind in TRACE:
                name = self.tally.name(tag)
                line = LogLine(LEVELS[level], _time(stamp), name, _rest(text), 0, number, False, is_fall)
                self._hand_on(line)
        return behind

    def _hand_on(self, line: LogLine | ConsoleLine) -> None:
        self._wants_all = self._take_line(line)

    def _take_box(self, at: int, end: int) -> int:
        """Process a whole box in one step; returns the index after it, 0 if no whole box starts here."""
        stamps = self._stamps[self._stamp : self._stamp + BOX_LINES]
        box = find_whole_box(self._waiting, self._kinds, stamps, at, end)
        if box is None or not self._take_times(at, box.end):
            return 0
        first, self.lines = self.lines + 1, self.lines + box.end - at
        self.tally.count(b"I", BOX_LINES)
        for index in box.foreign:
            self.tally.count_plain(self._kinds[index : index + 1], self._waiting, index)
        self._take_whole_box(first, box)
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
            self._hand_on(self._line(*joined, len(self._waiting)))

    def _line(self, number: int, whole: bytes, is_joined: bool, behind: int) -> LogLine | ConsoleLine:
        level, stamp, tag, text = _row(whole)
        if not level and (other := self._headers.read(text)) is not None:
            level, stamp, tag, text = other
        if not level:
            return ConsoleLine(text.decode("utf-8", errors="replace"), 0, number)
        is_fall = self._take_header(number, (level, stamp, tag), behind, is_core=whole[:1] == b"[")
        name = self.tally.name(tag)
        return LogLine(LEVELS[level], _time(stamp), name, _rest(text), 0, number, is_joined, is_fall)

    def _take_header(self, number: int, row: Row, behind: int, *, is_core: bool) -> bool:
        """Count a header; returns whether its time shows a restart of its clock."""
        level, stamp, tag = row[:3]
        self.tally.count_header(level, tag)
        return bool(stamp) and self._clock.take(number, int(stamp), behind, is_core=is_core)


def _row(line: bytes) -> Row:
    found = ROW.match(line)
    assert found is not None
    return found.groups(b"")


def _stamped_line(kinds: bytes, index: int) -> int:
    """Index of the line with time number `index`."""
    return [at for at, kind in enumerate(kinds) if kind not in UNSTAMPED][index]


def _is_cut(level: bytes, text: bytes) -> bool:
    """Whether another task's line is within a line."""
    if b") " in text and shapes.INSERTED.search(text):
        return True
    return b"@" in text and (level != b"" or text[:1] != b"@")


def _time(stamp: bytes) -> int | None:
    return int(stamp) if stamp else None


def _rest(text: bytes) -> str:
    """Text of a line, from the bytes after its header's colon."""
    return (text[1:] if text[:1] == b" " else text).decode("utf-8", errors="replace")
