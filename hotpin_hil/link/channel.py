"""One serial line as the harness sees it: its bytes, the records and resets in them, and waiting for these.

A reader thread feeds it, one test thread waits on it. It keeps everything since it was made (a few MB for
hours of log at 115200 baud), so that any moment can be looked at again afterwards.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from hotpin_hil.errors import PortError
from hotpin_hil.link.records import Corrupt, Record, RecordScanner
from hotpin_hil.link.sequence import Gap, SequenceCheck

T = TypeVar("T")

_RESET_BANNER = re.compile(rb"rst:0x([0-9a-f]+) \(([A-Z0-9_]+)\),boot:0x[0-9a-f]+ \(([^)\r\n]*)\)")
_BANNER_MAX = 120
"""Longer than any banner, bytes: how far a search goes back when a chunk ends within one."""


@dataclass(frozen=True, order=True)
class Cursor:
    """A moment on the line: everything from `offset` (bytes) and `index` (records) on came after it."""

    offset: int = 0
    index: int = 0


@dataclass(frozen=True)
class Reset:
    """The ROM's reset banner: the chip has started."""

    offset: int
    cause: int
    """The ROM's code: 0x1 power-on, 0xc software, …"""
    name: str
    boot_mode: str


class Channel:
    """Thread-safe. `write` sends bytes to the board; without it the line is read-only."""

    def __init__(self, write: Callable[[bytes], object] | None = None, name: str = "serial line") -> None:
        self.name = name
        self._write = write
        self._cond = threading.Condition()
        self._text = bytearray()
        self._scanner = RecordScanner()
        self._sequence = SequenceCheck()
        self._records: list[Record] = []
        self._repeated: list[Record] = []
        self._corrupt: list[Corrupt] = []
        self._resets: list[Reset] = []
        self._banner_from = 0
        self._error: PortError | None = None

    # --- the reader's side ---

    def feed(self, data: bytes) -> None:
        """Take in bytes from the board."""
        with self._cond:
            self._text += data
            for item in self._scanner.feed(data):
                if isinstance(item, Corrupt):
                    self._corrupt.append(item)
                elif self._sequence.add(item, len(self._records)):
                    self._records.append(item)
                else:
                    self._repeated.append(item)
            self._find_resets()
            self._cond.notify_all()

    def _find_resets(self) -> None:
        for banner in _RESET_BANNER.finditer(self._text, self._banner_from):
            self._resets.append(
                Reset(
                    banner.start(), int(banner[1], 16), banner[2].decode(), banner[3].decode(errors="replace")
                )
            )
            self._banner_from = banner.end()
        self._banner_from = max(self._banner_from, len(self._text) - _BANNER_MAX)

    def lost(self, error: PortError) -> None:
        """The line is gone: every wait, present and future, raises `error`."""
        with self._cond:
            self._error = self._error or error
            self._cond.notify_all()

    # --- the test's side ---

    def send(self, data: bytes) -> None:
        """Send to the board; PortError when the line is lost or read-only."""
        if self._error is not None:
            raise self._error
        if self._write is None:
            raise PortError(f"{self.name} is read-only", "it was opened for reading a log, not for a board")
        try:
            self._write(data)
        except OSError as failure:
            error = PortError(
                f"{self.name}: {failure}", "check the cable and the board's power, then run again"
            )
            self.lost(error)
            raise error from failure

    def mark(self) -> Cursor:
        """Now."""
        with self._cond:
            return Cursor(len(self._text), len(self._records))

    def wait(self, found: Callable[[], T | None], timeout_s: float) -> T | None:
        """What `found()` returns as soon as that is not None; None after `timeout_s` without. Raises
        PortError.

        `found` is called with the channel locked, now and after every chunk received.
        """
        deadline = time.monotonic() + timeout_s
        with self._cond:
            while True:
                result = found()
                if result is not None:
                    return result
                if self._error is not None:
                    raise self._error
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return None
                self._cond.wait(remaining)

    def text(self, since: Cursor | None = None) -> bytes:
        """Every byte received since `since` (None: from the beginning)."""
        with self._cond:
            return bytes(self._text[since.offset if since else 0 :])

    def records(self, since: Cursor | None = None) -> list[Record]:
        """Undamaged records, each once, in the order of arrival."""
        with self._cond:
            return self._records[since.index if since else 0 :]

    def repeated(self, since: Cursor | None = None) -> list[Record]:
        """Records that came again (stored replies) and are therefore not in `records`."""
        with self._cond:
            return [item for item in self._repeated if item.offset >= (since.offset if since else 0)]

    def corrupt(self, since: Cursor | None = None) -> list[Corrupt]:
        """Damaged records."""
        with self._cond:
            return [item for item in self._corrupt if item.offset >= (since.offset if since else 0)]

    def resets(self, since: Cursor | None = None) -> list[Reset]:
        """Reset banners of the ROM (none are printed while GPIO15 is low)."""
        with self._cond:
            return [item for item in self._resets if item.offset >= (since.offset if since else 0)]

    def gaps(self, since: Cursor | None = None) -> list[Gap]:
        """Records of the present boot that never arrived."""
        with self._cond:
            return self._sequence.gaps(since.index if since else 0)

    @property
    def boot(self) -> str | None:
        """Boot id of the newest boot seen, None before the first record."""
        return self._sequence.boot

    @property
    def error(self) -> PortError | None:
        """Why the line was lost, None while it works."""
        return self._error
