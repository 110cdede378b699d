"""The lines of a log that matter, found fast in a stream of bytes of any length.

A log of a gigabyte has some 15 million lines, and nearly all of them say nothing about memory. Those are counted
(levels, times) and dropped by one regular expression and a few comparisons each; the others are handed on, one by
one, put together again where another task's line had cut them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from hotpin_hil.telemetry.box import BOTTOM, BOX_LINES, TOP, parse_whole
from hotpin_hil.telemetry.log import COLOUR, Line, LogLine
from hotpin_hil.telemetry.panic import TRACES

LINE_MAX = 64 * 1024
"""What a longer line has beyond this many bytes is dropped, and counted."""
FALL_MS = 1_000
"""Tasks take the time of a line before they wait for their turn to write it: recorded boards show times up to 566 ms
behind. What falls back further has started again."""
JOIN_MS = 2_000
"""A line within a line is taken for another task's when their times are this near: so a text that only quotes a
line is left alone."""
LOOK_AHEAD = 8
"""Lines after a fall of the time that tell whether the clock started again or one stamp is damaged."""
KEPT = 1_000
"""Line numbers and tags kept of each kind; what comes after is counted."""
OTHER_TAGS = "(other tags)"

_LETTERS = {level.encode(): level for level in "EWIDV"}

_Row = tuple[bytes, bytes, bytes, bytes]
"""Level, time, tag and the rest; the first three are empty for a line without a header."""

_TOP, _BOTTOM = f" {TOP}".encode(), f" {BOTTOM}".encode()
_WORD = rb"[^\s:@{]{1,40}"
_HEADER = rb"([EWIDV]) \((\d{1,10})\) (%s|%s(?: (?!\()%s){1,3}):" % (_WORD, _WORD, _WORD)
"""A tag may have words, but no time in brackets and no record: these are the next line's."""
_ROWS = re.compile(rb"(?:%s)?([^\n]*)\n" % _HEADER)
_INSERTED = re.compile(rb"%s|@(?:!|\d{1,5}) \{" % _HEADER)
"""What begins another task's line within a line: a header, or a record."""
_RECORD_END = re.compile(rb"\}\*[0-9A-F]{4}\r?$")
_LEVEL_LOST = re.compile(rb" ?\(\d+\) [^\s:][^:]{0,40}: ")
_COLOURED = re.compile(rb"\x1b\[[0-9;]*m[^\n]*\n")
_BROKEN_COLOUR = re.compile(rb"\x1b[^\n]*\n")
_COLOUR_REST = re.compile(rb"\[0(?:;3\d)?m[^\n]*\n")
_REPLACED = re.compile("�[^\n]*\n")
_HEADLESS = re.compile(rb"@|rst:|_RESET\)|BOOT\)|ets [A-Z]|CORRUPT HEAP: |ESP_ERROR_CHECK failed")
"""What a line without a header says that matters."""
_FAILURE = re.compile(rb"lloc|nsufficient|despite|amera|Aborting\.")
"""What an error or a warning says when memory, or the camera, could not be had."""
_PROMPT = re.compile(rb"PS [A-Z]:\\[^>]*>")
_DECODED = re.compile(rb"--- (?:0x[0-9a-fA-F]+: |\(inlined by\) )")


@dataclass
class LogFormat:
    """What the file is like; the names are those of `facts/log_analysis.md`."""

    ansi_lines: int = 0
    broken_ansi_lines: int = 0
    replacement_chars: int = 0
    lines_with_replacement: int = 0
    powershell_prompt_lines: int = 0
    monitor_note_lines: int = 0
    decoded_address_lines: int = 0
    lines_with_second_header: list[int] = field(default_factory=list)
    level_letter_lost_lines: list[int] = field(default_factory=list)
    timestamp_reversals: int = 0
    worst_reversal_ms: int = 0


