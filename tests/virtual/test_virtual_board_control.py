"""Tests the control channel, through which another process finds, controls and stops boards and injects faults."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shlex
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotpin_hil.errors import UsageError
from hotpin_hil.paths import PROJECT_ROOT
from hotpin_hil.virtual import loader_protocol as protocol
from hotpin_hil.virtual import slip
from hotpin_hil.virtual.control import SOCKET_NAME, BoardControl, NotRunning, running
from tests.support.virtual_board import PATIENCE_S, Boards, Build, Console, process_gone

REQUESTS = 300
"""Number of requests for the MD5 of the whole flash. Together they are 8 KB long and take seconds to process."""


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    return Build(tmp_path_factory.mktemp("build"))


@pytest.fixture
def state_dir(tmp_path: Path, build: Build) -> Path:
    place = tmp_path / "hotpin-5.4-0"
    place.mkdir()
    (place / "flash.bin").write_bytes(build.flash_image())
    return tmp_path


@pytest.fixture
def boards(state_dir: Path, build: Build) -> Iterator[Boards]:
    boards = Boards(state_dir, build.registry, count=2)
    yield boards
    boards.stop()


@pytest.fixture
def control(boards: Boards) -> BoardControl:
    return BoardControl(boards.state_dir / "hotpin-5.4-0")


def board_command(state_dir: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hotpin_hil", "board", name, "--state-dir", str(state_dir), *arguments],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def test_commands_find_and_drive_boards_of_another_process(boards: Boards) -> None:
    listed = board_command(boards.state_dir, "list", "--json")
    states = [json.loads(line) for line in listed.stdout.splitlines()]
    assert [state["name"] for state in states] == ["hotpin-5.4-0", "hotpin-5.4-1"]
    assert [state["port"] for state in states] == [board["port"] for board in boards.found]
    with Console(boards.url) as console:
        console.restart()
        assert board_command(boards.state_dir, "power", "off", states[0]["mac"]).returncode == 0
        assert boards.children() == []
        assert "  off" in board_command(boards.state_dir, "list").stdout
        assert (
            board_command(boards.state_dir, "power", "on", states[0]["port"].rsplit(":")[-1]).returncode == 0
        )
        console.expect("POWERON_RESET.*ready\n")
        assert board_command(boards.state_dir, "reset", "hotpin-5.4-0").returncode == 0
        console.expect("POWERON_RESET.*ready\n")
        begun = board_command(
            boards.state_dir, "fault", "duplicate", "rate=1", "--on", "hotpin-5.4-0", "--seed", "7"
        )
        assert begun.stdout == "duplicate rate=1.0 count=0 direction=to-host seed=7\n"
        console.send("ab")
        console.expect("aabb")
        assert "duplicate rate=1.0" in board_command(boards.state_dir, "list").stdout
        assert board_command(boards.state_dir, "fault", "clear", "--on", "hotpin-5.4-0").returncode == 0
        console.send("cd")
        console.expect("cd")


def test_boards_end_one_by_one_and_the_server_with_the_last(boards: Boards) -> None:
    assert board_command(boards.state_dir, "stop", "hotpin-5.4-1").stdout == "stopped hotpin-5.4-1\n"
    assert [board.directory.name for board in running(boards.state_dir)] == ["hotpin-5.4-0"]
    assert boards.process.poll() is None
    other = Boards(boards.state_dir, boards.state_dir / "none")  # the board's folder can be used again
    try:
        assert other.found[0]["directory"].endswith("hotpin-5.4-1")
    finally:
        other.stop()
    assert board_command(boards.state_dir, "stop").stdout == "stopped hotpin-5.4-0\n"
    assert boards.process.wait(PATIENCE_S) == 0
    assert not list(boards.state_dir.glob(f"*/{SOCKET_NAME}"))
    after = board_command(boards.state_dir, "list")
    assert (after.returncode, after.stdout) == (0, "")
    assert "no virtual board is running here" in after.stderr


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_next_server_starts_however_the_last_one_ended(
    boards: Boards, build: Build, end: signal.Signals
) -> None:
    with Console(boards.url) as console:
        console.restart()
        BoardControl(boards.state_dir / "hotpin-5.4-0").ask("fault", fault="hang")
        (firmware,) = boards.children()
        boards.process.send_signal(end)
        boards.process.wait(PATIENCE_S)
    assert process_gone(firmware)
    left = list(boards.state_dir.glob(f"*/{SOCKET_NAME}"))
    assert len(left) == (2 if end == signal.SIGKILL else 0)
    assert running(boards.state_dir) == []
    again = Boards(boards.state_dir, build.registry, count=2)
    try:
        assert [Path(board["directory"]).name for board in again.found] == ["hotpin-5.4-0", "hotpin-5.4-1"]
        assert len(running(boards.state_dir)) == 2
        with Console(again.url) as console:  # the flash is unchanged
            console.restart()
    finally:
        again.stop()


def test_requests_of_one_client_leave_the_other_boards_their_turns(boards: Boards) -> None:
    other = BoardControl(boards.state_dir / "hotpin-5.4-1")
    md5 = struct.pack("<IIII", 0, 4 << 20, 0, 0)
    request = slip.encode(protocol.HEADER.pack(0, protocol.SPI_FLASH_MD5, len(md5), 0) + md5)
    with Console(boards.url) as console:
        console.port.rts = True
        console.port.dtr = True
        console.port.rts = False
        console.expect("waiting for download")
        # Arrives in one piece, but takes the server seconds to process.
        console.port.write(request * REQUESTS)
        console.expect("\xc0\x01\x13")
        other.state()
        answered = (console.text + console.port.read(console.port.in_waiting).decode("latin1")).count(
            "\xc0\x01\x13"
        )
        assert answered < REQUESTS - 1, "the other board answered only after all requests"


def test_console_is_a_terminal_on_the_boards_uart(boards: Boards) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "hotpin_hil", "board", "console", "--state-dir", str(boards.state_dir)]
    process = subprocess.Popen(
        [*command, "hotpin-5.4-0"], cwd=PROJECT_ROOT, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    seen = b""

    def expect(text: bytes) -> None:
        nonlocal seen
        deadline = time.monotonic() + PATIENCE_S
        while text not in seen:
            assert select.select([ours], [], [], deadline - time.monotonic())[0], seen
            seen += os.read(ours, 4096)

    try:
        expect(b"Ctrl-] exits")
        board_command(boards.state_dir, "reset", "hotpin-5.4-0")
        expect(b"ready")
        os.write(ours, b"hello\r")
        expect(b"hello")
        assert "  client" in board_command(boards.state_dir, "list").stdout
        os.write(ours, b"\x1d")
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    with Console(boards.url) as console:  # the port is free again
        console.restart()


def test_board_named_twice_is_stopped_once(boards: Boards) -> None:
    done = board_command(boards.state_dir, "stop", "hotpin-5.4-1", boards.found[1]["mac"])
    assert (done.returncode, done.stdout, done.stderr) == (0, "stopped hotpin-5.4-1\n", "")


def test_fault_is_printed_as_arguments_that_repeat_it(boards: Boards) -> None:
    begun = board_command(boards.state_dir, "fault", "foreign-line", "--on", "hotpin-5.4-0", "--seed", "1")
    again = board_command(
        boards.state_dir,
        "fault",
        "--on",
        "hotpin-5.4-1",
        *shlex.split(begun.stdout.replace("seed=", "--seed ")),
    )
    assert begun.stdout.endswith("text='I ({ms}) wifi:state: run -> run (0x0)' seed=1\n")
    assert begun.stdout == again.stdout


def test_firmware_fault_without_firmware_is_a_one_line_error(boards: Boards) -> None:
    """The second board has no firmware: its flash is empty, so it restarts endlessly."""
    done = board_command(boards.state_dir, "fault", "panic", "--on", "hotpin-5.4-1")
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        "fault panic would do nothing: `board list` shows 'booting' (let the firmware run first)"
        in done.stderr
    )
    assert done.stderr.count("\n") == 1
    assert "panic" not in board_command(boards.state_dir, "list").stdout


def test_only_its_owner_may_control_a_board(control: BoardControl) -> None:
    assert (control.directory / SOCKET_NAME).stat().st_mode & 0o777 == 0o600


def test_state_folder_with_a_long_path_works(tmp_path: Path) -> None:
    """A path longer than 108 bytes does not fit into a Unix socket's address."""
    deep = tmp_path.joinpath(*["a" * 60] * 3)
    boards = Boards(deep, tmp_path / "none")
    try:
        assert [board.state()["runs"] for board in running(deep)] != []
    finally:
        boards.stop()


