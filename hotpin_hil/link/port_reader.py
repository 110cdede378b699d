"""The thread that reads a serial port."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class PortReader(threading.Thread):
    """Blocks in `port.read` and hands every chunk to `deliver` immediately.

    When the port fails, the reader thread calls `lost` with the exception, but never after `terminate`.
    """

    def __init__(
        self, port: Any, deliver: Callable[[bytes], None], lost: Callable[[BaseException], None]
    ) -> None:
        super().__init__(name=f"reader of {port.port}", daemon=True)
        self._port = port
        self._deliver = deliver
        self._lost = lost
        self._stopping = False

    def start(self) -> None:
        self._timeout = self._port.timeout
        self._port.timeout = None
        super().start()

    def run(self) -> None:
        port = self._port
        while not self._stopping:
            try:
                data = port.read(1)
                data += port.read(port.in_waiting)
            # pyserial raises TypeError and others when the port is closed under a waiting read
            except Exception as error:
                if not self._stopping:
                    self._lost(error)
                return
            if data:
                self._deliver(data)
            elif not port.is_open:
                if not self._stopping:
                    self._lost(OSError(f"{port.port} was closed while it was being read"))
                return

    def terminate(self) -> None:
        """Stop and join the thread, deliver all bytes received, and restore the port's timeout."""
        if not self.is_alive():
            return
        self._stopping = True
        self._port.cancel_read()
        self.join()
        if self._port.is_open:
            # A read without waiting returns the remaining bytes, and consumes any pending cancellation.
            self._port.timeout = 0
            rest = self._port.read(self._port.in_waiting or 1)
            self._port.timeout = self._timeout
            if rest:
                self._deliver(rest)
