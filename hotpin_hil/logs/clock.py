"""The board's clock as seen in a log's lines: distinguishes restarts from late lines and damaged times."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hotpin_hil.logs.format import LineTally

FALL_MS = 1_000
"""A task reads the time of a line before it waits to write the line: on recorded boards, lines are up to 566 ms late. A
time that falls back further belongs to a new boot."""


class BoardClock:
    """Follows the times of the lines; counts late and odd times in the tally."""

    def __init__(self, tally: LineTally, ahead: Callable[[int], Sequence[int]]) -> None:
        """Make a clock.

        Args:
            tally: counts late and odd times.
            ahead: called with the offset after a line; returns the times of the next two lines that have a time.
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

    def take_run(self, times: list[int], first: int) -> bool:
        """Advance the clock by the times of consecutive lines.

        Args:
            times: ms.
            first: number of the first line.

        Returns:
            False if one of the times may mean a restart; then no time is taken.
        """
        if self.high <= times[0] and times[-1] - self.high <= FALL_MS and times == sorted(times):
            self.high = times[-1]
            return True
        high, jump, before = self.high, -1, -1
        late = []
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
            self._before_jump, self._jump_to, self._jump_line = before, times[jump], first + jump
        self._tally.count_reversals(late)
        self.high = high
        return True

    def take_steady(self, times: list[int]) -> bool:
        """Advance the clock by the times of lines printed in one go. If they jump, change nothing and return False."""
        high = max(self.high, 0)
        if not 0 <= times[0] - high <= times[-1] - high <= FALL_MS or times != sorted(times):
            return False
        self.high = times[-1]
        return True

    def take(self, number: int, t_ms: int, end: int) -> bool:
        """Advance the clock by the time of a line.

        Args:
            number: of the line.
            t_ms: its time.
            end: offset after the line, for looking ahead.

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
