"""Turns console lines into typed events: connects the handlers of a log."""

from __future__ import annotations

import re
from collections.abc import Callable

from hotpin_hil.logs.boots import APP_MARKS, BootTracker, LineClock
from hotpin_hil.logs.build import APP_INFO, BuildCollector
from hotpin_hil.logs.failures import CRASH_TAG, FailureLines
from hotpin_hil.logs.heap_trace import HeapTraceLines
from hotpin_hil.logs.memory import MemoryLines
from hotpin_hil.logs.records import RecordLines
from hotpin_hil.logs.sink import EventSink
from hotpin_hil.logs.task_watchdog import TAG as WATCHDOG_TAG
from hotpin_hil.logs.transitions import TransitionTracker
from hotpin_hil.logs.whole_box import WholeBox
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.box import BORDERS, TOP
from hotpin_hil.protocol.log import ConsoleLine, LogLine
from hotpin_hil.protocol.panic import OTHER_TRACES, TRACES, Panic, PanicFinder, parse_backtrace
from hotpin_hil.protocol.records import Record

_TRACES = tuple(trace.decode() for trace in TRACES)
_OTHER_TRACES = tuple(trace.decode() for trace in OTHER_TRACES)

_MEMORY_TEXT = re.compile("ree|eap|PSRAM: |ALIVE|DELETED")

WANTED = {
    "boot": ("2nd stage", "WDT reset info"),
    "cpu_start": (*APP_MARKS, *APP_INFO),
    "app_init": (*APP_MARKS, *APP_INFO),
    "main_task": APP_MARKS,
    "efuse_init": APP_INFO,
    "heap_init": ("At ",),
    "esp_psram": ("Found",),
    "spiram": ("Found",),
    "quad_psram": ("Found",),
    "psram": ("Found",),
    "cam_hal": ("Allocating",),
    "MEM_MGR": ("WARNING", "CRITICAL"),
    "STATE_MGR": ("=== T", "mode transition", "Failed to"),
    "STATE": (" -> ", "No room for"),
    WATCHDOG_TAG: (),
    CRASH_TAG: (),
}
"""Additional lines that a LineInterpreter needs, besides those that every scanner passes on: texts by tag."""


class LineInterpreter:
    """Passes each line to the handler of its topic, and collects their events.

    Each handler keeps its own state. This class only has what spans several topics: the dispatch by tag, and panics,
    which may begin in any line.
    """

    def __init__(self, clock: LineClock, first_boot: int = 0) -> None:
        """Connect the handlers of a log.

        Args:
            clock: has data about the lines that are only counted.
            first_boot: number of the boot at the start of the log.
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
            True while a box or a panic is still being printed: the next line then matters, whatever it is.
        """
        if isinstance(line, LogLine):
            if line.is_fall or line.text[:1] not in BORDERS:
                self._log_line(line)
            self.boots.note_output()
        else:
            self._text_line(line)
        has_trace = _has_trace(line)
        if self._is_waiting or line.text[:1] == TOP[0] or has_trace:
            self._memory.take_box_line(line)
            if self._panics.is_waiting or has_trace:
                for panic in self._panics.feed(ConsoleLine(line.whole, 0, line.number)):
                    self._panic(panic)
                if self._panics.has_headline:
                    self._failures.watchdog.end()
                    self.boots.note_output()
            self._is_waiting = self._memory.is_waiting or self._panics.is_waiting
        return self._is_waiting or self._failures.watchdog.is_waiting

    def take_whole_box(self, number: int, box: WholeBox) -> None:
        """Emit the sample of a whole box.

        Args:
            number: number of its first line.
            box: the box.
        """
        self.boots.note_output()
        if box.foreign:
            self._failures.watchdog.end()
        self._memory.take_whole_box(number, box)

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
        if "eason" in line.text:
            self._failures.take_report(line)
        if line.level in "EW" and line.tag != WATCHDOG_TAG:
            self._failures.take_complaint(line)

    def _text_line(self, line: ConsoleLine) -> None:
        if "@" in line.text and self.records.take_line(line):
            return
        self.boots.take_text(line)
        if self._failures.watchdog.take_text(line):
            self.boots.note_output()
        elif "Backtrace:" in line.text:
            self._backtrace(line)
        elif self._failures.take_text(line):
            self.boots.note_output()
        elif "bytes (@" in line.text or "in trace (" in line.text or line.text.startswith("freed by "):
            self._trace.take(line, self._clock.high_ms)
        elif _MEMORY_TEXT.search(line.text) is not None:
            self._memory.take_text_reading(line, self._clock.high_ms)

    def _backtrace(self, line: ConsoleLine) -> None:
        is_watchdog = self._failures.watchdog.take_backtrace(line)
        found = parse_backtrace(line.text)
        if found is not None and found[0] and not self._panics.has_headline:
            place = self._sink.place(line.number, self._clock.high_ms)
            self._sink.emit(ev.BacktracePrinted(*place, *found, is_watchdog=is_watchdog))

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


def matters(level: str, tag: str, text: str) -> bool:
    """Whether a line about free memory or a failure produces an event, regardless of the lines around it."""
    sink = EventSink()
    memory, failures = MemoryLines(sink, BuildCollector(sink)), FailureLines(sink)
    if not level:
        return memory.take_text_reading(ConsoleLine(text, 0, 1), None)
    line = LogLine(level, 0, tag, text, 0, 1)
    memory.take_reading(line)
    failures.take_report(line)
    if level in "EW":
        failures.take_complaint(line)
    return bool(sink.take())


def _has_trace(line: LogLine | ConsoleLine) -> bool:
    """Whether a line starts a panic or explains a following one."""
    text = line.text
    for trace in _TRACES:
        if trace in text:
            return True
    if isinstance(line, LogLine):
        if "Guru" in line.tag:  # the panic cut the line within its tag
            return True
        if line.tag != WATCHDOG_TAG:
            return False
    return any(trace in text for trace in _OTHER_TRACES)
