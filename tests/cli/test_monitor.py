"""Runs `hotpin-hil monitor` without a terminal: it must print findings as lines, save a complete log and leave nothing
behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hotpin_hil.analysis.analyze import analyze
from hotpin_hil.boards.lease import ENV_LEASES, holder_of, port_name
from hotpin_hil.cli import main as cli
from tests.analysis.test_live_log import PANIC
from tests.link.test_live_port import Plug
from tests.logs.test_reader import APP, BANNER, FLASH

START = BANNER % (1, b"POWERON_RESET", 0x13, FLASH) + APP
PATIENCE_S = 90


Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Function that starts a monitor, which is killed after PATIENCE_S, so that a test that waits for its output
    ends."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*arguments: str) -> subprocess.Popen[bytes]:
        started.append(run_monitor(tmp_path, *arguments))
        watchdogs.append(threading.Timer(PATIENCE_S, started[-1].kill))
        watchdogs[-1].start()
        return started[-1]

    watchdogs: list[threading.Timer] = []
    yield run
    for watchdog, monitor in zip(watchdogs, started, strict=True):
        watchdog.cancel()
        monitor.kill()
        monitor.communicate()


def run_monitor(tmp_path: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start the monitor with its own lease folder and temporary folder; wait until it has opened the port."""
    (tmp_path / "tmp").mkdir(exist_ok=True)
    environment = {**os.environ, ENV_LEASES: str(tmp_path / "leases"), "TMPDIR": str(tmp_path / "tmp")}
    monitor = subprocess.Popen(
        [sys.executable, "-m", "hotpin_hil", "monitor", *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={name: value for name, value in environment.items() if name not in ("CI", "ESPPORT")},
    )  # fmt: skip
    assert monitor.stderr is not None
    errors = []
    for line in monitor.stderr:  # wait until the port is open: opening it drops earlier bytes
        errors.append(line.decode())
        if errors[-1].startswith("watching "):
            return monitor
    pytest.fail(f"the monitor ended: {''.join(errors)}")


def lines_until(monitor: subprocess.Popen[bytes], part: str) -> Iterator[str]:
    """Yield output lines up to and including the first line that contains `part`; fail if no line does."""
    assert monitor.stdout is not None
    for line in monitor.stdout:
        yield line.decode().rstrip("\n")
        if part in line.decode():
            return
    pytest.fail(f"no line with {part!r}")


def test_standard_input_is_judged_line_by_line_and_to_its_end(start: Start) -> None:
    monitor = start("--follow", "-")
    assert monitor.stdin is not None
    monitor.stdin.write(START + PANIC + b"Rebooting...\n")
    monitor.stdin.flush()
    boot, panic, diagnosis = lines_until(monitor, "DIAGNOSIS")
    assert boot == "boot 0, line 1: BOOT boot 0 starts: POWERON_RESET"
    assert panic == (
        "boot 0, line 4 1.600 s: PANIC Guru Meditation Error: Core 1 panic'ed (LoadProhibited). Exception was "
        "unhandled. | backtrace: 0x400d1231 0x400d2231"
    )
    assert "[deleted-object] LoadProhibited at a small offset" in diagnosis
    assert "Remedy: " in diagnosis
    rest, _ = monitor.communicate(b"I (3000) STATE: camera -> voice in 411 ms", timeout=PATIENCE_S)
    assert rest.decode() == "boot 0, line 14 3.000 s: MODE voice mode after 411 ms\n"
    assert monitor.returncode == 0


def test_an_unplugged_board_and_ctrl_c(tmp_path: Path, start: Start) -> None:
    plug, saved = Plug(tmp_path / "ttyBoard"), tmp_path / "x.log"
    monitor = start("--port", str(plug.path), "--board", "hardware", "--save", str(saved))
    name = port_name(str(plug.path))
    os.write(plug.board, START)
    assert [line.partition(": ")[2] for line in lines_until(monitor, "BOOT")] == [
        "BOOT boot 0 starts: POWERON_RESET"
    ]
    assert holder_of(tmp_path / "leases", name) is not None
    plug.pull_out()
    assert "the port is gone" in list(lines_until(monitor, "gone"))[-1]
    plug.put_in()
    assert "it was gone for" in list(lines_until(monitor, "is back"))[-1]
    os.write(plug.board, b"I (3000) STATE: camera -> voice in 411 ms\nunfinished")
    assert list(lines_until(monitor, "voice mode"))
    monitor.send_signal(signal.SIGINT)
    _, errors = monitor.communicate(timeout=PATIENCE_S)
    assert monitor.returncode == cli.EXIT_INTERRUPTED
    assert errors.decode() == f"saved in {saved}; analyse it: hotpin-hil analyze {saved}\n"
    text = saved.read_bytes()
    assert text.startswith(START)
    assert text.count(b"\n--- hotpin-hil: ") == 2
    assert text.endswith(b"\nI (3000) STATE: camera -> voice in 411 ms\nunfinished")
    assert holder_of(tmp_path / "leases", name) is None


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_virtual_board_of_its_own(tmp_path: Path, start: Start, how: signal.Signals) -> None:
    saved = tmp_path / "x.log"
    monitor = start("--board", "virtual", "--save", str(saved))
    lines = list(lines_until(monitor, "camera mode"))
    # The boot has number 1 if the board printed something before the monitor reset it.
    assert re.search(r"boot [01] starts: POWERON_RESET", "\n".join(lines))
    monitor.send_signal(how)
    monitor.communicate(timeout=PATIENCE_S)
    assert monitor.returncode == cli.EXIT_INTERRUPTED
    assert not list((tmp_path / "tmp").iterdir())
    analysis = analyze([saved.read_bytes()], "x.log")
    assert analysis.facts["transitions"] == {"camera": {"complete": 1}}
    assert not analysis.diagnoses
    boards = subprocess.run(
        ["pgrep", "-f", f"board start .*{tmp_path}"], capture_output=True, text=True, check=False
    )
    assert boards.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--follow", "x", "--port", "y"], "--follow reads a file, not a board"),
        (["--append"], "--append needs a file"),
        (["--follow", "."], ". is a folder"),
        (["--port", "/dev/not-there"], "there is no port /dev/not-there"),
        (["--board", "qemu"], "the monitor does not start QEMU"),
        (["--follow", "old.txt", "--save", "old.txt"], "old.txt already exists"),
    ],
)
def test_a_wrong_command_line_is_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CI", raising=False)
    (tmp_path / "old.txt").write_text("old\n")
    assert cli.main(["monitor", *arguments]) == cli.EXIT_ERROR
    output = capsys.readouterr()
    assert output.err.startswith("error: ")
    assert message in output.err
    assert output.err.count("\n") == 1
    assert (tmp_path / "old.txt").read_text() == "old\n"
