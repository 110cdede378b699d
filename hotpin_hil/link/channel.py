"""One serial line: the received bytes, the records and resets in them, and waits for both.

A reader thread feeds the channel, and one test thread waits on it. The channel keeps everything that it has received (a
few MB for hours of log at 115200 baud), so that any moment can be examined later.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from hotpin_hil.errors import PortError
from hotpin_hil.protocol.records import CHECKSUM_WRONG, Corrupt, Record, RecordScanner
from hotpin_hil.protocol.reset import BANNER_MAX, ROM_MARKS, find_banners
from hotpin_hil.protocol.sequence import Gap, SequenceCheck

T = TypeVar("T")

LAST_RESORT = 20
"""On the host's clock, a budget never takes more than this multiple of its length, even if an emulated board's clock is
slower."""
STALL_S = 10.0
"""An emulated board hangs if its clock does not advance for this long on the host's clock. (An idle board's clock
advances, and QEMU on 5 % of a core advances it by 2 s.)"""
_PROGRESS_S = 0.2
"""Smallest advance of an emulated board's clock that counts; less may come from the way the clock is read."""
_NO_TEXT = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f\xc0\xc1\xf5-\xff]")
"""Bytes that never occur in UTF-8 text. (Others in a wrong order may come from a line within another line.)"""
_GARBLED_MIN = 3
"""Number of garbled text lines that prove a bad serial line. Fewer may come from a single reset or a firmware bug."""


@dataclass(frozen=True, order=True)
class Cursor:
    """A moment on the serial line. Bytes from `offset` on, and records from `index` on, arrived after it."""

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
    requested: bool = False
    """The harness requested the reset."""


@dataclass(frozen=True)
class LineNoise:
    """Damage on the serial line, which indicates a bad cable or baud rate."""

    damaged: int
    """Number of damaged records: the checksum is wrong, or the record was cut off or overwritten."""
    mismatched: int
    """Number of damaged records where only the checksum is wrong. (Another task's output, or a crash, cuts or
    overwrites a record; neither changes single bytes in it.)"""
    lost: int
    """Number of records that never arrived, according to the sequence numbers."""
    repeated: int
    """Number of records that arrived again because their request was repeated."""
    garbled: int
    """Number of text lines with bytes that never occur in UTF-8."""

    def __bool__(self) -> bool:
        return any((self.damaged, self.lost, self.repeated, self.garbled))

    @property
    def corrupted_in_transit(self) -> bool:
        """Whether the serial line has corrupted bytes, which is not the firmware's fault."""
        return self.mismatched > 0 or self.garbled >= _GARBLED_MIN

    def __str__(self) -> str:
        return f"{self.mismatched} wrong checksums, {self.garbled} garbled lines, {self.lost} lost records"


class Deadline:
    """A time limit, given as seconds from now.

    A real board's clock is the host's. An emulated board's clock (`board_clock_s`) falls behind on a loaded host. The
    budget then lasts until that clock has also advanced by the budget, or has stopped. The board's clock is read only
    when the host's time is up.
    """

    def __init__(self, budget_s: float, board_clock_s: Callable[[], float | None] | None = None) -> None:
        self._budget_s = budget_s
        self._end_s = time.monotonic() + budget_s
        self._last_resort_s = time.monotonic() + budget_s * LAST_RESORT
        self._board_clock_s = board_clock_s
        self._board_end_s: float | None = None
        self._progress_s = (0.0, 0.0)
        """The board's last progress: on the host's clock and on the board's."""

    def remaining_s(self) -> float:
        """Lower bound of the seconds left; 0 or less at the end. May query the board's emulator, which is slow."""
        now_s = time.monotonic()
        if now_s < self._end_s or self._board_clock_s is None:
            return self._end_s - now_s
        board_s = self._board_clock_s() if now_s < self._last_resort_s else None
        if board_s is None:
            return 0.0
        if self._board_end_s is None:
            self._board_end_s = board_s + self._budget_s
            self._progress_s = now_s, board_s
        if board_s - self._progress_s[1] >= _PROGRESS_S:
            self._progress_s = now_s, board_s
        elif now_s - self._progress_s[0] >= STALL_S:
            return 0.0
        # The board's clock runs no faster than the host's, so no query is needed before then.
        self._end_s = min(now_s + self._board_end_s - board_s, self._last_resort_s)
        return self._end_s - now_s


