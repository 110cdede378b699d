"""Waits for boards that other runs use: prints progress lines, and raises an error at the timeout."""

from __future__ import annotations

import time
from collections.abc import Callable

from hotpin_hil.errors import UsageError


class LeaseWait:
    """A run's wait for boards that are in use, with a time limit."""

    def __init__(self, timeout_s: float, tell: Callable[[str], object]) -> None:
        """Start the wait.

        Args:
            timeout_s: time to wait.
            tell: receives a line when the wait starts, and whenever the users of the boards change.
        """
        self.deadline = time.monotonic() + timeout_s
        """End of the wait, on the clock of `time.monotonic`."""
        self._timeout_s = timeout_s
        self._tell = tell
        self._reported = ""

    def report(self, needed: str, free: int, in_use: str) -> None:
        """Report the users of the boards, if they have changed.

        Args:
            needed: the beginning of the message, such as "2 boards are needed".
            free: number of free boards.
            in_use: the other boards and their users.

        Raises:
            UsageError: the time is up.
        """
        if time.monotonic() >= self.deadline:
            waited = f", even after {self._timeout_s:g} s" if self._timeout_s else ""
            raise UsageError(
                f"{needed}, {free or 'none'} free{waited}; in use: {in_use}",
                "wait longer with --lease-timeout S",
            )
        if in_use != self._reported:
            self._reported = in_use
            self._tell(f"waiting up to {self._timeout_s:g} s: {needed}; in use: {in_use}")
