"""Tests a port that is unplugged and plugged in again, a log file that is replaced, and the control lines for a
reset."""

from __future__ import annotations

import os
import threading
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hotpin_hil.errors import PortError, UsageError
from hotpin_hil.link.file_follower import FileFollower
from hotpin_hil.link.live_port import LivePort
from hotpin_hil.link.recording import NOTE, Recording
from tests.support.rfc2217_server import Rfc2217Server

PATIENCE_S = 20.0
RETRY_S = 0.01


class Plug:
    """A serial port that can be unplugged: a link to a pseudo-terminal."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.board = -1
        self.put_in()

    def put_in(self) -> None:
        self.board, port = os.openpty()
        tty.setraw(port)
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(os.ttyname(port))
        os.close(port)

    def pull_out(self) -> None:
        self.path.unlink()
        os.close(self.board)


@pytest.fixture
def plug(tmp_path: Path) -> Plug:
    return Plug(tmp_path / "ttyBoard")


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Recording]:
    recording = Recording(tmp_path / "x.log")
    yield recording
    recording.close()


def received(recording: Recording, is_enough: Callable[[bytes], bool]) -> bytes:
    """Waits until enough bytes have arrived in a recording; returns them."""
    data, deadline = b"", time.monotonic() + PATIENCE_S
    while not is_enough(data):
        assert time.monotonic() < deadline, data
        data += recording.take(0.1)
    return data


def test_an_unplugged_board_comes_back(plug: Plug, recording: Recording, tmp_path: Path) -> None:
    port = LivePort(str(plug.path), 115200, recording, retry_s=RETRY_S)
    port.open()
    try:
        os.write(plug.board, b"I (1) app: before\nI (2) app: cut o")
        data = received(recording, lambda data: b"cut o" in data)
        plug.pull_out()
        data += received(recording, lambda data: b"the port is gone; waiting for it\n" in data)
        with pytest.raises(PortError, match="is gone"):
            port.write(b"help\n")
        assert port.problem
        plug.put_in()
        data += received(recording, lambda data: b"is back; it was gone for" in data)
        os.write(plug.board, b"I (1) app: after\n")
        data += received(recording, lambda data: b"after\n" in data)
        assert not port.problem
        port.write(b"help\n")
        assert os.read(plug.board, 100) == b"help\n"
    finally:
        port.close()
    lines = data.decode().splitlines()
    assert lines[:2] == ["I (1) app: before", "I (2) app: cut o"]
    assert [line.startswith(NOTE) for line in lines] == [False, False, True, True, False]
    assert lines[3].endswith(" s")
    assert (tmp_path / "x.log").read_bytes() == data


def test_closing_ends_all_threads_though_the_board_is_gone(plug: Plug, recording: Recording) -> None:
    before = set(threading.enumerate())
    port = LivePort(str(plug.path), 115200, recording, retry_s=PATIENCE_S)
    port.open()
    plug.pull_out()
    received(recording, lambda data: b"waiting for it" in data)
    began_s = time.monotonic()
    port.close()
    port.close()
    assert time.monotonic() - began_s < PATIENCE_S
    assert set(threading.enumerate()) <= before


def test_closing_keeps_what_has_arrived(plug: Plug, recording: Recording, tmp_path: Path) -> None:
    port = LivePort(str(plug.path), 115200, recording)
    port.open()
    os.write(plug.board, b"last words\n")
    port.close()
    assert (tmp_path / "x.log").read_bytes() == b"last words\n"


def test_a_port_that_does_not_exist_is_an_error(recording: Recording, tmp_path: Path) -> None:
    with pytest.raises(PortError, match="plug the board in, or name its port"):
        LivePort(str(tmp_path / "ttyNone"), 115200, recording).open()


def test_a_port_without_reset_lines_says_so(plug: Plug, recording: Recording) -> None:
    port = LivePort(str(plug.path), 115200, recording)
    port.open()
    try:
        with pytest.raises(PortError, match=r"has no reset lines: .*press the board's button"):
            port.reset()
    finally:
        port.close()


def test_reset_pulls_the_lines_on_a_network_port(recording: Recording) -> None:
    server = Rfc2217Server()
    port = LivePort(server.url, 115200, recording)
    try:
        port.open()
        server.changes.clear()
        port.reset()
        assert [change for change in server.lines() if change[0] == "rts"] == [("rts", True), ("rts", False)]
        assert ("dtr", True) not in server.lines()
        server.changes.clear()
        port.enter_boot_loader()
        lines = server.lines()
        # EN (RTS) is released while IO0 (DTR) is low.
        assert lines.index(("dtr", True)) < lines.index(("rts", False), lines.index(("rts", True)))
        assert lines[-1] == ("dtr", False)
    finally:
        port.close()
        server.close()


# --- Files ---


def test_a_growing_file_is_followed_and_a_replaced_one_read_again(
    tmp_path: Path, recording: Recording
) -> None:
    path = tmp_path / "monitor.txt"
    path.write_bytes(b"old\n")
    follower = FileFollower(str(path), recording, poll_s=RETRY_S)
    follower.open()
    try:
        received(recording, lambda data: data == b"old\n")
        with path.open("ab") as file:
            file.write(b"new\n")
        received(recording, lambda data: data == b"new\n")
        path.write_bytes(b"")
        received(recording, lambda data: b"was truncated\n" in data)
        other = tmp_path / "other.txt"
        other.write_bytes(b"other\n")
        other.replace(path)
        assert received(recording, lambda data: b"other\n" in data) == (
            f"{NOTE}{path} was replaced\nother\n".encode()
        )
    finally:
        follower.close()


def test_an_unreadable_file_is_an_error(tmp_path: Path, recording: Recording) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        FileFollower(str(tmp_path), recording).open()
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        FileFollower(str(tmp_path / "none"), recording).open()
