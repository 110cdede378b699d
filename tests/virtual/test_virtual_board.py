"""Tests the board server in a separate process: boots, resets, clients, firmware processes, state, clean shutdown."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from serial import SerialException

from hotpin_hil.paths import PROJECT_ROOT
from hotpin_hil.virtual import image
from tests.support.until import until
from tests.support.virtual_board import PATIENCE_S, Boards, Build, Console, process_gone

BOARD_START = [sys.executable, "-m", "hotpin_hil", "board", "start", "--json"]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    return Build(tmp_path_factory.mktemp("build"))


@pytest.fixture
def state_dir(tmp_path: Path, build: Build) -> Path:
    """State folder of two boards that have the build in their flash."""
    for index in range(2):
        place = tmp_path / f"hotpin-5.4-{index}"
        place.mkdir()
        (place / "flash.bin").write_bytes(build.flash_image())
    return tmp_path


@pytest.fixture
def boards(state_dir: Path, build: Build) -> Iterator[Boards]:
    boards = Boards(state_dir, build.registry)
    yield boards
    boards.stop()


@pytest.fixture
def console(boards: Boards) -> Iterator[Console]:
    with Console(boards.url) as console:
        console.restart()
        yield console


def test_app_gets_its_parameters_and_the_console(console: Console, boards: Boards, build: Build) -> None:
    console.reset()
    parameters = console.expect(r"entry 0x\w+\n.*?(param .*\n)rtc").group(1)
    values = dict(line.removeprefix("param ").split("=", 1) for line in parameters.splitlines())
    assert values["mac"] == boards.found[0]["mac"]
    assert values["rom_cause"] == "1"
    assert values["chip_revision"] == "301"
    assert values["psram_bytes"] == "4194304"
    assert values["elf_sha256"] == build.registry.read_text().strip()
    assert values["app_offset"] == "0x10000"
    assert Path(values["flash_file"]).stat().st_size == 4 << 20
    assert Path(values["rtc_file"]).stat().st_size == 8192
    assert 50_000 < int(values["start_us"]) < 2_000_000
    assert parameters.count("param heap=") == 6
    assert "param pool=32768," in parameters
    console.expect("ready\n")
    console.send("hello")
    console.expect("hello")


def test_every_byte_passes_both_ways(console: Console) -> None:
    data = b"x" + bytes(range(1, 256)) * 4
    console.port.write(data)
    received = b""
    deadline = time.monotonic() + PATIENCE_S
    while len(received) < len(data) and time.monotonic() < deadline:
        received += console.port.read(max(1, console.port.in_waiting))
    assert received == data


def test_board_whose_folder_is_gone_reports_it(boards: Boards, console: Console) -> None:
    shutil.rmtree(boards.found[0]["directory"])
    console.reset()
    console.expect(
        r"can't keep RTC memory in .*/hotpin-5.4-0: No such file or directory; start the board again"
    )


def test_software_reset_keeps_rtc_memory_and_power_on_does_not(console: Console) -> None:
    console.reset()
    first = console.expect("rtc (\\w{16})\n").group(1)
    console.expect("ready\n")
    console.send("reset 12")
    console.expect(r"rst:0xc \(SW_CPU_RESET\),boot:0x13 .*param rom_cause=12\n")
    assert console.expect("rtc (\\w{16})\n").group(1) == first
    console.restart()
    console.reset()
    assert console.expect("rtc (\\w{16})\n").group(1) != first


def test_watchdog_and_brown_out_reset_boot_with_their_cause(console: Console) -> None:
    for code, name in ((8, "TG1WDT_SYS_RESET"), (15, "RTCWDT_BROWN_OUT_RESET")):
        console.send(f"reset {code}")
        console.expect(rf"rst:{code:#x} \({name}\).*param rom_cause={code}\n.*ready\n")


def test_seed_differs_from_start_to_start_and_repeats_from_run_to_run(state_dir: Path, build: Build) -> None:
    """The firmware's seed must not depend on the time of a reset, because this time depends on the host's speed."""

    def seeds(*, patient: bool) -> list[str]:
        boards = Boards(state_dir, build.registry, seed=7)
        found = []
        try:
            with Console(boards.url) as console:
                for wait in (patient, True, True):
                    console.reset()
                    if wait:
                        found.append(console.expect(r"param seed=(\d+)\n").group(1))
            return found
        finally:
            boards.stop()

    first = seeds(patient=True)
    assert len(set(first)) == len(first)
    assert seeds(patient=False) == first[1:]


def test_runtime_failure_is_distinguished_from_a_firmware_reset(console: Console) -> None:
    console.send("crash")
    console.expect(
        r"\nvirtual board: the host runtime .* failed with signal 6 \(SIGABRT\): lost my marbles; reset"
    )
    console.restart()
    console.send("quit")
    console.expect(r"virtual board: the host runtime .* exit status 0; reset")
    console.restart()


def test_hanging_firmware_is_ended_by_a_reset(console: Console, boards: Boards) -> None:
    (pid,) = boards.children()
    console.send("hang")
    console.expect("hanging")
    console.restart()
    assert process_gone(pid)
    assert len(boards.children()) == 1


def test_unread_flood_is_held_back_without_loss_and_can_be_reset(console: Console, boards: Boards) -> None:
    def cpu_ticks(pid: int) -> int:
        return sum(
            int(field) for field in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
        )

    def resident_bytes() -> int:
        pages = int(Path(f"/proc/{boards.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    (firmware,) = boards.children()
    before = resident_bytes()
    console.send("flood")
    console.expect("flood|0{100}")
    # The client does not read, so the firmware blocks once all buffers are full.
    deadline, idle = time.monotonic() + PATIENCE_S, 0
    while idle < 5:
        ticks = cpu_ticks(firmware)
        time.sleep(0.05)
        idle = idle + 1 if cpu_ticks(firmware) == ticks else 0
        assert time.monotonic() < deadline
    assert resident_bytes() - before < 8 << 20
    console.expect("\n")
    lines = [int(console.expect("(\\d{999})\n").group(1)) for _ in range(5)]
    data = b""
    while len(data) < 8 << 20:
        data += console.port.read(1 << 16)
    numbers = [int(line) for line in (console.text.encode() + data).split()[:-1]]
    assert numbers == list(range(lines[-1] + 1, lines[-1] + 1 + len(numbers)))
    console.restart()
    console.send("alive")
    console.expect("alive")


def test_output_is_unreadable_until_the_baud_rate_is_right(console: Console) -> None:
    console.port.baudrate = 9600
    console.send("abc")
    console.expect("[\x80-\xff]{3}")
    console.port.baudrate = 115200
    console.send("abc")
    console.expect("abc")


def test_second_client_is_refused_while_one_is_attached(boards: Boards) -> None:
    number = int(boards.url.rsplit(":", 1)[1])
    with Console(boards.url), pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", number), timeout=PATIENCE_S)
    with Console(boards.url) as console:
        console.restart()


def test_lost_client_releases_a_chip_it_held_in_reset(boards: Boards) -> None:
    with Console(boards.url) as console:
        console.restart()
        console.port.rts = True
        assert boards.children() == []
    until(boards.children)


def connect(number: int) -> socket.socket:
    """Connects a raw client. Retries, because the board listens again only a moment after the last client has left."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return socket.create_connection(("127.0.0.1", number), timeout=PATIENCE_S)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline


