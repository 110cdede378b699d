"""Console lines → typed events: connects the handlers of a log."""

from __future__ import annotations

import re
from collections.abc import Callable

from hotpin_hil.logs.boots import BootTracker, LineClock
from hotpin_hil.logs.build import BuildCollector
from hotpin_hil.logs.failures import FailureLines
from hotpin_hil.logs.heap_trace import HeapTraceLines
from hotpin_hil.logs.memory import MemoryLines
from hotpin_hil.logs.records import RecordLines
from hotpin_hil.logs.sink import EventSink
from hotpin_hil.logs.task_watchdog import TAG as WATCHDOG_TAG
from hotpin_hil.logs.transitions import TransitionTracker
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.box import BORDERS, TOP
from hotpin_hil.protocol.log import ConsoleLine, LogLine
from hotpin_hil.protocol.panic import OTHER_TRACES, TRACES, Panic, PanicFinder
from hotpin_hil.protocol.records import Record

_TRACE = re.compile("|".join(re.escape(trace.decode()) for trace in TRACES))
_OTHER_TRACE = re.compile("|".join(re.escape(trace.decode()) for trace in OTHER_TRACES))

_MEMORY_TEXT = re.compile("ree|eap|PSRAM: |ALIVE|DELETED")

WANTED = {
    "boot": ("2nd stage", "WDT reset info"),
    "cpu_start": (),
    "app_init": (),
    "main_task": (),
    "efuse_init": (),
    "heap_init": (),
    "esp_psram": ("Found",),
    "spiram": ("Found",),
    "quad_psram": (),
    "psram": (),
    "cam_hal": ("Allocating",),
    "MEM_MGR": (),
    "STATE_MGR": ("=== T", "mode transition", "Failed to"),
    "STATE": (),
    WATCHDOG_TAG: (),
}
"""Lines that a LineInterpreter needs besides those that every scanner passes on: texts by tag."""


class LineInterpreter:
    """Passes each line to the handler of its topic, and collects their events.

    Each handler keeps its own state. This class only has what spans several topics: the dispatch by tag, and panics,
    which may begin in any line.
    """

    def __init__(self, clock: LineClock, first_boot: int = 0) -> None:
        """Make an interpreter.

        Args:
            clock: knows the lines that are only counted.
            first_boot: number of the boot in which the log begins.
        """
        self._clock = clock
        self._sink = EventSink(first_boot)
        self._panics = PanicFinder()
        self._build = BuildCollector(self._sink)
        self.boots = BootTracker(self._sink, clock, self._end_boot)
        self._memory = MemoryLines(self._sink, self._build)
        self._transitions = TransitionTracker(self._sink)
        self._failures = FailureLines(self._sink)
        self._trace = HeapTraceLines(self._sink)
        self.records = RecordLines(self._sink, self.boots, self._build, self._transitions)
        self._is_waiting = False
        self._by_tag: dict[str, Callable[[LogLine], None]] = {
            "boot": self.boots.take_boot_loader,
            "cpu_start": self._app_init,
            "app_init": self._app_init,
            "main_task": self.boots.take_app_start,
            "efuse_init": self._build.take_app_info,
            "heap_init": self._build.take_heap_region,
            "esp_psram": self._build.take_psram,
            "spiram": self._build.take_psram,
            "cam_hal": self._failures.take_announcement,
            "quad_psram": self._build.take_psram,
            "psram": self._build.take_psram,
            "MEM_MGR": self._memory.take_manager,
            "STATE_MGR": self._transitions.take_first_manager,
            "STATE": self._transitions.take_manager,
            WATCHDOG_TAG: self._failures.watchdog.take,
        }

    def take(self, line: LogLine | ConsoleLine) -> bool:
        """Emit the events that the next line contains or completes.

        Returns:
            True while a box or a panic is being printed, so that every following line matters.
        """
        if isinstance(line, LogLine):
            if line.is_fall or line.text[:1] not in BORDERS:
                self._log_line(line)
            self.boots.note_output()
        else:
            self._text_line(line)
        if self._is_waiting or line.text[:1] == TOP[0] or _has_trace(line):
            self._memory.take_box_line(line)
            if self._panics.is_waiting or _has_trace(line):
                for panic in self._panics.feed(ConsoleLine(line.whole, 0, line.number)):
                    self._panic(panic)
                if self._panics.has_headline:
                    self._failures.watchdog.end()
                    self.boots.note_output()
            self._is_waiting = self._memory.is_waiting or self._panics.is_waiting
        return self._is_waiting

    def take_whole_box(self, number: int, t_ms: int, title_ms: int, context: str, figures: list[int]) -> None:
        """Emit the sample of an uninterrupted box; for the arguments see MemoryLines.take_whole_box."""
        self.boots.note_output()
        self._memory.take_whole_box(number, t_ms, title_ms, context, figures)

    def take_record(self, number: int, record: Record) -> None:
        """Emit the event that a decoded record contains or completes."""
        self.records.take(number, record)

    def close(self) -> None:
        """End the log: complete all unfinished events."""
        self._flush_panics()
        self._memory.close()
        self._end_boot()

    def events(self) -> list[ev.LogEvent]:
        """The events since the last call."""
        return self._sink.take()

    def _log_line(self, line: LogLine) -> None:
        if line.tag != WATCHDOG_TAG:
            self._failures.watchdog.end()
        if line.is_fall and not self._panics.is_waiting:  # the panic handler's lines use another clock
            self.boots.take_fall(line)
        handler = self._by_tag.get(line.tag)
        if handler is not None:
            handler(line)
        if "ree" in line.text or "eap" in line.text:
            self._memory.take_reading(line)
        if line.level in "EW":
            self._failures.take_complaint(line)

    def _text_line(self, line: ConsoleLine) -> None:
        if "@" in line.text:
            self.records.take_line(line)
        self.boots.take_text(line)
        if "Backtrace:" in line.text:
            self._failures.watchdog.take_backtrace(line)
        elif self._failures.take_text(line):
            self.boots.note_output()
        elif "bytes (@" in line.text or "in trace (" in line.text or line.text.startswith("freed by "):
            self._trace.take(line, self._clock.high_ms)
        elif _MEMORY_TEXT.search(line.text) is not None:
            self._memory.take_text_reading(line, self._clock.high_ms)

    def _app_init(self, line: LogLine) -> None:
        self.boots.take_app_start(line)
        self._build.take_app_info(line)

    def _panic(self, panic: Panic) -> None:
        self.boots.note_output()
        if panic.elf_sha256:
            self._build.note_elf(panic.number, panic.elf_sha256)
        place = self._sink.place(panic.number, self._clock.high_ms)
        self._sink.emit(ev.PanicSeen(*place, panic=panic, regions=self._build.regions))

    def _flush_panics(self) -> None:
        for panic in self._panics.flush():
            self._panic(panic)

    def _end_boot(self) -> None:
        self._failures.end_boot()
        self._flush_panics()
        self._transitions.end_boot()
        self.records.end_boot()
        self._build.end_boot()


def _has_trace(line: LogLine | ConsoleLine) -> bool:
    """Whether a line starts a panic or explains a following one."""
    if _TRACE.search(line.text) is not None:
        return True
    is_own = not isinstance(line, LogLine) or line.tag == WATCHDOG_TAG
    return is_own and _OTHER_TRACE.search(line.text) is not None
