"""Tests the commands for virtual boards: `board flash`, and `board start` with a build, on a fixed port, in the
background."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hotpin_hil.boards import board_process
from hotpin_hil.boards.lease import Lease, port_name
from hotpin_hil.cli import main as cli
from hotpin_hil.errors import UsageError
from hotpin_hil.paths import NATIVE_BUILD_DIR, PROJECT_ROOT
from hotpin_hil.virtual import bootlog, partition, server
from hotpin_hil.virtual.control import BoardControl, running
from hotpin_hil.virtual.flash import Flash
from hotpin_hil.virtual.rfc2217 import LoopbackPort
from tests.support.fake_build import write_build
from tests.support.until import until
from tests.support.virtual_board import PATIENCE_S, Boards, Build, Console, native_flash_image, process_gone

NVS = 0x9000


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    return Build(tmp_path_factory.mktemp("build"))


@pytest.fixture
def boards(tmp_path: Path, build: Build) -> Iterator[Boards]:
    """One board with empty flash."""
    boards = Boards(tmp_path / "state", build.registry)
    yield boards
    boards.stop()


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def board_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Runs `hotpin-hil board NAME …` in this process; returns exit status, output and errors."""
    monkeypatch.setenv("HOTPIN_LEASES", str(tmp_path / "leases"))

    def run(name: str, *arguments: object) -> tuple[int, str, str]:
        status = cli.main(["board", name, "--state-dir", str(tmp_path / "state"), *map(str, arguments)])
        output = capsys.readouterr()
        return status, output.out, output.err

    return run


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every build count as built by this checkout."""
    monkeypatch.setattr("hotpin_hil.virtual.package.is_registered", lambda sha256: True)


def free_port(count: int = 1) -> int:
    """The first of `count` consecutive free ports."""
    while True:
        first = LoopbackPort()
        first.close()
        try:
            for number in range(first.number, first.number + count):
                LoopbackPort(number).close()
            return first.number
        except UsageError:
            continue


@pytest.mark.usefixtures("registered")
def test_flash_writes_only_the_files_that_differ(
    boards: Boards, build: Build, board_command: Command
) -> None:
    assert "  no app" in board_command("list")[1]
    flash = Path(boards.found[0]["directory"]) / "flash.bin"
    with flash.open("r+b") as file:
        file.seek(NVS)
        file.write(b"settings")
    status, out, err = board_command("flash", "--build", build.folder)
    assert (status, err) == (0, "")
    assert out.startswith("hotpin-5.4-0 has fw 1 (ELF ")
    assert out.endswith("): bootloader.bin, partition-table.bin, fw.bin written; reset\n")
    assert "  fw 1 (ELF " in board_command("list")[1]
    with Console(boards.url) as console:
        console.restart()
    with flash.open("r+b") as file:
        file.seek(0x10100)
        file.write(b"damage")
    out = board_command("flash", "hotpin-5.4-0", "--build", build.folder)[1]
    assert out.endswith("): fw.bin written; reset\n")
    assert board_command("flash", "--build", build.folder)[1].endswith("): already up to date; reset\n")
    content = flash.read_bytes()
    assert content[NVS : NVS + 8] == b"settings"
    for offset, file_ in build.files.items():
        part = file_.read_bytes()
        assert content[offset : offset + len(part)] == part


@pytest.mark.usefixtures("registered")
def test_flash_starts_the_new_firmware(boards: Boards, build: Build, board_command: Command) -> None:
    board_command("flash", "--build", build.folder)
    control = BoardControl(Path(boards.found[0]["directory"]))
    until(lambda: control.state()["firmware"] == "fw 1", control.state)


@pytest.mark.parametrize(
    ("idf", "chip", "message"),
    [
        (None, "", "there is no firmware build in {folder} (build it: make native)"),
        ("native", "esp32s3", "the firmware build in {folder} is for esp32s3, this harness is for esp32"),
        ("v5.4.2", "esp32", "{folder} is a build for the ESP32 (ESP-IDF v5.4.2), not for the virtual board"),
        ("native", "esp32", "the firmware in {folder} was not built by this checkout"),
    ],
)
def test_unsuitable_build_is_one_line_before_a_board_is_touched(
    board_command: Command, tmp_path: Path, idf: str | None, chip: str, message: str
) -> None:
    folder = tmp_path / "build"
    if idf is not None:
        write_build(folder, idf=idf, chip=chip)
    for arguments in (("flash", "--build", folder), ("start", "--flash", folder)):
        status, out, err = board_command(*arguments)
        assert (status, out) == (cli.EXIT_ERROR, "")
        assert err.startswith(f"error: {message.format(folder=folder)}")
        assert err.count("\n") == 1
    assert not (tmp_path / "state").exists()


@pytest.mark.usefixtures("registered")
def test_board_in_use_or_without_power_is_not_flashed(
    boards: Boards, build: Build, board_command: Command, tmp_path: Path
) -> None:
    def refusal(*arguments: str) -> str:
        status, out, err = board_command("flash", *arguments, "--build", build.folder)
        assert (status, out, err.count("\n")) == (cli.EXIT_ERROR, "", 1)
        return err

    with Console(boards.url):
        assert refusal() == (
            f"error: another program is connected to hotpin-5.4-0 on {boards.url} "
            "(close the monitor, console or test run)\n"
        )
    with Lease(tmp_path / "leases", "rehearsal") as lease:
        lease.add(port_name(boards.url))
        assert refusal().startswith(f"error: hotpin-5.4-0 is in use by pid {os.getpid()} of ")
    BoardControl(Path(boards.found[0]["directory"])).ask("power", on=False)
    assert refusal() == "error: hotpin-5.4-0 is powered off (hotpin-hil board power on)\n"
    assert refusal("hotpin-5.4-7") == (
        "error: no virtual board 'hotpin-5.4-7' is running here (running: hotpin-5.4-0)\n"
    )


def test_boards_listen_on_the_requested_port_and_the_next(tmp_path: Path, build: Build) -> None:
    port = free_port(count=2)
    boards = Boards(tmp_path, build.registry, count=2, port=port)
    try:
        assert [board["port"] for board in boards.found] == [
            f"rfc2217://127.0.0.1:{number}" for number in (port, port + 1)
        ]
    finally:
        boards.stop()


@pytest.mark.parametrize("with_client", [False, True])
def test_taken_port_is_a_one_line_error(
    tmp_path: Path, build: Build, board_command: Command, with_client: bool
) -> None:
    """A board with a client does not listen; its port must still count as taken."""
    boards = Boards(tmp_path / "other", build.registry)
    try:
        port = boards.url.rsplit(":")[-1]
        client = Console(boards.url) if with_client else None
        assert board_command("start", "--port", port) == (
            cli.EXIT_ERROR,
            "",
            f"error: port {port} is in use (give --port another number, or leave it out)\n",
        )
        assert not (tmp_path / "state").exists()
        if client is not None:
            client.port.close()
    finally:
        boards.stop()


def test_port_is_free_again_at_once(tmp_path: Path, build: Build) -> None:
    """The server closes the connection first, which normally leaves the port in TIME_WAIT for a minute."""
    boards = Boards(tmp_path, build.registry)
    port = int(boards.url.rsplit(":")[-1])
    with Console(boards.url):
        boards.stop()
    again = Boards(tmp_path, build.registry, port=port)
    again.stop()
    assert again.url == boards.url


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "0"], "port 0 is not valid (give 1 to 65535)"),
        (["--port", "65535", "--count", "2"], "port 65535 is not valid (give 1 to 65534)"),
        (["--count", "0", "--detach"], "can't start 0 boards (ask for 1 to 256)"),
        (["--profile", "nix", "--detach"], "nix"),
    ],
)
def test_impossible_start_is_one_line_and_leaves_nothing(
    tmp_path: Path, board_command: Command, arguments: list[str], message: str
) -> None:
    status, out, err = board_command("start", *arguments)
    assert (status, out, err.count("\n")) == (cli.EXIT_ERROR, "", 1)
    assert err.startswith("error: ")
    assert "error: error" not in err
    assert message in err
    assert not list(tmp_path.glob("state/*"))


def test_detached_boards_run_until_they_are_stopped(tmp_path: Path, board_command: Command) -> None:
    command = [sys.executable, "-m", "hotpin_hil", "board", "start", "--detach", "--json", "--count", "2"]
    started = subprocess.run(
        [*command, "--state-dir", str(tmp_path / "state")],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    found = [json.loads(line) for line in started.stdout.splitlines()]
    assert [board["name"] for board in found] == ["hotpin-5.4-0", "hotpin-5.4-1"]
    states = [board.state() for board in running(tmp_path / "state")]
    assert [state["port"] for state in states] == [board["port"] for board in found]
    pid = int(states[0]["server_pid"])
    try:
        assert os.getsid(pid) == pid, "Ctrl-C in the terminal would end it"
        log = Path(found[0]["log"])
        BoardControl(log.parent).ask("fault", fault="hang")  # the server reports this
        assert "hang" in log.read_text()
        assert board_command("stop", "--all")[0] == 0
        assert process_gone(pid)
    finally:
        if not process_gone(pid):
            os.kill(pid, 9)
    LoopbackPort(int(found[0]["port"].rsplit(":")[-1])).close()
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == ["hotpin-5.4-0", "hotpin-5.4-1"]


def test_stop_waits_until_the_place_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If `board stop` returned earlier, the next `board start --port` could find the port in use."""
    lock = server._lock(tmp_path)
    assert lock is not None
    control = BoardControl(tmp_path)
    monkeypatch.setattr("hotpin_hil.virtual.control.STOP_TIMEOUT_S", 0.1)
    monkeypatch.setattr(control, "ask", lambda do: {"ok": True})
    with lock, pytest.raises(UsageError, match="does not stop"):
        control.stop()
    control.stop()


