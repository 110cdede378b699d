"""Counts the lines and levels of a log file, and the damage that terminals did to it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from hotpin_hil.logs.kinds import DECODED_ADDRESS, MONITOR_NOTE
from hotpin_hil.logs.shapes import ROW

KEPT = 1_000
"""Maximum number of line numbers or tags kept per kind; the rest are only counted."""
OTHER_TAGS = "(other tags)"
LEVELS = {level.encode(): level for level in "EWIDV"}

_LEVEL_LOST = re.compile(rb" ?\(\d+\) [^\s:][^:]{0,40}: ")
_PROMPT = re.compile(rb"PS [A-Z]:\\[^>]*>")
_DECODED = re.compile(rb"--- (?:0x[0-9a-fA-F]+: |\(inlined by\) )")


def is_remarkable(text: bytes) -> bool:
    """Whether a line without a header has one of the counted shapes."""
    return bool(_PROMPT.match(text) or _LEVEL_LOST.match(text))


def is_monitor_note(text: bytes) -> bool:
    """Whether a line comes from `idf.py monitor`, not from the board."""
    return text.startswith(b"--- ")


def is_decoded_address(text: bytes) -> bool:
    """Whether a line of `idf.py monitor` is a decoded address."""
    return _DECODED.match(text) is not None


@dataclass
class LogFormat:
    """Counts of a file's format features."""

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


class LineTally:
    """Counts lines by level, tag and shape."""

    def __init__(self) -> None:
        self.format = LogFormat()
        self.complaints: dict[bytes, Counter[str]] = {b"E": Counter(), b"W": Counter()}
        """Number of errors and of warnings by tag."""
        self.not_kept: Counter[str] = Counter()
        """Per list: number of entries dropped after its first KEPT."""
        self.odd_stamps: list[int] = []
        """Lines with a time that fits neither the lines before nor the lines after."""
        self.hidden_headers: list[int] = []
        """Lines that are not read although a header is within them."""
        self._by_level = dict.fromkeys(LEVELS, 0)
        self._names: dict[bytes, str] = {}

    @property
    def levels(self) -> dict[str, int]:
        """Number of lines of each level."""
        return {LEVELS[level]: count for level, count in self._by_level.items()}

    @property
    def headed_lines(self) -> int:
        """Number of lines in ESP_LOG's shape."""
        return sum(self._by_level.values())

    def count(self, level: bytes, lines: int = 1) -> None:
        """Count lines of a level."""
        self._by_level[level] += lines

    def count_header(self, level: bytes, tag: bytes) -> None:
        """Count a line with a header."""
        self.count(level)
        if level in b"EW":
            self.count_complaint(level, tag)

    def count_plain(self, kinds: bytes, lines: Sequence[bytes], begin: int) -> None:
        """Count consecutive plain lines by level, and the errors and warnings among them by tag.

        Args:
            kinds: the kinds of the lines.
            lines: a list that has the lines.
            begin: index of the first of them in the list.
        """
        if (infos := kinds.count(b"I")) == len(kinds):
            self.count(b"I", infos)
            return
        for level in LEVELS:
            if count := kinds.count(level):
                self.count(level, count)
        if notes := kinds.count(MONITOR_NOTE) + kinds.count(DECODED_ADDRESS):
            self.count_monitor_notes(notes, kinds.count(DECODED_ADDRESS))
        for level in self.complaints:
            at = kinds.find(level)
            while at >= 0:
                found = ROW.match(lines[begin + at])
                assert found is not None
                self.count_complaint(level, found[3])
                at = kinds.find(level, at + 1)

    def count_complaint(self, level: bytes, tag: bytes) -> None:
        """Count a line of level E or W."""
        name, by_tag = self.name(tag), self.complaints[level]
        is_known = name in by_tag or len(by_tag) < KEPT
        by_tag[name if is_known else OTHER_TAGS] += 1

    def name(self, tag: bytes) -> str:
        """Decode a tag."""
        name = self._names.get(tag)
        if name is None:
            name = tag.decode("utf-8", errors="replace")
            if len(self._names) < KEPT:
                self._names[tag] = name
        return name

    def count_headless(self, number: int, text: bytes) -> bool:
        """Count a line without a header; returns False for a line of `idf.py monitor`."""
        form = self.format
        if is_monitor_note(text):
            self.count_monitor_notes(1, int(is_decoded_address(text)))
            return False
        if text.startswith(b"PS ") and _PROMPT.match(text):
            form.powershell_prompt_lines += 1
        elif _LEVEL_LOST.match(text):
            self._keep("level_letter_lost_lines", form.level_letter_lost_lines, number)
        return True

    def count_monitor_notes(self, lines: int, addresses: int) -> None:
        """Count lines of `idf.py monitor`, and the decoded addresses among them."""
        self.format.monitor_note_lines += lines
        self.format.decoded_address_lines += addresses

    def count_second_header(self, number: int) -> None:
        """Count a line with another task's line inside."""
        self._keep("lines_with_second_header", self.format.lines_with_second_header, number)

    def count_odd_stamp(self, number: int) -> None:
        """Count a line with a damaged time."""
        self._keep("odd_stamps", self.odd_stamps, number)

    def count_hidden_header(self, number: int) -> None:
        """Count a line that is not read although a header is within it."""
        self._keep("hidden_headers", self.hidden_headers, number)

    def count_reversals(self, late_ms: list[int]) -> None:
        """Count late lines. `late_ms` has the delay of each line behind the latest time, in ms."""
        self.format.timestamp_reversals += len(late_ms)
        self.format.worst_reversal_ms = max(self.format.worst_reversal_ms, *late_ms, 0)

    def _keep(self, name: str, kept: list[int], number: int) -> None:
        if len(kept) < KEPT:
            kept.append(number)
        else:
            self.not_kept[name] += 1
