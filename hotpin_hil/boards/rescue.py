"""A power cycle for a board that no longer answers."""

from __future__ import annotations

from hotpin_hil.boards.power import PowerSwitch, wait_for_port


class PowerRescue:
    """Cycles the power of a dead board once. It does so again only if the board has answered in between."""

    def __init__(self) -> None:
        self._may_try = True

    def note_answer(self) -> None:
        """Allow another power cycle, because the board has reported its identity."""
        self._may_try = True

    def can_cycle(self, switch: PowerSwitch | None, port: str | None) -> bool:
        """Whether a call to `cycle` would cycle the power."""
        return switch is not None and port is not None and self._may_try

    def cycle(self, switch: PowerSwitch | None, port: str | None) -> bool:
        """Cycle the power and wait for the port.

        Returns:
            Whether the power was cycled; False without a switch, or without an answer since the last power cycle.

        Raises:
            PowerError: the switch failed.
        """
        if not self.can_cycle(switch, port):
            return False
        assert switch is not None
        self._may_try = False
        switch.cycle()
        wait_for_port(str(port))
        return True
