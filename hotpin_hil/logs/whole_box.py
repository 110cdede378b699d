"""Reads a whole statistics box at once, ten times as fast as line by line.

Other tasks' lines may be in between if they only have to be counted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from hotpin_hil.logs.kinds import NOT_A_BOARDS, TRACE
from hotpin_hil.logs.shapes import BOX_TOP, INSERTED
from hotpin_hil.protocol.box import BOTTOM, BOX_LINES, FOREIGN_MAX, TITLE, printed_values, template_lines

_OWN = b"\xe2\x95"
"""The first bytes of all border characters."""
_FIGURE = re.compile(rb": +([+-]?\d{1,10})(?: bytes|%)")
_TITLE, _BOTTOM = TITLE.encode(), BOTTOM.encode()


class WholeBox(NamedTuple):
    """A box. It may have other tasks' lines in between, if they only have to be counted."""

    top: int
    """Index of its first line."""
    title: int
    end: int
    """Index after its last line."""
    stamps: list[bytes]
    """Times of its own lines, in ms."""
    context: str
    figures: list[int]
    """In the order of the box."""
    foreign: list[int]
    """Indices of the other lines."""


def is_other_box(lines: Sequence[bytes], top: int) -> bool:
    """Whether the line after a box's top shows that it is not a statistics box; most firmware also frames other texts.

    A line that was split by another task's output does not count.
    """
    after = lines[top + 1] if top + 1 < len(lines) else b""
    _, mark, text = after.partition(_own_mark(lines[top]))
    return mark != b"" and _TITLE not in after and INSERTED.search(text) is None


def is_cut_off(lines: Sequence[bytes], top: int) -> bool:
    """Whether the lines end within a statistics box that starts at `top`, so that it may become complete later."""
    return len(lines) - top < BOX_LINES and top + 1 < len(lines) and _TITLE in lines[top + 1]


def find_whole_box(
    lines: Sequence[bytes], kinds: bytes, stamps: list[bytes], top: int, end: int
) -> WholeBox | None:
    """The box that starts at index `top`; None if it is incomplete or must be read line by line.

    Args:
        lines: lines of a log.
        kinds: their kinds.
        stamps: the times from the first line of the box on.
        top: index of a line with the text BOX_TOP.
        end: index after the last line that may be used.
    """
    mark = _own_mark(lines[top])
    behind = top + BOX_LINES
    if behind <= end and mark in lines[behind - 1] and lines[behind - 1].endswith(_BOTTOM):
        places: Sequence[int] = range(top, behind)
        own = lines[top:behind]
    else:
        places = _own_lines(mark, lines, kinds, top, end)
        own = [lines[index] for index in places]
        stamps = [line[3 : line.index(b")")] for line in own]
    if len(own) < BOX_LINES or len(stamps) < BOX_LINES or kinds[places[1]] in TRACE:
        return None
    text = b"\n".join(own)
    figures = [int(figure) for figure in _FIGURE.findall(text, len(own[0]) + len(own[1]))]
    title = own[1].partition(_TITLE)[2]
    if b") " in title or b"@" in title or text != _printed(mark, stamps, title, figures):
        return None
    try:
        context = title.decode()
    except UnicodeDecodeError:
        return None
    foreign = sorted({*range(top, places[-1])}.difference(places)) if places[-1] >= behind else []
    return WholeBox(top, places[1], places[-1] + 1, stamps, context, figures, foreign)


def _own_lines(mark: bytes, lines: Sequence[bytes], kinds: bytes, top: int, end: int) -> list[int]:
    """Indices of a box's own lines among other lines; empty if one of those must be scanned, or the box is cut off."""
    places: list[int] = []
    for index in range(top, min(top + BOX_LINES + FOREIGN_MAX, end)):
        if mark in lines[index]:
            places.append(index)
            if len(places) == 2 and _TITLE not in lines[index]:
                return []
            if len(places) == BOX_LINES:
                return places
        elif NOT_A_BOARDS.match(kinds, index):
            return []
    return []


def _own_mark(top: bytes) -> bytes:
    """The bytes between a line's time and its text, the same in all lines of a box."""
    return top[top.index(b") ") : 1 - len(BOX_TOP)] + _OWN


def _printed(mark: bytes, stamps: list[bytes], title: bytes, figures: list[int]) -> bytes | None:
    """The lines that the firmware prints for these figures; None if there are too many or too few."""
    try:
        values = printed_values(figures)
    except ValueError:
        return None
    template, counts = _template(mark)
    arguments: list[bytes | int] = [stamps[0], stamps[1], title]
    used = 0
    for stamp, count in zip(stamps[2:], counts, strict=True):
        arguments.append(stamp)
        if count:
            arguments += values[used : used + count]
            used += count
    return template % tuple(arguments)


@lru_cache(maxsize=16)
def _template(mark: bytes) -> tuple[bytes, list[int]]:
    """A task's box as a format string, and the number of values in each of its lines after the title."""
    head = b"I (%b" + mark.replace(b"%", b"%%")[: -len(_OWN)]
    lines = template_lines()
    counts = [line.replace("%%", "").count("%") for line in lines[2:]]
    return b"\n".join(head + line.encode() for line in lines), counts
