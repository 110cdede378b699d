"""The board's clock as seen in a log's lines: distinguishes restarts from late lines and damaged times."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hotpin_hil.logs.format import LineTally
from hotpin_hil.logs.shapes import ROW

FALL_MS = 1_000
"""A task reads the time of a line before it waits to write the line, so lines are late, by up to 566 ms on recorded
boards. A time that goes back further belongs to a new boot."""


TIMES_AHEAD = 2
"""Number of times in the lines ahead that is sufficient."""


def times_in(lines: Sequence[bytes]) -> list[int]:
    """The times of the first two lines that have one."""
    return [int(row[2]) for row in map(ROW.match, lines) if row is not None and row[1]][:TIMES_AHEAD]


class LogClocks:
    """The clocks of a log: that of ESP_LOG and that of the Arduino core's own lines, which are not in step."""

    def __init__(self, tally: LineTally, ahead: Callable[[int], Sequence[bytes]]) -> None:
        """Start before the first time of a log.

        Args:
            tally: counts late and odd times.
            ahead: called with the offset after a line; returns the next lines.
        """
        self._log = BoardClock(tally, lambda at: times_in(ahead(at)))
        self._core = BoardClock(tally, lambda _: ())
        self.take_run = self._log.take_run
        """As `BoardClock.take_run`, for lines of ESP_LOG."""

    @property
    def high(self) -> int:
        """Latest time of this boot in ms, by ESP_LOG's clock if it has one; -1 before the first."""
        return self._log.high if self._log.high >= 0 else self._core.high

    def restart(self) -> None:
        """Restart both clocks: after a reset, timestamps begin at 0."""
        self._log.restart()
        self._core.restart()

    def take(self, number: int, t_ms: int, end: int, *, is_core: bool) -> bool:
        """Advance one of the clocks, see `BoardClock.take`; `is_core`: the line is from the Arduino core."""
        clock, other = (self._core, self._log) if is_core else (self._log, self._core)
        is_fall = clock.take(number, t_ms, end)
        if is_fall:
            other.restart()
        return is_fall


class BoardClock:
    """Follows the times of the lines; counts late and odd times in the tally."""

    def __init__(self, tally: LineTally, ahead: Callable[[int], Sequence[int]]) -> None:
        """Start before the first time of a log.

        Args:
            tally: counts late and odd times.
            ahead: called with the offset after a line; returns the times of the next two lines with a time.
        """
        self.high = -1
        """Latest time of this boot in ms; -1 before the first."""
        self._tally = tally
        self._ahead = ahead
        self._before_jump = -1
        """The latest time before `high`, if `high` was a jump."""
        self._jump_to = -1
        self._jump_line = 0

    def restart(self) -> None:
        """Restart the clock: after a reset, timestamps begin at 0."""
        self.high = self._before_jump = -1

    def take_run(self, stamps: list[bytes], number_of: Callable[[int], int]) -> bool:
        """Advance the clock by the times of consecutive lines.

        Args:
            stamps: times in ms, as printed.
            number_of: called with the index of a stamp; returns the number of its line.

        Returns:
            False if one of the times may mean a restart; then the clock is unchanged.
        """
        if not stamps:
            return True
        last = int(stamps[-1])
        if self.high <= int(stamps[0]) and last - self.high <= FALL_MS and _is_rising(stamps):
            self.high = last
            return True
        high, jump, before = self.high, -1, -1
        late = []
        times = list(map(int, stamps))
        for index, t_ms in enumerate(times):
            if t_ms < high:
                late.append(high - t_ms)
            else:
                if t_ms - high > FALL_MS:
                    jump, before = index, high
                high = t_ms
        if late and max(late) > FALL_MS:
            return False
        if jump >= 0:
            self._before_jump, self._jump_to, self._jump_line = before, times[jump], number_of(jump)
        self._tally.count_reversals(late)
        self.high = high
        return True

    def take(self, number: int, t_ms: int, end: int) -> bool:
        """Advance the clock by the time of a line.

        Args:
            number: number of the line.
            t_ms: its time.
            end: offset after the line, to look ahead.

        Returns:
            Whether the time means that the clock has restarted.
        """
        if t_ms < self.high:
            return self._take_late(number, t_ms, end)
        if t_ms - self.high > FALL_MS:
            self._before_jump, self._jump_to, self._jump_line = self.high, t_ms, number
        self.high = t_ms
        return False

    def _take_late(self, number: int, t_ms: int, end: int) -> bool:
        if self.high - t_ms <= FALL_MS:
            self._tally.count_reversals([self.high - t_ms])
            return False
        later = self._ahead(end)
        if later and min(later) >= self.high - FALL_MS:
            self._tally.count_odd_stamp(number)
            return False
        if self._jump_to == self.high and self._before_jump >= 0 and self._before_jump - FALL_MS <= t_ms:
            self._tally.count_odd_stamp(self._jump_line)
            self.high = max(self._before_jump, t_ms)
            return False
        self.high, self._before_jump = t_ms, -1
        return True


def _is_rising(stamps: list[bytes]) -> bool:
    """Whether times never go back.

    Strings with the same number of digits sort like their values, so most are not converted.
    """
    if len(set(map(len, stamps))) > 1:
        times = list(map(int, stamps))
        return times == sorted(times)
    return stamps == sorted(stamps)