def test_raw_telnet_client_is_answered_and_escaped(boards: Boards) -> None:
    number = int(boards.url.rsplit(":", 1)[1])
    with Console(boards.url) as console:
        console.restart()
    with connect(number) as client:
        iac, sb, se = b"\xff", b"\xfa", b"\xf0"
        ask = iac + sb + b"\x2c\x00" + iac + se  # the signature
        client.sendall(
            b"\xff\xfd\x01" + b"\xff\xfd\x03" + b"a\xff\xffb" + ask + iac + sb + b"\x2c\x05\x07" + iac + se
        )
        answer = b""
        while not re.search(rb"a\xff\xffb", answer) or b"\x2c\x69" not in answer:
            answer += client.recv(4096)
        assert b"\xff\xfc\x01" in answer  # no echo
        assert answer.count(b"\xff\xfb\x03") == 1  # WILL suppress go-ahead, once
        assert b"\x2c\x64HotPin virtual ESP32-CAM " in answer
        assert b"\x2c\x69\x09\xff\xf0" in answer  # DTR is off


def test_suspended_output_is_held_and_arrives_whole(boards: Boards) -> None:
    number = int(boards.url.rsplit(":", 1)[1])
    with Console(boards.url) as console:
        console.restart()
    with connect(number) as client:
        client.settimeout(PATIENCE_S)
        com_port = b"\xff\xfa\x2c%c\xff\xf0"
        client.sendall(com_port % 8 + b"held back")
        answer = b""
        with contextlib.suppress(TimeoutError):
            client.settimeout(0.2)
            while True:
                answer += client.recv(4096)
        assert b"held" not in answer
        client.settimeout(PATIENCE_S)
        client.sendall(com_port % 9)
        while b"held back" not in answer:
            answer += client.recv(4096)


