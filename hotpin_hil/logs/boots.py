"""Boots: assigns log lines to boots of the chip."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Protocol

from hotpin_hil.logs.sink import EventSink
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.log import ConsoleLine, LogLine
from hotpin_hil.protocol.reset import find_banner, is_damaged_banner, is_download, is_greeting

_BOOT_LOADER = re.compile(r"ESP-IDF (\S+) 2nd stage bootloader")
_SAVED_PC = re.compile(r"Saved PC:0x[0-9a-f]{8}")
_WATCHDOG_PC = re.compile(r"WDT reset info: \w{1,10} CPU PC=0x[0-9a-f]{1,8}")
_APP_MARKS = {
    ("cpu_start", "Multicore app"): 3,
    ("cpu_start", "Pro cpu start user code"): 4,
    ("app_init", "Application information:"): 5,
    ("cpu_start", "Application information:"): 5,
    ("main_task", "Started on CPU0"): 6,
    ("main_task", "Calling app_main()"): 7,
}
"""Lines that every application prints when it starts, in this order, with the stage of the boot."""
APP_MARKS = tuple(text for _, text in _APP_MARKS)
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
    """The scanner's clock and line count, which include the lines that it counts but does not pass to the handlers."""

    @property
    def headed_lines(self) -> int:
        """Number of lines in ESP_LOG's shape so far."""

    @property
    def high_ms(self) -> int | None:
        """Latest time in this boot; None before the first time."""

    def restart_clock(self) -> None:
        """Restart the log's clock: after a reset, timestamps begin at 0."""


class BootTracker:
    """Detects boots.

    The signs of one boot come in the order of their stages. A sign out of order means a new boot.
    """

    def __init__(self, sink: EventSink, clock: LineClock, end_boot: Callable[[], None]) -> None:
        """Start before the first boot of the log.

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
        """Whether the chip waits in download mode; the firmware's boot still follows."""

    def note_output(self) -> None:
        """Record that the current boot has printed something."""
        self._has_output = True

    def take_text(self, line: ConsoleLine) -> None:
        """Start a boot if a line without an ESP_LOG header has the ROM's reset banner."""
        text = line.text
        if is_greeting(text):
            self.rom_banners += 1
        if (place := _SAVED_PC.match(text)) is not None:
            self._sink.emit(ev.ResetPlace(*self._sink.place(line.number, None), text=place[0]))
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
        """Start or continue a boot if a line is the first of the second-stage bootloader."""
        if _BOOT_LOADER.search(line.text) is not None:
            self.boot_loader_starts += 1
            self._advance(line, LOADER, _STAGE_LOADER)
            self._clock.restart_clock()
        elif _WATCHDOG_PC.match(line.text) is not None:
            self._sink.emit(
                ev.ResetPlace(*self._sink.place(line.number, line.t_ms), text=ev.quote(line.text))
            )

    def take_app_start(self, line: LogLine) -> None:
        """Start or continue a boot if a line marks the application's start."""
        stage = _APP_MARKS.get((line.tag, line.text))
        if stage is not None:
            before = self._sink.boot
            was_running = self._stage is not None and self._stage >= min(_APP_MARKS.values())
            self._advance(line, APPLICATION, stage)
            self.app_starts += not was_running or self._sink.boot != before

    def take_fall(self, line: LogLine) -> None:
        """Start a boot at a line with a time far behind the times of the lines before it.

        Such a line means a new boot, except while a boot is starting: until the application runs, log lines use another
        clock, which is not in step in an emulator.
        """
        is_starting = self._stage is not None and 0 < self._stage < _STAGE_RUNNING
        is_sign = (line.tag, line.text) in _APP_MARKS or _BOOT_LOADER.search(line.text)
        if not is_starting and not is_sign:
            self._start(line.number, line.t_ms, TIMES, _STAGE_FALL)

    def take_new_boot_id(self, number: int, t_ms: int) -> None:
        """Start a boot at a record if its boot id differs from the previous record's."""
        self._start(number, t_ms, RECORD, _STAGE_RUNNING)

    def _advance(self, line: LogLine, sign: str, stage: int) -> None:
        if self._stage is None and not line.is_fall and self._clock.high_ms == line.t_ms:
            # The log starts while this boot is starting, so the lines before it belong to this boot.
            self._begin(line.number, line.t_ms, sign)
        elif self._stage is None or stage <= self._stage:
            self._start(line.number, line.t_ms, sign, stage)
        self._stage = stage

    def _start(self, number: int, t_ms: int | None, sign: str, stage: int, **banner: Any) -> None:
        self._end_boot()
        ended_ms, ended = self._clock.high_ms, self._stage
        # Uninteresting lines are only counted; a sign in a log line is included in that count.
        before = self._clock.headed_lines - (sign in _SIGNS_IN_LOG_LINES)
        is_next = (self._has_output or before > 0) and not self._is_download
        if is_next:
            if sign in _SIGNS_IN_LOG_LINES and ended_ms is not None and t_ms == ended_ms:
                ended_ms = None  # the clock has already taken the time of the new boot's line
            place = self._sink.place(number - 1, ended_ms)
            self._sink.emit(ev.BootEnded(*place, stage=_stage_text(ended)))
            self._sink.next_boot()
        self._has_output = True
        self._is_download = is_download(banner.get("mode", ""))
        self._stage = stage
        if sign != TIMES:
            self._clock.restart_clock()
        is_first = self._sink.is_first_boot and not is_next
        self._begin(number, t_ms, sign, is_first=is_first, **banner)

    def _begin(self, number: int, t_ms: int | None, sign: str, **more: Any) -> None:
        self._has_output = True
        self._sink.emit(ev.BootStarted(*self._sink.place(number, t_ms), sign=sign, **more))


def _stage_text(stage: int | None) -> str:
    if stage is None or stage in (_STAGE_FALL, _STAGE_RUNNING):
        return "application"
    if stage == _STAGE_BANNER:
        return "ROM"
    return "boot loader" if stage == _STAGE_LOADER else "start of the application"