def test_invalid_request_gets_an_error_and_disturbs_no_other_client(control: BoardControl) -> None:
    for do, more, message in (
        ("dance", {}, "unknown request 'dance'"),
        ("fault", {"fault": "fire"}, "unknown fault 'fire'"),
        ("fault", {"fault": "noise", "arguments": {"rate": 2}}, "`rate` 2 is not valid"),
        ("fault", {"fault": "noise", "arguments": {"loud": 2}}, "no argument 'loud'"),
        ("fault", {"fault": "noise", "arguments": 3}, "`arguments` must be an object, but is 3"),
        ("fault", {"fault": "noise", "seed": "x"}, "`seed` must be a whole number, but is 'x'"),
        ("fault", {"fault": "power-cut-step", "arguments": {"step": "a b"}}, "'a b' is not a step name"),
        ("power", {}, "`on` must be true or false, but is None"),
    ):
        with pytest.raises(UsageError, match=message):
            control.ask(do, **more)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as raw, socket.socket(socket.AF_UNIX) as silent:
        folder = os.open(control.directory, os.O_PATH)
        for client in (raw, silent):
            client.settimeout(PATIENCE_S)
            client.connect(f"/proc/self/fd/{folder}/{SOCKET_NAME}")
        os.close(folder)
        raw.sendall(b"\xff\xfe{{{\n[]\n" + b"[" * 60_000 + b'\n{"do":"state"}\n')
        replies = raw.makefile("rb")
        answers = [json.loads(replies.readline()) for _ in range(4)]
    assert [answer["ok"] for answer in answers] == [False, False, False, True]
    assert control.state()["faults"] == []