def test_ctrl_c_while_boards_start_in_the_background_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = (
        "import os, signal, sys\n"
        "open(sys.argv[1], 'w').write(str(os.getpid()))\n"
        "os.kill(os.getppid(), signal.SIGINT)\nsignal.pause()\n"
    )
    monkeypatch.setattr(board_process, "_START", (sys.executable, "-c", program))
    with pytest.raises(KeyboardInterrupt):
        board_process.start_detached([str(tmp_path / "pid")], 1, tmp_path / "state")
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert list((tmp_path / "state").iterdir()) == []


def serve_and_flash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> str:
    """Runs a server with this shell script in place of `board flash`; returns the output."""
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setattr(server.sys, "executable", str(python))
    out = io.StringIO()
    asyncio.run(server.serve(1, "hotpin-5.4", tmp_path / "state", flash=tmp_path, out=out))
    return out.getvalue()


def test_start_with_failed_flashing_reports_the_reason_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"^no luck$"):
        serve_and_flash(tmp_path, monkeypatch, "echo error: no luck >&2; exit 2")
    assert running(tmp_path / "state") == []


def test_ctrl_c_while_a_board_is_flashed_ends_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = tmp_path / "pid"
    begin = time.monotonic()
    serve_and_flash(tmp_path, monkeypatch, f"echo $$ > {pid}; kill -INT $PPID; exec sleep 60")
    assert time.monotonic() - begin < PATIENCE_S, "the server did not end before flashing had ended"
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert running(tmp_path / "state") == []


