"""The statistics box of the memory management guide: a strict parser for one box, and a finder for boxes in a stream.

`render` is the only definition of the layout. The parser reads the figures, renders them again and compares
every line: a wrong width, a missing line or a wrong KB figure is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from hotpin_hil.protocol.fields import BOX_FIELDS, DELTA_LABELS, MemoryStats
from hotpin_hil.protocol.log import ConsoleLine, LineSplitter, LogLine, parse_log_line

_RULE = "═" * 59
TOP, RULE, BOTTOM = f"╔{_RULE}", f"╠{_RULE}", f"╚{_RULE}"
BORDERS = ("╔", "║", "╠", "╚")
"""First characters of the lines of a box."""
TITLE = "║ Memory Statistics - "
"""The second line of a box, up to its context."""
_DELTA_HEADING = "║ Memory Delta from Baseline:"
_LABEL_WIDTH = 18
_KB = 1024
_WIDE = ("psram", "total")
"""Prefixes of the fields whose KB figure has four digits."""
FOREIGN_MAX = 200
"""Maximum number of lines from other tasks within a box; after that the finder gives up on the box."""
OPEN_MAX = 8
"""Maximum number of tasks that may print boxes at the same time."""

_FIGURE = re.compile(r"║   [^:]+: +([+-]?\d{1,10})(?: bytes|%)")


class BoxError(ValueError):
    """A box deviates from the guide's layout. The message has the line, the expected text and the actual text."""


@dataclass(frozen=True)
class Box:
    """One statistics box as printed."""

    context: str
    stats: MemoryStats
    """`timestamp_ms` is the log time of the first line, because a box does not contain the sample's time."""
    delta: dict[str, int]
    """Free bytes now minus free bytes at the baseline, by the keys of DELTA_LABELS."""
    lines: tuple[LogLine, ...]
    foreign: tuple[str, ...] = ()
    """Lines from other tasks, printed between the lines of the box."""
    offset: int = 0

    @property
    def interleaved(self) -> bool:
        """Whether lines from other tasks are printed between the lines of the box."""
        return bool(self.foreign)

    @property
    def is_joined(self) -> bool:
        """Whether another task's output split a line of the box."""
        return any(line.is_joined for line in self.lines)


@dataclass(frozen=True)
class BrokenBox:
    """A box that was cut off or damaged."""

    reason: str
    lines: tuple[str, ...]
    foreign: tuple[str, ...]
    offset: int
    own: tuple[LogLine, ...] = ()
    """The parsed log lines behind `lines`."""

    @property
    def context(self) -> str:
        """The context in its title."""
        return self.lines[1][len(TITLE) :]


def render(context: str, stats: MemoryStats, delta: dict[str, int]) -> list[str]:
    """Render a box; returns its lines without the log prefix.

    Args:
        context: text of its title.
        stats: the figures.
        delta: free bytes now minus free bytes at the baseline, by the keys of DELTA_LABELS.
    """
    figures = [getattr(stats, field.name) for field in BOX_FIELDS]
    return _text(context, figures + [delta[name] for name in DELTA_LABELS]).split("\n")[:-1]


def _text(context: str, figures: list[int]) -> str:
    """Text of a box; figures are in the order of BOX_FIELDS, then DELTA_LABELS."""
    return _TEMPLATE % (context, *printed_values(figures))


def printed_values(figures: Sequence[int]) -> list[int]:
    """The numbers that a box prints: each figure, and after each size the same size in KB.

    Raises:
        ValueError: there are too many or too few figures.
    """
    values: list[int] = []
    for has_kb, value in zip(_HAS_KB, figures, strict=True):
        if has_kb:
            values += (value, int(value / _KB))  # rounds towards zero, as C does
        else:
            values.append(value)
    return values


def template_lines() -> list[str]:
    """The lines of a box as `%` format strings, for its context and its printed values."""
    return _TEMPLATE.split("\n")[:-1]


def _template() -> str:
    """The box as a `%` format string. Its arguments: the context, then each size in bytes and again in KB."""
    lines = [TOP, f"{TITLE}%s"]
    section = ""
    for item in BOX_FIELDS:
        if item.section != section:
            section = item.section
            lines += [RULE, f"║ {section}:"]
        label = f"║   {item.label + ':':<{_LABEL_WIDTH}}"
        places = 4 if item.name.startswith(_WIDE) else 3
        lines.append(f"{label}%3d%%" if item.unit == "%" else f"{label}%6d bytes (%{places}d KB)")
    lines += [RULE, _DELTA_HEADING]
    lines += [f"║   {label + ':':<{_LABEL_WIDTH}}%+7d bytes (%+4d KB)" for label in DELTA_LABELS.values()]
    return "\n".join([*lines, BOTTOM, ""])


_HAS_KB = [item.unit != "%" for item in BOX_FIELDS] + [True] * len(DELTA_LABELS)
_TEMPLATE = _template()


def box_values(t_ms: int, figures: list[int]) -> tuple[MemoryStats, dict[str, int]]:
    """Statistics and deltas from a box's figures, given in the order of BOX_FIELDS, then DELTA_LABELS."""
    stats = MemoryStats(t_ms, *figures[: len(BOX_FIELDS)])
    return stats, dict(zip(DELTA_LABELS, figures[len(BOX_FIELDS) :], strict=True))


