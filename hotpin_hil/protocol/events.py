"""What a console log tells, as typed events: what the reader of a log makes, and diagnosis and reports judge.

Every event says where it stands (`line`, counted from 1), in which boot (from 0), and the board's time as far as
the log tells it. Sizes are bytes, times ms since the boot.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hotpin_hil.protocol.fields import MemoryStats
from hotpin_hil.protocol.panic import Panic


@dataclass(frozen=True)
class LogEvent:
    """Where something stands in the log."""

    line: int
    boot: int
    t_ms: int | None
    """None where nothing tells it, as in a panic's text."""


@dataclass(frozen=True)
class BootStarted(LogEvent):
    sign: str
    """What showed it: "reset banner", "boot loader", "application", "boot record" or "time stamps"."""
    cause: str = ""
    """The ROM's name of the reset ("POWERON_RESET"); empty when no banner was printed or readable."""
    code: int | None = None
    """The ROM's number of it."""
    mode: str = ""
    """"SPI_FAST_FLASH_BOOT", "DOWNLOAD_BOOT", …; empty without a banner."""


@dataclass(frozen=True)
class ResetReason(LogEvent):
    """What the firmware itself says why it started: `esp_reset_reason()` and its boot counter."""

    reason: str
    boot_count: int | None = None


@dataclass(frozen=True)
class HeapInitRegion:
    """One heap of the memory map that `heap_init` prints."""

    start: int
    length: int
    type: str
    """"DRAM", "D/IRAM" or "IRAM"."""


@dataclass(frozen=True)
class BuildSeen(LogEvent):
    """The identity of the firmware; printed piece by piece, complete when the next boot or the log's end comes."""

    project: str = ""
    app_version: str = ""
    elf: str = ""
    """SHA-256 of the ELF as printed: its first hex digits, and "..."."""
    idf: str = ""
    chip_rev: str = ""
    psram_mb: int | None = None
    free_heap_at_main: int | None = None
    regions: tuple[HeapInitRegion, ...] = ()


@dataclass(frozen=True)
class Sample(LogEvent):
    """Statistics of all memories, from a box or from a record."""

    source: str
    """"box" or "record"."""
    context: str
    stats: MemoryStats
    delta: dict[str, int] = field(default_factory=dict)
    title_ms: int | None = None
    """Log time of a box's second line; its first line's is `t_ms`."""
    foreign: int = 0
    """Lines that stand within a box and do not belong to it."""
    corrupted: bool = False
    """A line of the box was cut by another one and put together again."""


@dataclass(frozen=True)
class BoxBroken(LogEvent):
    """The beginning of a statistics box that never became one."""

    context: str
    reason: str
    corrupted: bool


@dataclass(frozen=True)
class HeapPrint(LogEvent):
    """Free memory printed by a component that read it itself."""

    tag: str
    memory: str
    """"dma", "psram", "internal" or "heap"."""
    free: int


@dataclass(frozen=True)
class HeapsReported(LogEvent):
    """The heaps as `heap.regions` reported them."""

    heaps: tuple[MappedHeap, ...]


@dataclass(frozen=True)
class MappedHeap:
    start: int
    length: int
    caps: str
    free: int
    largest: int


@dataclass(frozen=True)
class MemoryWarning(LogEvent):
    level: str
    """"WARN" or "CRIT"."""
    memory: str
    """"internal", "dma", "psram" or "frag"."""
    text: str
    value: int | None = None
    threshold: int | None = None
    recovered: bool = False
    source: str = "line"
    """"line" or "record"."""


@dataclass(frozen=True)
class TransitionStarted(LogEvent):
    to: str
    """"camera" or "voice"."""


@dataclass(frozen=True)
class Transition(LogEvent):
    """The end of a change of modes."""

    to: str
    result: str
    """"complete", "failed", or "unfinished": no end was printed."""
    duration_ms: int | None = None
    start_line: int | None = None
    text: str = ""
    """The line or record that says so."""
    step: str = ""
    error: str = ""
    block: str = ""
    """The allocation that could not be had."""
    missing: int | None = None
    largest: int | None = None
    """The largest block that there was."""


@dataclass(frozen=True)
class AllocationFailed(LogEvent):
    """Memory that could not be had."""

    kind: str
    """"i2s", "tts", "psram", "transition" or "hook" (the failed-allocation hook's record)."""
    text: str
    size: int | None = None
    caps: int | None = None
    have: int | None = None
    """Bytes free, where the line tells."""


@dataclass(frozen=True)
class CameraFailed(LogEvent):
    text: str


@dataclass(frozen=True)
class TaskWatchdog(LogEvent):
    """`task_wdt: Task watchdog got triggered`."""

    tasks: tuple[str, ...]


@dataclass(frozen=True)
class PanicSeen(LogEvent):
    panic: Panic
    regions: tuple[HeapInitRegion, ...] = ()
    """The memory map of the boot, as far as it was printed."""


@dataclass(frozen=True)
class Survived(LogEvent):
    """The newest statistics of the boot before, kept over the reset: what `sys.last` told."""

    context: str
    stats: MemoryStats


@dataclass(frozen=True)
class Unreadable(LogEvent):
    """Something that began like one of these and could not be read."""

    what: str
    """"record", "box", "reset banner", "time stamp", "line"."""
    reason: str
    quote: str
