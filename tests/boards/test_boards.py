"""The board and the build are checked before the session changes anything, and the results name the right kind of
board."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from hotpin_hil.boards import board_process
from hotpin_hil.boards.artifacts import read_build
from hotpin_hil.boards.board import BoardSettings
from hotpin_hil.boards.board_process import BoardProcess
from hotpin_hil.boards.choose import Wish, choose_board
from hotpin_hil.boards.identity import check_identity
from hotpin_hil.boards.kind import BoardKind
from hotpin_hil.boards.origin import Origin, find_origin
from hotpin_hil.boards.ports import find_ports
from hotpin_hil.boards.virtual import VirtualBoard
from hotpin_hil.errors import BuildError, PortError, UsageError, WrongBoardError
from hotpin_hil.paths import BUILD_DIR
from hotpin_hil.virtual.server import default_state_dir
from tests.support.fake_build import ELF_SHA256, image, write_build

REMOTE = "rfc2217://bench-3.example:4000"
LOOPBACK = "rfc2217://127.0.0.1:4000?ign_set_control"


@pytest.mark.parametrize(
    ("asked", "port", "environment", "attached", "kind"),
    [
        (None, None, {}, [], BoardKind.VIRTUAL),
        (None, None, {}, ["/dev/ttyUSB0"], BoardKind.HARDWARE),
        ("auto", None, {}, ["/dev/ttyUSB0"], BoardKind.HARDWARE),
        ("virtual", None, {}, ["/dev/ttyUSB0"], BoardKind.VIRTUAL),
        ("qemu", None, {}, ["/dev/ttyUSB0"], BoardKind.QEMU),
        (None, None, {"HOTPIN_BOARD": "virtual"}, ["/dev/ttyUSB0"], BoardKind.VIRTUAL),
        ("hardware", None, {"HOTPIN_BOARD": "virtual"}, ["/dev/ttyUSB0"], BoardKind.HARDWARE),
        (None, "/dev/null", {}, [], BoardKind.HARDWARE),
        (None, REMOTE, {}, [], BoardKind.HARDWARE),
        (None, None, {"ESPPORT": "/dev/null"}, [], BoardKind.HARDWARE),
        ("virtual", None, {"ESPPORT": "/dev/null"}, [], BoardKind.VIRTUAL),
        ("hardware", LOOPBACK, {}, [], BoardKind.HARDWARE),
        ("virtual", LOOPBACK, {}, [], BoardKind.VIRTUAL),
        ("virtual", None, {"CI": "true"}, [], BoardKind.VIRTUAL),
        (None, None, {"CI": "true", "HOTPIN_BOARD": "qemu"}, [], BoardKind.QEMU),
        (None, None, {"CI": "false"}, [], BoardKind.VIRTUAL),
    ],
)
def test_kind_of_board(
    asked: str | None, port: str | None, environment: dict[str, str], attached: list[str], kind: BoardKind
) -> None:
    assert choose_board(Wish(asked, port), environment, lambda: attached).kind is kind


def test_loopback_port_without_a_board_option_is_virtual() -> None:
    choice = choose_board(Wish(port=LOOPBACK), {}, list)
    assert choice.kind is BoardKind.VIRTUAL
    assert [board.port for board in choice.boards] == [LOOPBACK]


def test_each_port_is_one_board() -> None:
    choice = choose_board(Wish(port=f"{LOOPBACK}|{LOOPBACK}1"), {}, list)
    assert [board.port for board in choice.boards] == [LOOPBACK, f"{LOOPBACK}1"]


@pytest.mark.parametrize("asked", [None, "auto"])
@pytest.mark.parametrize("port", [None, "/dev/ttyUSB0"])
def test_run_in_ci_without_a_board_option_is_refused(asked: str | None, port: str | None) -> None:
    with pytest.raises(UsageError, match=r"CI is set.*--board"):
        choose_board(Wish(asked, port), {"CI": "1"}, lambda: ["/dev/ttyUSB0"])


@pytest.mark.parametrize(
    ("asked", "port", "environment", "message"),
    [
        ("hardware", None, {}, "no attached board"),
        ("qemu", "/dev/ttyUSB0", {}, "QEMU has no port"),
        ("hardware", "/dev/not-there", {}, "there is no port /dev/not-there"),
        (None, "/dev/not-there", {}, "there is no port /dev/not-there"),
        (None, None, {"ESPPORT": "/dev/not-there"}, "there is no port /dev/not-there"),
        (None, None, {"HOTPIN_BOARD": "real"}, "HOTPIN_BOARD is 'real'"),
        (None, "", {}, "--port is empty"),
        (None, f"{LOOPBACK}|/dev/null", {}, "not all of the same kind"),
        (None, f"{LOOPBACK}|/dev/not-there", {}, "there is no port /dev/not-there"),
    ],
)
def test_impossible_choice_is_refused(
    asked: str | None, port: str | None, environment: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        choose_board(Wish(asked, port), environment, list)


def test_only_known_bridges_are_found_in_order() -> None:
    def listed(device: str, vid: int | None, pid: int | None) -> SimpleNamespace:
        return SimpleNamespace(device=device, vid=vid, pid=pid, location=None, serial_number=None)

    ports = find_ports(
        [
            listed("/dev/ttyUSB1", 0x10C4, 0xEA60),
            listed("/dev/ttyS0", None, None),
            listed("/dev/ttyACM0", 0x2341, 0x0043),
            listed("/dev/ttyUSB0", 0x1A86, 0x7523),
        ]
    )
    assert [(port.device, port.bridge) for port in ports] == [
        ("/dev/ttyUSB0", "CH340"),
        ("/dev/ttyUSB1", "CP210x"),
    ]


def test_build_has_project_version_idf_and_elf_hash(tmp_path: Path) -> None:
    build = read_build(write_build(tmp_path), BoardKind.VIRTUAL)
    assert build.as_json() == {
        "project": "hotpin",
        "version": "1.2.3",
        "idf": "native",
        "elf_sha256": ELF_SHA256,
    }


def damage(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 0xFF
    path.write_bytes(content)


def not_flashed(folder: Path, name: str) -> None:
    """Changes flasher_args.json: the entry of this part names a file that is not flashed and does not exist."""
    path = folder / "flasher_args.json"
    arguments = json.loads(path.read_text())
    arguments[name]["file"] = "elsewhere.bin"
    path.write_text(json.dumps(arguments))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "flasher_args.json").unlink(), "no firmware build"),
        (lambda folder: (folder / "flasher_args.json").write_text('{"app'), "damaged"),
        (lambda folder: (folder / "flasher_args.json").write_text("[]"), "damaged"),
        (lambda folder: (folder / "flasher_args.json").write_text("{}"), "does not name the files to flash"),
        (
            lambda folder: (folder / "flasher_args.json").write_text('{"extra_esptool_args": []}'),
            "damaged: extra_esptool_args is not a JSON object",
        ),
        (lambda folder: (folder / "hotpin.bin").unlink(), "has no .*hotpin.bin"),
        (lambda folder: not_flashed(folder, "partition-table"), "has no .*elsewhere.bin"),
        (lambda folder: (folder / "hotpin.bin").write_bytes(b""), "hotpin.bin is not a firmware image"),
        (lambda folder: damage(folder / "hotpin.bin", 0x40), "hotpin.bin is damaged"),
        (lambda folder: (folder / "hotpin.bin").write_bytes(image(b"\0", checksum=0)), "its checksum"),
        (lambda folder: damage(folder / "hotpin.bin", -1), "hotpin.bin is damaged: its SHA-256"),
        (lambda folder: (folder / "hotpin.bin").write_bytes(image(b"\0" * 16)), "not an ESP-IDF application"),
        (
            lambda folder: (folder / "hotpin.bin").write_bytes(image(b"\0" * 16, chip_id=9)),
            "for another chip",
        ),
        (lambda folder: damage(folder / "bootloader/bootloader.bin", 0x24), "bootloader.bin is damaged"),
        (lambda folder: damage(folder / "partition_table/partition-table.bin", 0), "not a partition table"),
    ],
)
def test_damaged_build_is_named_with_the_remedy(tmp_path: Path, spoil: object, message: str) -> None:
    folder = write_build(tmp_path)
    assert callable(spoil)
    spoil(folder)
    with pytest.raises(BuildError, match=message) as caught:
        read_build(folder, BoardKind.VIRTUAL)
    assert "\n" not in str(caught.value)
    assert "make native" in caught.value.remedy


def test_build_for_another_chip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="is for esp32s3"):
        read_build(write_build(tmp_path, chip="esp32s3"), BoardKind.VIRTUAL)
    with pytest.raises(BuildError, match="not for --target esp32c3"):
        read_build(write_build(tmp_path), BoardKind.VIRTUAL, "esp32c3")


@pytest.mark.parametrize("kind", [BoardKind.HARDWARE, BoardKind.QEMU])
def test_host_build_is_never_flashed_to_a_real_chip(tmp_path: Path, kind: BoardKind) -> None:
    with pytest.raises(BuildError, match="for the virtual board"):
        read_build(write_build(tmp_path), kind)


def test_esp32_build_is_refused_by_the_virtual_board(tmp_path: Path) -> None:
    folder = write_build(tmp_path, idf="v5.4.2")
    assert read_build(folder, BoardKind.HARDWARE).idf == "v5.4.2"
    with pytest.raises(BuildError, match=r"for the ESP32 \(ESP-IDF v5.4.2\)"):
        read_build(folder, BoardKind.VIRTUAL)


@pytest.mark.parametrize("kind", list(BoardKind))
@pytest.mark.parametrize(
    ("build", "actual"),
    [
        ("native", BoardKind.VIRTUAL),
        ("qemu", BoardKind.QEMU),
        ("hil", BoardKind.HARDWARE),
        ("release", BoardKind.HARDWARE),
    ],
)
def test_board_whose_build_is_of_another_kind_is_refused(
    kind: BoardKind, build: str, actual: BoardKind
) -> None:
    if kind is actual:
        check_identity(kind, {"build": build}, origin=Origin())
        return
    with pytest.raises(WrongBoardError) as caught:
        check_identity(kind, {"build": build}, origin=Origin())
    assert f"--board {actual}" in caught.value.remedy


def test_board_without_identity_or_with_another_mac_is_refused() -> None:
    with pytest.raises(WrongBoardError, match="does not report"):
        check_identity(BoardKind.HARDWARE, {}, origin=Origin())
    identity = {"build": "hil", "mac": "24:0a:c4:00:00:01"}
    check_identity(BoardKind.HARDWARE, identity, "24:0A:C4:00:00:01", origin=Origin())
    with pytest.raises(WrongBoardError, match="24:0a:c4:00:00:01, not 24:0a:c4:00:00:02"):
        check_identity(BoardKind.HARDWARE, identity, "24:0a:c4:00:00:02", origin=Origin())


COMMIT = "0123456789" * 4


@pytest.mark.parametrize(
    ("commit", "dirty", "reported"),
    [
        ("f" * 40, "", "commit ffffffffffff,"),
        (COMMIT, "abcdefabcdef", "commit 012345678901 with uncommitted changes abcdefabcdef,"),
        ("", "", "an unknown commit,"),
    ],
)
def test_firmware_of_another_commit_than_the_flashed_image_is_refused(
    commit: str, dirty: str, reported: str
) -> None:
    identity = {"build": "hil", "commit": commit, "dirty": dirty}
    check_identity(BoardKind.HARDWARE, identity, origin=Origin(commit, dirty, "e" * 40))
    with pytest.raises(
        WrongBoardError, match=f"firmware built from {reported} but the .* built from commit 012"
    ):
        check_identity(BoardKind.HARDWARE, identity, origin=Origin(COMMIT))


def test_origin_is_read_from_the_image(tmp_path: Path) -> None:
    fields = (b"HOTPIN-BUILT-FROM", COMMIT.encode(), b"abcdefabcdef", b"e" * 40)
    place = b"".join(field.ljust(size, b"\0") for field, size in zip(fields, (20, 44, 16, 44), strict=True))
    found = Origin(COMMIT, "abcdefabcdef", "e" * 40)
    assert find_origin(b"code" + place + b"more") == found
    # Truncated images and older firmware do not contain all of this data.
    assert find_origin(b"code" + place[:-1]) == find_origin(b"") == Origin()
    folder = write_build(tmp_path, constants=place)
    assert read_build(folder, BoardKind.VIRTUAL).origin == found


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Path where a test writes the program that replaces `python -m hotpin_hil`."""
    program = tmp_path / "hotpin_hil.py"
    monkeypatch.chdir(tmp_path)  # `python -m` searches the working directory first
    return program


