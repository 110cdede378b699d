"""Tests the replacement for pytest-embedded's serial service: it starts quickly, uses one thread, and releases all
resources."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import serial
from pytest_embedded_idf.app import FlashFile

from hotpin_hil.boards.board_process import BoardProcess
from hotpin_hil.device import Device, NoReply
from hotpin_hil.errors import BuildError, FlashError, PortError, UsageError
from hotpin_hil.link import idf_serial
from hotpin_hil.link.channel import Cursor
from hotpin_hil.link.idf_serial import HilIdfSerial, fingerprint
from tests.support.fake_firmware import FakeFirmware
from tests.support.rfc2217_server import Rfc2217Server

SETUP_S = 0.35
PATIENCE_S = 5.0


class Log:
    """Fake of pytest-embedded's message queue; collects console bytes and esptool's text."""

    def __init__(self) -> None:
        self.text = ""

    def put(self, data: bytes | str) -> None:
        self.text += data if isinstance(data, str) else data.decode(errors="replace")

    write = put

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False


@pytest.fixture(autouse=True)
def nothing_left_over(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(HilIdfSerial, "_flashed", {})
    monkeypatch.setattr(serial, "protocol_handler_packages", list(serial.protocol_handler_packages))
    threads = set(threading.enumerate())
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    yield
    assert set(threading.enumerate()) == threads
    assert HilIdfSerial.occupied_ports == {}
    if descriptors:
        assert len(os.listdir("/proc/self/fd")) <= descriptors


@pytest.fixture
def app(tmp_path: Path) -> Any:
    """A build with a single file, at an offset where no code is."""
    (tmp_path / "data.bin").write_bytes(os.urandom(20_000) + bytes(80_000))
    return SimpleNamespace(
        target="esp32",
        binary_path=str(tmp_path),
        elf_file=None,
        sdkconfig={},
        flash_files=[FlashFile(0x20000, str(tmp_path / "data.bin"))],
        flash_settings={"flash_mode": "dio"},
        flash_args={
            "write_flash_args": ["--flash-mode", "dio", "--flash-size", "4MB", "--flash-freq", "40m"]
        },
    )


# --- With a server instead of a chip ---


@pytest.fixture
def server() -> Iterator[Rfc2217Server]:
    server = Rfc2217Server()
    server.firmware = FakeFirmware(server.send)  # type: ignore[attr-defined]
    server.received = server.firmware.receive  # type: ignore[attr-defined]
    yield server
    server.close()


@pytest.fixture
def line(server: Rfc2217Server, app: Any) -> Iterator[HilIdfSerial]:
    serial = HilIdfSerial(app=app, msg_queue=Log(), port=server.url, skip_autoflash=True)
    yield serial
    serial.close()


def test_setup_without_flashing_is_one_reset_pulse(server: Rfc2217Server, line: HilIdfSerial) -> None:
    assert server.lines() == [("dtr", False), ("rts", False), ("dtr", False), ("rts", True), ("rts", False)]
    assert server.changes.count(("baudrate", 115200)) == 1
    assert server.changes.index(("purge", "rx"), server.changes.index(("rts", True))) > 0


def test_output_before_the_reset_is_dropped(server: Rfc2217Server, app: Any) -> None:
    def talk(change: Any) -> None:
        if change == ("rts", True):
            server.send(b"the former run's last words")
        if server.changes[-2:] == [("purge", "rx"), ("rts", False)]:
            server.send(b"the new run")

    class Watched(list[Any]):
        def append(self, change: Any) -> None:
            super().append(change)
            talk(change)

    server.changes = Watched()
    line = HilIdfSerial(app=app, msg_queue=Log(), port=server.url, skip_autoflash=True)
    line.channel.wait(lambda: b"run" in line.channel.text() or None, PATIENCE_S)
    assert line.channel.text() == b"the new run"
    line.close()


def test_bytes_reach_channel_and_queue_and_commands_get_through(server: Any, line: HilIdfSerial) -> None:
    server.firmware.start()
    device = Device(line.channel)
    assert device.wait_ready().b == server.firmware.boot
    for number in range(20):
        assert device.command("echo", v=number)["args"] == {"v": str(number)}
    line.stop_redirect_thread()
    assert line.channel.text().decode() == line._q.text


def test_paused_reading_loses_nothing(server: Any, line: HilIdfSerial) -> None:
    with line.disable_redirect_thread() as was_reading:
        assert was_reading
        server.firmware.event("paused")
        assert not line._redirect_thread.is_alive()
    device = Device(line.channel)
    assert device.wait_event("paused", since=Cursor())
    with pytest.raises(ZeroDivisionError), line.disable_redirect_thread():
        raise ZeroDivisionError
    server.firmware.event("after a failure")
    assert device.wait_event("after a failure", since=Cursor())


def test_reset_in_a_test_drops_nothing(server: Any, line: HilIdfSerial) -> None:
    server.firmware.event("before")
    line.hard_reset()
    assert server.changes[-3:] == [("dtr", False), ("rts", True), ("rts", False)], (
        "the client did not request a purge"
    )
    assert Device(line.channel).wait_event("before", since=Cursor())


def test_lost_line_is_a_port_error_and_nothing_reconnects(server: Any, line: HilIdfSerial) -> None:
    device = Device(line.channel)
    server.firmware.handlers["x"] = lambda *_: server.drop()
    with pytest.raises(PortError, match=rf"{server.number}.*was lost"):
        device.command("x", timeout_s=PATIENCE_S)
    with pytest.raises(PortError, match="was lost"):
        device.command("sys.info")
    assert server.clients == 1


def test_closed_line_ends_a_wait(line: HilIdfSerial) -> None:
    timer = threading.Timer(0.02, line.close)
    timer.start()
    with pytest.raises(PortError, match="was closed"):
        line.channel.wait(lambda: None, PATIENCE_S)
    timer.join()


def test_port_without_a_server_is_a_port_error(app: Any) -> None:
    with pytest.raises(PortError, match=r"127\.0\.0\.1:1\b.*refused"):
        HilIdfSerial(app=app, msg_queue=Log(), port="rfc2217://127.0.0.1:1")


def test_power_is_cycled_once_before_a_chip_counts_as_dead(
    server: Rfc2217Server, app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cycles: list[int] = []

    def cycle() -> bool:
        while server.is_connected:  # the port must be closed, because the USB bridge may also lose power
            time.sleep(0.001)
        cycles.append(server.clients)
        return True

    server.received = lambda data: None
    monkeypatch.setattr(HilIdfSerial, "power_cycle", cycle)
    monkeypatch.setattr(idf_serial, "CONNECT_ATTEMPTS", 1)
    with pytest.raises(FlashError, match="Failed to connect"):
        HilIdfSerial(app=app, msg_queue=Log(), port=server.url)
    assert cycles == [1]
    assert server.clients == 2


def test_no_chip_behind_the_port_is_a_flash_error(server: Rfc2217Server, app: Any) -> None:
    server.received = lambda data: None
    with pytest.raises(FlashError, match=rf"{server.number}: Failed to connect to ESP32.*check cable"):
        HilIdfSerial(app=app, msg_queue=Log(), port=server.url)


def test_invalid_options_are_reported_before_the_port_is_opened(server: Rfc2217Server, app: Any) -> None:
    with pytest.raises(PortError, match="--port"):
        HilIdfSerial(app=app, msg_queue=Log())
    with pytest.raises(UsageError, match="--board-mac"):
        HilIdfSerial(app=app, msg_queue=Log(), port=server.url, port_mac="00:00:00:00:00:00")
    with pytest.raises(BuildError, match="built for esp32, not esp32s3"):
        HilIdfSerial(app=app, msg_queue=Log(), port=server.url, target="esp32s3")
    assert server.clients == 0


def test_missing_or_empty_build_is_reported(server: Rfc2217Server, app: Any) -> None:
    Path(app.flash_files[0].file_path).unlink()
    with pytest.raises(BuildError, match=r"data\.bin is missing"):
        HilIdfSerial(app=app, msg_queue=Log(), port=server.url)
    app.flash_files = []
    with pytest.raises(BuildError, match="nothing to flash"):
        HilIdfSerial(app=app, msg_queue=Log(), port=server.url)


def test_fingerprint_depends_on_content_offset_and_settings(app: Any) -> None:
    seen = {fingerprint(app)}
    (file,) = app.flash_files
    app.flash_files = [file._replace(offset=0x30000)]
    seen.add(fingerprint(app))
    Path(file.file_path).write_bytes(b"other")
    seen.add(fingerprint(app))
    app.flash_args = {"write_flash_args": []}
    seen.add(fingerprint(app))
    assert len(seen) == 4


# --- With a chip that esptool can flash ---


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BoardProcess]:
    folder = tmp_path_factory.mktemp("board")
    board = BoardProcess.start(folder / "log", folder / "state")
    yield board
    board.stop()


def set_up(board: BoardProcess, app: Any, **options: Any) -> tuple[str, float]:
    """Sets the service up and tears it down once.

    Returns:
        The log, and the seconds from set-up to the chip's first line.
    """
    log = Log()
    began = time.monotonic()
    line = HilIdfSerial(app=app, msg_queue=log, port=board.port, **options)
    line.channel.wait(lambda: line.channel.resets() or None, PATIENCE_S)
    took = time.monotonic() - began
    assert len(line.channel.resets()) == 1
    assert "Hard resetting" not in log.text, "the chip booted a second time, at esptool's baud rate"
    assert line.proc.baudrate == 115200
    line.close()
    return log.text, took


def test_first_setup_flashes_the_next_only_resets(board: BoardProcess, app: Any) -> None:
    log, _ = set_up(board, app)
    assert "Hash of data verified" in log
    log, took = set_up(board, app)
    assert "Connecting" not in log
    assert took <= SETUP_S


def test_another_run_flashes_nothing(board: BoardProcess, app: Any) -> None:
    set_up(board, app)
    HilIdfSerial._flashed.clear()
    log, _ = set_up(board, app)
    assert "already in flash, skipping write" in log
    assert "Writing at" not in log


def test_new_build_is_flashed_within_the_run(board: BoardProcess, app: Any) -> None:
    set_up(board, app)
    Path(app.flash_files[0].file_path).write_bytes(b"rebuilt" * 100)
    log, _ = set_up(board, app)
    assert "Hash of data verified" in log


def test_erased_chip_is_flashed_again(board: BoardProcess, app: Any) -> None:
    set_up(board, app)
    log, _ = set_up(board, app, skip_autoflash=True)
    assert "Connecting" not in log
    line = HilIdfSerial(app=app, msg_queue=Log(), port=board.port)
    line.erase_flash()
    with pytest.raises(NoReply, match="invalid header"):
        Device(line.channel).wait_ready(0.2)
    line.close()
    log, _ = set_up(board, app)
    assert "Hash of data verified" in log
    line = HilIdfSerial(app=app, msg_queue=Log(), port=board.port)
    line.flash()
    assert (
        line.dump_flash(address="0x20000", size="100")
        == Path(app.flash_files[0].file_path).read_bytes()[:100]
    )
    line.close()
    log, _ = set_up(board, app)
    assert "Connecting" not in log
