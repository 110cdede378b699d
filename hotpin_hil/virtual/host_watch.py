"""Detects host faults that affect a virtual board, so that they are not blamed on the firmware."""

from __future__ import annotations

import asyncio
import signal

from hotpin_hil.errors import host_remedy

BEAT_S = 0.5
STALL_S = 1.0
"""If a board's process does not run for this time, it was suspended, or the host is overloaded."""

_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"""Signals that an error in the program itself never causes."""

HostFault = dict[str, str]
"""A host fault: its `text` and `remedy`."""


class HostWatch:
    """Collects the host faults since the board was started."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._faults: list[HostFault] = []
        self._beat_at_s = self._loop.time()
        self._timer = self._loop.call_later(BEAT_S, self._beat)

    @property
    def faults(self) -> list[HostFault]:
        """All faults, oldest first."""
        self._look_at_clock()  # after a stall, a request may arrive before the timer fires
        return self._faults

    def process_ended(self, status: int) -> None:
        """Record the end of the firmware process, if another program caused it."""
        if -status in _FROM_OUTSIDE:
            name = signal.Signals(-status).name
            self._note(
                f"another program ended the firmware process of the virtual board ({name})",
                "find out which program, for example the kernel's OOM killer (dmesg), then run again",
            )

    def failed(self, text: str, error: BaseException | None) -> None:
        """Record a failed operation, if the host caused the error, for example by a full disk."""
        remedy = host_remedy(error)
        if remedy:
            self._note(text, remedy)

    def close(self) -> None:
        """Stop the timer that detects stalls of this process."""
        self._timer.cancel()

    def _beat(self) -> None:
        self._look_at_clock()
        self._timer = self._loop.call_later(BEAT_S, self._beat)

    def _look_at_clock(self) -> None:
        now_s = self._loop.time()
        stalled_s = now_s - self._beat_at_s - BEAT_S
        self._beat_at_s = now_s
        if stalled_s >= STALL_S:
            self._note(
                f"the process of the virtual board stalled for {stalled_s:.1f} s",
                "let it run: do not suspend the machine or the process, and use fewer boards at once",
            )

    def _note(self, text: str, remedy: str) -> None:
        self._faults.append({"text": text, "remedy": remedy})
