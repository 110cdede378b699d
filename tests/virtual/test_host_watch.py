"""Tests that a virtual board detects host faults, and keeps running if the host has no file handles left."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotpin_hil.virtual.accepting import PAUSE_S, accept
from hotpin_hil.virtual.control import BoardControl
from hotpin_hil.virtual.host_watch import BEAT_S, STALL_S, HostWatch
from tests.support.virtual_board import Boards, Build, Console, process_gone


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    return Build(tmp_path_factory.mktemp("build"))


@pytest.fixture
def boards(tmp_path: Path, build: Build) -> Iterator[Boards]:
    place = tmp_path / "hotpin-5.4-0"
    place.mkdir()
    (place / "flash.bin").write_bytes(build.flash_image())
    boards = Boards(tmp_path, build.registry)
    yield boards
    boards.stop()


@pytest.mark.parametrize(("number", "noticed"), [(signal.SIGKILL, True), (signal.SIGABRT, False)])
def test_only_an_end_from_outside_is_the_hosts(boards: Boards, number: signal.Signals, noticed: bool) -> None:
    control = BoardControl(boards.state_dir / "hotpin-5.4-0")
    with Console(boards.url) as console:
        console.restart()
        (pid,) = boards.children()
        os.kill(pid, number)
        console.expect("the host runtime of the firmware failed")
        assert process_gone(pid)
    faults = [fault["text"] for fault in control.state()["host_faults"]]
    ended = f"another program ended the firmware process of the virtual board ({number.name})"
    assert faults.count(ended) == noticed


def test_stall_is_noticed_at_the_first_request(monkeypatch: pytest.MonkeyPatch) -> None:
    async def watch() -> None:
        loop = asyncio.get_running_loop()
        host = HostWatch()
        began_s = loop.time()
        clock = {"s": began_s + BEAT_S + STALL_S - 0.01}
        monkeypatch.setattr(loop, "time", lambda: clock["s"])
        assert not host.faults
        clock["s"] += BEAT_S + STALL_S + 4.0
        (fault,) = host.faults
        assert "stalled for 5.0 s" in fault["text"]
        assert host.faults == [fault]
        host.close()

    asyncio.run(watch())


class Listener(socket.socket):
    """A listening socket whose accept() fails because no file handles are left, until `has_handles` is set."""

    has_handles = False
    asked = 0

    def accept(self) -> tuple[socket.socket, object]:
        type(self).asked += 1
        if not self.has_handles:
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


def test_listener_without_file_handles_does_not_spin(tmp_path: Path) -> None:
    async def serve() -> None:
        loop = asyncio.get_running_loop()
        accepted: asyncio.Future[socket.socket] = loop.create_future()

        def on_client() -> None:
            client = accept(listener, on_client)
            if client is not None:
                loop.remove_reader(listener)
                accepted.set_result(client)

        with Listener(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
            listener.bind(str(tmp_path / "socket"))
            listener.listen()
            listener.setblocking(False)
            loop.add_reader(listener, on_client)
            client.connect(str(tmp_path / "socket"))
            loop.call_later(PAUSE_S / 2, setattr, Listener, "has_handles", True)
            (await asyncio.wait_for(accepted, 20.0)).close()

    asyncio.run(serve())
    assert Listener.asked == 2
