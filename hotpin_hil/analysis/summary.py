"""Summarises a log: its boots, transitions and panics, and the lowest free memory.

Memory use is bounded: the summary keeps the first and the last boots, but counts all of them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from statistics import median

from hotpin_hil.analysis.matched_state import Readings
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.fields import MEMORIES

BOOTS_FIRST, BOOTS_LAST = 100, 20
TRANSITIONS_KEPT = 200
PANICS_KEPT = 100
PICTURED = 6
"""Maximum number of boots in charts: the first boots with statistics."""
SAMPLES_KEPT, MARKS_KEPT = 2_000, 300


@dataclass(frozen=True)
class Lowest:
    """The lowest free size of a memory type, and its source."""

    memory: str
    bytes: int
    line: int
    boot: int
    t_ms: int | None
    where: str
    """The statistics, component or watermark that reported this figure."""


@dataclass
class BootPicture:
    """Data for the chart of a boot."""

    samples: list[ev.Sample] = field(default_factory=list)
    marks: list[ev.LogEvent] = field(default_factory=list)
    """Warnings, failed allocations, transitions and panics."""


@dataclass
class BootSummary:
    """One boot, from its first sign in the log to the first sign of the next boot."""

    boot: int
    line: int
    """Line of the first sign of the boot; 1 if the log starts within the boot."""
    sign: str = "the log starts within this boot"
    cause: str = ""
    """The ROM's name of the reset."""
    reason: str = ""
    """Reset reason as the firmware reports it."""
    boot_count: int | None = None
    build: ev.BuildSeen | None = None
    stage: str = ""
    """How far the boot got, if the log contains its end."""
    last_ms: int = 0
    """Time of the boot's latest event."""
    samples: int = 0
    warnings: int = 0
    panics: int = 0
    transitions: dict[str, int] = field(default_factory=dict)
    """Number of transitions by result."""
    story: BootPicture | None = None
    """None for boots without a chart."""

    @property
    def how(self) -> str:
        """The reset reason, if the log shows it; otherwise the sign of the boot."""
        causes = [self.cause, f"the firmware reports {self.reason}" if self.reason else ""]
        return ", ".join(cause for cause in causes if cause) or f"no banner, detected by: {self.sign}"


@dataclass(frozen=True)
class TransitionTimes:
    """Durations (ms) of the transitions to one mode with both start and end in the log."""

    to: str
    count: int
    shortest: int
    median: float
    longest: int


