"""Typed events: one common type for each fact that a console log, a record or a panic reports.

The log reader and the report create them, and the analysis evaluates them. Each event has its place: the line (from 1),
the boot (from 0) and the board's time, if known. Sizes are bytes, times are ms since boot.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hotpin_hil.protocol.fields import MemoryStats
from hotpin_hil.protocol.panic import Panic, StackFrame

QUOTE_MAX = 200
"""Maximum number of characters kept of a string that the board sent."""


def quote(text: str) -> str:
    """A text from the board, shortened to QUOTE_MAX characters."""
    return text if len(text) <= QUOTE_MAX else text[: QUOTE_MAX - 3] + "..."


@dataclass(frozen=True)
class LogEvent:
    """Base class of all events, with the event's place in the log."""

    line: int
    boot: int
    t_ms: int | None
    """None where the log has no time, for example in the text of a panic."""


@dataclass(frozen=True)
class BootStarted(LogEvent):
    """A boot started; `sign` names the kind of log line that revealed it."""

    sign: str
    """One of "reset banner", "boot loader", "application", "boot record" or "time stamps": a sign of `logs.boots`."""
    cause: str = ""
    """The ROM's name of the reset ("POWERON_RESET"); empty without a readable banner."""
    code: int | None = None
    """The ROM's reset code; None without a readable banner."""
    mode: str = ""
    """"SPI_FAST_FLASH_BOOT", "DOWNLOAD_BOOT", …; empty without a banner."""
    is_first: bool = False
    """Whether the log has no earlier boot."""


@dataclass(frozen=True)
class BootEnded(LogEvent):
    """The output of a boot ended, because the next boot started. `t_ms` is the last time in that output."""

    stage: str
    """How far the boot got: "ROM", "boot loader", "start of the application" or "application"."""


@dataclass(frozen=True)
class ResetPlace(LogEvent):
    """The ROM or the bootloader reports the program counter at a watchdog reset."""

    text: str


@dataclass(frozen=True)
class BootFault(LogEvent):
    """The ROM, the bootloader or the start-up code cannot start the application."""

    kind: str
    """A constant of protocol.boot_faults."""
    text: str


@dataclass(frozen=True)
class BrownOut(LogEvent):
    """The brown-out detector triggered."""

    text: str


@dataclass(frozen=True)
class HeapCorrupted(LogEvent):
    """`CORRUPT HEAP`: a check of the heap found an overwritten block."""

    text: str
    is_tail: bool
    expected: int | None = None
    got: int | None = None


@dataclass(frozen=True)
class ResetReason(LogEvent):
    """The `boot` event: the firmware's own reset reason (`esp_reset_reason()`) and boot counter."""

    reason: str
    boot_count: int | None = None
    free_at_main: int | None = None
    """Free bytes of all heaps when `app_main` started."""


@dataclass(frozen=True)
class HeapInitRegion:
    """One heap of the memory map that `heap_init` prints."""

    start: int
    length: int
    type: str
    """"DRAM", "D/IRAM" or "IRAM"."""


@dataclass(frozen=True)
class BuildSeen(LogEvent):
    """Identity of the firmware.

    It is printed in pieces, so the event is emitted when the next boot starts or the log ends.
    """

    project: str = ""
    app_version: str = ""
    elf: str = ""
    """SHA-256 of the ELF as printed: its first hex digits, followed by "..."."""
    idf: str = ""
    chip_rev: str = ""
    psram_mb: int | None = None
    free_heap_at_main: int | None = None
    regions: tuple[HeapInitRegion, ...] = ()

    def __str__(self) -> str:
        """The firmware's identity as the log reports it."""
        name = f"{self.project} {self.app_version}".strip()
        parts = (name, f"ELF {self.elf}" if self.elf else "", f"IDF {self.idf}" if self.idf else "")
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True)
class Sample(LogEvent):
    """Statistics of all memory types, from a box or a record."""

    source: str
    """"box" or "record"."""
    context: str
    stats: MemoryStats
    delta: dict[str, int] = field(default_factory=dict)
    title_ms: int | None = None
    """Log time of a box's second line; `t_ms` is the log time of its first line."""
    foreign: int = 0
    """Number of lines from other tasks between the lines of the box."""
    corrupted: bool = False
    """Another line split a line of the box; the parts were joined again."""


@dataclass(frozen=True)
class BoxBroken(LogEvent):
    """A statistics box that was not completed."""

    context: str
    reason: str
    corrupted: bool


@dataclass(frozen=True)
class HeapPrint(LogEvent):
    """Free memory that a component read and printed itself."""

    tag: str
    memory: str
    """"dma", "psram", "internal" or "heap"."""
    free: int
    largest: int | None = None
    """Largest free block, if printed with it."""
    minimum: int | None = None
    """Lowest free size so far, if printed with it."""


@dataclass(frozen=True)
class LargestPrint(LogEvent):
    """The largest free block, for firmware that prints it on a separate line."""

    tag: str
    memory: str
    """As in HeapPrint."""
    largest: int


