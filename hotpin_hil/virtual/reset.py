"""The board's auto-reset circuit: DTR and RTS, two transistors, and the capacitor at EN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

EN_RISE_S = 0.4
"""Rise time of EN while both lines are asserted, in host seconds.

A real board's capacitor takes milliseconds, because a real adapter changes both lines within one millisecond. Over
RFC2217 the client's step from (DTR, RTS) to (DTR, no RTS) takes 50 to 150 ms, because pyserial polls for the server's
answers. The chip must not leave reset with IO0 high during that step, so this capacitor is larger.
"""


class Timer(Protocol):
    """Timer that `call_later` returns."""

    def cancel(self) -> None: ...


class ResetCircuit:
    """Auto-reset circuit that derives EN and IO0 from the two control lines.

    EN is pulled low by RTS without DTR; IO0 is pulled low by DTR without RTS. `on_reset()` is called when EN
    falls, `on_release(download)` when it rises; `download` is true if IO0 is low at that moment.
    """

    def __init__(
        self,
        on_reset: Callable[[], None],
        on_release: Callable[[bool], None],
        call_later: Callable[[float, Callable[[], None]], Timer],
    ) -> None:
        self._on_reset = on_reset
        self._on_release = on_release
        self._call_later = call_later
        self._timer: Timer | None = None
        self.dtr = False
        self.rts = False
        self.held = False

    def set_lines(self, dtr: bool, rts: bool) -> None:
        """Apply a new state of both lines; true means asserted."""
        self.dtr, self.rts = dtr, rts
        if rts and not dtr:
            self._stop_timer()
            if not self.held:
                self.held = True
                self._on_reset()
        elif self.held and not rts:
            self._release()
        elif self.held and self._timer is None:
            self._timer = self._call_later(EN_RISE_S, self._release)

    def close(self) -> None:
        """Cancel a pending rise of EN."""
        self._stop_timer()

    def _release(self) -> None:
        self._stop_timer()
        self.held = False
        self._on_release(self.dtr and not self.rts)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
