"""A board's console for interactive use: it survives unplugging, and can drive the reset lines."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

from hotpin_hil.errors import PortError
from hotpin_hil.link.port import is_network, open_port, port_error
from hotpin_hil.link.port_reader import PortReader
from hotpin_hil.link.recording import Recording

RETRY_S = 0.5
"""Pause between two attempts to open a lost port."""
WRITE_TIMEOUT_S = 2.0


class LivePort:
    """Reads a port into a recording until `close`. A lost port is opened again as soon as it is back."""

    def __init__(self, port: str, baud: int, recording: Recording, *, retry_s: float = RETRY_S) -> None:
        self.port = port
        self.problem = ""
        """Why the port is closed; empty while it is open."""
        self._baud = baud
        self._recording = recording
        self._retry_s = retry_s
        self._connection: Any = None
        self._reader: PortReader | None = None
        self._in_use = threading.Lock()
        """Held while the connection is used or replaced."""
        self._changed = threading.Event()
        """The port is lost, or `close` was called."""
        self._is_closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name=f"keeper of {port}", daemon=True)

    def open(self) -> None:
        """Open the port and start to read it.

        Raises:
            PortError: the port cannot be opened.
        """
        self._read(self._connect())
        self._keeper.start()

    def close(self) -> None:
        """Read all bytes that have arrived, close the port and end all threads. Safe to call twice."""
        self._is_closing.set()
        self._changed.set()
        if self._keeper.ident is not None:
            self._keeper.join()
        with self._in_use:
            self._disconnect()

    def write(self, data: bytes) -> None:
        """Send bytes to the board.

        Raises:
            PortError: the port is gone, or does not accept them.
        """
        with self._in_use:
            connection = self._present()
            try:
                connection.write(data)
            except OSError as error:
                raise port_error(self.port, error) from error

    def reset(self) -> None:
        """Restart the firmware: RTS drives EN.

        Raises:
            PortError: the port is gone, or has no reset lines.
        """
        from esptool.reset import HardReset  # takes a while to import

        self._pull(HardReset)

    def enter_boot_loader(self) -> None:
        """Restart the chip in download mode: RTS drives EN, and DTR drives IO0.

        Raises:
            PortError: the port is gone, or has no reset lines.
        """
        from esptool.reset import ClassicReset, UnixTightReset

        self._pull(ClassicReset if is_network(self.port) else UnixTightReset)

    def _pull(self, sequence: Any) -> None:
        with self._in_use:
            connection = self._present()
            try:
                sequence(connection).reset()
            except OSError as error:
                raise PortError(
                    f"{self.port} has no reset lines: {error}", "press the board's button"
                ) from error

    def _present(self) -> Any:
        if self._connection is None:
            raise PortError(f"{self.port} is gone: {self.problem}", "plug it in")
        return self._connection

    # --- The keeper ---

    def _connect(self) -> Any:
        connection = open_port(self.port, self._baud)
        connection.write_timeout = WRITE_TIMEOUT_S
        return connection

    def _read(self, connection: Any) -> None:
        self._changed.clear()
        if self._is_closing.is_set():
            self._changed.set()
        reader = PortReader(connection, self._recording.put, self._lose)
        with self._in_use:
            self._connection, self._reader, self.problem = connection, reader, ""
        reader.start()

    def _lose(self, error: BaseException) -> None:
        self.problem = port_error(self.port, error).message
        self._changed.set()

    def _keep(self) -> None:
        while True:
            self._changed.wait()
            if self._is_closing.is_set():
                return
            self._bring_back()

    def _bring_back(self) -> None:
        """Wait until the port is back, and report the duration of the gap."""
        began_s = time.monotonic()
        with self._in_use:
            self._disconnect()
        self._recording.note(f"{self.problem}: the port is gone; waiting for it")
        while not self._is_closing.wait(self._retry_s):
            try:
                connection = self._connect()
            except PortError as error:
                self.problem = error.message
                continue
            gone_s = time.monotonic() - began_s
            self._recording.note(f"{self.port} is back; it was gone for {gone_s:.1f} s")
            self._read(connection)
            return

    def _disconnect(self) -> None:
        connection, reader = self._connection, self._reader
        self._connection = self._reader = None
        if reader is not None:
            with contextlib.suppress(OSError):  # the port has disappeared
                reader.terminate()
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.close()
