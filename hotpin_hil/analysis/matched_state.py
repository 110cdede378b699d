"""Collects free memory in the same state, cycle by cycle and boot by boot, for the leak verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from hotpin_hil.analysis.contexts import after_transition, before_transition
from hotpin_hil.analysis.leak import BUDGET_PER_CYCLE, READINGS_MIN, WARM_UP_MIN, Leak, LeakVerdict, find_leak
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.fields import MEMORIES, MemoryStats

READINGS_KEPT = 4_096
"""A series that reaches this length is thinned to half, so that memory does not grow with the log."""
SERIES_MAX = 64
STEADY_SHARE_MAX = 0.25
"""Free memory is steady if it falls by less than this share of the largest block's loss."""

_JUDGED = ("internal", "psram")
"""The memory types to search for leaks. DMA memory is part of internal memory, so its leaks are found there."""


OF_HOTPIN = (ev.Sample, ev.Transition, ev.TransitionStarted)
"""Events that only HotPin's firmware prints."""


@dataclass
class Readings:
    """One reading per cycle, or per `stride` cycles in a long series."""

    values: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    """Line of each reading."""
    stride: int = 1
    count: int = 0
    last_line: int = 0

    def add(self, value: int, line: int) -> None:
        """Add a reading (bytes) and its line."""
        if self.count % self.stride == 0:
            self.values.append(value)
            self.lines.append(line)
            if len(self.values) == READINGS_KEPT:
                self.values, self.lines = self.values[::2], self.lines[::2]
                self.stride *= 2
        self.last_line = line
        self.count += 1


@dataclass(frozen=True)
class StateLeak:
    """The verdict on one memory type in one state of one boot."""

    boot: int
    memory: str
    state: str
    """Text that describes the state of all readings."""
    readings: int
    first_line: int
    last_line: int
    first: int
    last: int
    """Bytes free at the first and at the last reading."""
    leak: Leak | None
    """None if there are too few readings."""
    values: tuple[int, ...] = ()
    """Every `stride`-th reading."""
    stride: int = 1
    settled: int = 0
    """Bytes free at the first reading after warm-up."""
    settled_line: int = 0
    is_weak: bool = False
    """The state at the readings is unknown, so a verdict is weaker evidence."""
    is_steady: bool = True
    """Memory never returns to its earlier level."""

    @property
    def verdict(self) -> LeakVerdict:
        """Undecided with too few readings, or if the state is unknown and memory returns to an earlier level."""
        if self.is_weak and not self.is_steady:
            return LeakVerdict.UNDECIDED
        return LeakVerdict.UNDECIDED if self.leak is None else self.leak.verdict

    def __str__(self) -> str:
        if self.leak is None:
            needed = WARM_UP_MIN + READINGS_MIN
            return f"{self.verdict}: {self.readings} readings, {needed} are needed"
        return str(self.leak)


@dataclass(frozen=True)
class ShrinkingBlock:
    """A memory type with a falling largest block and steady free memory."""

    free: StateLeak
    largest: StateLeak