class Channel:
    """Everything received on one serial line; thread-safe.

    `write` sends bytes to the board; without it the channel is read-only. `board_clock_s`: see `Deadline`.
    """

    def __init__(
        self,
        write: Callable[[bytes], object] | None = None,
        name: str = "serial line",
        board_clock_s: Callable[[], float | None] | None = None,
    ) -> None:
        self.name = name
        self._write = write
        self._board_clock_s = board_clock_s
        self._cond = threading.Condition()
        self._text = bytearray()
        self._scanner = RecordScanner()
        self._sequence = SequenceCheck()
        self._records: list[Record] = []
        self._repeated: list[Record] = []
        self._corrupt: list[Corrupt] = []
        self._resets: list[Reset] = []
        self._banner_from = 0
        self._is_requested = False
        """The harness requested a reset that has not appeared on the serial line yet."""
        self.reset_from = 0
        """Number of bytes received before the harness last requested a reset."""
        self._is_requested_boot = False
        """The current boot follows a reset that the harness requested."""
        self._requested_boots: set[str] = set()
        self._error: PortError | None = None
        self._observer: Callable[[Record], None] | None = None

    # --- the reader's side ---

    def feed(self, data: bytes) -> None:
        """Add bytes from the board."""
        with self._cond:
            known = len(self._records)
            self._text += data
            self._find_resets()
            for item in self._scanner.feed(data):
                if isinstance(item, Corrupt):
                    self._corrupt.append(item)
                elif self._sequence.add(item, len(self._records)):
                    self._note_boot(item)
                    self._records.append(item)
                else:
                    self._repeated.append(item)
            self._cond.notify_all()
            new = self._records[known:] if self._observer is not None else []
        # Outside the lock: a slow observer must not block the test.
        for record in new:
            if self._observer is not None:
                self._observer(record)

    def observe(self, observer: Callable[[Record], None]) -> None:
        """Call `observer` with every undamaged record: now with those already received, then from the reader thread."""
        with self._cond:
            for record in self._records:
                observer(record)
            self._observer = observer

    def _find_resets(self) -> None:
        for banner in find_banners(self._text, self._banner_from):
            self._resets.append(
                Reset(banner.start, banner.cause, banner.name, banner.boot_mode, requested=self._is_requested)
            )
            self._is_requested, self._is_requested_boot = False, self._is_requested
            self._banner_from = banner.end
        self._banner_from = max(self._banner_from, len(self._text) - BANNER_MAX)

    def _note_boot(self, record: Record) -> None:
        """Record whether the harness requested the new boot, even if the ROM printed no banner."""
        if self._records and record.boot == self._records[-1].boot:
            return
        if self._is_requested or self._is_requested_boot:
            self._requested_boots.add(record.boot)
        self._is_requested = self._is_requested_boot = False

    def announce_reset(self) -> None:
        """Announce that the harness is about to reset the chip."""
        with self._cond:
            self._is_requested = True
            self.reset_from = len(self._text)

    def report_lost(self, error: PortError) -> None:
        """Record that the port was lost: all current and future waits raise `error`."""
        with self._cond:
            self._error = self._error or error
            self._cond.notify_all()

    # --- the test's side ---

    def send(self, data: bytes) -> None:
        """Send bytes to the board.

        Raises:
            PortError: the port was lost, or the channel is read-only.
        """
        if self._error is not None:
            raise self._error
        if self._write is None:
            raise PortError(f"{self.name} is read-only", "it was opened only to read a log")
        try:
            self._write(data)
        except OSError as failure:
            error = PortError(
                f"{self.name}: {failure}", "check the cable and the board's power, then run again"
            )
            self.report_lost(error)
            raise error from failure

    def mark(self) -> Cursor:
        """The position after everything received so far."""
        with self._cond:
            return Cursor(len(self._text), len(self._records))

    def deadline(self, budget_s: float) -> Deadline:
        """A deadline that starts now and uses the clocks of this channel."""
        return Deadline(budget_s, self._board_clock_s)

    def wait(self, found: Callable[[], T | None], timeout_s: float) -> T | None:
        """Wait until a function returns a value other than None.

        Args:
            found: called with the channel locked, now and after every chunk received.
            timeout_s: time limit, see `Deadline`.

        Returns:
            The first result of `found` that is not None; None after the timeout.

        Raises:
            PortError: the port was lost.
            Exception: whatever `found` raises.
        """
        deadline = self.deadline(timeout_s)
        while True:
            # Not under the lock: this may ask QEMU for its clock. QEMU answers only while the reader thread drains its
            # output, which needs the lock.
            remaining_s = deadline.remaining_s()
            with self._cond:
                result = found()
                if result is not None:
                    return result
                if self._error is not None:
                    raise self._error
                if remaining_s <= 0:
                    return None
                self._cond.wait(remaining_s)

    def text(self, since: Cursor | None = None) -> bytes:
        """Every byte received after `since` (None: from the beginning)."""
        with self._cond:
            return bytes(self._text[since.offset if since else 0 :])

    def records(self, since: Cursor | None = None) -> list[Record]:
        """Undamaged records, each once, in the order of arrival."""
        with self._cond:
            return self._records[since.index if since else 0 :]

    def repeated(self, since: Cursor | None = None) -> list[Record]:
        """Repeated records (stored replies); `records` leaves them out."""
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

    def boot_at(self, offset: int) -> str | None:
        """Boot id of the records between the resets before and after an offset in the stream; None without records."""
        with self._cond:
            start = max((reset.offset for reset in self._resets if reset.offset <= offset), default=0)
            end = min(
                (reset.offset for reset in self._resets if reset.offset > offset), default=len(self._text)
            )
            return next((record.boot for record in self._records if start <= record.offset < end), None)

    def was_requested(self, boot: str) -> bool:
        """Whether the harness requested the reset before this boot."""
        with self._cond:
            return boot in self._requested_boots

    def gaps(self, since: Cursor | None = None) -> list[Gap]:
        """Records of the current boot that never arrived."""
        with self._cond:
            return self._sequence.gaps(since.index if since else 0)

    def noise(self, since: Cursor | None = None) -> LineNoise:
        """The errors of the serial line. Searches the whole text, so avoid it in loops."""
        corrupt = self.corrupt(since)
        return LineNoise(
            damaged=len(corrupt),
            mismatched=sum(CHECKSUM_WRONG in item.reason for item in corrupt),
            lost=len(self.gaps(since)),
            repeated=len(self.repeated(since)),
            garbled=sum(map(_is_garbled, self.text(since).split(b"\n"))),
        )

    @property
    def boot(self) -> str | None:
        """Boot id of the newest boot seen, None before the first record."""
        return self._sequence.boot

    @property
    def error(self) -> PortError | None:
        """The reason why the port was lost; None while the port works."""
        return self._error


def _is_garbled(line: bytes) -> bool:
    # Before the ROM's first output, level changes during the reset may look like bytes.
    return _NO_TEXT.search(line) is not None and not any(mark in line for mark in ROM_MARKS)
