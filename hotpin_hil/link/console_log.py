"""The console log of one `dut`, written where it is received.

pytest-embedded sends every byte to a manager process and from there to a listener process, started anew for
each test, which writes the file that `dut.expect` reads. Writing that file at once saves the start of a
Python per test and two hops per chunk. Fixtures put it in place of `msg_queue` and `_listener`; it has what
both are used for.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO


class ConsoleLog:
    """In place of pytest-embedded's MessageQueue: what is put into it is in the file when `put` returns."""

    def __init__(self, path: str | Path, terminal: TextIO | None = None) -> None:
        """path: the log file, appended to. terminal: where whole lines are shown as they come, if anywhere."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)
        self._lock = threading.Lock()
        self._line = b""
        self._terminal = terminal
        self.listener = _NoProcess()

    def put(self, data: bytes | str, **_: Any) -> None:
        """Append to the log, and show whole lines on the terminal if there is one."""
        raw = data.encode() if isinstance(data, str) else data
        with self._lock:
            if self._file.closed:
                return  # the test is over
            self._file.write(raw)
            whole, newline, self._line = (self._line + raw).rpartition(b"\n")
        if newline and self._terminal is not None:
            text = (whole + newline).decode("utf-8", errors="replace").replace("\r\n", "\n")
            with suppress(OSError, ValueError):
                print(text, end="", file=self._terminal, flush=True)

    write = put

    def flush(self) -> None:
        """Nothing waits."""

    def isatty(self) -> bool:
        """No: esptool then writes plain lines instead of redrawing its progress."""
        return False

    def close(self) -> None:
        with self._lock:
            self._file.close()


class _NoProcess:
    """What pytest-embedded starts and ends as its listener."""

    def start(self) -> None:
        pass

    def terminate(self) -> None:
        pass

    kill = close = terminate
