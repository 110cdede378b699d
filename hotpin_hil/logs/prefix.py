"""Prefixes that a terminal puts in front of each line: a time stamp, a host name, a quotation mark, an indent.

A prefix is detected in the lines themselves: it is the text in front of lines that certainly come from the board, and
it has the same shape in most lines. Digits, and month and day names, may differ from line to line.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque

PREFIX_MAX = 100
"""Bytes; a longer text in front of a line is not a prefix."""
SHARE_MIN = 0.5
"""Share of a window's lines that must have the prefix."""
LIVE_LINES = 32
"""Number of earlier lines that are searched in a log that is still being written."""

_BOARD_LINE = (
    rb"[EWIDV] \((?:\d{1,10}|(?:[\d-]{8,10} )?\d\d:\d\d:\d\d\.\d{1,6})\) \S|(?:\[ {0,9}\d{1,10}\])?\[[EWIDV]\]\[|"
    rb"rst:0x[0-9a-f]{1,2} \(|ets [A-Z][a-z]{2} |ESP-ROM:|Guru Meditation Error|Backtrace: ?0x|"
    rb"abort\(\) was called|assert failed: |(?:PC|MEPC|A\d{1,2}|EXCVADDR) {1,7}: 0x|Rebooting\.\.\.|"
    rb"CORRUPT HEAP: |load:0x|entry 0x|ELF file SHA256: |Core {1,2}\d register dump:|"
    rb"ESP_ERROR_CHECK failed|@(?:!|\d{1,5}) \{|Brownout detector was triggered|"
    rb"\*\*\*ERROR\*\*\* A stack|[EWI] [A-Za-z_]\w{2,30}: "
)
_IN_FRONT = re.compile(rb"(?m)^(.{0,%d}?)(?:%s)" % (PREFIX_MAX, _BOARD_LINE))
_CLOCK = re.compile(
    rb"(?m)^([\[(<]?(?:\d{4}-\d\d-\d\d[ T_])?\d\d?:\d\d:\d\d(?:[.,:]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?[\])>]?"
    rb"(?:[ \t]{0,2}(?:->|>|\|))?[ \t]{0,2})(?=\S)"
)
"""A time of day in front of a line, for a log without lines that certainly come from the board."""
_AFTER_TEXT = re.compile(rb"(?m)^(?!%s).{1,%d}?(?:%s)" % (_BOARD_LINE, PREFIX_MAX, _BOARD_LINE))
_TOKEN = re.compile(rb"\d+|[A-Za-z]+|[ \t]+|[^\dA-Za-z \t]")
_NAMES = rb"Jan|Feb|Mar|Apr|May|June?|July?|Aug|Sept?|Oct|Nov|Dec|Mon|Tue|Wed|Thu|Fri|Sat|Sun|AM|PM|am|pm"
_NAME = re.compile(_NAMES)
_LINE = re.compile(rb"(?m)^[^\n]*[^\s][^\n]*$")
_SECOND_HEADER = re.compile(rb"\((?<=[^\n][EWIDV] \()\d{1,10}\) ")


class PrefixRemover:
    """Removes the prefix from the lines of a log, one window of whole lines after the other."""

    def __init__(self) -> None:
        self._prefix: re.Pattern[bytes] | None = None
        self._is_first = True

    def remove(self, window: bytes) -> bytes:
        """Remove the prefix from the lines of a window.

        A monitor can switch its time stamps on and off, so the search for a prefix is repeated in a window where the
        known prefix is rare, or where headers are within lines.
        """
        if self._prefix is None:
            is_doubtful = self._is_first or _SECOND_HEADER.search(window) is not None
        else:
            is_doubtful = not _is_usual(self._prefix, window)
        if is_doubtful:
            self._prefix = find_prefix(window)
        self._is_first = False
        return window if self._prefix is None else self._prefix.sub(b"", window)