SERVES = """
import json, os, sys
open("session", "w").write(str(os.getsid(0)))
said = {"port": "rfc2217://127.0.0.1:1", "mac": "24:0a:c4:00:00:01", "directory": "."}
print(json.dumps(said), flush=True)
open("ended", "w").write(str(len(sys.stdin.read())))
"""


def test_virtual_board_ends_when_its_stdin_closes(stand_in: Path, tmp_path: Path) -> None:
    stand_in.write_text(SERVES)
    board = BoardProcess.start(tmp_path / "board.log", tmp_path, ["--time-scale", "3"])
    assert (board.port, board.mac) == ("rfc2217://127.0.0.1:1", "24:0a:c4:00:00:01")
    board.check_alive()
    # Ctrl-C in a terminal reaches every process of the session, so the board needs a separate session.
    assert int((tmp_path / "session").read_text()) != os.getsid(0)
    board.stop()
    assert (tmp_path / "ended").read_text() == "0"
    with pytest.raises(PortError, match="has ended"):
        board.check_alive()


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import sys; sys.exit('error: flash file is locked')", "exit status 1.*flash file is locked"),
        ("print('hello')", "did not start"),
        ("print('{}')", "did not start"),
    ],
)
def test_virtual_board_that_fails_to_start_reports_the_reason(
    stand_in: Path, tmp_path: Path, program: str, message: str
) -> None:
    stand_in.write_text(program)
    with pytest.raises(PortError, match=message):
        BoardProcess.start(tmp_path / "board.log", tmp_path)


