"""Processes that serve virtual boards."""

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

from hotpin_hil.errors import HostError, PortError, UsageError
from hotpin_hil.virtual.control import ANSWER_TIMEOUT_S, BoardControl, NotRunning

START_TIMEOUT_S = 20.0
"""Maximum time until the board listens, on the host's clock; it takes about 0.3 s."""
STOP_TIMEOUT_S = 5.0
STALL_MAX_S = 30.0
"""Maximum wait, before each test, for a process that does not answer, for example because it was stopped."""

LOG_NAME = "server.log"
"""Log of a background server, in the directory of its first board."""

_START = (sys.executable, "-m", "hotpin_hil", "board", "start", "--json")


class BoardProcess:
    """One virtual board. Its process ends when its standard input closes, and therefore never outlives its parent."""

    def __init__(
        self, process: subprocess.Popen[bytes], port: str, mac: str, directory: Path, log: Path
    ) -> None:
        self._process = process
        self.port = port
        self.mac = mac
        self.control = BoardControl(directory)
        self.host_fault: HostError | None = None
        """The newest host fault since `check_alive`; None if there was none."""
        self._host_faults = 0
        self._log = log

    @classmethod
    def start(
        cls,
        log: Path,
        state_dir: Path,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> BoardProcess:
        """Run `hotpin-hil board start`.

        Args:
            log: file for the standard error of the process.
            state_dir: folder for the board's flash; no other run's boards may use it.
            arguments: other options of the command.
            environment: environment of the process; None: the environment of this process.

        Raises:
            PortError: the board did not start; the message ends with the last line of the log.
        """
        command = [*_START, "--until-eof", "--state-dir", str(state_dir), *arguments]
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as errors:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=None if environment is None else dict(environment),
                # Ctrl-C in the terminal must not end the board before the tests' clean-up.
                start_new_session=True,
            )
        try:
            line = _first_line(process)
            board = json.loads(line)
            return cls(process, board["port"], board["mac"], Path(board["directory"]), log)
        except (ValueError, KeyError, TypeError) as error:
            status = _stop(process)
            raise PortError(
                f"the virtual board did not start (exit status {status}): {last_line(log)}", f"see {log}"
            ) from error
        except BaseException:
            _stop(process)
            raise

    def check_alive(self) -> None:
        """Check that the process is running, and forget earlier host faults.

        Raises:
            HostError: the process does not answer.
            PortError: the process has ended.
        """
        status = self._process.poll()
        if status is not None:
            raise PortError(
                f"the virtual board has ended (exit status {status}): {last_line(self._log)}",
                f"see {self._log}",
            )
        with contextlib.suppress(NotRunning):  # the process is ending, and the test will notice that
            self.note_host_faults(STALL_MAX_S)
        self.host_fault = None

    def note_host_faults(self, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        """Ask the board which host faults it has noticed.

        Raises:
            HostError: the process does not answer in time.
            NotRunning: the process has ended.
        """
        faults = self.control.state(timeout_s).get("host_faults", [])
        if len(faults) > self._host_faults:
            self.host_fault = HostError(faults[-1]["text"], faults[-1]["remedy"])
        self._host_faults = len(faults)

    def stop(self) -> None:
        """Stop the process, and wait until it has ended."""
        _stop(self._process)


def start_detached(arguments: Sequence[str], count: int, state_dir: Path) -> list[dict[str, str]]:
    """Start `count` boards in a process that outlives this one; `board stop` stops it.

    Returns:
        The JSON line of `board start --json` for each board, with `log`: the log file of the process.

    Raises:
        UsageError: the process did not start (the message is the last line of its log), or `state_dir` cannot be
            written.
    """
    log = state_dir / f"starting-{os.getpid()}.log"
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        errors = log.open("wb")
    except OSError as error:
        raise UsageError(
            f"can't write the board state in {state_dir}: {error.strerror}", "give a writable --state-dir"
        ) from error
    with errors:
        process = subprocess.Popen(
            [*_START, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(max(1, count))]
        if not all(lines):
            _stop(process)
            raise UsageError(last_line(log).removeprefix("error: "))
        boards = [json.loads(line) for line in lines]
        kept = log.replace(Path(boards[0]["directory"]) / LOG_NAME)
    except BaseException:
        _stop(process)
        log.unlink(missing_ok=True)
        raise
    return [{**board, "log": str(kept)} for board in boards]


def _first_line(process: subprocess.Popen[bytes]) -> bytes:
    """The first line of the output; incomplete if the process ends or takes too long."""
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
    """Stop the process, first by closing its input if it has one, and return its exit status."""
    assert process.stdout is not None
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    elif process.poll() is None:
        process.terminate()
    for stop in (process.terminate, process.kill):
        try:
            process.wait(STOP_TIMEOUT_S)
            break
        except subprocess.TimeoutExpired:
            stop()
    status = process.wait()
    process.stdout.close()
    return status


def last_line(log: Path) -> str:
    """The last line of a log file that is not blank; "no output" if there is none."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "no output"
