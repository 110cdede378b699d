"""A small RFC 2217 server on pyserial's own PortManager, for tests of the client."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from serial import rfc2217


class _Port:
    """Fake of the serial port that PortManager controls; records every change."""

    cts = dsr = ri = cd = False
    timeout = None

    def __init__(self, changes: list[tuple[str, Any]]) -> None:
        object.__setattr__(self, "changes", changes)
        for name, value in {"baudrate": 9600, "bytesize": 8, "parity": "N", "stopbits": 1}.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        self.changes.append((name, value))

    def reset_input_buffer(self) -> None:
        self.changes.append(("purge", "rx"))

    def reset_output_buffer(self) -> None:
        self.changes.append(("purge", "tx"))


class Rfc2217Server:
    """Serves one client at a time on a free loopback port; `received` is called with the client's data.

    It does not listen while a client is connected, like the virtual board.
    """

    def __init__(self, received: Callable[[bytes], None] = lambda data: None) -> None:
        self.received = received
        self.changes: list[tuple[str, Any]] = []
        self.clients = 0
        self._client: socket.socket | None = None
        self._manager: rfc2217.PortManager | None = None
        self._lock = threading.Lock()
        self._connected = threading.Event()
        self._stopping = False
        self._listener = self._listen(0)
        self.number = self._listener.getsockname()[1]
        self.url = f"rfc2217://127.0.0.1:{self.number}"
        self._thread = threading.Thread(target=self._run, name="test server")
        self._thread.start()

    def _listen(self, number: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", number))
        listener.listen(1)
        return listener

    def _run(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._stopping:
                client.close()
                return
            self._listener.close()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.clients += 1
            self._client = client
            self._manager = rfc2217.PortManager(_Port(self.changes), self)
            self._connected.set()
            try:
                while data := client.recv(4096):
                    payload = b"".join(self._manager.filter(data))
                    if payload:
                        self.received(payload)
            except OSError:
                pass
            self._connected.clear()
            client.close()
            if self._stopping:
                return
            self._listener = self._listen(self.number)

    def write(self, data: bytes) -> None:
        """Sends PortManager's output to the client; PortManager calls it."""
        with self._lock:
            assert self._client is not None
            self._client.sendall(data)

    def send(self, data: bytes) -> None:
        """Sends data to the client as a board would."""
        assert self._connected.wait(5)
        assert self._manager is not None
        self.write(b"".join(self._manager.escape(data)))

    def drop(self) -> None:
        """Breaks the connection."""
        assert self._connected.wait(5)
        assert self._client is not None
        with contextlib.suppress(OSError):  # the client may already have closed it
            self._client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._stopping = True
        if self._connected.is_set():
            self.drop()
        deadline = time.monotonic() + 5
        while self._thread.is_alive() and time.monotonic() < deadline:
            # The thread may be about to listen again; a connection ends its wait.
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.number), timeout=1).close()
            self._thread.join(0.01)
        assert not self._thread.is_alive()
        self._listener.close()

    @property
    def is_connected(self) -> bool:
        return self._connected.is_set()

    def lines(self) -> list[tuple[str, Any]]:
        """The recorded changes to the control lines."""
        return [change for change in self.changes if change[0] in ("dtr", "rts")]
