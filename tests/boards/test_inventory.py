"""Runs `hotpin-hil boards` on virtual boards: checks its queries and its output, and that it does not access boards in
use."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import pty
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import esptool
import pytest

from fixtures.board import _read_fuses
from hotpin_hil.boards import ports
from hotpin_hil.boards import probe as probing
from hotpin_hil.boards.bench import BoardEntry
from hotpin_hil.boards.inventory import BoardRow, take_inventory
from hotpin_hil.boards.kind import BoardKind
from hotpin_hil.boards.lease import Lease, holder_of, mac_name, port_name
from hotpin_hil.boards.ports import SerialBridge, stable_name
from hotpin_hil.boards.probe import ChipReport, probe, read_mac
from hotpin_hil.cli import main as cli
from hotpin_hil.errors import FlashError, PortError
from hotpin_hil.link import port_holders
from hotpin_hil.link.port import open_port, port_error
from tests.conftest import shared_data
from tests.support.virtual_board import Boards, Build, Console

ONE, TWO = "24:0a:c4:00:00:01", "24:0a:c4:00:00:02"


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    return Build(tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="module")
def boards(build: Build, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boards]:
    """Two virtual boards: the first has the build in its flash, the second is erased."""
    state = tmp_path_factory.mktemp("state")
    (state / "hotpin-5.4-0").mkdir()
    (state / "hotpin-5.4-0/flash.bin").write_bytes(build.flash_image())
    boards = Boards(state, build.registry, count=2)
    yield boards
    boards.stop()


@pytest.fixture(autouse=True)
def short_wait_for_psram(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shortens the wait for the PSRAM line, which the fake firmware never prints."""
    monkeypatch.setattr(probing, "START_S", 0.1)


class Line:
    """Fake port that delivers a recorded boot in chunks that split lines."""

    PIECE = 37

    def __init__(self, log: bytes) -> None:
        self.log = log

    @property
    def in_waiting(self) -> int:
        return min(self.PIECE, len(self.log))

    def read(self, size: int) -> bytes:
        piece, self.log = self.log[:size], self.log[size:]
        return piece


@pytest.mark.parametrize(("name", "size"), [("normal", 4 << 20), ("no_psram", 0), ("no_app", None)])
def test_psram_is_read_from_a_recorded_start(name: str, size: int | None) -> None:
    log = shared_data(f"boot_logs/{name}.txt").read_bytes()
    assert probing.listen_for_psram(Line(log)) == size


@pytest.mark.parametrize(
    ("log", "size"),
    [
        (b"I (1161) esp_psram: Found 8MB PSRAM device\r\n", 8 << 20),
        (b'@! {"event":"boot","psram":4194304,"flash":4194304}*ABCD\r\n', 4 << 20),
        (b"E (912) quad_psram: PSRAM ID read error: 0x00000000, PSRAM chip not found\r\n", 0),
        (b"I (30) boot: ESP-IDF v5.4\r\n" * 9, None),
    ],
)
def test_psram_is_read_from_firmware_output(log: bytes, size: int | None) -> None:
    assert probing.listen_for_psram(Line(log)) == size


class CutLine(Line):
    """Fake port that delivers a log in two chunks."""

    def __init__(self, log: bytes, cut: int) -> None:
        super().__init__(log[:cut])
        self.rest = log[cut:]

    def read(self, size: int) -> bytes:
        piece = super().read(size)
        if not self.log:
            self.log, self.rest = self.rest, b""
        return piece


@pytest.mark.parametrize(
    "output", [b'"psram":4194304,"flash":1', b'"psram":4194304}', b": Found 4MB PSRAM device"]
)
def test_psram_is_not_read_from_half_a_number(output: bytes) -> None:
    log = b"I (1161) esp_psram" + output + b"\r\n"
    assert {probing.listen_for_psram(CutLine(log, cut)) for cut in range(len(log))} == {4 << 20}


@pytest.mark.parametrize(
    ("flash_id", "size"),
    [(0x164020, 4 << 20), (0x204020, 64 << 20), (0, None), (0xFFFFFF, None)],
)
def test_flash_size_comes_from_the_flash_id(flash_id: int, size: int | None) -> None:
    """If the flash chip does not answer, the data line stays low or high, and the id is 0 or 0xFFFFFF."""
    chip = SimpleNamespace(flash_id=lambda cache: flash_id, secure_download_mode=False)
    assert probing.flash_size(chip) == size


def test_silent_flash_chip_is_a_bench_error() -> None:
    """Without the flash id, the suite cannot check the flash size that the firmware reports."""
    chip = SimpleNamespace(
        connect=lambda: None,
        read_mac=lambda: bytes.fromhex("240ac4000001"),
        flash_id=lambda cache: 0xFFFFFF,
        secure_download_mode=False,
    )
    serial = SimpleNamespace(
        esp=chip,
        proc=SimpleNamespace(get_settings=dict),
        disable_redirect_thread=nullcontext,
        _q=io.StringIO(),
    )
    with pytest.raises(FlashError, match=f"the flash chip of {ONE} does not answer"):
        _read_fuses(serial)


