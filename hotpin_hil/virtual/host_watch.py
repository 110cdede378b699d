"""Faults of the host that a virtual board notices, so that nobody blames its firmware for them."""

from __future__ import annotations

import asyncio
import signal

from hotpin_hil.errors import host_remedy

BEAT_S = 0.5
STALL_S = 1.0
"""A board's process that did not run for this long was stopped, or the host is overloaded."""

_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"""Signals that a program never gets through an error of its own."""

HostFault = dict[str, str]
"""`text` and `remedy`."""


class HostWatch:
    """The host's faults since the board started."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._faults: list[HostFault] = []
        self._beat_at_s = self._loop.time()
        self._timer = self._loop.call_later(BEAT_S, self._beat)

    @property
    def faults(self) -> list[HostFault]:
        """All faults, oldest first."""
        self._look_at_clock()  # after a stall, a request may come before the timer
        return self._faults

    def process_ended(self, status: int) -> None:
        """Note the end of the firmware process, if another program caused it."""
        if -status in _FROM_OUTSIDE:
            name = signal.Signals(-status).name
            self._note(
                f"another program ended the firmware process of the virtual board ({name})",
                "find out which one, for example the kernel for lack of memory (dmesg), then run again",
            )

    def failed(self, text: str, error: BaseException | None) -> None:
        """Note an error of the host, if it means a shortage."""
        remedy = host_remedy(error)
        if remedy:
            self._note(text, remedy)

    def close(self) -> None:
        """Stop watching."""
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
                f"the process of the virtual board stood still for {stalled_s:.1f} s",
                "let it run: do not suspend the machine or the process, and use fewer boards at once",
            )

    def _note(self, text: str, remedy: str) -> None:
        self._faults.append({"text": text, "remedy": remedy})
