"""The lines of a log that matter, found fast in a stream of bytes of any length.

A log of a gigabyte has some 15 million lines, and nearly all of them say nothing about memory. Those are counted
(levels, times) and dropped a run at a time, by a few searches over the text; the others are handed on, one by one,
put together again where another task's line had cut them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from hotpin_hil.telemetry.box import BOTTOM, BOX_LINES, TOP, parse_whole
from hotpin_hil.telemetry.log import COLOUR, ERASED, Line, LogLine
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


def _any_of(texts: Sequence[str]) -> re.Pattern[bytes]:
    return re.compile("|".join(map(re.escape, texts)).encode())


_Row = tuple[bytes, ...]
"""Level, time, tag and the rest; the first three are empty for a line without a header."""

_TOP, _BOTTOM = f" {TOP}".encode(), f"{BOTTOM}\n".encode()
_WORD = rb"[^\s:@{]{1,40}"
_TAG = rb"%s(?:(?=:)|(?: (?!\()%s){1,3})" % (_WORD, _WORD)
"""A tag may have words, but no time in brackets and no record: these are the next line's."""
_HEADER = rb"([EWIDV]) \((\d{1,10})\) (%s):" % _TAG
_ROW = re.compile(rb"(?:%s)?([^\n]*)\n" % _HEADER)
_BOX = re.compile(
    rb"I \(\d{1,10}\) (%s): %s\n(?:I \(\d{1,10}\) \1: [^\n]*\n){%d}" % (_TAG, TOP.encode(), BOX_LINES - 1)
)
"""As many lines of one task as a box has."""
_BOX_LINE = re.compile(rb"\((\d+)\) [^:]*: ([^\n]*\n)")
_PLAIN_TIME = re.compile(rb"\n[IW] \((\d+)")
"""Of plain lines, searched from the newline before the first one."""
_SECOND_TIME = re.compile(rb"\((?<=[^\n][EWIDV] \()\d{1,10}\) ")
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
_FAILURE_TEXTS = ("lloc", "nsufficient", "despite", "amera", "Aborting.")
"""What an error or a warning says when memory, or the camera, could not be had."""
_FAILURE = _any_of(_FAILURE_TEXTS)
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
        wanted: Mapping[str, Sequence[str]],
        take: Callable[[LogLine | Line], None],
        take_box: Callable[[int, int, int, str, list[int]], None],
    ) -> None:
        """wanted: for a tag, what those of its lines say that are handed on; nothing for all of them. Lines of free
        memory are, too, and of others those that may be a record, a reset, or tell of a failure.

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
        self._wanted = {tag.encode(): _any_of(texts) for tag, texts in wanted.items()}
        self._before_telling = _before_telling(wanted)
        self._carry = b""
        self._is_skipping = False
        self.traces: set[int] = set()
        """Numbers of the lines at hand that have a trace of a panic in them."""
        self._has_records = False
        self._text = b"\n"
        """Lines that wait for those behind them, without colours; a newline stands before them."""
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
            self._text += self._plain(block)
            self._scan(_start_of_last(LOOK_AHEAD, self._text))

    def close(self) -> None:
        """What is left at the end of the log."""
        self.ends_with_newline = not self._carry and not self._is_skipping
        if not self.ends_with_newline:
            self._text += self._plain(self._carry + b"\n")
            self._carry = b""
        self._scan(len(self._text))
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

    def _plain(self, block: bytes) -> bytes:
        """Without colours, carriage returns and what was erased; what the first were like is counted."""
        form = self.format
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

    # --- Lines ---

    def _scan(self, end: int) -> None:
        """Goes through the lines that wait, up to the one that starts at `end`."""
        at = 1
        for start in [*self._telling(end), end]:
            if at < start and not (self.attentive or self._cut):
                at = self._count_plain(at, start)
            while at < start:  # those that are not plain: times that fall or jump, or in a box
                at = self._take(at, end)
            if at == start < end:
                at = self._take(at, end)
            while at < end and (self.attentive or self._cut):
                at = self._take(at, end)
        self._text = self._text[at - 1 :]

    def _telling(self, end: int) -> list[int]:
        """Where lines start, before `end`, that may be more than counted, in their order."""
        text = self._text
        starts = [found.end() for found in self._before_telling.finditer(text, 0, end - 1)]
        self._has_records = b"@" in text
        marks = [b"ree ", b"@"] if self._has_records else [b"ree "]
        others = {text.rfind(b"\n", 0, at) + 1 for mark in marks for at in _places(mark, text, end)}
        oldest = self._cut[0][0] if self._cut else self.lines + 1
        self.traces = {number for number in self.traces if number >= oldest}
        for trace in TRACES:
            for at in _places(trace, text, end):
                others.add(text.rfind(b"\n", 0, at) + 1)
                self.traces.add(self.lines + text.count(b"\n", 0, at))
        return sorted(others.union(starts)) if others else starts

    def _count_plain(self, begin: int, end: int) -> int:
        """Counts the plain lines from `begin` to `end` at once, if the clock does not start again in them and no other
        line is within one; where the first starts that is left to do."""
        text = self._text
        if _SECOND_TIME.search(text, begin, end):
            return begin
        times = list(map(int, _PLAIN_TIME.findall(text, begin - 1, end - 1)))
        if self._high <= times[0] and times[-1] - self._high <= FALL_MS and times == sorted(times):
            self._high = times[-1]
        elif not self._take_times(times):
            return begin
        warnings = text.count(b"\nW (", begin - 1, end - 1)
        self._levels[b"W"] += warnings
        self._levels[b"I"] += len(times) - warnings
        self.lines += len(times)
        return end

    def _take_times(self, times: list[int]) -> bool:
        """Takes the times of the next lines; False, and nothing taken, if one shows that the clock may have started
        again."""
        high, jump, before = self._high, -1, -1
        late = []
        for index, t_ms in enumerate(times):
            if t_ms < high:
                late.append(high - t_ms)
            else:
                if t_ms - high > FALL_MS:
                    jump, before = index, high
                high = t_ms
        if late and max(late) > FALL_MS:
            return False
        if jump >= 0:
            self._before_jump, self._jump_to, self._jump_line = before, times[jump], self.lines + 1 + jump
        self.format.timestamp_reversals += len(late)
        self.format.worst_reversal_ms = max(self.format.worst_reversal_ms, *late, 0)
        self._high = high
        return True

    def _take(self, at: int, end: int) -> int:
        """Takes the line at `at`, which is more than counted, or may be; where the next one starts."""
        found = _ROW.match(self._text, at)
        assert found is not None
        level, stamp, tag, text = row = found.groups(b"")
        self.lines += 1
        number, behind = self.lines, found.end()
        if text == _TOP and not (self.attentive or self._cut):
            box_end = self._take_box(at, end)
            if box_end:
                self.lines += BOX_LINES - 1
                return box_end
        if (
            self._cut
            or (b") " in text and _INSERTED.search(text))
            or (self._has_records and b"@" in text and (level or text[:1] != b"@"))
        ):
            self._take_pieces(row, behind)
        elif not level:
            if (
                (self._count_headless(text) and _HEADLESS.search(text))
                or self.attentive
                or number in self.traces
            ):
                self._hand_on(Line(text.decode("utf-8", errors="replace"), 0, number))
        else:
            is_fall = self._take_header(number, level, stamp, tag, behind)
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
        return behind

    def _take_box(self, at: int, end: int) -> int:
        """A box that nothing interrupts, at one go: where it ends, 0 for none. (Line by line gives the same, at a
        third of the speed.)"""
        found = _BOX.match(self._text, at, end)
        if found is None:
            return 0
        stamps, texts = zip(*_BOX_LINE.findall(found[0]), strict=True)
        if texts[-1] != _BOTTOM or b") " in texts[1] or b"@" in texts[1]:
            return 0
        times = list(map(int, stamps))
        high = max(self._high, 0)
        if not 0 <= times[0] - high <= times[-1] - high <= FALL_MS or times != sorted(times):
            return 0
        try:
            box = parse_whole(b"".join(texts).decode())
        except UnicodeDecodeError:
            return 0
        if box is None:
            return 0
        self._levels[b"I"] += BOX_LINES
        self._high = times[-1]
        self._hand_on_box(self.lines, times[0], times[1], *box)
        return found.end()

    def _take_pieces(self, row: _Row, behind: int) -> None:
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
                self._hand_on(self._line(cut_number, whole, behind, is_joined=True))
        for piece in pieces[:-1]:
            if piece.startswith(b"@") and _RECORD_END.search(piece):
                self._hand_on(self._line(number, piece, behind))
            else:
                self._cut.append((number, piece))
        if pieces:
            self._hand_on(self._line(number, pieces[-1], behind))

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
            self._hand_on(self._line(number, text, len(self._text)))

    def _line(self, number: int, whole: bytes, behind: int, is_joined: bool = False) -> LogLine | Line:
        row = _ROW.match(whole + b"\n")
        assert row is not None
        level, stamp, tag, text = row.groups(b"")
        if not level:
            return Line(text.decode("utf-8", errors="replace"), 0, number)
        is_fall = self._take_header(number, level, stamp, tag, behind)
        return LogLine(
            _LETTERS[level], int(stamp), self._name(tag), _rest(text), 0, number, is_joined, is_fall
        )

    def _take_header(self, number: int, level: bytes, stamp: bytes, tag: bytes, behind: int) -> bool:
        """Counts a whole header; whether its time shows that the clock has started again."""
        self._levels[level] += 1
        if level == b"E":
            self._count_error(tag)
        t_ms = int(stamp)
        if t_ms < self._high:
            return self._take_late(number, t_ms, behind)
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

    def _take_late(self, number: int, t_ms: int, behind: int) -> bool:
        """Takes a time behind the latest one; whether the clock has started again.

        behind: where the next line starts, among those that wait.
        """
        if self._high - t_ms <= FALL_MS:
            self.format.timestamp_reversals += 1
            self.format.worst_reversal_ms = max(self.format.worst_reversal_ms, self._high - t_ms)
            return False
        ahead = islice(_ROW.finditer(self._text, behind), LOOK_AHEAD)
        later = [int(row[2]) for row in ahead if row[1]][:2]
        if later and min(later) >= self._high - FALL_MS:
            self._keep("odd_stamps", self.odd_stamps, number)
            return False
        if self._jump_to == self._high and self._before_jump >= 0 and self._before_jump - FALL_MS <= t_ms:
            self._keep("odd_stamps", self.odd_stamps, self._jump_line)
            self._high = max(self._before_jump, t_ms)
            return False
        self._high, self._before_jump = t_ms, -1
        return True


def _before_telling(wanted: Mapping[str, Sequence[str]]) -> re.Pattern[bytes]:
    """Matches the newline before each line that is not plain. Plain are information that is not wanted, and warnings
    that are not and tell of no failure."""
    # An alternative for each text is faster than one for all: `re` then only looks where the text's first letter is.
    unwanted = "|".join(
        rf"{re.escape(tag)}:[^\n]*{re.escape(text)}" if text else f"{re.escape(tag)}:"
        for tag, texts in wanted.items()
        for text in texts or ("",)
    )
    harmful = "|".join(rf"[^\n]*{re.escape(text)}" for text in _FAILURE_TEXTS)
    unwanted = f"(?!{unwanted})" if unwanted else ""
    harmless = f"(?!{harmful})"
    any_of = rf"\n(?!(?:I \(\d{{1,10}}\) |W \(\d{{1,10}}\) {harmless}){unwanted}"
    return re.compile(any_of.encode() + _TAG + b":)")


def _places(mark: bytes, text: bytes, end: int) -> Iterator[int]:
    """Where `mark` begins, before `end`."""
    at = text.find(mark, 0, end)
    while at >= 0:
        yield at
        at = text.find(mark, at + 1, end)


def _start_of_last(count: int, text: bytes) -> int:
    """Where the last `count` lines start; 1 where there are no more of them, as a newline stands before the first."""
    end = len(text)
    for _ in range(count + 1):
        end = text.rfind(b"\n", 0, end)
        if end < 0:
            return 1
    return end + 1


def _rest(text: bytes) -> str:
    """A line's text from what follows the colon of its header."""
    return (text[1:] if text[:1] == b" " else text).decode("utf-8", errors="replace")