def test_client_that_does_not_read_its_answers_is_disconnected(boards: Boards) -> None:
    number = int(boards.url.rsplit(":", 1)[1])
    com_port = b"\xff\xfa\x2c%c\xff\xf0"
    suspend, signature = com_port % 8, com_port % 0
    with connect(number) as client:
        # output is suspended, so that the answers fill the server's buffer instead of the kernel's buffer
        client.sendall(suspend)
        with contextlib.suppress(ConnectionError):
            client.sendall(signature * 60_000)  # 2.8 MB of answers
            while client.recv(4096):
                pass
    with Console(boards.url) as console:
        console.restart()
    assert "connection closed, because the client has left" in boards.stop()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_firmware_survives_the_server(boards: Boards, end: signal.Signals) -> None:
    with Console(boards.url) as console:
        console.restart()
        console.send("hang")
        console.expect("hanging")
        (pid,) = boards.children()
        boards.process.send_signal(end)
        assert boards.process.wait(PATIENCE_S) == (-9 if end == signal.SIGKILL else 0)
        assert process_gone(pid)
    again = Boards(boards.state_dir, boards.state_dir / "none")
    again.stop()


def test_end_of_stdin_ends_the_server_on_request(state_dir: Path, build: Build) -> None:
    boards = Boards(state_dir, build.registry, until_eof=True)
    assert boards.process.stdin is not None
    boards.process.stdin.close()
    assert boards.process.wait(PATIENCE_S) == 0


def test_each_board_has_its_own_port_mac_and_flash(state_dir: Path, build: Build) -> None:
    boards = Boards(state_dir, build.registry, count=3)
    try:
        ports = {board["port"] for board in boards.found}
        macs = [int(board["mac"].replace(":", ""), 16) for board in boards.found]
        assert len(ports) == 3
        assert macs == [macs[0], macs[0] + 1, macs[0] + 2]
        with Console(boards.found[1]["port"]) as flashed, Console(boards.found[2]["port"]) as blank:
            flashed.restart()
            blank.reset()
            blank.expect("invalid header: 0xffffffff\n")
    finally:
        boards.stop()


def test_two_servers_use_different_boards(state_dir: Path, build: Build) -> None:
    first = Boards(state_dir, build.registry)
    second = Boards(state_dir, build.registry)
    try:
        assert first.found[0]["mac"] != second.found[0]["mac"]
        with Console(first.url) as first_console, Console(second.url) as second_console:
            first_console.restart()
            second_console.restart()
    finally:
        first.stop()
        second.stop()