class SummaryBuilder:
    """Builds the summary of a log from its events."""

    def __init__(self, first_line: int = 1, first_boot: int = 0) -> None:
        """Start the summary of a log or of a part of it.

        Args:
            first_line: number of the log's first line.
            first_boot: number of the boot at the start of the log.
        """
        self.boots = 0
        self.lowest: dict[str, Lowest] = {}
        self.transitions: list[ev.Transition] = []
        """The first transitions."""
        self.transition_count = 0
        self.panics: list[ev.PanicSeen] = []
        """The first panics."""
        self._durations: dict[str, _Durations] = {}
        self._first: list[BootSummary] = []
        self._last: deque[BootSummary] = deque(maxlen=BOOTS_LAST)
        self._present: BootSummary | None = None
        self._pictured = 0
        self._first_line, self._first_boot = first_line, first_boot

    @property
    def present(self) -> BootSummary | None:
        """The newest boot; None before the first event."""
        return self._present

    def close(self, lines: int) -> None:
        """End the log. A log that has output of a board but no events counts as one boot.

        Args:
            lines: number of lines with an ESP-IDF header (level and tag).
        """
        if self._present is None and lines:
            self._boot(ev.LogEvent(self._first_line, self._first_boot, None))

    def feed(self, event: ev.LogEvent) -> None:
        """Add the next event of the log to the summary of its boot."""
        boot = self._boot(event)
        if event.t_ms is not None and event.t_ms > boot.last_ms:
            boot.last_ms = event.t_ms
        match event:
            case ev.HeapPrint():
                self._print(event)
            case ev.BootEnded():
                boot.stage = event.stage
            case ev.BootStarted():
                boot.line, boot.sign, boot.cause = event.line, event.sign, event.cause
            case ev.ResetReason():
                boot.reason, boot.boot_count = event.reason, event.boot_count
            case ev.BuildSeen():
                boot.build = event
            case ev.Sample():
                boot.samples += 1
                self._sample(event)
                self._picture(boot, event)
            case ev.MemoryWarning(recovered=False):
                boot.warnings += 1
            case ev.PanicSeen():
                boot.panics += 1
                if len(self.panics) < PANICS_KEPT:
                    self.panics.append(event.without_core_dump())
            case ev.Transition():
                boot.transitions[event.result] = boot.transitions.get(event.result, 0) + 1
                self._transition(event)
        if boot.story is not None and isinstance(event, _MARKS) and len(boot.story.marks) < MARKS_KEPT:
            boot.story.marks.append(event)

    def _picture(self, boot: BootSummary, sample: ev.Sample) -> None:
        if boot.samples == 1 and self._pictured < PICTURED:
            boot.story = BootPicture()
            self._pictured += 1
        if boot.story is not None and len(boot.story.samples) < SAMPLES_KEPT:
            boot.story.samples.append(sample)

    def _boot(self, event: ev.LogEvent) -> BootSummary:
        present = self._present
        if present is None or present.boot != event.boot:
            present = self._present = BootSummary(
                event.boot, self._first_line if event.boot == self._first_boot else event.line
            )
            self.boots += 1
            if len(self._first) < BOOTS_FIRST:
                self._first.append(present)
            else:
                self._last.append(present)
        return present

    def _lower(self, memory: str, size: int, event: ev.LogEvent, where: str) -> None:
        known = self.lowest.get(memory)
        if known is None or size < known.bytes:
            self.lowest[memory] = Lowest(memory, size, event.line, event.boot, event.t_ms, where)

    def _sample(self, sample: ev.Sample) -> None:
        where = f'{sample.source} "{sample.context}"'
        stats = sample.stats
        free = (stats.internal_free, stats.dma_free, stats.psram_free)
        watermarks = (stats.internal_watermark, stats.dma_watermark, stats.psram_watermark)
        for memory, size, watermark in zip(MEMORIES, free, watermarks, strict=True):
            self._lower(memory, size, sample, where)
            if watermark is not None:
                self._lower(memory, watermark, sample, f"watermark in {where}")

    def _print(self, event: ev.HeapPrint) -> None:
        if event.memory in MEMORIES:
            self._lower(event.memory, event.free, event, f"printed by {event.tag}")

    def _transition(self, event: ev.Transition) -> None:
        self.transition_count += 1
        if len(self.transitions) < TRANSITIONS_KEPT:
            self.transitions.append(event)
        if event.result == "complete" and event.duration_ms is not None:
            self._durations.setdefault(event.to, _Durations()).add(event.duration_ms, event.line)

    @property
    def kept_boots(self) -> tuple[BootSummary, ...]:
        """The first BOOTS_FIRST and the last BOOTS_LAST boots."""
        return (*self._first, *self._last)

    @property
    def transition_times(self) -> tuple[TransitionTimes, ...]:
        """Durations of the completed transitions, by target mode."""
        return tuple(
            TransitionTimes(
                to, times.readings.count, times.shortest, median(times.readings.values), times.longest
            )
            for to, times in self._durations.items()
        )


_MARKS = (ev.MemoryWarning, ev.AllocationFailed, ev.Transition, ev.PanicSeen)


class _Durations:
    def __init__(self) -> None:
        self.readings = Readings()
        self.shortest = 0
        self.longest = 0

    def add(self, duration_ms: int, line: int) -> None:
        is_first = self.readings.count == 0
        self.readings.add(duration_ms, line)
        self.shortest = duration_ms if is_first else min(self.shortest, duration_ms)
        self.longest = max(self.longest, duration_ms)