def test_virtual_board_that_does_not_listen_is_killed(
    stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.write_text(
        "import os, signal\nopen('pid', 'w').write(str(os.getpid()))\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: signal.pause()\n"
    )
    monkeypatch.setattr(board_process, "START_TIMEOUT_S", 2.0)
    monkeypatch.setattr(board_process, "STOP_TIMEOUT_S", 0.2)
    with pytest.raises(PortError, match="no output"):
        BoardProcess.start(tmp_path / "board.log", tmp_path)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_virtual_board_does_not_outlive_a_killed_run(stand_in: Path, tmp_path: Path) -> None:
    stand_in.write_text(SERVES)
    os.mkfifo(tmp_path / "ended")
    ended = os.open(tmp_path / "ended", os.O_RDONLY | os.O_NONBLOCK)
    runner = (
        f"import os, signal, sys; sys.path.insert(0, {str(Path(board_process.__file__).parents[2])!r})\n"
        "from pathlib import Path\nfrom hotpin_hil.boards.board_process import BoardProcess\n"
        "board = BoardProcess.start(Path('board.log'), Path())\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    result = subprocess.run([sys.executable, "-c", runner], cwd=tmp_path, check=False, timeout=30)
    assert result.returncode == -signal.SIGKILL
    assert select.select([ended], [], [], 20.0)[0], "the virtual board still runs"
    assert os.read(ended, 10) == b"0"
    os.close(ended)


def test_boards_of_a_run_and_boards_started_by_hand_have_separate_flash(
    stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.write_text("import json, sys\nopen('arguments', 'w').write(json.dumps(sys.argv))\n" + SERVES)
    options = SimpleNamespace(board_profile=None)
    board = VirtualBoard(BoardSettings(True, options, tmp_path / "run", time_scale=1.0))
    board.start(1)
    board.stop()
    arguments = json.loads((tmp_path / "arguments").read_text())
    assert arguments[arguments.index("--state-dir") + 1] == str(tmp_path / "run" / "state" / "boards")
    monkeypatch.setenv("HOTPIN_STATE_DIR", str(tmp_path / "mine"))
    assert default_state_dir() == tmp_path / "mine" / "virtual-boards"
    monkeypatch.delenv("HOTPIN_STATE_DIR")
    assert default_state_dir() == BUILD_DIR / "virtual-boards"