BOX_LINES = _TEMPLATE.count("\n")
_BLANK = render("", MemoryStats(*[0] * 12), dict.fromkeys(DELTA_LABELS, 0))
_FIGURE_LINES = [number for number, line in enumerate(_BLANK) if _FIGURE.match(line)]


def parse(lines: Iterable[LogLine]) -> Box:
    """Parse one complete box from its log lines, in order.

    Raises:
        BoxError: the lines are not exactly one box.
    """
    lines = tuple(lines)
    texts = [line.text for line in lines]
    if len(texts) != len(_BLANK):
        raise BoxError(f"a box has {len(_BLANK)} lines, but this one has {len(texts)}")
    if not texts[1].startswith(TITLE):
        raise BoxError(f"line 2: expected {TITLE + '…'!r}, got {texts[1]!r}")
    figures = []
    for number in _FIGURE_LINES:
        match = _FIGURE.match(texts[number])
        if match is None:
            raise BoxError(
                f"line {number + 1}: expected a figure like {_BLANK[number]!r}, got {texts[number]!r}"
            )
        figures.append(int(match[1]))
    context = texts[1][len(TITLE) :]
    stats, delta = box_values(lines[0].t_ms or 0, figures)
    rendered = render(context, stats, delta)
    if rendered != texts:
        number = next(number for number, line in enumerate(rendered) if line != texts[number])
        raise BoxError(f"line {number + 1}: expected {rendered[number]!r}, got {texts[number]!r}")
    return Box(context, stats, delta, lines, offset=lines[0].offset)


def parse_text(text: str) -> Box:
    """Parse console text that is exactly one box.

    Raises:
        BoxError: the text is not exactly one box.
    """
    lines = []
    for number, line in enumerate(LineSplitter().feed(text.strip().encode() + b"\n"), 1):
        parsed = parse_log_line(line)
        if parsed is None:
            raise BoxError(f"line {number} is not a log line: {line.text!r}")
        lines.append(parsed)
    return parse(lines)


@dataclass
class _Open:
    """A box that is being printed."""

    own: list[LogLine]
    foreign: list[str] = field(default_factory=list)


class BoxFinder:
    """Finds boxes in a stream, fed in chunks of any size or line by line.

    Lines from other tasks within a box are collected in `foreign`.
    """

    def __init__(self, offset: int = 0) -> None:
        self._splitter = LineSplitter(offset)
        self._open: dict[str, _Open] = {}
        """Boxes being printed, by tag: two tasks may print boxes at the same time."""

    @property
    def is_waiting(self) -> bool:
        """Whether a box is being printed, so that every line matters."""
        return bool(self._open)

    def feed(self, data: bytes) -> list[Box | BrokenBox]:
        """Parse the next chunk; returns the boxes that it completes or breaks."""
        found: list[Box | BrokenBox] = []
        for line in self._splitter.feed(data):
            found += self.add(parse_log_line(line) or line)
        return found

    def add(self, line: LogLine | ConsoleLine) -> list[Box | BrokenBox]:
        """Parse the next line; returns the boxes that it completes or breaks."""
        if not self._open and line.text != TOP:
            return []
        own_tag = line.tag if isinstance(line, LogLine) and line.text[:1] in BORDERS else None
        found: list[Box | BrokenBox] = []
        if len(self._open) > 1 or own_tag not in self._open:
            for tag in [tag for tag in self._open if tag != own_tag]:
                found += self._add_foreign(tag, line)
        if own_tag is not None and isinstance(line, LogLine):
            self._add_own(own_tag, line, found)
        return found

    def _add_foreign(self, tag: str, line: LogLine | ConsoleLine) -> list[Box | BrokenBox]:
        box = self._open[tag]
        box.foreign.append(line.whole)
        if len(box.foreign) > FOREIGN_MAX:
            return self._give_up(tag, f"not finished after {FOREIGN_MAX} lines from other tasks")
        return []

    def _add_own(self, tag: str, line: LogLine, found: list[Box | BrokenBox]) -> None:
        border = line.text[:1]
        if border == TOP[0] and line.text == TOP:
            found += self._give_up(tag, "cut off by the next box")
            if len(self._open) == OPEN_MAX:
                found += self._give_up(next(iter(self._open)), "too many other boxes start within it")
            self._open[tag] = _Open([line])
        elif tag in self._open:
            own = self._open[tag].own
            own.append(line)
            if len(own) == 2 and not line.text.startswith(TITLE):
                del self._open[tag]  # a box of another kind
            elif border == BOTTOM[0]:
                found += self._finish(tag)
            elif len(own) > len(_BLANK):
                found += self._give_up(tag, f"longer than {len(_BLANK)} lines")

    def _finish(self, tag: str) -> list[Box | BrokenBox]:
        box = self._open[tag]
        try:
            parsed = parse(box.own)
        except BoxError as error:
            return self._give_up(tag, str(error))
        del self._open[tag]
        return [replace(parsed, foreign=tuple(box.foreign))]

    def _give_up(self, tag: str, reason: str) -> list[Box | BrokenBox]:
        box = self._open.pop(tag, None)
        # A lone top rule belongs to another kind of box.
        if box is None or len(box.own) < 2:
            return []
        own = tuple(box.own)
        return [BrokenBox(reason, tuple(line.text for line in own), tuple(box.foreign), own[0].offset, own)]

    def flush(self) -> list[Box | BrokenBox]:
        """End the stream; returns the incomplete boxes."""
        found = self.feed(b"\n")
        for tag in list(self._open):
            found += self._give_up(tag, "the log ends within it")
        return found
