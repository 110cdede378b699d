"""A private copy of the project, to plant, build and test a defect."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hotpin_hil.paths import PROJECT_ROOT

RUN_TIMEOUT_S = 300
GOOD_VERDICTS = {"PASS", "MARGINAL", "NOT APPLICABLE"}


class Processes:
    """Running processes, so that an interrupted run can end them all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._ended = False

    def run(
        self,
        root: Path,
        command: Sequence[str],
        good: Sequence[int] | None,
        timeout: float = RUN_TIMEOUT_S,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command in `root` and returns its status and output.

        Raises:
            RuntimeError: with its last output unless it exits with a `good` status; None: any.
            subprocess.TimeoutExpired: it takes longer than `timeout` seconds.
        """
        with self._lock:
            if self._ended:
                raise RuntimeError("interrupted")
            process = subprocess.Popen(
                command,
                cwd=root,
                env={**os.environ, "PYTHONPATH": str(root), **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,  # so that its children can be killed together with the process
            )
            self._running.add(process)
        try:
            output, _ = process.communicate(timeout=timeout)
        except BaseException:
            _kill(process)
            raise
        finally:
            with self._lock:
                self._running.discard(process)
        if good is not None and process.returncode not in good:
            raise RuntimeError(
                f"{' '.join(command)} exited with status {process.returncode}:\n{output[-4000:]}"
            )
        return subprocess.CompletedProcess(command, process.returncode, output)

    def end(self) -> None:
        """Kills the running processes and starts no new processes."""
        with self._lock:
            self._ended = True
            for process in self._running:
                _kill(process)


class Checkout:
    """Copy in `root` of all files that git tracks or would add: the current sources without builds."""

    def __init__(self, root: Path, processes: Processes) -> None:
        self.root = root
        self.environment: dict[str, str] = {}
        """Additional variables for the commands that run in the copy."""
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
        """Build the virtual board's firmware (test console and release) incrementally."""
        self._python("-m", "hotpin_hil", "build", "--board", "virtual", good=(0,))

    def build_without_release(self) -> None:
        """Build only the firmware with the test console, in half the time; tests of the release image need both."""
        build = "from hotpin_hil.boards.build import build_firmware; build_firmware('virtual', others=())"
        self._python("-c", build, good=(0,))

    def run(
        self, *options: str, good: Sequence[int] | None = (0, 1), timeout: float = RUN_TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        """Runs the suite on a virtual board and returns its status and output.

        Raises:
            RuntimeError: with the last output unless its status is `good`; None: any.
            subprocess.TimeoutExpired: it takes longer than `timeout` seconds.
        """
        pytest = ["-m", "pytest", "--target", "esp32", "--board", "virtual", "-q", *options]
        return self._python(*pytest, good=good, timeout=timeout)

    def run_host_tests(
        self, *modules: str, good: Sequence[int] | None = (0, 1), timeout: float = RUN_TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        """Runs modules of the harness's own tests until the first failure; otherwise like `run`."""
        options = ["-x", "-q", "-p", "no:cacheprovider", "--basetemp", "build/host-tests"]
        return self._python("-m", "pytest", *options, *modules, good=good, timeout=timeout)

    def _python(
        self, *arguments: str, good: Sequence[int] | None, timeout: float = RUN_TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        return self._processes.run(self.root, [sys.executable, *arguments], good, timeout, self.environment)

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
        for line in self.results():
            if line["kind"] == "verdict" and line["verdict"] == "FAIL":
                for requirement in line["requirement"]:
                    failed.setdefault(requirement, line["reason"])
        return failed

    def results(self) -> list[dict[str, Any]]:
        """The lines of the last run's results.jsonl."""
        path = self.root / "build/qualification/latest/results.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def is_bad(line: Mapping[str, Any]) -> bool:
    """Whether a line of results.jsonl is the verdict of a test that failed or could not run."""
    return line["kind"] == "verdict" and line["verdict"] not in GOOD_VERDICTS


def _kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
