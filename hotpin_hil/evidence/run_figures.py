"""The figures of a run that a comparison of releases uses: memory per mode, transitions, ledgers, leaks, image sizes.

They come from the notes of results.jsonl. A figure keeps one value per test, so that two runs are compared test by test
even if one of them did not run all tests. Malformed notes, which broken firmware may send, are skipped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

from hotpin_hil.analysis.leak import find_leak
from hotpin_hil.compat import StrEnum
from hotpin_hil.evidence.lines import EventNote, ReplyNote, SeriesNote, SizesNote
from hotpin_hil.evidence.results import Results
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.answers import LedgerEntry, parse_answer
from hotpin_hil.protocol.decode import Place, decode_event
from hotpin_hil.protocol.errors import ProtocolError
from hotpin_hil.protocol.fields import MEMORIES, MemoryStats


class Topic(StrEnum):
    """Topic of a figure, in the order of the report."""

    MEMORY = "memory"
    TRANSITION = "transition"
    LEDGER = "ledger"
    LEAK = "leak"
    SIZE = "size"


FigureKey = tuple[Topic, str, str]
"""Topic, place and name."""

START = "System Boot"
_OCCASIONS = {
    START: ("start", ("BOOT-01",)),
    "After Camera Transition": ("camera mode", ("TRN-03",)),
    "After Voice Transition": ("voice mode", ("TRN-03",)),
    "After TTS Allocation": ("speech", ("TTS-01",)),
}
"""Context of a memory sample -> place of the figure, and its requirements."""

_SIZES = ("static_dram", "data", "bss", "iram", "flash_code", "flash_data", "image_size")
"""Fields of a SizesNote in bytes."""


@dataclass(frozen=True)
class RunFigure:
    """One figure of a run."""

    topic: Topic
    place: str
    """For example "voice mode", "camera to voice", or the name of an image."""
    name: str
    unit: str
    requirement: tuple[str, ...]
    is_more_better: bool = False
    seen: dict[str, float] = field(default_factory=dict)
    """Test -> its first value; "" for a figure of the whole run."""
    interval: tuple[float, float] = (-math.inf, math.inf)
    """Confidence interval of a leak's slope."""

    @property
    def key(self) -> FigureKey:
        """Identifies the figure in every run."""
        return self.topic, self.place, self.name

    @property
    def value(self) -> float:
        """Median of all tests."""
        return median(self.seen.values())


def figures_of(results: Results) -> dict[FigureKey, RunFigure]:
    """All figures of a run, by topic."""
    collected = _Collector(results)
    return dict(sorted(collected.figures.items(), key=lambda item: list(Topic).index(item[0][0])))


class _Collector:
    """Collects the figures line by line."""

    def __init__(self, results: Results) -> None:
        self.figures: dict[FigureKey, RunFigure] = {}
        self._ids = {line.test: line.requirement for line in results.verdicts}
        self._change: dict[tuple[str, str | None], ev.ModeChange] = {}
        """Test and boot id -> newest transition."""
        self._start: dict[tuple[str, str | None], MemoryStats] = {}
        """Test and boot id -> sample at the start of the firmware."""
        for line in results.notes:
            try:
                self._take(line)
            except (KeyError, TypeError, ValueError, AttributeError, ProtocolError):
                continue

    def _take(self, line: object) -> None:
        if isinstance(line, EventNote):
            match decode_event(line.event, line.data, Place(0, 0, line.t)):
                case ev.Sample() as sample:
                    self._sample(line, sample)
                case ev.ModeChange() as change:
                    self._mode(line, change)
        elif isinstance(line, ReplyNote) and line.command == "mode.ledger":
            self._ledger(line)
        elif isinstance(line, SeriesNote):
            self._series(line)
        elif isinstance(line, SizesNote):
            self._sizes(line)

    def _sample(self, line: EventNote, sample: ev.Sample) -> None:
        if sample.context not in _OCCASIONS:
            return
        place, ids = _OCCASIONS[sample.context]
        start = None if sample.context == START else self._start.get((line.test, line.boot))
        for memory in MEMORIES:
            free, largest, fragmentation = sample.stats.memory(memory)
            for name, unit, value, is_more_better in (
                ("free", "B", free, True),
                ("largest block", "B", largest, True),
                ("fragmentation", "%", fragmentation, False),
            ):
                figure = RunFigure(Topic.MEMORY, place, f"{memory} {name}", unit, ids, is_more_better)
                self._add(figure, line.test, value)
            if start is not None:
                figure = RunFigure(Topic.MEMORY, place, f"{memory} taken since the start", "B", ids)
                self._add(figure, line.test, start.memory(memory)[0] - free)
        if sample.context == START:
            self._start.setdefault((line.test, line.boot), sample.stats)

    def _mode(self, line: EventNote, change: ev.ModeChange) -> None:
        self._change[line.test, line.boot] = change
        if change.ok:
            figure = RunFigure(Topic.TRANSITION, _way(change), "duration", "ms", ("TRN-07",))
            self._add(figure, line.test, change.duration_ms)

    def _ledger(self, line: ReplyNote) -> None:
        """Bytes that each step of a successful transition allocates; negative if it frees memory."""
        change = self._change.get((line.test, line.boot))
        steps = [parse_answer(LedgerEntry, dict(entry), line.command) for entry in line.data["ledger"]]
        if change is None or not change.ok or any(step.undo or step.err != "ESP_OK" for step in steps):
            return
        for step in steps:
            for memory, taken in (
                ("internal", step.internal_before - step.internal_after),
                ("psram", step.psram_before - step.psram_after),
            ):
                name = f"{step.step}: {memory} taken"
                self._add(RunFigure(Topic.LEDGER, _way(change), name, "B", ("TRN-02",)), line.test, taken)

    def _series(self, line: SeriesNote) -> None:
        if line.budget is None or not line.values:
            return
        leak = find_leak(line.values, line.budget)
        if math.isfinite(leak.low) and math.isfinite(leak.high):
            found = RunFigure(
                Topic.LEAK,
                line.test,
                line.name,
                f"{line.unit}/cycle",
                self._ids.get(line.test, ()),
                seen={line.test: leak.slope},
                interval=(leak.low, leak.high),
            )
            self.figures.setdefault(found.key, found)

    def _sizes(self, line: SizesNote) -> None:
        found = {name: getattr(line, name) for name in _SIZES}
        memory: Mapping[str, Mapping[str, int]] = (line.idf_size or {}).get("memory", {})
        found |= {f"{name} (esp-idf-size)": used["used"] for name, used in memory.items()}
        for name, size in found.items():
            if size is not None:
                figure = RunFigure(Topic.SIZE, line.image, name.replace("_", " "), "B", ("REL-01",))
                self._add(figure, "", size)

    def _add(self, figure: RunFigure, test: str, value: float) -> None:
        """Add the value of a test, unless it already has a value."""
        self.figures.setdefault(figure.key, figure).seen.setdefault(test, value)


def _way(change: ev.ModeChange) -> str:
    return f"{change.start} to {change.to}"


def difference(base: RunFigure, candidate: RunFigure) -> tuple[float, float] | None:
    """The base's median, and the median deviation of the candidate over the tests that both ran.

    None if no test has the figure in both runs.
    """
    tests = base.seen.keys() & candidate.seen.keys()
    if not tests:
        return None
    return median(base.seen[test] for test in tests), median(
        candidate.seen[test] - base.seen[test] for test in tests
    )
