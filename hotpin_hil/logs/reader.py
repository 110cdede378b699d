"""Turns a recorded console into typed events.

Reads logs of this firmware and of the original firmware, from a board or from `idf.py monitor`.

    reader = LogReader()
    for chunk in chunks:
        for event in reader.feed(chunk): ...
    for event in reader.close(): ...

Memory does not grow with the log. Lines that start like a known format but cannot be parsed become `Unreadable`.
"""

from __future__ import annotations

from hotpin_hil.logs.interpreter import WANTED, LineInterpreter, matters
from hotpin_hil.logs.live_scan import LiveLineScanner
from hotpin_hil.logs.scan import LineScanner
from hotpin_hil.logs.whole_box import WholeBox
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.log import ConsoleLine, LogLine

CHUNK = 64 * 1024
"""Bytes to read at once: the fastest size, because the system allocates new pages for every larger block."""


def read_events(data: bytes) -> list[ev.LogEvent]:
    """Read a log, or a part of it; yields all its events."""
    reader = LogReader()
    return [*reader.feed(data), *reader.close()]


class LogReader:
    """Reads a log, fed in chunks of any size. The events do not depend on the chunks."""

    def __init__(self, first_line: int = 1, first_boot: int = 0, *, is_live: bool = False) -> None:
        """Start to read a log, or a part of one.

        Args:
            first_line: number of the first line, for a part of a log.
            first_boot: number of the boot at the start of the part.
            is_live: return an event as soon as the lines that make it have arrived, instead of a window at a time.
                The events are the same, except where a terminal's prefix starts or stops.
        """
        scanner = LiveLineScanner if is_live else LineScanner
        self.scan = scanner(WANTED, self._take, self._take_whole_box, matters)
        """Counts lines, levels, times and format errors."""
        self.scan.lines = self._skipped = first_line - 1
        self._lines = LineInterpreter(self.scan, first_boot)

    @property
    def lines(self) -> int:
        """Number of lines read."""
        return self.scan.lines - self._skipped

    @property
    def records(self) -> int:
        """Number of undamaged records."""
        return self._lines.records.records

    @property
    def records_lost(self) -> int:
        """Number of records that are missing between records of the same boot."""
        return self._lines.records.records_lost

    @property
    def rom_banners(self) -> int:
        """Number of banners with which the ROM starts its output."""
        return self._lines.boots.rom_banners

    @property
    def boot_loader_starts(self) -> int:
        """Number of times that the second-stage bootloader started."""
        return self._lines.boots.boot_loader_starts

    @property
    def app_starts(self) -> int:
        """Number of times that the application started."""
        return self._lines.boots.app_starts

    def feed(self, data: bytes) -> list[ev.LogEvent]:
        """Read the next chunk; returns the events that it completes."""
        self.scan.feed(data)
        return self._lines.events()

    def close(self) -> list[ev.LogEvent]:
        """End the log; returns the events that its end completes."""
        self.scan.close()
        self._lines.close()
        return self._lines.events()

    def _take(self, line: LogLine | ConsoleLine) -> bool:
        return self._lines.take(line)

    def _take_whole_box(self, number: int, box: WholeBox) -> None:
        self._lines.take_whole_box(number, box)
