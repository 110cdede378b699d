"""Sorts lines by their shape: nearly all lines of a log have one of a few hundred shapes.

A line's shape is the line with each digit replaced by 0. Whether a line only has to be counted depends on its shape, so
it is decided once for each shape.
"""

from __future__ import annotations

import re
from collections.abc import Callable

KNOWN_MAX = 16_384
"""Maximum number of known shapes. When it is reached, all are forgotten, so that memory does not grow with the log."""
SHAPE_MAX = 512
"""Bytes; longer shapes are not kept."""

PLAIN_TEXT = b"."
"""Kind of a line without a header that only has to be counted. A counted line with a header has its level as its
kind."""
MONITOR_NOTE, DECODED_ADDRESS = b"m", b"d"
"""A line of `idf.py monitor`, which only has to be counted."""
OTHER, WANTED, TRACE = b"xX", b"yY", b"tT"
"""Kinds of lines that may need more than counting, that surely matter, and that may be part of a panic. The capital
letter is for a line that starts with a level and a time."""
BOX = b"B"
"""The first line of a box."""
NOT_PLAIN = re.compile(rb"[xXyYtTB]")
"""Kinds of lines that may need more than counting; all other lines are plain."""
NOT_A_BOARDS = re.compile(rb"[xXyYtTBmd]")
UNSURE = OTHER + TRACE
"""Kinds of lines that may have another task's line inside."""
UNSTAMPED = PLAIN_TEXT + MONITOR_NOTE + DECODED_ADDRESS + b"xyt"
"""Kinds of lines that do not start with a level and a time."""

_SHAPE = bytes.maketrans(b"123456789", b"000000000")


def shape_of(text: bytes) -> bytes:
    """The shape of a line or of several."""
    return text.translate(_SHAPE)


class LineKinds(dict[bytes, int]):
    """The kinds of lines, by shape."""

    def __init__(self, kind_of: Callable[[bytes], bytes]) -> None:
        """Start without known shapes.

        Args:
            kind_of: returns the kind of a line, a single byte, which must depend only on the line's shape.
        """
        super().__init__()
        self._kind_of = kind_of

    def of_lines(self, text: bytes) -> bytes:
        """The kinds of the lines of a text that ends with a newline: one byte per line."""
        shapes = shape_of(text).split(b"\n")
        shapes.pop()
        return bytes(map(self.__getitem__, shapes))

    def __missing__(self, shape: bytes) -> int:
        kind = self._kind_of(shape)[0]
        if len(shape) <= SHAPE_MAX:
            if len(self) >= KNOWN_MAX:
                self.clear()
            self[shape] = kind
        return kind
