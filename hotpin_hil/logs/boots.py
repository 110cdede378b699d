"""Boots: which lines belong to which start of the chip."""

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
"""What each application start prints, in this order; the number is the stage of the boot."""
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
    """What the handlers need to know of the lines that were not handed to them."""

    @property
    def headed_lines(self) -> int:
        """Number of lines in ESP_LOG's shape so far."""

    @property
    def high_ms(self) -> int | None:
        """Latest time in this boot, None before the first."""

    def restart_clock(self) -> None:
        """The board has started again: times begin at 0."""


class BootTracker:
    """Detects boots. The signs of one boot come in the order of their stages; a sign out of order is a new boot."""

    def __init__(self, sink: EventSink, clock: LineClock, end_boot: Callable[[], None]) -> None:
        """Make a tracker.

        Args:
            sink: takes the events.
            clock: restarted with each boot.
            end_boot: called before a boot starts, to complete what belongs to the boot before.
        """
        self.rom_banners = 0
        self.boot_loader_starts = 0
        self.app_starts = 0
        self._sink = sink
        self._clock = clock
        self._end_boot = end_boot
        self._stage: int | None = None
        """Stage of the latest sign; None while the log has shown no boot from its beginning."""
        self._heard_anything = False
        self._is_download = False
        """The chip waits to be flashed: the boot that counts comes next."""

    def hear(self) -> None:
        """Note that the current boot has printed something."""
        self._heard_anything = True

    def take_text(self, line: ConsoleLine) -> None:
        """Take a line without header: the ROM's."""
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
        """Take a line of the second-stage boot loader."""
        if _BOOT_LOADER.search(line.text) is not None:
            self.boot_loader_starts += 1
            self._advance(line, LOADER, _STAGE_LOADER)
            self._clock.restart_clock()

    def take_app_start(self, line: LogLine) -> None:
        """Take a line that may be a mark of the application's start."""
        stage = _APP_MARKS.get((line.tag, line.text))
        if stage is not None:
            before = self._sink.boot
            was_running = self._stage is not None and self._stage >= min(_APP_MARKS.values())
            self._advance(line, APPLICATION, stage)
            self.app_starts += not was_running or self._sink.boot != before

    def take_fall(self, line: LogLine) -> None:
        """Take a line whose time lies far behind those before it: a new boot, unless the boot at hand explains it.

        Until the application runs, lines have the time of another clock, which an emulator does not keep in step.
        """
        is_starting = self._stage is not None and 0 < self._stage < _STAGE_RUNNING
        is_sign = (line.tag, line.text) in _APP_MARKS or _BOOT_LOADER.search(line.text)
        if not is_starting and not is_sign:
            self._start(line.number, line.t_ms, TIMES, _STAGE_FALL)

    def take_new_boot_id(self, number: int, t_ms: int) -> None:
        """Take a record with another boot id than the one before."""
        self._start(number, t_ms, RECORD, _STAGE_RUNNING)

    def _advance(self, line: LogLine, sign: str, stage: int) -> None:
        if self._stage is None or stage <= self._stage:
            self._start(line.number, line.t_ms, sign, stage)
        self._stage = stage

    def _start(self, number: int, t_ms: int | None, sign: str, stage: int, **banner: Any) -> None:
        self._end_boot()
        # Lines that say nothing are only counted; a sign in a log line is itself one of those counted.
        before = self._clock.headed_lines - (sign in _SIGNS_IN_LOG_LINES)
        if (self._heard_anything or before > 0) and not self._is_download:
            self._sink.next_boot()
        self._heard_anything = True
        self._is_download = banner.get("mode") == DOWNLOAD_BOOT
        self._stage = stage
        if sign != TIMES:
            self._clock.restart_clock()
        self._sink.emit(ev.BootStarted(*self._sink.place(number, t_ms), sign=sign, **banner))