def test_client_that_does_not_read_its_answers_is_dropped(boards: Boards, control: BoardControl) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as raw:
        folder = os.open(control.directory, os.O_PATH)
        raw.settimeout(PATIENCE_S)
        raw.connect(f"/proc/self/fd/{folder}/{SOCKET_NAME}")
        os.close(folder)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            raw.sendall(b'{"do":"state"}\n' * 1_000_000)
    assert control.state()["power"] == "on"
    assert "does not read its replies" in boards.stop()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reset"], "no virtual board is running here (start one: hotpin-hil board start)"),
        (["fault", "fire"], "unknown fault 'fire'"),
        (["fault", "noise", "loud"], "'loud' is not of the form KEY=VALUE"),
        (["fault", "noise", "rate=x"], "fault noise: `rate` 'x' is not valid (give a number from 0 to 1)"),
        (["console"], "board console needs a terminal"),
        (["stop", "hotpin-5.4-7"], "no virtual board 'hotpin-5.4-7' is running here"),
    ],
)
def test_mistake_on_the_command_line_is_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = board_command(tmp_path, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


def test_command_for_one_of_several_boards_needs_a_name(boards: Boards) -> None:
    done = board_command(boards.state_dir, "reset")
    assert "2 virtual boards are running (name one of hotpin-5.4-0, hotpin-5.4-1)" in done.stderr


def test_board_that_has_ended_is_not_running(boards: Boards, control: BoardControl) -> None:
    boards.stop()
    with pytest.raises(NotRunning, match=re.escape(str(control.directory))):
        control.state()