def url(boards: Boards, number: int) -> str:
    return boards.found[number]["port"]


def test_flashed_board_is_listed_with_all_its_facts(boards: Boards, build: Build) -> None:
    steps: list[str] = []
    report = probe(url(boards, 0), steps.append)
    ((partition, app),) = report.apps
    assert (partition, app.project, app.version, app.idf) == ("factory", "fw", "1", "native")
    assert app.elf_sha256 == hashlib.sha256((build.folder / "fw.elf").read_bytes()).hexdigest()
    assert replace(report, apps=()) == ChipReport(ONE, "ESP32-D0WD-V3", "v3.1", flash=4 << 20)
    assert steps == ["reading the chip", "reading the flash", "reading the boot log"]


def test_board_runs_its_firmware_after_the_probe(boards: Boards) -> None:
    """The probe must end with a reset, not leave the chip in download mode."""
    probe(url(boards, 0))
    with Console(url(boards, 0)) as console:
        console.send("still there?")
        console.expect("still there")
    assert read_mac(url(boards, 0)) == ONE


def test_erased_board_is_listed_as_empty(boards: Boards) -> None:
    assert probe(url(boards, 1)) == ChipReport(TWO, "ESP32-D0WD-V3", "v3.1", flash=4 << 20)


def test_silent_flash_chip_is_listed_as_a_problem(boards: Boards, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(esptool.ESPLoader, "flash_id", lambda self, cache=True: 0xFFFFFF)
    report = probe(url(boards, 0))
    assert report == ChipReport(ONE, "ESP32-D0WD-V3", "v3.1", flash=None)
    assert "its flash chip does not answer" in "\n".join(BoardRow("p1", chip=report).lines())


def test_busy_port_is_an_error_with_the_port(boards: Boards) -> None:
    with Console(url(boards, 0)), pytest.raises(PortError, match=url(boards, 0)):
        probe(url(boards, 0))


def test_port_without_a_server_is_a_port_error() -> None:
    with pytest.raises(PortError, match="refused"):
        read_mac("rfc2217://127.0.0.1:1")


def test_port_without_a_chip_is_not_a_board() -> None:
    """A pseudo-terminal serves as the port: it takes bytes but never answers."""
    ours, theirs = pty.openpty()
    try:
        with pytest.raises(FlashError, match=r"no chip answers on /dev/pts/.*check cable and power"):
            read_mac(os.ttyname(theirs))
    finally:
        os.close(ours)
        os.close(theirs)


# --- Several boards ---


def bridge(device: str) -> SerialBridge:
    return SerialBridge(device, "CH340", "1-1.2", "")


class Asked:
    """Fake of `probe`: a MAC or an error for each port."""

    def __init__(self, **answers: str | Exception) -> None:
        self.answers = answers
        self.ports: list[str] = []

    def __call__(self, port: str, tell: object) -> ChipReport:
        self.ports.append(port)
        answer = self.answers[port]
        if isinstance(answer, Exception):
            raise answer
        return ChipReport(answer, "ESP32-D0WD-V3", "v3.1", 4 << 20, 0)


def entry(name: str, port: str | None = None, mac: str | None = None) -> BoardEntry:
    return BoardEntry(name, BoardKind.HARDWARE, port, mac)


def test_boards_of_the_bench_are_listed_before_other_attached_boards(tmp_path: Path) -> None:
    ask = Asked(p1=ONE, p2=TWO, p3=FlashError("no chip answers on p3", "check the cable"))
    rows = take_inventory(
        [bridge(name) for name in ("p1", "p2", "p3")],
        [entry("by port", "p1", ONE), entry("by mac", None, TWO), entry("gone", None, ONE[:-1] + "9")],
        tmp_path,
        ask,
    )
    assert [(row.entry.name if row.entry else None, row.port, row.mac) for row in rows] == [
        ("by port", "p1", ONE),
        ("by mac", "p2", TWO),
        ("gone", None, "24:0a:c4:00:00:09"),
        (None, "p3", None),
    ]
    assert [row.problem.message if row.problem else "" for row in rows] == [
        "",
        "",
        "it is on none of the attached ports",
        "no chip answers on p3",
    ]
    text = "\n".join(line for row in rows for line in row.lines())
    assert "by port  24:0a:c4:00:00:01  p1 (CH340 at 1-1.2)  hardware  free" in text
    assert "    remedy: check the cable" in text
    assert "no PSRAM" in text


def test_a_leased_board_is_not_disturbed(tmp_path: Path) -> None:
    ask = Asked(p2=TWO)
    with Lease(tmp_path, "p1") as by_port, Lease(tmp_path, "cam") as by_mac:
        by_port.add(port_name("p1"))
        by_mac.add(mac_name(ONE))
        rows = take_inventory([bridge("p1"), bridge("p2")], [entry("cam", "p3", ONE)], tmp_path, ask)
    assert ask.ports == ["p2"]
    assert [(row.port, row.holder.pid if row.holder else None) for row in rows] == [
        ("p3", os.getpid()),
        ("p1", os.getpid()),
        ("p2", None),
    ]
    assert f"    in use by pid {os.getpid()} of " in "\n".join(rows[0].lines())
    assert rows[0].as_json()["lease"]["pid"] == os.getpid()
    assert holder_of(tmp_path, port_name("p2")) is None


def test_board_with_another_mac_than_the_bench_file_is_a_problem(tmp_path: Path) -> None:
    (row,) = take_inventory([], [entry("cam", "p1", ONE)], tmp_path, Asked(p1=TWO))
    assert row.problem is not None
    assert f"the board on this port has the MAC {TWO}, but the bench file names {ONE}" in row.problem.message


def test_listing_without_probe_touches_no_board(tmp_path: Path) -> None:
    (tmp_path / "p1").touch()
    rows = take_inventory(
        [bridge(str(tmp_path / "p1")), bridge(str(tmp_path / "gone"))], [], tmp_path / "leases", None
    )
    assert rows[0].problem is None
    assert rows[1].problem is not None
    assert rows[1].problem.remedy == "plug the board in, or name its port with --port"
    assert not (tmp_path / "leases").exists()


def test_command_lists_a_bench_as_json(
    boards: Boards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOTPIN_LEASES", str(tmp_path))
    monkeypatch.setattr(ports, "find_ports", list)
    (tmp_path / "bench.toml").write_text(f'[[board]]\nname = "v"\nport = "{url(boards, 0)}"\n')
    assert cli.main(["boards", "--json", "--bench", str(tmp_path / "bench.toml")]) == 0
    output = capfd.readouterr()
    (row,) = json.loads(output.out)
    assert (row["name"], row["kind"], row["mac"], row["flash"]) == ("v", "virtual", ONE, 4 << 20)
    assert row["apps"][0]["project"] == "fw"
    assert output.err.splitlines() == [
        "v: reading the chip ...",
        "v: reading the flash ...",
        "v: reading the boot log ...",
    ]


def test_missing_board_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HOTPIN_BENCH", raising=False)
    monkeypatch.setattr(ports, "find_ports", list)
    assert cli.main(["boards"]) == 0
    assert "no board found" in capsys.readouterr().err


# --- Ports ---


def test_stable_name_is_by_id_only_with_a_usb_serial_number(tmp_path: Path) -> None:
    (tmp_path / "ttyUSB0").touch()
    for kind in ("by-id", "by-path"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "it").symlink_to("../ttyUSB0")
    device = str(tmp_path / "ttyUSB0")
    assert stable_name(device, True, tmp_path) == str(tmp_path / "by-id/it")
    assert stable_name(device, False, tmp_path) == str(tmp_path / "by-path/it")
    assert stable_name(str(tmp_path / "other"), True, tmp_path) == ""
    assert stable_name(device, True, tmp_path / "no udev") == ""


def test_a_busy_port_names_its_user() -> None:
    """The search for the port's user skips its own process, so a child process opens the port."""
    ours, theirs = pty.openpty()
    name = os.ttyname(theirs)
    held = open_port(name, 115200)
    child = os.fork()
    if child == 0:
        os.read(ours, 1)
        os._exit(0)
    try:
        with pytest.raises(PortError) as caught:
            open_port(name, 115200)
        assert f"pid {child} (" in caught.value.remedy
        assert caught.value.remedy.startswith("close the program that uses it: pid ")
        assert f"pid {os.getpid()} " not in caught.value.remedy
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        held.close()
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize(
    ("group", "remedy"),
    [
        (
            "dialout",
            "sudo usermod -aG dialout jo, then log in again; or install the udev rule of docs/bench.md",
        ),
        ("root", "install the udev rule of docs/bench.md, then plug the board in again"),
    ],
)
def test_permission_error_names_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str, remedy: str
) -> None:
    monkeypatch.setattr(
        port_holders, "grp", SimpleNamespace(getgrgid=lambda _: SimpleNamespace(gr_name=group))
    )
    monkeypatch.setattr(
        port_holders, "pwd", SimpleNamespace(getpwuid=lambda _: SimpleNamespace(pw_name="jo"))
    )
    (tmp_path / "ttyUSB0").touch()
    error = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "ttyUSB0"))
    assert port_error(str(tmp_path / "ttyUSB0"), error).remedy == remedy


def test_row_without_facts_is_still_printed() -> None:
    assert list(BoardRow("p1").lines()) == ["MAC unknown  p1"]