class LivePrefixRemover:
    """Removes the prefix from the lines of a log that is still being written.

    The search uses only the lines before each line, so that no line has to wait. The result does not depend on how the
    lines are fed.
    """

    def __init__(self) -> None:
        self._prefix: re.Pattern[bytes] | None = None
        self._recent: deque[bytes] = deque(maxlen=LIVE_LINES)

    def remove(self, lines: bytes) -> bytes:
        """Remove the prefix from the next whole lines."""
        if self._prefix is None and not _may_have_prefix(lines):
            self._recent.extend(line + b"\n" for line in lines.split(b"\n")[-LIVE_LINES - 1 : -1])
            return lines
        return b"".join(self._remove(line + b"\n") for line in lines.split(b"\n")[:-1])

    def _remove(self, line: bytes) -> bytes:
        self._recent.append(line)
        if _may_have_prefix(line) if self._prefix is None else not self._prefix.match(line):
            self._prefix = find_prefix(b"".join(self._recent))
        return line if self._prefix is None else self._prefix.sub(b"", line)


def _may_have_prefix(lines: bytes) -> bool:
    return _AFTER_TEXT.search(lines) is not None or _CLOCK.search(lines) is not None


def find_prefix(window: bytes) -> re.Pattern[bytes] | None:
    """The pattern of the prefix that most lines of a window have; None if they have none."""
    in_front = _IN_FRONT.findall(window)
    bare = in_front.count(b"")
    if not in_front:
        in_front = _CLOCK.findall(window)
    by_shape: defaultdict[tuple[bytes, ...], list[bytes]] = defaultdict(list)
    for text in in_front:
        if text:
            by_shape[_shape(text)].append(text)
    for _, texts in sorted(by_shape.items(), key=lambda entry: -len(entry[1]))[:3]:
        prefix = _pattern(texts)
        if len(texts) > bare and _is_usual(prefix, window):
            return prefix
    return None


def _is_usual(prefix: re.Pattern[bytes], window: bytes) -> bool:
    lines = sum(1 for _ in _LINE.finditer(window))
    return lines > 0 and sum(1 for _ in prefix.finditer(window)) >= SHARE_MIN * lines


def _tokens(text: bytes) -> list[bytes]:
    """Digits, words, spaces and punctuation of a text. Spaces before a number are padding, not a token."""
    tokens = _TOKEN.findall(text)
    return [
        token
        for token, after in zip(tokens, [*tokens[1:], b""], strict=True)
        if not (token.isspace() and after.isdigit())
    ]


def _shape(text: bytes) -> tuple[bytes, ...]:
    return tuple(_kind(token) for token in _tokens(text))


def _kind(token: bytes) -> bytes:
    if token.isdigit():
        return b"9"
    if token.isalpha():
        return b"name" if _NAME.fullmatch(token) else b"a"
    return b" " if token.isspace() else token


def _pattern(texts: list[bytes]) -> re.Pattern[bytes]:
    """A pattern that matches all these texts, which have the same shape."""
    columns = zip(*(_tokens(text) for text in texts), strict=True)
    kinds = _shape(texts[0])
    parts = [
        _part(kind, Counter(column), is_last)
        for kind, column, is_last in zip(kinds, columns, [*[False] * (len(kinds) - 1), True], strict=True)
    ]
    end = rb"|%s[ \t]*$" % b"".join(parts[:-1]) if kinds[-1] == b" " and len(parts) > 1 else b""
    return re.compile(rb"(?m)^(?:%s%s)" % (b"".join(parts), end))


def _part(kind: bytes, texts: Counter[bytes], is_last: bool) -> bytes:
    if kind == b"9":
        return rb"[ \t]{0,12}\d{1,20}"
    if kind == b"name":
        return rb"[ \t]{0,2}(?:%s)" % _NAMES
    if len(texts) == 1:
        return re.escape(next(iter(texts)))
    shortest, longest = min(map(len, texts)), max(map(len, texts))
    if kind == b" ":
        return rb"[ \t]{%d,%d}" % (shortest, shortest if is_last else longest)
    return rb"[A-Za-z]{%d,%d}" % (shortest, longest)
