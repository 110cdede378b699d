"""Decides the kind of all lines of one shape."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from hotpin_hil.logs import shapes
from hotpin_hil.logs.format import is_decoded_address, is_monitor_note, is_remarkable
from hotpin_hil.logs.kinds import (
    BOX,
    DECODED_ADDRESS,
    MONITOR_NOTE,
    OTHER,
    PLAIN_TEXT,
    TRACE,
    WANTED,
    shape_of,
)
from hotpin_hil.logs.shapes import ROW
from hotpin_hil.protocol.headers import has_other_header
from hotpin_hil.protocol.panic import OTHER_TRACES, TRACES

_TRACE = re.compile(b"|".join(map(re.escape, TRACES)))
_LATER_TRACE = re.compile(b"|".join(map(re.escape, OTHER_TRACES)))


class ShapeSorter:
    """Sorts shapes into kinds. A line is plain only if every line of its shape is."""

    def __init__(self, wanted: Mapping[str, Sequence[str]], matters: Callable[[str, str, str], bool]) -> None:
        """Store the arguments; for their meaning see `LineScanner`."""
        self._matters = matters
        self._wanted = {tag.encode(): shapes.any_of(texts) for tag, texts in wanted.items()}
        self._wanted_shapes = {
            shape_of(tag.encode()): shapes.any_of([shape_of(text.encode()).decode() for text in texts])
            for tag, texts in wanted.items()
        }

    def kind_of(self, shape: bytes) -> bytes:
        """The kind of the lines of a shape."""
        is_stamped = shapes.STAMP.match(b"\n" + shape) is not None
        if _TRACE.search(shape):
            return TRACE[is_stamped:][:1]
        if shape[:1] == b"@" and b"@" not in shape[1:] and b") " not in shape:
            return WANTED[:1]
        found = ROW.match(shape)
        assert found is not None
        level, _, tag, text = found.groups(b"")
        unsure = OTHER[is_stamped:][:1]
        if b"@" in text or (b") " in text and shapes.SECOND_TIME.search(shape)):
            return unsure
        if level:
            return BOX if text == shapes.BOX_TOP else self._kind_of_headed(level, tag, text)
        return unsure if is_stamped or has_other_header(text) else self._kind_of_text(text)

    def is_wanted(self, level: bytes, tag: bytes, text: bytes) -> bool:
        """Whether the line itself, not only its shape, matters (lines with a header)."""
        is_of_topic = tag in self._wanted and self._wanted[tag].search(text) is not None
        return is_of_topic or shapes.has_mark(level, text)

    def _kind_of_text(self, text: bytes) -> bytes:
        if is_monitor_note(text):
            return DECODED_ADDRESS if is_decoded_address(text) else MONITOR_NOTE
        if shapes.is_wanted(text):
            return WANTED[:1]
        if shapes.MEMORY.search(text) and self._may_matter(b"", b"", text):
            return WANTED[:1]
        return OTHER[:1] if _LATER_TRACE.search(text) or is_remarkable(text) else PLAIN_TEXT

    def _kind_of_headed(self, level: bytes, tag: bytes, text: bytes) -> bytes:
        if tag in self._wanted_shapes and self._wanted_shapes[tag].search(text):
            return OTHER[1:]
        if shapes.has_mark(level, text):
            return WANTED[1:] if self._may_matter(level, tag, text) else level
        is_code = level in b"EW" and shapes.FAILURE_CODE.search(text)
        return OTHER[1:] if is_code and self._may_matter(level, tag, text) else level

    def _may_matter(self, level: bytes, tag: bytes, text: bytes) -> bool:
        """Whether a line with this shape may produce an event. True if digits of a name hide the answer."""
        if shapes.DIGIT_IN_NAME.search(b"%s:%s" % (tag, text)):
            return True
        return self._matters(
            level.decode(),
            tag.decode("utf-8", errors="replace"),
            text.decode("utf-8", errors="replace").removeprefix(" "),
        )