def test_start_with_the_build_of_this_checkout(tmp_path: Path) -> None:
    native_flash_image()  # skips the test without a host build
    command = [sys.executable, "-m", "hotpin_hil", "board", "start", "--json", "--until-eof", "--flash"]
    with subprocess.Popen(
        [*command, "--state-dir", str(tmp_path)],
        cwd=PROJECT_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        found = json.loads(process.stdout.readline())
        project = json.loads((NATIVE_BUILD_DIR / "project_description.json").read_text())
        (board,) = running(tmp_path)
        assert board.state()["holds"] == (
            f"{project['project_name']} {project['project_version']} (ELF {project['app_elf_sha256'][:9]})"
        )
        with Console(found["port"]) as console:
            console.reset()
            console.expect("HotPin ready")
        process.stdin.close()
        assert process.wait(PATIENCE_S) == 0


def test_app_in_flash_is_found_without_a_boot(tmp_path: Path, build: Build) -> None:
    flash = Flash(tmp_path / "flash.bin", 4 << 20)
    assert bootlog.app_in(flash) is None
    flash.program(0, build.flash_image())
    app = bootlog.app_in(flash)
    assert app is not None
    assert (app.project, app.version) == ("fw", "1")
    flash.erase(0x10000, 0x1000)
    assert bootlog.app_in(flash) is None
    flash.erase(partition.TABLE_OFFSET, partition.TABLE_LENGTH)
    at_the_end = partition.Partition("factory", partition.APP, 0, (4 << 20) - 0x100, 0x100)
    flash.program(partition.TABLE_OFFSET, partition.to_binary([at_the_end]))
    assert bootlog.app_in(flash) is None
    flash.close()


def test_build_directory_has_what_idf_monitor_reads(build: Build) -> None:
    """Checks what `idf.py -B DIR -p PORT monitor` reads (serial_ext.py of ESP-IDF v5.4)."""
    description = json.loads((build.folder / "project_description.json").read_text())
    assert (description["target"], description["monitor_baud"]) == ("esp32", "115200")
    assert description["monitor_toolprefix"] == ""  # prefix of the host's addr2line and gdb
    assert (build.folder / description["app_elf"]).is_file()
    assert Path(description["config_file"]).is_file()
