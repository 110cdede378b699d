"""Boots: assigns log lines to boots of the chip."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Protocol

from hotpin_hil.logs.sink import EventSink
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.log import ConsoleLine, LogLine
from hotpin_hil.protocol.reset import DOWNLOAD_BOOT, find_banner, is_damaged_banner, is_greeting

_BOOT_LOADER = re.compile(r"ESP-IDF (\S+) 2nd stage bootloader")
_APP_MARKS = {
    ("cpu_start", "Multicore app"): 3,
    ("cpu_start", "Pro cpu start user code"): 4,
    ("app_init", "Application information:"): 5,
    ("main_task", "Started on CPU0"): 6,
    ("main_task", "Calling app_main()"): 7,
}
"""Lines that every application start prints, in this order, with the stage of the boot."""
_STAGE_FALL, _STAGE_BANNER, _STAGE_LOADER, _STAGE_RUNNING = 0, 1, 2, 7

BANNER, LOADER, APPLICATION, RECORD, TIMES = (
    "reset banner",
    "boot loader",
    "application",
    "boot record",
    "time stamps",
)
"""Signs of a boot."""
_SIGNS_IN_LOG_LINES = (TIMES, LOADER, APPLICATION)


class LineClock(Protocol):
    """What the handlers need to know about the lines that the scanner only counts."""

    @property
    def headed_lines(self) -> int:
        """Number of lines in ESP_LOG's shape so far."""

    @property
    def high_ms(self) -> int | None:
        """Latest time in this boot, None before the first."""

    def restart_clock(self) -> None:
        """Restart the log's clock: after a reset, timestamps begin at 0."""


class BootTracker:
    """Detects boots.

    The signs of one boot come in the order of their stages. A sign out of order means a new boot.
    """

    def __init__(self, sink: EventSink, clock: LineClock, end_boot: Callable[[], None]) -> None:
        """Make a tracker.

        Args:
            sink: receives the events.
            clock: the clock to restart at each boot.
            end_boot: called before each new boot, to complete the events of the previous boot.
        """
        self.rom_banners = 0
        self.boot_loader_starts = 0
        self.app_starts = 0
        self._sink = sink
        self._clock = clock
        self._end_boot = end_boot
        self._stage: int | None = None
        """Stage of the latest sign; None before the first sign."""
        self._has_output = False
        self._is_download = False
        """The chip waits for a flasher; the firmware's boot follows."""

    def note_output(self) -> None:
        """Record that the current boot has printed something."""
        self._has_output = True

    def take_text(self, line: ConsoleLine) -> None:
        """Start a boot if a line without an ESP_LOG header has the ROM's reset banner."""
        text = line.text
        if is_greeting(text):
            self.rom_banners += 1
        if "rst:" not in text and "_RESET)" not in text and "BOOT)" not in text:
            return
        banner = find_banner(text)
        if banner is not None:
            self._start(
                line.number,
                None,
                BANNER,
                _STAGE_BANNER,
                cause=banner.name,
                code=banner.cause,
                mode=banner.boot_mode,
            )
        elif is_damaged_banner(text):
            self._sink.emit_unreadable(BANNER, "damaged", line)

    def take_boot_loader(self, line: LogLine) -> None:
        """Start or continue a boot if a line is the first of the second-stage boot loader."""
        if _BOOT_LOADER.search(line.text) is not None:
            self.boot_loader_starts += 1
            self._advance(line, LOADER, _STAGE_LOADER)
            self._clock.restart_clock()

    def take_app_start(self, line: LogLine) -> None:
        """Start or continue a boot if a line marks the application's start."""
        stage = _APP_MARKS.get((line.tag, line.text))
        if stage is not None:
            before = self._sink.boot
            was_running = self._stage is not None and self._stage >= min(_APP_MARKS.values())
            self._advance(line, APPLICATION, stage)
            self.app_starts += not was_running or self._sink.boot != before

    def take_fall(self, line: LogLine) -> None:
        """Start a boot at a line whose time is far behind the times of the lines before it.

        Such a line means a new boot, except while a boot is starting: until the application runs, log lines use
        another clock, which an emulator does not keep in step.
        """
        is_starting = self._stage is not None and 0 < self._stage < _STAGE_RUNNING
        is_sign = (line.tag, line.text) in _APP_MARKS or _BOOT_LOADER.search(line.text)
        if not is_starting and not is_sign:
            self._start(line.number, line.t_ms, TIMES, _STAGE_FALL)

    def take_new_boot_id(self, number: int, t_ms: int) -> None:
        """Start a boot at a record whose boot id differs from the previous record's."""
        self._start(number, t_ms, RECORD, _STAGE_RUNNING)

    def _advance(self, line: LogLine, sign: str, stage: int) -> None:
        if self._stage is None or stage <= self._stage:
            self._start(line.number, line.t_ms, sign, stage)
        self._stage = stage

    def _start(self, number: int, t_ms: int | None, sign: str, stage: int, **banner: Any) -> None:
        self._end_boot()
        # Uninteresting lines are only counted; a sign in a log line is included in that count.
        before = self._clock.headed_lines - (sign in _SIGNS_IN_LOG_LINES)
        if (self._has_output or before > 0) and not self._is_download:
            self._sink.next_boot()
        self._has_output = True
        self._is_download = banner.get("mode") == DOWNLOAD_BOOT
        self._stage = stage
        if sign != TIMES:
            self._clock.restart_clock()
        self._sink.emit(ev.BootStarted(*self._sink.place(number, t_ms), sign=sign, **banner))
