"""Describes the events of a log that `monitor` reports as soon as they occur."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from hotpin_hil.analysis.boot_catalogue import BOOT_FAULTS
from hotpin_hil.analysis.model import NAMES, Diagnosis
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.reset import is_download

FRAMES_MAX = 8
"""Maximum number of backtrace frames in a news item."""


class NewsKind(str, Enum):
    """Topic of a news item."""

    BOOT = "boot"
    MODE = "mode"
    WARNING = "warning"
    FAILURE = "failure"
    PANIC = "panic"
    DIAGNOSIS = "diagnosis"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class News:
    """One event or diagnosis. `text` comes unchecked from a serial line: escape it before display."""

    kind: NewsKind
    line: int
    boot: int
    t_ms: int | None
    text: str
    event: ev.LogEvent | None = None
    diagnosis: Diagnosis | None = None


def news_of(event: ev.LogEvent) -> News | None:
    """The news item for an event; None if the event is only counted or drawn in a chart."""
    told = _told(event)
    return None if told is None else News(told[0], event.line, event.boot, event.t_ms, told[1], event)


def news_of_diagnosis(found: Diagnosis) -> News:
    """A new diagnosis as news, with the line and time of its first evidence."""
    line, t_ms = (found.evidence[0].line, found.evidence[0].t_ms) if found.evidence else (0, None)
    return News(
        NewsKind.DIAGNOSIS, line, found.boot, t_ms, f"[{found.id}] {found.name}: {found.finding}", None, found
    )


def _told(event: ev.LogEvent) -> tuple[NewsKind, str] | None:
    match event:
        case ev.BootStarted():
            how = event.cause or f"no banner, detected by: {event.sign}"
            mode = ", download mode: the chip waits for a flasher" if is_download(event.mode) else ""
            return NewsKind.BOOT, f"boot {event.boot} starts: {how}{mode}"
        case ev.Transition(result="complete"):
            took = f" after {event.duration_ms:,} ms" if event.duration_ms is not None else ""
            return NewsKind.MODE, f"{event.to} mode{took}"
        case ev.Transition():
            return NewsKind.FAILURE, event.text or f"the transition to {event.to} mode did not end"
        case ev.MemoryWarning():
            return NewsKind.WARNING, _warning(event)
        case ev.PanicSeen():
            return NewsKind.PANIC, event.panic.headline
        case ev.TaskWatchdog():
            return NewsKind.FAILURE, f"task watchdog: {', '.join(event.tasks)}"
        case ev.BootFault():
            return NewsKind.FAILURE, f"{BOOT_FAULTS[event.kind].name}: {event.text}"
        case (
            ev.BrownOut() | ev.HeapCorrupted() | ev.AllocationFailed() | ev.CameraFailed() | ev.FrameMissed()
        ):
            return NewsKind.FAILURE, event.text
        case ev.ResetReported():
            return NewsKind.FAILURE, f"the firmware reports of its last run: {event.text}"
        case ev.BacktracePrinted():
            owner = "the task watchdog" if event.is_watchdog else "the firmware"
            calls = " ".join(f"0x{frame.pc:08x}" for frame in event.frames[:FRAMES_MAX])
            return NewsKind.WARNING, f"backtrace of {owner}: {calls}"
        case ev.HeapTrace():
            return NewsKind.WARNING, f"heap trace: {event.bytes:,} bytes in {event.allocations:,} allocations"
    return None


def _warning(event: ev.MemoryWarning) -> str:
    name = NAMES.get(event.memory, "fragmentation")
    if event.recovered:
        return f"{name}: recovered"
    is_share = event.memory == "frag"
    state = "critical" if event.level == "CRIT" else "high" if is_share else "low"
    unit = " %" if is_share else " bytes free"
    value = f"{event.value:,}{unit}" if event.value is not None else event.text
    limit = f", threshold {event.threshold:,}" if event.threshold is not None else ""
    return f"{name}: {state}, {value}{limit}"