@dataclass(frozen=True)
class TaskMemory(LogEvent):
    """Memory that a task has allocated, as heap task tracking prints it."""

    task: str
    used: int
    peak: int


@dataclass(frozen=True)
class HeapTrace(LogEvent):
    """The total of a `heap_trace_dump`."""

    bytes: int
    allocations: int
    callers: tuple[tuple[str, int, int], ...]
    """Address of the caller, number of its allocations and their bytes; the largest first."""
    chains: tuple[tuple[tuple[int, ...], int, int], ...] = ()
    """Return addresses of the calls, innermost first, with the allocations and bytes of this chain; largest first."""


@dataclass(frozen=True)
class MappedHeap:
    """One heap of `heap.regions`."""

    start: int
    length: int
    caps: str
    free: int
    largest: int


@dataclass(frozen=True)
class HeapsReported(LogEvent):
    """The reply to `heap.regions`: free and largest block of each heap."""

    heaps: tuple[MappedHeap, ...]


@dataclass(frozen=True)
class MemoryWarning(LogEvent):
    """A memory type entered a warning level, or left it (`recovered`)."""

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
    type: str = ""
    """Type in the record ("DMA_CRITICAL", …); empty for a line."""


@dataclass(frozen=True)
class TransitionStarted(LogEvent):
    """A mode transition started."""

    to: str
    """"camera" or "voice"."""


@dataclass(frozen=True)
class ModeChange(LogEvent):
    """The `mode` event: a mode transition ended."""

    start: str
    """The mode before the transition."""
    to: str
    ok: bool
    duration_ms: int
    step: str = ""
    """The failed step; empty if no step failed or the step is unknown."""
    error: str = ""
    block: str = ""
    """The allocation that failed."""
    missing: int | None = None
    largest: int | None = None
    """Largest free block at that moment."""
    mode: str = ""
    """The mode after a failed transition, if the event states it."""


@dataclass(frozen=True)
class Transition(LogEvent):
    """The end of a mode transition, from a record or from log lines."""

    to: str
    result: str
    """"complete", "failed", or "unfinished" if the log shows no end."""
    duration_ms: int | None = None
    start_line: int | None = None
    text: str = ""
    """The line or record of a failure."""
    step: str = ""
    error: str = ""
    block: str = ""
    """The allocation that failed."""
    missing: int | None = None
    largest: int | None = None
    """Largest free block at that moment."""


@dataclass(frozen=True)
class AllocationFailed(LogEvent):
    """An allocation failed."""

    kind: str
    """"i2s", "tts", "psram", "transition", "other", or "hook" (the failed-allocation hook's record)."""
    text: str
    size: int | None = None
    caps: int | None = None
    have: int | None = None
    """Free bytes, if the line states them."""
    function: str = ""
    """The allocating function, if the record states it."""
    memory: str = ""
    """"dma", "internal", "psram", or empty if unknown."""
    consumer: str = ""
    """The component that requested the memory; empty if unknown."""


@dataclass(frozen=True)
class CameraFailed(LogEvent):
    """The camera did not start."""

    text: str


@dataclass(frozen=True)
class FrameMissed(LogEvent):
    """The camera delivered no frame in time."""

    text: str


@dataclass(frozen=True)
class ResetReported(LogEvent):
    """The firmware prints that its last run failed: its reset reason, or ESPHome's report of a crash."""

    kind: str
    """BROWN_OUT, WATCHDOG or PANIC of protocol.reset."""
    text: str


@dataclass(frozen=True)
class TaskWatchdog(LogEvent):
    """`task_wdt: Task watchdog got triggered`, with the tasks that did not feed it."""

    tasks: tuple[str, ...]
    cores: tuple[str, ...] = ()
    """The core of each task in the report: "0", "1", "0/1" or empty."""
    running: dict[str, str] = field(default_factory=dict)
    """The task that ran on each core, by the core's number."""
    backtrace: str = ""


@dataclass(frozen=True)
class BacktracePrinted(LogEvent):
    """A backtrace outside a panic: of the task watchdog, or printed by the firmware itself."""

    frames: tuple[StackFrame, ...]
    mark: str = ""
    """As CoreState.mark."""
    is_watchdog: bool = False
    """Whether the backtrace follows a report of the task watchdog."""


@dataclass(frozen=True)
class PanicSeen(LogEvent):
    """A panic, with the part of the memory map that its boot printed."""

    panic: Panic
    regions: tuple[HeapInitRegion, ...] = ()

    def without_core_dump(self) -> PanicSeen:
        """The event without the lines of the core dump, which may be large."""
        return replace(self, panic=replace(self.panic, core_dump=())) if self.panic.core_dump else self


@dataclass(frozen=True)
class Survived(LogEvent):
    """The reply to `sys.last`: the newest statistics of the previous boot, which survived the reset."""

    context: str
    stats: MemoryStats


@dataclass(frozen=True)
class Unreadable(LogEvent):
    """Text that starts like a known format but cannot be parsed."""

    what: str
    """"record", "reset banner", "warning"."""
    reason: str
    quote: str
