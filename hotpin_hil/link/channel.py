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
from hotpin_hil.link.records import CHECKSUM_WRONG, Corrupt, Record, RecordScanner
from hotpin_hil.link.sequence import Gap, SequenceCheck

T = TypeVar("T")

LAST_RESORT = 20
"""A budget ends after this many times its length on the host's clock, whatever an emulated board's clock says."""

_RESET_BANNER = re.compile(rb"rst:0x([0-9a-f]+) \(([A-Z0-9_]+)\),boot:0x[0-9a-f]+ \(([^)\r\n]*)\)")
_NO_TEXT = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f\xc0\xc1\xf5-\xff]")
"""Bytes that no text has, in UTF-8. (One with the others only in a wrong order may be a line inside another's.)"""
_GARBLED_MIN = 3
"""So many lines are a habit of the line; fewer may be what one reset or one bug of the firmware leaves."""
_ROM = (b"ets ", b"rst:0x")
"""In the first lines after a reset. Before them the line may carry what its levels did during the reset."""
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
    asked: bool = False
    """The harness had the chip reset."""


@dataclass(frozen=True)
class Noise:
    """What came over the line that no firmware sends, or did not come: signs of a bad cable or baud rate."""

    damaged: int
    """Records that are none: their checksum is wrong, or they were cut off or overwritten."""
    mismatched: int
    """Of the damaged ones, those that are whole but for their checksum. (A second writer on the board, or a crash,
    cuts or overwrites a record; neither changes single bytes in it.)"""
    lost: int
    """Records that never arrived, by their sequence numbers."""
    repeated: int
    """Records that came again, because the request for them was repeated."""
    garbled: int
    """Lines with bytes that no text has."""

    def __bool__(self) -> bool:
        return any((self.damaged, self.lost, self.repeated, self.garbled))

    @property
    def is_the_lines(self) -> bool:
        """Whether bytes were changed on their way, which the firmware can't be blamed for."""
        return self.mismatched > 0 or self.garbled >= _GARBLED_MIN

    def __str__(self) -> str:
        return f"{self.mismatched} wrong checksums, {self.garbled} garbled lines, {self.lost} lost records"


class Deadline:
    """The end of a budget, in seconds from now.

    A real board's clock is the host's. An emulated board's clock (`board_clock_s`) falls behind on a loaded host: then
    the budget lasts until that clock has advanced by it too. It is asked only when the host's time is up.
    """

    def __init__(self, budget_s: float, board_clock_s: Callable[[], float | None] | None = None) -> None:
        self._budget_s = budget_s
        self._end_s = time.monotonic() + budget_s
        self._last_resort_s = time.monotonic() + budget_s * LAST_RESORT
        self._board_clock_s = board_clock_s
        self._board_end_s: float | None = None

    def remaining_s(self) -> float:
        """What is left at least; not more than 0 when it is over. May ask the board's emulator, which takes a while."""
        now_s = time.monotonic()
        if now_s < self._end_s or self._board_clock_s is None:
            return self._end_s - now_s
        board_s = self._board_clock_s() if now_s < self._last_resort_s else None
        if board_s is None:
            return 0.0
        if self._board_end_s is None:
            self._board_end_s = board_s + self._budget_s
        # Not asked again before its clock can have got there, if it is no faster than the host's.
        self._end_s = min(now_s + self._board_end_s - board_s, self._last_resort_s)
        return self._end_s - now_s


class Channel:
    """Thread-safe. `write` sends bytes to the board; without it the line is read-only. `board_clock_s`: see
    `Deadline`."""

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
        self._is_asked = False
        """A reset was asked for and has not shown yet."""
        self.asked_from = 0
        """How much had been received, bytes, when a reset was last asked for."""
        self._is_asked_boot = False
        """The boot that is under way comes from an asked reset."""
        self._asked_boots: set[str] = set()
        self._error: PortError | None = None
        self._observer: Callable[[Record], None] | None = None

    # --- the reader's side ---

    def feed(self, data: bytes) -> None:
        """Take in bytes from the board."""
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
        # Outside the lock: the test need not wait for whoever takes notes.
        for record in new:
            if self._observer is not None:
                self._observer(record)

    def observe(self, observer: Callable[[Record], None]) -> None:
        """Tell `observer` of every undamaged record: those that have come at once, the others from the reader's
        thread as they come."""
        with self._cond:
            for record in self._records:
                observer(record)
            self._observer = observer

    def _find_resets(self) -> None:
        for banner in _RESET_BANNER.finditer(self._text, self._banner_from):
            self._resets.append(
                Reset(
                    offset=banner.start(),
                    cause=int(banner[1], 16),
                    name=banner[2].decode(),
                    boot_mode=banner[3].decode(errors="replace"),
                    asked=self._is_asked,
                )
            )
            self._is_asked, self._is_asked_boot = False, self._is_asked
            self._banner_from = banner.end()
        self._banner_from = max(self._banner_from, len(self._text) - _BANNER_MAX)

    def _note_boot(self, record: Record) -> None:
        """Whether a new boot was asked for, also when the ROM printed no banner."""
        if self._records and record.boot == self._records[-1].boot:
            return
        if self._is_asked or self._is_asked_boot:
            self._asked_boots.add(record.boot)
        self._is_asked = self._is_asked_boot = False

    def reset_asked(self) -> None:
        """The chip is about to be reset by the harness: the next reset is no surprise."""
        with self._cond:
            self._is_asked = True
            self.asked_from = len(self._text)

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

    def deadline(self, budget_s: float) -> Deadline:
        """The end of a budget that begins now, by the clocks that count on this line."""
        return Deadline(budget_s, self._board_clock_s)

    def wait(self, found: Callable[[], T | None], timeout_s: float) -> T | None:
        """What `found()` returns as soon as that is not None; None after `timeout_s` (`Deadline`) without. Raises
        PortError.

        `found` is called with the channel locked, now and after every chunk received.
        """
        deadline = self.deadline(timeout_s)
        while True:
            remaining_s = (
                deadline.remaining_s()
            )  # not with the channel locked: an emulator answers only if it is read
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

    def boot_at(self, offset: int) -> str | None:
        """The boot id that the records between the resets around a place of the stream have; None without any."""
        with self._cond:
            start = max((one.offset for one in self._resets if one.offset <= offset), default=0)
            end = min((one.offset for one in self._resets if one.offset > offset), default=len(self._text))
            return next((one.boot for one in self._records if start <= one.offset < end), None)

    def was_asked(self, boot: str) -> bool:
        """Whether the harness had the chip reset for this boot."""
        with self._cond:
            return boot in self._asked_boots

    def gaps(self, since: Cursor | None = None) -> list[Gap]:
        """Records of the present boot that never arrived."""
        with self._cond:
            return self._sequence.gaps(since.index if since else 0)

    def noise(self, since: Cursor | None = None) -> Noise:
        """The line's errors. Looks through all of the text: for the end of a test, not for a loop."""
        corrupt = self.corrupt(since)
        return Noise(
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
        """Why the line was lost, None while it works."""
        return self._error


def _is_garbled(line: bytes) -> bool:
    return _NO_TEXT.search(line) is not None and not any(text in line for text in _ROM)
