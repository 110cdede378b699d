"""The console log of one `dut`, written by the process that receives the data.

pytest-embedded sends every byte to a manager process and from there to a listener process. Each test starts a
listener, which writes the file that `dut.expect` reads. Writing that file directly saves a process start per test and
two hops per chunk. The fixtures `msg_queue` and `_listener` both return a `ConsoleLog`, so it has the methods of both.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO


class ConsoleLog:
    """Replaces pytest-embedded's MessageQueue; `put` returns only after writing the data to the file."""

    def __init__(self, path: str | Path, terminal: TextIO | None = None) -> None:
        """Open the log.

        Args:
            path: the log file, which is appended to.
            terminal: prints complete lines as they arrive; None prints nothing.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)
        self._lock = threading.Lock()
        self._line = b""
        self._terminal = terminal
        self.listener = _NoProcess()

    def put(self, data: bytes | str, **_: Any) -> None:
        """Append to the log, and print complete lines on the terminal if there is one."""
        raw = data.encode() if isinstance(data, str) else data
        with self._lock:
            if self._file.closed:
                return  # the test is over
            self._write(raw)
            whole, newline, self._line = (self._line + raw).rpartition(b"\n")
        if newline and self._terminal is not None:
            text = (whole + newline).decode("utf-8", errors="replace").replace("\r\n", "\n")
            with suppress(OSError, ValueError):
                print(text, end="", file=self._terminal, flush=True)

    def _write(self, raw: bytes) -> None:
        """Write everything: on a nearly full disk, one call writes only a part, without an error."""
        while raw:
            raw = raw[self._file.write(raw) :]

    write = put

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""

    def isatty(self) -> bool:
        """False, so that esptool writes plain lines instead of redrawing its progress."""
        return False

    def close(self) -> None:
        """Close the file; later data is dropped."""
        with self._lock:
            self._file.close()


class _NoProcess:
    """Stub for the methods of pytest-embedded's listener process."""

    def start(self) -> None:
        pass

    def terminate(self) -> None:
        pass

    kill = close = terminate
