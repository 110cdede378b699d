"""Commands to a running QEMU over its control socket (QMP), each with a time limit."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import time
from contextlib import suppress
from typing import Any

from qemu.qmp import QMPClient

from hotpin_hil.errors import PortError

TIMEOUT_S = 30.0
"""Time limit of one command; QEMU on 5 % of a core answers within 2 s."""
SOCKET_S = 5.0
"""Maximum time from QEMU's start until its socket exists, on a busy host."""
_REMEDY = "run the test again; if QEMU hangs again, start it by hand with the command in its log"
_DRIFT = re.compile(r"Host - Guest clock\s+(-?\d+) ms")
"""Line that QEMU's monitor prints for `info jit` if it counts instructions (QEMU: accel/tcg/monitor.c)."""


class Qmp:
    """Control socket of one QEMU.

    Each command opens its own connection, so a command never waits for another command's reply.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._is_hung = False
        self._first_s: float | None = None

    def execute(self, command: str, arguments: dict[str, Any] | None = None) -> Any:
        """Run a command and return its result. Raises PortError if QEMU does not answer or refuses it."""
        try:
            return asyncio.run(asyncio.wait_for(self._execute(command, arguments), TIMEOUT_S))
        except Exception as error:  # qemu.qmp and asyncio raise many exceptions
            reason = str(error) or f"no answer in {TIMEOUT_S:g} s"
            raise PortError(f"QMP command '{command}' failed in QEMU: {reason}", _REMEDY) from error

    async def _execute(self, command: str, arguments: dict[str, Any] | None) -> Any:
        client = QMPClient()
        try:
            await self._connect(client)
            return await client.execute(command, arguments)
        finally:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(client.disconnect(), TIMEOUT_S)

    async def _connect(self, client: QMPClient) -> None:
        """Connect to the socket, which QEMU creates shortly after it starts."""
        until = time.monotonic() + SOCKET_S
        while not os.path.exists(self.path) and time.monotonic() < until:
            await asyncio.sleep(0.02)
        await client.connect(self.path)

    def answers(self) -> bool:
        """Whether QEMU's main loop is alive."""
        try:
            self.execute("query-status")
        except PortError:
            return False
        return True

    def clock_s(self) -> float | None:
        """Seconds on the emulated board's clock since it was first read; 0 until QEMU is up.

        None if QEMU hangs, or does not count instructions and so reports no clock.
        """
        if self._is_hung:
            return None
        if not self._listens():
            return 0.0
        try:
            answer = str(self.execute("human-monitor-command", {"command-line": "info jit"}))
        except PortError:
            self._is_hung = True  # a second query would only time out again
            return None
        drift = _DRIFT.search(answer)
        if drift is None:
            return None
        now_s = time.monotonic() - int(drift[1]) / 1000
        self._first_s = now_s if self._first_s is None else self._first_s
        return now_s - self._first_s

    def reset_state(self) -> None:
        """Forget the state of the previous QEMU after a restart."""
        self._is_hung, self._first_s = False, None

    def _listens(self) -> bool:
        """Whether QEMU accepts a connection, even if it does not answer on it."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(TIMEOUT_S)
            try:
                client.connect(self.path)
            except (FileNotFoundError, ConnectionRefusedError):
                return False
            except OSError:
                return True
        return True