class MatchedStates:
    """Collects readings in the same state from the events of a boot; `end_boot` looks for leaks in them.

    Statistics that repeat all figures from before the transition do not count as a reading, because the original
    firmware printed samples that were seconds old. Records take precedence over boxes with the same data.
    """

    def __init__(self) -> None:
        self.shrinking: list[ShrinkingBlock] = []
        """Memory types of the finished boot with a falling largest block, but without falling free memory."""
        self._clear()

    def _clear(self) -> None:
        self._boxes: dict[tuple[str, str], Readings] = {}
        self._records: dict[tuple[str, str], Readings] = {}
        self._prints: dict[tuple[str, str], Readings] = {}
        self._any: dict[tuple[str, str], Readings] = {}
        """Readings in unknown states, for firmware that prints neither statistics nor transitions."""
        self._largest: dict[tuple[str, str], Readings] = {}
        """The largest free block at these readings."""
        self._is_hotpin = False
        self._before: MemoryStats | None = None
        self._to = ""
        self._seen: set[tuple[str, str]] = set()
        """Components whose first reading in the current transition is stored."""

    def feed(self, event: ev.LogEvent) -> None:
        """Add the event's readings of free memory to the series of its state."""
        self._is_hotpin = self._is_hotpin or isinstance(event, OF_HOTPIN)
        if isinstance(event, ev.Sample):
            self._sample(event)
        elif isinstance(event, ev.HeapPrint):
            key = (event.tag, event.memory)
            if (
                self._to
                and event.memory in ("dma", "psram")
                and key not in self._seen
                and len(self._seen) < SERIES_MAX
            ):
                self._seen.add(key)
                state = f"{event.tag}'s first reading on the way to {self._to} mode"
                self._add(self._prints, (event.memory, state), event.free, event.line)
            if not self._is_hotpin:
                key = (event.memory, _unknown_state(event.tag))
                self._add(self._any, key, event.free, event.line)
                if event.largest is not None:
                    self._add(self._largest, key, event.largest, event.line)
        elif isinstance(event, ev.LargestPrint):
            self._add(self._largest, (event.memory, _unknown_state(event.tag)), event.largest, event.line)
        elif isinstance(event, ev.TransitionStarted):
            self._to, self._seen = event.to, set()
        elif isinstance(event, ev.Transition):
            self._to = ""

    def _sample(self, sample: ev.Sample) -> None:
        kept = self._boxes if sample.source == "box" else self._records
        if before_transition(sample.context):
            self._before = sample.stats
            return
        to = after_transition(sample.context)
        if not to:
            return
        is_stale = self._before is not None and same_figures(self._before, sample.stats)
        self._before = None
        if not is_stale:
            for memory in _JUDGED:
                state = f"after the transition to {to} mode"
                self._add(kept, (memory, state), sample.stats.memory(memory)[0], sample.line)

    @staticmethod
    def _add(kept: dict[tuple[str, str], Readings], key: tuple[str, str], value: int, line: int) -> None:
        if key in kept or len(kept) < SERIES_MAX:
            kept.setdefault(key, Readings()).add(value, line)

    def end_boot(self, boot: int) -> list[StateLeak]:
        """Look for leaks in the readings of the boot that ended, and clear them."""
        samples = self._records or self._boxes
        verdicts = [
            _judge(boot, memory, state, readings)
            for kept in (samples, self._prints)
            for (memory, state), readings in kept.items()
        ]
        self.shrinking = []
        if not self._is_hotpin:
            weak = {
                key: _judge_weak(boot, *key, readings)
                for key, readings in self._any.items()
                if readings.count > 1
            }
            verdicts += weak.values()
            for key, readings in self._largest.items():
                block = _judge_weak(boot, *key, readings)
                if key in weak and _is_fragmentation(weak[key], block):
                    self.shrinking.append(ShrinkingBlock(weak[key], block))
        self._clear()
        return verdicts


def _unknown_state(tag: str) -> str:
    return f"printed by {tag or 'the firmware'}, in a state that the log does not show"


def _judge_weak(boot: int, memory: str, state: str, readings: Readings) -> StateLeak:
    return replace(_judge(boot, memory, state, readings), is_weak=True, is_steady=_is_steady(readings.values))


def _is_fragmentation(free: StateLeak, largest: StateLeak) -> bool:
    """Whether the largest block falls, while free memory falls much less or not at all."""
    is_falling = largest.verdict is LeakVerdict.LEAK
    return is_falling and free.settled - free.last < STEADY_SHARE_MAX * (largest.settled - largest.last)


def same_figures(before: MemoryStats, after: MemoryStats) -> bool:
    """Whether all eight figures are equal: free and largest of each memory type, total free and its minimum."""
    return _eight(before) == _eight(after)


def _eight(stats: MemoryStats) -> tuple[int, ...]:
    pairs = (stats.memory(memory)[:2] for memory in MEMORIES)
    return (*(value for pair in pairs for value in pair), stats.total_free, stats.total_minimum_free)


def _is_steady(values: Sequence[int]) -> bool:
    """Whether each quarter of a series stays below the highest reading of the quarter before it."""
    quarter = len(values) // 4
    if not quarter:
        return False
    best = [max(values[at * quarter : (at + 1) * quarter]) for at in range(4)]
    return all(after < before for before, after in pairwise(best))


def _judge(boot: int, memory: str, state: str, readings: Readings) -> StateLeak:
    leak = None
    if len(readings.values) >= WARM_UP_MIN + READINGS_MIN:
        leak = _per_cycle(find_leak(readings.values, BUDGET_PER_CYCLE * readings.stride), readings.stride)
    settled = leak.warm_up // readings.stride if leak else 0
    return StateLeak(
        boot,
        memory,
        state,
        readings.count,
        readings.lines[0],
        readings.last_line,
        readings.values[0],
        readings.values[-1],
        leak,
        tuple(readings.values),
        readings.stride,
        readings.values[settled],
        readings.lines[settled],
    )


def _per_cycle(leak: Leak, stride: int) -> Leak:
    """Rescale a leak that was fitted to every `stride`-th cycle, so that its figures are per cycle."""
    step = leak.step and replace(leak.step, cycle=leak.step.cycle * stride)
    return replace(
        leak,
        cycles=leak.cycles * stride,
        warm_up=leak.warm_up * stride,
        slope=leak.slope / stride,
        low=leak.low / stride,
        high=leak.high / stride,
        detectable=leak.detectable / stride,
        step=step,
        budget=leak.budget / stride,
    )
