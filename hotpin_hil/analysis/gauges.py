"""The newest and earlier free sizes of each memory type, from statistics and from readings that components print."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.fields import MEMORIES

POINTS = 512
"""Maximum number of readings kept per memory type."""


@dataclass
class Gauge:
    """The readings of one memory type, in bytes."""

    memory: str
    """One of MEMORIES, or "heap"."""
    free: int = 0
    largest: int | None = None
    """Largest free block; None if it is not printed."""
    lowest: int = 0
    highest: int = 0
    """Lowest and highest free size so far, in all boots."""
    t_ms: int | None = None
    level: str = ""
    """"WARN" or "CRIT" while a warning of the firmware about this memory type is active."""
    course: deque[int] = field(default_factory=lambda: deque(maxlen=POINTS))
    """The newest free sizes, the newest last."""

    def take(self, free: int, largest: int | None, t_ms: int | None) -> None:
        """Store a reading. `largest` is None if the largest block was not printed."""
        is_first = not self.course
        self.free, self.largest, self.t_ms = free, largest, t_ms
        self.lowest = free if is_first else min(self.lowest, free)
        self.highest = free if is_first else max(self.highest, free)
        self.course.append(free)


class Gauges:
    """The gauges of all memory types."""

    def __init__(self) -> None:
        self._by_memory = {memory: Gauge(memory) for memory in (*MEMORIES, "heap")}
        self._has_records = False
        """Whether this boot sends its samples as records, which its boxes only repeat."""

    @property
    def read(self) -> list[Gauge]:
        """The gauges with readings, in the order of MEMORIES."""
        return [gauge for gauge in self._by_memory.values() if gauge.course]

    def take(self, event: ev.LogEvent) -> None:
        """Update the gauges with the readings and warnings of an event."""
        match event:
            case ev.BootStarted():
                self._has_records = False
                for gauge in self._by_memory.values():
                    gauge.level = ""
            case ev.Sample():
                self._sample(event)
            case ev.HeapPrint() if event.memory in self._by_memory:
                self._by_memory[event.memory].take(event.free, event.largest, event.t_ms)
            case ev.MemoryWarning() if event.memory in self._by_memory:
                self._by_memory[event.memory].level = "" if event.recovered else event.level

    def _sample(self, sample: ev.Sample) -> None:
        if sample.source == "record":
            self._has_records = True
        elif self._has_records:
            return
        for memory in MEMORIES:
            free, largest, _ = sample.stats.memory(memory)
            self._by_memory[memory].take(free, largest, sample.t_ms)
