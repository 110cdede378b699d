"""Scans a log that is still being written: each line as soon as it is complete."""

from __future__ import annotations

import re
from typing import Any

from hotpin_hil.logs.blocks import BlockCutter
from hotpin_hil.logs.clock import FALL_MS, TIMES_AHEAD, times_in
from hotpin_hil.logs.scan import LOOK_AHEAD, LineScanner

_TIME = re.compile(rb"[EWIDV] \((\d{1,10})\) ")
"""The time in a log header, at the start of a line or within it."""


class LiveLineScanner(LineScanner):
    """A scanner that does not wait for later lines, except after a time that goes back.

    Only the later lines show whether that time is a restart or damage.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.blocks = BlockCutter(self.tally.format, is_live=True)

    def feed(self, data: bytes) -> None:
        """Scan the lines that `data` completes."""
        self._add(self.blocks.feed(data))
        while (end := self._decided()) > 0:
            self._scan(end)

    def _decided(self) -> int:
        """Number of waiting lines that can be scanned now. A restart may follow them."""
        high = self._clock.high
        for index, line in enumerate(self._waiting):
            for found in _TIME.finditer(line):
                time = int(found[1])
                if time < high - FALL_MS:
                    return index + 1 if self._is_decided(index + 1) else index
                high = max(high, time)
        return len(self._waiting)

    def _is_decided(self, index: int) -> bool:
        """Whether enough lines follow, from `index` on, to tell a restart from a damaged time."""
        following = self._waiting[index : index + LOOK_AHEAD]
        return len(following) == LOOK_AHEAD or len(times_in(following)) == TIMES_AHEAD
