"""A private copy of the project in which a defect is planted, built and tested."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from hotpin_hil.paths import PROJECT_ROOT

RUN_TIMEOUT_S = 300


class Processes:
    """Running processes, so that an interrupted run can end them all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._ended = False

    def run(self, root: Path, arguments: Sequence[str], good: Sequence[int]) -> None:
        """Runs Python in `root`. Raises RuntimeError with its last output unless it exits with a `good` status."""
        with self._lock:
            if self._ended:
                raise RuntimeError("interrupted")
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=root,
                env=dict(os.environ, PYTHONPATH=str(root)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,  # so that its children can be killed with it
            )
            self._running.add(process)
        try:
            output, _ = process.communicate(timeout=RUN_TIMEOUT_S)
        except BaseException:
            _kill(process)
            raise
        finally:
            with self._lock:
                self._running.discard(process)
        if process.returncode not in good:
            raise RuntimeError(f"{' '.join(arguments)} ended with {process.returncode}:\n{output[-4000:]}")

    def end(self) -> None:
        """Kills the running processes and starts no more."""
        with self._lock:
            self._ended = True
            for process in self._running:
                _kill(process)


class Checkout:
    """Copy in `root` of all files that git tracks or would add: the current sources without builds."""

    def __init__(self, root: Path, processes: Processes) -> None:
        self.root = root
        self._processes = processes
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
            cwd=PROJECT_ROOT,
            capture_output=True,
            check=True,
        )
        for name in filter(None, listed.stdout.decode().split("\0")):
            if (source := PROJECT_ROOT / name).is_file():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, root / name)

    def build(self) -> None:
        """Makes the builds for the virtual board; only changed files are compiled."""
        self._processes.run(self.root, ["-m", "hotpin_hil", "build", "--board", "virtual"], (0,))

    def build_without_release(self) -> None:
        """Makes only the build with the test console, in half the time; tests of the release image need the other."""
        build = "from hotpin_hil.boards.build import build_firmware; build_firmware('virtual', release=False)"
        self._processes.run(self.root, ["-c", build], (0,))

    def run(self, *options: str, good: Sequence[int] = (0, 1)) -> None:
        """Runs the suite on a virtual board. Raises RuntimeError, with the last output, unless its status is `good`."""
        pytest = ["-m", "pytest", "--target", "esp32", "--board", "virtual", "-q", *options]
        self._processes.run(self.root, pytest, good)

    def test(self, *options: str, good: Sequence[int] = (0, 1)) -> dict[str, str]:
        """Builds and tests on a virtual board.

        Returns:
            Failed requirements, each with the first reason.

        Raises:
            RuntimeError: with the last output if a step did not exit with a `good` status.
        """
        self.build()
        self.run(*options, good=good)
        failed: dict[str, str] = {}
        results = self.root / "build/qualification/latest/results.jsonl"
        for line in map(json.loads, results.read_text(encoding="utf-8").splitlines()):
            if line["kind"] == "verdict" and line["verdict"] == "FAIL":
                for requirement in line["requirement"]:
                    failed.setdefault(requirement, line["reason"])
        return failed


def _kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
