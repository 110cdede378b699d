"""Commands to a running QEMU over its control socket (QMP), each with a time limit."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from contextlib import suppress
from typing import Any

from qemu.qmp import QMPClient

from hotpin_hil.errors import PortError

TIMEOUT_S = 30.0
"""A QEMU that has a twentieth of a core answers within 2 s."""
_REMEDY = "run it again; if it hangs again, start QEMU by hand with the command in its log"
_DRIFT = re.compile(r"Host - Guest clock\s+(-?\d+) ms")
"""In what the monitor's `info jit` says while instructions are counted: accel/tcg/monitor.c of QEMU."""


class Qmp:
    """The control socket of one QEMU. Each command connects anew, so that none waits for another's answer."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._is_hung = False
        self._first_s: float | None = None

    def execute(self, command: str, arguments: dict[str, Any] | None = None) -> Any:
        """The command's result. Raises PortError if QEMU does not answer or refuses it."""
        try:
            return asyncio.run(asyncio.wait_for(self._execute(command, arguments), TIMEOUT_S))
        except Exception as error:  # of qemu.qmp and asyncio: there are many
            reason = str(error) or f"no answer in {TIMEOUT_S:g} s"
            raise PortError(f"QEMU does not take '{command}' over QMP: {reason}", _REMEDY) from error

    async def _execute(self, command: str, arguments: dict[str, Any] | None) -> Any:
        client = QMPClient()
        try:
            await client.connect(self.path)
            return await client.execute(command, arguments)
        finally:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(client.disconnect(), TIMEOUT_S)

    def answers(self) -> bool:
        """Whether QEMU's main loop is alive."""
        try:
            self.execute("query-status")
        except PortError:
            return False
        return True

    def clock_s(self) -> float | None:
        """The emulated board's clock in seconds, since it was first read; 0 while QEMU is not up yet. None if QEMU does
        not say: it counts no instructions, or it hangs."""
        if self._is_hung:
            return None
        if not self._listens():
            return 0.0
        try:
            said = str(self.execute("human-monitor-command", {"command-line": "info jit"}))
        except PortError:
            self._is_hung = True  # another time limit would only be waited out again
            return None
        drift = _DRIFT.search(said)
        if drift is None:
            return None
        now_s = time.monotonic() - int(drift[1]) / 1000
        self._first_s = now_s if self._first_s is None else self._first_s
        return now_s - self._first_s

    def restarted(self) -> None:
        """QEMU is started again: what was known of it counts no more."""
        self._is_hung, self._first_s = False, None

    def _listens(self) -> bool:
        """Whether QEMU has got so far that it takes a connection; it may not answer all the same."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(TIMEOUT_S)
            try:
                client.connect(self.path)
            except (FileNotFoundError, ConnectionRefusedError):
                return False
            except OSError:
                return True
        return True
