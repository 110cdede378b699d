"""Reads level, time and tag from log line headers other than ESP_LOG's `I (123) TAG: `.

| source | header |
|---|---|
| ESP-IDF, CONFIG_LOG_TIMESTAMP_SOURCE_SYSTEM | `I (10:15:01.120) tag: ` |
| ESP-IDF, with the date | `I (2026-03-01 10:15:01.120) tag: ` |
| ESP-IDF, ESP_EARLY_LOG or without time stamps | `E tag: ` |
| Arduino core | `[ 61250][E][file.cpp:37] function(): `, in older versions without the time |
| ESPHome | `[D][tag:123]: ` (its time of day is a prefix) |
"""

from __future__ import annotations

import re
from datetime import date

DAY_MS = 86_400_000
_MIDNIGHT_MS = 10 * 60 * 1_000
"""A jump of the time of day from less than this before midnight to less than this after it means the next day, not a
reset."""
_CLOCK = re.compile(
    rb"([EWIDV]) \((?:(\d{4}|\d\d)-(\d\d)-(\d\d) )?(\d\d):(\d\d):(\d\d)\.(\d{3})\d{0,3}\) ([^\s:@{][^:\n]{0,60}):"
)
_BRACKETS = re.compile(
    rb"(?:\[ {0,9}(\d{1,10})\])?\[(E|W|I|D|VV|V|C|S)\]\[([^\]:\n]{1,60})(?::\d{1,6})?\](?:\[[^\]\n]{1,40}\])?:? ?"
)
_PLAIN = re.compile(rb"([EWIDV]) ([A-Za-z_][\w.\-]{1,39}):(?= )")
_LEVELS = {b"C": b"I", b"S": b"I", b"VV": b"V"}
"""ESPHome's levels that ESP_LOG does not have: configuration, state, very verbose."""

Header = tuple[bytes, bytes, bytes, bytes]
"""Level, time in ms (empty if unknown), tag and the text after the header."""


class OtherHeaders:
    """Reads these headers. Times of day become ms since the midnight before the first timestamp."""

    def __init__(self) -> None:
        self._first_day: date | None = None
        self._days = 0
        self._last_ms = 0

    def read(self, line: bytes) -> Header | None:
        """Level, time, tag and text of a line; None for a line without such a header."""
        first = line[:1]
        if first == b"[":
            return _brackets(line)
        if not first or first not in b"EWIDV" or line[1:2] != b" ":
            return None
        if (found := _CLOCK.match(line)) is not None:
            time = self._time(*found.groups(b"")[1:8])
            return None if time is None else (found[1], b"%d" % time, found[9], line[found.end() :])
        if (found := _PLAIN.match(line)) is not None:
            return found[1], b"", found[2], line[found.end() :]
        return None

    def _time(self, *fields: bytes) -> int | None:
        year, month, day, hours, minutes, seconds, millis = fields
        time = ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * 1_000 + int(millis)
        if year:
            try:
                today = date(int(year) % 100 + 2000, int(month), int(day))
            except ValueError:
                return None
            if self._first_day is None or today < self._first_day:
                self._first_day = today
            return min((today - self._first_day).days * DAY_MS + time, 9_999_999_999)
        if time < _MIDNIGHT_MS and self._last_ms > DAY_MS - _MIDNIGHT_MS:
            self._days += 1
        self._last_ms = time
        return self._days * DAY_MS + time


def has_other_header(line: bytes) -> bool:
    """Whether a line starts like one of these headers."""
    return any(pattern.match(line) for pattern in (_CLOCK, _BRACKETS, _PLAIN))


def _brackets(line: bytes) -> Header | None:
    found = _BRACKETS.match(line)
    if found is None:
        return None
    level = _LEVELS.get(found[2], found[2])
    return level, found[1] or b"", found[3], line[found.end() :]