class LineScanner:
    """Feed it the stream in any chunks; the result does not depend on them.

    While `attentive`, every line is handed on. Whoever takes a line may set it.
    """

    def __init__(
        self,
        wanted: Mapping[str, str],
        take: Callable[[LogLine | Line], None],
        take_box: Callable[[int, int, int, str, list[int]], None],
    ) -> None:
        """wanted: for a tag, the regular expression of those of its lines that are handed on. Lines of free memory are,
        too, and of others those that may be a record, a reset, or tell of a failure.

        take: called with each line that is handed on, in their order.
        take_box: called with a whole statistics box instead of its lines, where nothing interrupts it: number and time
        of its first line, time of its second, context, figures.
        """
        self._hand_on = take
        self._hand_on_box = take_box
        self.attentive = False
        self.format = LogFormat()
        self._levels = dict.fromkeys(_LETTERS, 0)
        self.errors_by_tag: Counter[str] = Counter()
        self.bytes = 0
        self.lines = 0
        self.ends_with_newline = True
        self.overlong_lines = 0
        self.odd_stamps: list[int] = []
        """Lines whose time fits neither the lines before nor those behind."""
        self.not_kept: Counter[str] = Counter()
        """How many line numbers were left out, by what they are of."""
        self._wanted = {tag.encode(): re.compile(text.encode()) for tag, text in wanted.items()}
        self._carry = b""
        self._is_skipping = False
        self.traces: set[int] = set()
        """Numbers of the lines at hand that have a trace of a panic in them."""
        self._has_records = False
        self._rows: list[_Row] = []
        """Lines that wait for those behind them."""
        self._cut: list[tuple[int, bytes]] = []
        """Number and text of lines that another one has cut, outermost first; the next line goes on with the last."""
        self._names: dict[bytes, str] = {}
        """Tags that were seen."""
        self._high = -1
        self._before_jump = -1
        """The latest time before that one, where it was a jump."""
        self._jump_to = -1
        self._jump_line = 0

    @property
    def levels(self) -> dict[str, int]:
        """How many lines there were of each level."""
        return {_LETTERS[level]: count for level, count in self._levels.items()}

    @property
    def high_ms(self) -> int | None:
        """The latest time of this boot so far; None before the first."""
        return self._high if self._high >= 0 else None

    def restart_clock(self) -> None:
        """The board has started again: times begin anew."""
        self._high = self._before_jump = -1

    def feed(self, data: bytes) -> None:
        """Goes through the lines that `data` completes."""
        block = self._whole_lines(data)
        if block:
            self._add(block)
            self._scan(len(self._rows) - LOOK_AHEAD)

    def close(self) -> None:
        """What is left at the end of the log."""
        self.ends_with_newline = not self._carry and not self._is_skipping
        if not self.ends_with_newline:
            self._add(self._carry + b"\n")
            self._carry = b""
        self._scan(len(self._rows))
        self._leave_cut()

    # --- Blocks ---

    def _whole_lines(self, data: bytes) -> bytes:
        """The lines that `data` completes, none of them longer than LINE_MAX."""
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

    def _add(self, block: bytes) -> None:
        """Puts whole lines behind those that wait."""
        block = self._plain(block)
        first = self.lines + len(self._rows) + 1
        self.traces = {number for number in self.traces if number > self.lines}
        for trace in TRACES:
            at = block.find(trace)
            while at >= 0:
                self.traces.add(first + block.count(b"\n", 0, at))
                at = block.find(trace, at + 1)
        self._has_records = b"@" in block or any(b"@" in text for _, _, _, text in self._rows)
        self._rows += _ROWS.findall(block)

    def _plain(self, block: bytes) -> bytes:
        """Without colours and carriage returns; what they were like is counted."""
        form = self.format
        if b"\x1b" in block:
            form.ansi_lines += len(_COLOURED.findall(block))
            block = COLOUR.sub(b"", block)
            form.broken_ansi_lines += len(_BROKEN_COLOUR.findall(block))
        form.broken_ansi_lines += len(_COLOUR_REST.findall(block))
        if b"\r" in block:
            block = block.replace(b"\r\n", b"\n")
        if not block.isascii():
            text = block.decode("utf-8", errors="replace")
            if "�" in text:
                form.replacement_chars += text.count("�")
                form.lines_with_replacement += len(_REPLACED.findall(text))
        return block

    # --- Lines ---

    def _scan(self, count: int) -> None:
        """Goes through the first `count` lines that wait."""
        rows, wanted, traces = self._rows, self._wanted, self.traces
        first = self.lines + 1
        telling = [
            index
            for index, (level, _, tag, text) in enumerate(rows)
            if level != b"I"
            or b") " in text
            or b"ree " in text
            or (tag in wanted and wanted[tag].search(text))
        ]
        if self._has_records:
            telling = sorted({*telling, *(index for index, row in enumerate(rows) if b"@" in row[3])})
        if traces:
            telling = sorted({*telling, *(number - first for number in traces if number >= first)})
        done = 0
        for index in [*telling, count]:
            if done < index <= count:
                done = self._count_plain(done, index)
                while done < index:  # those that are not plain: times that fall or jump, or in a box
                    done += self._take(rows[done], done, count)
            if done == index < count:
                done += self._take(rows[index], index, count)
            while done < count and (self.attentive or self._cut):
                done += self._take(rows[done], done, count)
        del rows[:done]

    def _count_plain(self, begin: int, end: int) -> int:
        """Counts these lines at once if their times go on in order; the first that is left to do."""
        if self.attentive or self._cut:
            return begin
        times = [int(row[1]) for row in self._rows[begin:end]]
        if times[0] < self._high or times != sorted(times):
            return begin
        if times[-1] - self._high > FALL_MS:
            for number, (earlier, later) in enumerate(pairwise([self._high, *times]), self.lines + 1):
                if later - earlier > FALL_MS:
                    self._before_jump, self._jump_to, self._jump_line = earlier, later, number
        self._levels[b"I"] += end - begin
        self.lines += end - begin
        self._high = times[-1]
        return end

    def _take(self, row: _Row, index: int, count: int) -> int:
        """A line that is more than counted, or may be; how many lines were taken."""
        level, stamp, tag, text = row
        self.lines += 1
        number = self.lines
        is_slow = self.attentive or self._cut
        if text == _TOP and not is_slow and index + BOX_LINES <= count and self._take_box(index):
            self.lines += BOX_LINES - 1
            return BOX_LINES
        if (
            self._cut
            or (b") " in text and _INSERTED.search(text))
            or (self._has_records and b"@" in text and (level or text[:1] != b"@"))
        ):
            self._take_pieces(row, index)
        elif not level:
            if (
                (self._count_headless(text) and _HEADLESS.search(text))
                or self.attentive
                or number in self.traces
            ):
                self._hand_on(Line(text.decode("utf-8", errors="replace"), 0, number))
        else:
            is_fall = self._take_header(number, level, stamp, tag, index)
            if (
                self.attentive
                or (level in b"EW" and _FAILURE.search(text))
                or (tag in self._wanted and self._wanted[tag].search(text))
                or b"ree " in text
                or is_fall
                or number in self.traces
            ):
                self._hand_on(
                    LogLine(
                        _LETTERS[level], int(stamp), self._name(tag), _rest(text), 0, number, False, is_fall
                    )
                )
        return 1

    def _take_box(self, index: int) -> bool:
        """A box that nothing interrupts, at one go: whether it was one. (Line by line gives the same, at a third of
        the speed.)"""
        rows = self._rows[index : index + BOX_LINES]
        level, _, tag, _ = rows[0]
        texts = [row[3] for row in rows]
        if (
            level != b"I"
            or texts[-1] != _BOTTOM
            or any(row[0] != level or row[2] != tag for row in rows)
            or b") " in texts[1]
            or b"@" in texts[1]
        ):
            return False
        times = [int(row[1]) for row in rows]
        high = max(self._high, 0)
        if not 0 <= times[0] - high <= times[-1] - high <= FALL_MS or times != sorted(times):
            return False
        try:
            found = parse_whole("\n".join([text[1:].decode() for text in texts]))
        except UnicodeDecodeError:
            return False
        if found is None or any(not text.startswith(b" ") for text in texts):
            return False
        self._levels[level] += BOX_LINES
        self._high = times[-1]
        self._hand_on_box(self.lines, times[0], times[1], *found)
        return True

    def _take_pieces(self, row: _Row, index: int) -> None:
        """What a line brings that another one was put into, or that may go on with one before it."""
        level, _, _, text = row
        number = self.lines
        if not level:
            self._count_headless(text)
            if not text:
                self._leave_cut()
                if self.attentive:
                    self._hand_on(Line("", 0, number))
                return
        elif self._cut:
            self._leave_cut()
        pieces = self._pieces(row)
        if len(pieces) > 1 and level and not pieces[1].startswith(b"@"):
            self._keep("lines_with_second_header", self.format.lines_with_second_header, number)
        if self._cut:  # then this line has no header: it goes on with what was cut last
            cut_number, cut_text = self._cut.pop()
            whole = cut_text + pieces.pop(0)
            if pieces:
                self._cut.append((cut_number, whole))
            else:
                self._hand_on(self._line(cut_number, whole, index, is_joined=True))
        for piece in pieces[:-1]:
            if piece.startswith(b"@") and _RECORD_END.search(piece):
                self._hand_on(self._line(number, piece, index))
            else:
                self._cut.append((number, piece))
        if pieces:
            self._hand_on(self._line(number, pieces[-1], index))

    def _pieces(self, row: _Row) -> list[bytes]:
        """The line cut up where another one begins in it."""
        level, stamp, tag, text = row
        if text.startswith(b"@") and not level and _RECORD_END.search(text):
            return [text]
        whole = b"%s (%s) %s:%s" % (level, stamp, tag, text) if level else text
        start = len(whole) - len(text)
        near = int(stamp) if level else self._high
        cuts = [0]
        for found in _INSERTED.finditer(whole, start):
            is_near = not found[2] or near < 0 or abs(int(found[2]) - near) <= JOIN_MS
            if found.start() > cuts[-1] and is_near:
                cuts.append(found.start())
        return [whole[a:b] for a, b in zip(cuts, [*cuts[1:], len(whole)], strict=True)]

    def _leave_cut(self) -> None:
        """What was cut and did not go on."""
        cut, self._cut = self._cut, []
        for number, text in reversed(cut):
            self._hand_on(self._line(number, text, len(self._rows)))

    def _line(self, number: int, whole: bytes, index: int, is_joined: bool = False) -> LogLine | Line:
        row = _ROWS.match(whole + b"\n")
        assert row is not None
        level, stamp, tag, text = row.groups()
        if level is None:
            return Line(text.decode("utf-8", errors="replace"), 0, number)
        is_fall = self._take_header(number, level, stamp, tag, index)
        return LogLine(
            _LETTERS[level], int(stamp), self._name(tag), _rest(text), 0, number, is_joined, is_fall
        )

    def _take_header(self, number: int, level: bytes, stamp: bytes, tag: bytes, index: int) -> bool:
        """Counts a whole header; whether its time shows that the clock has started again."""
        self._levels[level] += 1
        if level == b"E":
            self._count_error(tag)
        t_ms = int(stamp)
        if t_ms < self._high:
            return self._take_late(number, t_ms, index)
        if t_ms - self._high > FALL_MS:
            self._before_jump, self._jump_to, self._jump_line = self._high, t_ms, number
        self._high = t_ms
        return False

    def _name(self, tag: bytes) -> str:
        name = self._names.get(tag)
        if name is None:
            name = tag.decode("utf-8", errors="replace")
            if len(self._names) < KEPT:
                self._names[tag] = name
        return name

    def _count_error(self, tag: bytes) -> None:
        name = self._name(tag)
        is_known = name in self.errors_by_tag or len(self.errors_by_tag) < KEPT
        self.errors_by_tag[name if is_known else OTHER_TAGS] += 1

    def _count_headless(self, text: bytes) -> bool:
        """Whether it may be the board's."""
        form = self.format
        if text.startswith(b"--- "):
            form.monitor_note_lines += 1
            form.decoded_address_lines += bool(_DECODED.match(text))
            return False
        if text.startswith(b"PS ") and _PROMPT.match(text):
            form.powershell_prompt_lines += 1
        elif _LEVEL_LOST.match(text):
            self._keep("level_letter_lost_lines", form.level_letter_lost_lines, self.lines)
        return True

    def _keep(self, name: str, kept: list[int], number: int) -> None:
        if len(kept) < KEPT:
            kept.append(number)
        else:
            self.not_kept[name] += 1

    # --- Times ---

    def _take_late(self, number: int, t_ms: int, index: int) -> bool:
        """Takes a time behind the latest one; whether the clock has started again.

        index: of the line among those that wait.
        """
        if self._high - t_ms <= FALL_MS:
            self.format.timestamp_reversals += 1
            self.format.worst_reversal_ms = max(self.format.worst_reversal_ms, self._high - t_ms)
            return False
        ahead = self._rows[index + 1 : index + 1 + LOOK_AHEAD]
        later = [int(stamp) for level, stamp, _, _ in ahead if level][:2]
        if later and min(later) >= self._high - FALL_MS:
            self._keep("odd_stamps", self.odd_stamps, number)
            return False
        if self._jump_to == self._high and self._before_jump >= 0 and self._before_jump - FALL_MS <= t_ms:
            self._keep("odd_stamps", self.odd_stamps, self._jump_line)
            self._high = max(self._before_jump, t_ms)
            return False
        self._high, self._before_jump = t_ms, -1
        return True


def _rest(text: bytes) -> str:
    """A line's text from what follows the colon of its header."""
    return (text[1:] if text[:1] == b" " else text).decode("utf-8", errors="replace")