def test_firmware_this_checkout_did_not_build_is_not_run(state_dir: Path, build: Build) -> None:
    boards = Boards(state_dir, state_dir / "empty.txt")
    try:
        with Console(boards.url) as console:
            console.reset()
            sha256 = build.registry.read_text().strip()
            console.expect(
                rf"virtual board: the app's ELF {sha256} was not built by this checkout and is not run"
            )
        assert boards.children() == []
    finally:
        assert "was not built by this checkout" in boards.stop()


def test_app_without_a_host_program_is_named(state_dir: Path, build: Build) -> None:
    app = build.files[0x10000].read_bytes().replace(image.CARGO_MARK, b"hoTPIN-HOST-ELF\0")
    # Two letters in lower case leave the XOR checksum unchanged.
    app = app[:-32] + hashlib.sha256(app[:-32]).digest()
    flash = bytearray(build.flash_image())
    flash[0x10000 : 0x10000 + len(app)] = app
    (state_dir / "hotpin-5.4-0/flash.bin").write_bytes(bytes(flash))
    boards = Boards(state_dir, build.registry)
    try:
        with Console(boards.url) as console:
            console.reset()
            console.expect(
                r"\nvirtual board: the app at 0x10000 is not a host build .*; flash firmware/build-native\n"
            )
    finally:
        boards.stop()


def test_unbootable_board_leaves_the_host_its_cpu(tmp_path: Path, build: Build) -> None:
    place = tmp_path / "hotpin-5.4-0"
    place.mkdir()
    flash = bytearray(build.flash_image())
    flash[0x10000:0x20000] = b"\xff" * 0x10000
    (place / "flash.bin").write_bytes(bytes(flash))
    boards = Boards(tmp_path, build.registry, time_scale=0)
    try:
        with Console(boards.url) as console:
            console.reset()
            started = time.monotonic()
            for _ in range(8):
                console.expect("No bootable app partitions in the partition table\n")
            assert time.monotonic() - started > 1.0
    finally:
        boards.stop()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--profile", "toaster"],
            "no board profile 'toaster'.*hotpin-5.4, .*no-psram, psram-8mb, recorded, .*tight-dma",
        ),
        (["--count", "0"], "can't start 0 boards"),
        (["--time-scale", "-1"], "time scale -1"),
        (["--state-dir", "pyproject.toml/boards"], "can't write the board state in .*pyproject.toml"),
    ],
)
def test_invalid_options_are_a_one_line_error(arguments: list[str], message: str) -> None:
    done = subprocess.run(
        [*BOARD_START, *arguments],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert re.search(message, done.stderr)


def started_until_eof(command: list[str], state: Path) -> subprocess.CompletedProcess[str]:
    """Starts boards whose standard input is already at its end; returns the finished process."""
    return subprocess.run(
        [*command, "--until-eof", "--state-dir", str(state)],
        cwd=PROJECT_ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def test_start_line_has_name_mac_and_port(tmp_path: Path) -> None:
    done = started_until_eof(BOARD_START[:-1], tmp_path)
    assert re.fullmatch(
        r"virtual ESP32-CAM hotpin-5.4-0, (\w\w:){5}\w\w, at rfc2217://127\.0\.0\.1:\d+\n", done.stdout
    )


def test_command_line_prints_a_json_line_per_board_and_stops_with_stdin(tmp_path: Path) -> None:
    done = started_until_eof([*BOARD_START, "--count", "2"], tmp_path)
    assert done.returncode == 0
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [sorted(board) for board in found] == [["directory", "mac", "name", "port"]] * 2
    assert all(re.fullmatch(r"rfc2217://127\.0\.0\.1:\d+", board["port"]) for board in found)
    assert done.stderr == ""


def test_port_of_a_stopped_board_is_free_again(boards: Boards) -> None:
    url = boards.url
    boards.stop()
    with pytest.raises(SerialException):
        Console(url)
