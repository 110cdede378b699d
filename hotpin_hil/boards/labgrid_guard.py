"""A process that releases labgrid's places when the run has ended, even if the run was killed.

labgrid keeps an acquired place until somebody releases it, even after its client was killed.

    python -m hotpin_hil.boards.labgrid_guard PROGRAM COORDINATOR

Each line of standard input has one word and its argument, for example a reservation to release. The end of standard
input means that the run has ended.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hotpin_hil.boards.labgrid_client import CoordinatorError, LabgridClient, LabgridError
from hotpin_hil.boards.lease import holder_of

_HOLD, _DROP, _FOLDER, _LOCK, _END = "hold", "drop", "folder", "lock", "end"
_ATTEMPTS = 3
_PAUSE_S = 1.0
_AT_ONCE = 4


class ReleaseGuard:
    """Starts the guard process, and tells it what to release."""

    def __init__(self, client: LabgridClient) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hotpin_hil.boards.labgrid_guard", client.program, client.coordinator],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            # Signals to the run must not reach the guard.
            start_new_session=True,
        )

    def hold(self, token: str) -> None:
        """Release this reservation when the run ends.

        Raises:
            LabgridError: the guard process has ended.
        """
        self._tell(_HOLD, token)

    def drop(self, token: str) -> None:
        """Forget a reservation that was released. Raises the same error as `hold`."""
        self._tell(_DROP, token)

    def wait_for_lock(self, folder: Path, name: str) -> None:
        """Make the guard wait, if the run is killed, until the workers have also released this lease.

        Raises the same error as `hold`.
        """
        self._tell(_FOLDER, str(folder))
        self._tell(_LOCK, name)

    def _tell(self, word: str, value: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{word} {value}\n")
            self._process.stdin.flush()
        except OSError as error:
            raise LabgridError(
                "the process that releases labgrid's places has ended",
                "release the place by hand, and run again",
            ) from error

    def close(self) -> list[str]:
        """Release all reservations now, and end the process.

        Returns:
            A line for each reservation that could not be released.
        """
        if self._process.stdin is None or self._process.stdin.closed:
            return []
        with contextlib.suppress(LabgridError):
            self._tell(_END, "")
        output, _ = self._process.communicate()
        return [line for line in output.split("\n") if line]


def main() -> int:
    """Wait for the end of the run, then release the reservations."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    client = LabgridClient(*sys.argv[1:])
    tokens: dict[str, None] = {}
    folder, locks, is_killed = Path(), list[str](), True
    for line in sys.stdin:
        word, _, value = line.rstrip("\n").partition(" ")
        if word == _HOLD:
            tokens[value] = None
        elif word == _DROP:
            tokens.pop(value, None)
        elif word == _FOLDER:
            folder = Path(value)
        elif word == _LOCK:
            locks.append(value)
        elif word == _END:
            is_killed = False
    while is_killed and locks and holder_of(folder, *locks):
        time.sleep(_PAUSE_S)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        problems = [
            problem for problem in pool.map(lambda token: _give_back(client, token), tokens) if problem
        ]
    with contextlib.suppress(OSError):  # the run no longer reads the output
        print("\n".join(problems), flush=True)
    return bool(problems)


def _give_back(client: LabgridClient, token: str) -> str:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            client.give_back(token)
        except CoordinatorError as error:
            if attempt == _ATTEMPTS:
                return f"labgrid's reservation {token} was not released: {error}"
            time.sleep(_PAUSE_S)
        except LabgridError as error:
            return f"labgrid's reservation {token} was not released: {error}"
        else:
            break
    return ""


if __name__ == "__main__":
    sys.exit(main())
