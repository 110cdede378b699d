"""Parallel runs of a small suite on virtual boards, for tests of leases."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from hotpin_hil.paths import PROJECT_ROOT
from tests.support.until import until
from tests.support.virtual_board import Build

# A test keeps its board until its gate (a pipe) is opened. Until then, only the test itself may reset the board.
TESTS = """
import os, time
from pathlib import Path
import pytest
from hotpin_hil.pytest_plugin.plugin import board_of

folder = Path(os.environ["FOLDER"])

@pytest.mark.parametrize("number", range(int(os.environ["TESTS"])))
def test_has_its_board(dut, request, number):
    dut.expect("firmware ready")  # "ready" alone is also in esptool's "already in flash"
    board = board_of(request.config)
    mark = folder / f"has-{os.environ['RUN']}-{number}"
    mark.with_suffix(".part").write_text(f"{board.port} {os.getpid()}")
    mark.with_suffix(".part").rename(mark)
    with open(folder / f"gate-{os.environ['RUN']}") as gate:
        gate.read()
    dut.write("still the same?")
    dut.expect("still the same")
    assert len(dut.serial.channel.resets()) == 1
"""

REQUIREMENT = """
[[requirement]]
id = "AAA-01"
text = "first"
source = "Guide"
priority = "must"
kinds = ["virtual"]
"""


class Project:
    """A project folder for runs, with a bench.toml."""

    def __init__(self, build: Build, folder: Path, bench: str) -> None:
        self.folder = folder
        self.leases = folder / "leases"
        (folder / "firmware").mkdir()
        (folder / "firmware/build-native").symlink_to(build.folder)
        (folder / "pytest.ini").write_text("[pytest]\naddopts = --embedded-services esp,idf\n")
        (folder / "conftest.py").write_text("pytest_plugins = ['fixtures.console']\n")
        (folder / "hil_tests").mkdir()
        (folder / "hil_tests/requirements.toml").write_text(REQUIREMENT)
        (folder / "hil_tests/test_it.py").write_text(TESTS)
        (folder / "bench.toml").write_text(bench)
        self.runs: list[Run] = []

    def run(self, *options: str, tests: int = 1, **environment: str) -> Run:
        """Starts a run in parallel to this test."""
        self.runs.append(Run(self, len(self.runs), options, tests, environment))
        return self.runs[-1]


class Run:
    """A pytest run in its own terminal session, so that Ctrl-C reaches all its processes."""

    def __init__(
        self, project: Project, number: int, options: tuple[str, ...], tests: int, more: dict[str, str]
    ) -> None:
        self.project = project
        self.number = number
        self.tests = tests
        self.gate = project.folder / f"gate-{number}"
        os.mkfifo(self.gate)
        self.output_path = project.folder / f"output-{number}.txt"
        environment = {
            **{
                name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "HOTPIN"))
            },
            "PYTHONPATH": str(PROJECT_ROOT),
            "HOTPIN_LEASES": str(project.leases),
            "FOLDER": str(project.folder),
            "RUN": str(number),
            "TESTS": str(tests),
            **more,
        }
        environment.pop("CI", None)
        command = [sys.executable, "-u", "-m", "pytest", "--target", "esp32", "--bench", "bench.toml"]
        with self.output_path.open("wb") as output:
            self.process = subprocess.Popen(
                [
                    *command,
                    "-p",
                    "no:cacheprovider",
                    "--qualification-dir",
                    f"evidence-{number}",
                    *options,
                    "hil_tests",
                ],
                cwd=project.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.output_path.read_text(errors="replace")

    def wait_until(self, condition: Callable[[], object], what: str) -> None:
        def happened() -> object:
            found = condition()
            assert found or self.process.poll() is None, f"the run ended before {what}:\n{self.output}"
            return found

        until(happened, lambda: f"no {what}:\n{self.output}")

    def boards(self) -> list[str]:
        """Waits until each test of the run has a board.

        Returns:
            Ports of the boards.
        """
        marks = [self.project.folder / f"has-{self.number}-{number}" for number in range(self.tests)]
        self.wait_until(lambda: all(mark.exists() for mark in marks), "board")
        return [mark.read_text().split()[0] for mark in marks]

    def has_board(self, number: int = 0) -> bool:
        """Whether one of the run's tests has a board."""
        return (self.project.folder / f"has-{self.number}-{number}").exists()

    def go_on(self) -> None:
        """Opens the gate, so that all waiting tests continue."""
        with contextlib.suppress(OSError):  # this error means that no test is waiting
            os.close(os.open(self.gate, os.O_WRONLY | os.O_NONBLOCK))

    def end(self) -> int:
        """Lets the tests end and waits for the run; returns its exit status."""

        def has_ended() -> bool:
            self.go_on()
            return self.process.poll() is not None

        until(has_ended, lambda: f"it does not end:\n{self.output}")
        return self.process.returncode

    def interrupt(self) -> None:
        """Sends Ctrl-C to the terminal session of the run."""
        os.killpg(self.process.pid, signal.SIGINT)

    def processes(self) -> list[str]:
        """The command lines of processes that are still running in the run's terminal session."""
        left = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = path.read_text().rsplit(")", 1)[1].split()
                if int(fields[3]) == self.process.pid and fields[0] not in "ZX":
                    left.append((path.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        return left

    def has_left_nothing(self) -> bool:
        """Waits until no process of the run is left. Some processes end only after the run, such as multiprocessing's
        resource tracker."""
        until(lambda: not self.processes(), lambda: f"still running: {self.processes()}")
        return True

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
