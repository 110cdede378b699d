"""Starts a virtual board as a process of its own and ends it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from hotpin_hil.errors import PortError
from hotpin_hil.virtual.control import BoardControl

START_TIMEOUT_S = 20.0
"""Host time for Python to start and the board to listen; takes about 0.3 s."""
STOP_TIMEOUT_S = 5.0


class VirtualBoard:
    """One virtual board. It ends when its standard input does, so it cannot outlive this process."""

    def __init__(
        self, process: subprocess.Popen[bytes], port: str, mac: str, directory: Path, log: Path
    ) -> None:
        self._process = process
        self.port = port
        self.mac = mac
        self.control = BoardControl(directory)
        self._log = log

    @classmethod
    def start(
        cls, log: Path, arguments: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> VirtualBoard:
        """Starts `hotpin-hil board start` with `arguments`; PortError with its last words if it doesn't.

        log: file that takes what the process says on standard error.
        """
        command = [sys.executable, "-m", "hotpin_hil", "board", "start", "--json", "--until-eof", *arguments]
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as errors:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=None if environment is None else dict(environment),
                # Ctrl-C in the terminal must not take the board away before the tests' clean-up is through.
                start_new_session=True,
            )
        try:
            line = _first_line(process)
            said = json.loads(line)
            return cls(process, said["port"], said["mac"], Path(said["directory"]), log)
        except (ValueError, KeyError, TypeError) as error:
            status = _stop(process)
            raise PortError(
                f"the virtual board did not start (exit status {status}): {last_words(log)}", f"see {log}"
            ) from error
        except BaseException:
            _stop(process)
            raise

    def check_alive(self) -> None:
        """PortError if the process has ended."""
        status = self._process.poll()
        if status is not None:
            raise PortError(
                f"the virtual board has ended (exit status {status}): {last_words(self._log)}",
                f"see {self._log}",
            )

    def stop(self) -> None:
        _stop(self._process)


def _first_line(process: subprocess.Popen[bytes]) -> bytes:
    """The first line of its output; what there is of it if the process ends or takes too long."""
    assert process.stdout is not None
    output = process.stdout.fileno()
    deadline = time.monotonic() + START_TIMEOUT_S
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([output], [], [], max(0.0, deadline - time.monotonic()))
        chunk = os.read(output, 1) if ready else b""
        if not chunk:
            break
        line += chunk
    return line


def _stop(process: subprocess.Popen[bytes]) -> int:
    """Ends the process, first by closing its input, and returns its exit status."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    for insist in (process.terminate, process.kill):
        try:
            process.wait(STOP_TIMEOUT_S)
            break
        except subprocess.TimeoutExpired:
            insist()
    status = process.wait()
    process.stdout.close()
    return status


def last_words(log: Path) -> str:
    """The last line a process left in its log file."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
