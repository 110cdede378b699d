"""The statistics box of the guide: strict parser for one box, and a finder for boxes in a stream.

The layout is written down once, as what a box of given figures must look like; parsing reads the figures
and then compares every line with that, so that a wrong width, a missing line or a wrong KB figure is an
error by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from hotpin_hil.telemetry.fields import BOX_FIELDS, DELTA_LABELS, MemoryStats
from hotpin_hil.telemetry.log import LineSplitter, LogLine, parse_log_line

_RULE = "═" * 59
TOP, RULE, BOTTOM = f"╔{_RULE}", f"╠{_RULE}", f"╚{_RULE}"
_TITLE = "║ Memory Statistics - "
_DELTA_HEADING = "║ Memory Delta from Baseline:"
_LABEL_WIDTH = 18
_KB = 1024
_WIDE = ("psram", "total")
"""Fields whose KB figure has four places."""
FOREIGN_MAX = 200
"""A box that is interrupted by more lines than this is given up."""

_FIGURE = re.compile(r"║   [^:]+: +([+-]?\d{1,10})(?: bytes|%)")


class BoxError(ValueError):
    """A box that does not have exactly the guide's layout; says which line, what was expected and what
    came."""


@dataclass(frozen=True)
class Box:
    """One statistics box as printed."""

    context: str
    stats: MemoryStats
    """`timestamp_ms` is the log time of the box's first line: the box itself carries no sample time."""
    delta: dict[str, int]
    """Free bytes now minus free bytes at the baseline, by DELTA_LABELS' keys."""
    lines: tuple[LogLine, ...]
    foreign: tuple[str, ...] = ()
    """Lines of others that were printed between the box's own."""
    offset: int = 0

    @property
    def interleaved(self) -> bool:
        return bool(self.foreign)


@dataclass(frozen=True)
class BrokenBox:
    """The beginning of a box that never became one: cut off, or damaged."""

    reason: str
    lines: tuple[str, ...]
    foreign: tuple[str, ...]
    offset: int


def render(context: str, stats: MemoryStats, delta: dict[str, int]) -> list[str]:
    """The box's lines, without the log prefix."""
    lines = [TOP, _TITLE + context]
    section = ""
    for field in BOX_FIELDS:
        if field.section != section:
            section = field.section
            lines += [RULE, f"║ {section}:"]
        value = getattr(stats, field.name)
        label = f"║   {field.label + ':':<{_LABEL_WIDTH}}"
        if field.unit == "%":
            lines.append(f"{label}{value:3d}%")
        else:
            places = 4 if field.name.startswith(_WIDE) else 3
            lines.append(f"{label}{value:6d} bytes ({value // _KB:{places}d} KB)")
    lines += [RULE, _DELTA_HEADING]
    for name, label in DELTA_LABELS.items():
        value = delta[name]
        kb = int(value / _KB)  # towards zero, as C divides
        lines.append(f"║   {label + ':':<{_LABEL_WIDTH}}{value:+7d} bytes ({kb:+4d} KB)")
    lines.append(BOTTOM)
    return lines


_BLANK = render("", MemoryStats(*[0] * 12), dict.fromkeys(DELTA_LABELS, 0))
_FIGURE_LINES = [number for number, line in enumerate(_BLANK) if _FIGURE.match(line)]


def parse(lines: Iterable[LogLine]) -> Box:
    """One whole box from its log lines, in order. Raises BoxError."""
    lines = tuple(lines)
    texts = [line.text for line in lines]
    if len(texts) != len(_BLANK):
        raise BoxError(f"a box has {len(_BLANK)} lines, this one has {len(texts)}")
    if not texts[1].startswith(_TITLE):
        raise BoxError(f"line 2: expected {_TITLE + '…'!r}, got {texts[1]!r}")
    figures = []
    for number in _FIGURE_LINES:
        match = _FIGURE.match(texts[number])
        if match is None:
            raise BoxError(
                f"line {number + 1}: expected a figure like {_BLANK[number]!r}, got {texts[number]!r}"
            )
        figures.append(int(match[1]))
    context = texts[1][len(_TITLE) :]
    stats = MemoryStats(lines[0].t_ms, *figures[: len(BOX_FIELDS)])
    delta = dict(zip(DELTA_LABELS, figures[len(BOX_FIELDS) :], strict=True))
    for number, (expected, got) in enumerate(zip(render(context, stats, delta), texts, strict=True), 1):
        if expected != got:
            raise BoxError(f"line {number}: expected {expected!r}, got {got!r}")
    return Box(context, stats, delta, lines, offset=lines[0].offset)


def parse_text(text: str) -> Box:
    """One whole box from console text that holds nothing else. Raises BoxError."""
    lines = []
    for number, line in enumerate(LineSplitter().feed(text.strip().encode() + b"\n"), 1):
        parsed = parse_log_line(line)
        if parsed is None:
            raise BoxError(f"line {number} is no log line: {line.text!r}")
        lines.append(parsed)
    return parse(lines)


class BoxFinder:
    """Finds boxes in a stream of bytes, fed in any chunks; other tasks' lines in a box are kept apart,
    and told."""

    def __init__(self, offset: int = 0) -> None:
        self._splitter = LineSplitter(offset)
        self._own: list[LogLine] = []
        self._foreign: list[str] = []

    def feed(self, data: bytes) -> list[Box | BrokenBox]:
        """The boxes that `data` completes, and those it shows to be broken."""
        found: list[Box | BrokenBox] = []
        for line in self._splitter.feed(data):
            parsed = parse_log_line(line)
            if parsed is not None and parsed.text == TOP:
                found += self._give_up("cut off by the next box")
                self._own = [parsed]
            elif not self._own:
                continue
            elif parsed is not None and parsed.tag == self._own[0].tag and parsed.text[:1] in "║╠╚":
                found += self._add(parsed)
            else:
                self._foreign.append(line.text)
                if len(self._foreign) > FOREIGN_MAX:
                    found += self._give_up(f"not finished {FOREIGN_MAX} lines later")
        return found

    def _add(self, line: LogLine) -> list[Box | BrokenBox]:
        self._own.append(line)
        if len(self._own) == 2 and not line.text.startswith(_TITLE):
            self._own, self._foreign = [], []  # a box of another kind
            return []
        if line.text[:1] != "╚":
            return []
        try:
            box = parse(self._own)
        except BoxError as error:
            return self._give_up(str(error))
        found = Box(box.context, box.stats, box.delta, box.lines, tuple(self._foreign), box.offset)
        self._own, self._foreign = [], []
        return [found]

    def _give_up(self, reason: str) -> list[Box | BrokenBox]:
        if not self._own:
            return []
        broken = BrokenBox(
            reason, tuple(line.text for line in self._own), tuple(self._foreign), self._own[0].offset
        )
        own, self._own, self._foreign = self._own, [], []
        # A lone top rule belongs to a box of some other kind.
        return [broken] if len(own) > 1 else []

    def flush(self) -> list[Box | BrokenBox]:
        """At the end of a recording: the box that was being printed."""
        return [*self.feed(b"\n"), *self._give_up("the log ends within it")]
