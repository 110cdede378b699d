"""Runs unmodified esptool, with its default options, on a virtual board."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotpin_hil.paths import PROJECT_ROOT
from hotpin_hil.virtual import loader_protocol as protocol
from hotpin_hil.virtual import slip
from hotpin_hil.virtual.control import BoardControl
from hotpin_hil.virtual.image import CHECKSUM_SEED, xor_bytes
from tests.support.until import until
from tests.support.virtual_board import ESPTOOL, Boards, Build, Console, run_esptool


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    return Build(tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="module")
def boards(build: Build, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boards]:
    boards = Boards(tmp_path_factory.mktemp("state"), build.registry)
    yield boards
    boards.stop()


class Esptool:
    """Callable that runs esptool on the board and returns its output; it fails if esptool fails."""

    def __init__(self, boards: Boards) -> None:
        self.boards = boards
        self.flash_file = boards.state_dir / "hotpin-5.4-0/flash.bin"
        self.control = BoardControl(self.flash_file.parent)

    def __call__(
        self, *arguments: str, status: int = 0, program: str = ESPTOOL, cwd: Path = PROJECT_ROOT
    ) -> str:
        return run_esptool(self.boards.url, *arguments, status=status, program=program, cwd=cwd)

    def flash(self, offset: int, length: int) -> bytes:
        """Reads from the board's flash file."""
        with self.flash_file.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def holds(self, build: Build) -> bool:
        return all(
            self.flash(at, file.stat().st_size) == file.read_bytes() for at, file in build.files.items()
        )


@pytest.fixture
def esptool(boards: Boards) -> Esptool:
    """esptool and a powered board without faults and with erased flash."""
    tool = Esptool(boards)
    tool.control.ask("clear")
    tool.control.ask("power", on=True)
    with tool.flash_file.open("r+b") as file:
        file.write(b"\xff" * (4 << 20))
    return tool


def test_identity(esptool: Esptool, boards: Boards) -> None:
    output = esptool("chip-id")
    assert "ESP32-D0WD-V3 (revision v3.1)" in output
    assert re.search(r"Crystal frequency: +40MHz", output)
    assert re.search(rf"MAC: +{boards.found[0]['mac']}\n", output)
    assert re.search(rf"MAC: +{boards.found[0]['mac']}\n", esptool("--no-stub", "read-mac"))
    output = esptool("flash-id")
    assert "Manufacturer: c8\nDevice: 4016\nDetected flash size: 4MB\n" in output


def test_write_verify_boot_erase_and_back(esptool: Esptool, boards: Boards, build: Build) -> None:
    files = build.esptool_files()
    assert esptool("write-flash", *files).count("Hash of data verified.") == 3
    assert esptool.holds(build)
    esptool("verify-flash", *files)
    with Console(boards.url) as console:
        console.restart()
    esptool("erase-flash")
    assert esptool.flash(0, 4 << 20).count(0xFF) == 4 << 20
    with Console(boards.url) as console:
        console.expect("invalid header: 0xffffffff\n")
    assert "Verification failed" in esptool("verify-flash", *files, status=2)
    esptool("write-flash", *files)
    with Console(boards.url) as console:
        console.restart()


def test_second_write_flashes_nothing_on_request(esptool: Esptool, build: Build) -> None:
    options = ["--skip-flashed", "--flash_mode", "dio", "--flash_size", "4MB", "--flash_freq", "40m"]
    assert "already in flash" not in esptool("write-flash", *options, *build.esptool_files())
    again = esptool("write-flash", *options, *build.esptool_files())
    assert again.count("already in flash, skipping write") == 3
    assert "Writing at" not in again


def test_build_is_flashed_by_the_files_that_idf_writes(
    esptool: Esptool, build: Build, boards: Boards, tmp_path: Path
) -> None:
    """Flashes with `esptool write-flash @flash_args` in the build directory, and a merged image as made by `idf.py
    merge-bin`."""
    esptool("write-flash", "@flash_args", cwd=build.folder)
    assert esptool.holds(build)
    esptool("erase-flash")
    merged = str(tmp_path / "merged.bin")
    esptool("--chip", "esp32", "merge-bin", "-o", merged, "@flash_args", cwd=build.folder)
    esptool("write-flash", "0", merged)
    with Console(boards.url) as console:
        console.restart()


@pytest.mark.parametrize("baud", ["74880", "230400", "460800", "921600", "2000000"])
def test_any_baud_rate(esptool: Esptool, build: Build, boards: Boards, baud: str) -> None:
    esptool("--baud", baud, "write-flash", *build.esptool_files())
    assert esptool.holds(build)
    with Console(boards.url) as console:  # works only if the port is set to the console's baud rate again
        console.restart()


def test_uncompressed_at_another_baud_rate(esptool: Esptool, build: Build, boards: Boards) -> None:
    esptool("--baud", "921600", "write-flash", "--no-compress", *build.esptool_files())
    assert esptool.holds(build)


def test_older_stub_flashes(esptool: Esptool, build: Build, boards: Boards) -> None:
    output = esptool("--stub-version", "1", "write-flash", *build.esptool_files())
    assert "legacy stub" in output
    assert esptool.holds(build)
    with Console(boards.url) as console:
        console.restart()


def test_size_is_detected_and_written_into_the_bootloaders_header(esptool: Esptool, build: Build) -> None:
    bootloader = build.files[0x1000]
    other = bytearray(bootloader.read_bytes())
    other[3] = 0x10 | other[3] & 0xF  # says 2 MB
    (bootloader.parent / "2mb.bin").write_bytes(other)
    esptool("write-flash", "--flash-size", "detect", "0x1000", str(bootloader.parent / "2mb.bin"))
    assert esptool.flash(0x1000, bootloader.stat().st_size) == bootloader.read_bytes()


def test_only_what_differs_is_written_with_diff_with(esptool: Esptool, tmp_path: Path) -> None:
    old = bytes(range(256)) * 0x100
    new = old[:0x5000] + b"changed" + old[0x5007:]
    for name, data in (("old", old), ("new", new)):
        (tmp_path / name).write_bytes(data)
    esptool("write-flash", "0x200000", str(tmp_path / "old"))
    output = esptool("write-flash", "0x200000", str(tmp_path / "new"), "--diff-with", str(tmp_path / "old"))
    assert esptool.flash(0x200000, len(new)) == new
    assert "Hash of data verified." in output


def test_erase_all_takes_the_rest_too(esptool: Esptool, build: Build, tmp_path: Path) -> None:
    (tmp_path / "rest").write_bytes(b"left over")
    esptool("write-flash", "0x300000", str(tmp_path / "rest"))
    esptool("write-flash", "--erase-all", *build.esptool_files())
    assert esptool.holds(build)
    assert esptool.flash(0x300000, 9) == b"\xff" * 9


@pytest.mark.parametrize("compress", ["--compress", "--no-compress"])
def test_rom_loader_without_stub(esptool: Esptool, build: Build, compress: str, tmp_path: Path) -> None:
    esptool("--no-stub", "write-flash", compress, *build.esptool_files())
    assert esptool.holds(build)
    esptool("--no-stub", "read-flash", "0x8000", "0xc00", str(tmp_path / "table.bin"))
    assert (tmp_path / "table.bin").read_bytes() == build.files[0x8000].read_bytes()
    esptool("--no-stub", "erase-region", "0x8000", "0x1000")
    assert esptool.flash(0x8000, 0x1000).count(0xFF) == 0x1000


@pytest.mark.parametrize(
    ("options", "erased"),
    [([], 0x10000), (["--no-stub"], 0x100000)],
    ids=["stub erases just ahead", "rom erases all at first"],
)
def test_power_cut_during_flashing_ends_all_writing(
    esptool: Esptool, boards: Boards, tmp_path: Path, options: list[str], erased: int
) -> None:
    """Flashes a megabyte of zeros, which is compressed to a single packet; the cut must take effect within it."""
    cut, at, size = 40_000, 0x100000, 0x100000
    with esptool.flash_file.open("r+b") as file:
        file.seek(at)
        file.write(b"U" * size)
    (tmp_path / "zeros").write_bytes(bytes(size))
    esptool.control.ask("fault", fault="power-cut-flashing", arguments={"bytes": cut, "off_s": 0})
    command = [sys.executable, "-c", ESPTOOL, "--port", boards.url, *options]
    write = ["write-flash", "--flash-size", "keep", "--compress", hex(at), str(tmp_path / "zeros")]
    process = subprocess.Popen([*command, *write], cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL)
    try:
        until(lambda: esptool.control.state()["power"] != "on" or process.poll() is not None)
        assert esptool.control.state()["power"] != "on", "esptool ended before the power failed"
    finally:
        process.kill()
        process.wait()
    held = esptool.flash(at, size)
    assert held == bytes(cut) + b"\xff" * (erased - cut) + b"U" * (size - erased)
    esptool.control.ask("power", on=True)
    assert esptool.control.state()["faults"] == []
    esptool(*write)
    assert esptool.flash(at, size) == bytes(size)


def test_power_cut_discards_received_data(esptool: Esptool, boards: Boards, build: Build) -> None:
    """Sends a whole download in one write. If its last packet were not discarded, the app would start."""
    with esptool.flash_file.open("r+b") as file:
        file.write(build.flash_image())
    esptool.control.ask("fault", fault="power-cut-flashing", arguments={"bytes": 1, "off_s": 0})
    packets = [
        (protocol.FLASH_BEGIN, struct.pack("<IIII", 4, 1, 4, 0x200000), 0),
        (protocol.FLASH_DATA, struct.pack("<IIII", 4, 0, 0, 0) + b"data", CHECKSUM_SEED ^ xor_bytes(b"data")),
        (protocol.FLASH_END, bytes(4), 0),
    ]
    with Console(boards.url) as console:
        console.port.rts = True
        console.port.dtr = True
        console.port.rts = False
        console.expect("waiting for download")
        console.port.write(
            b"".join(
                slip.encode(protocol.HEADER.pack(0, op, len(data), checksum) + data)
                for op, data, checksum in packets
            )
        )
        until(lambda: esptool.control.state()["power"] != "on")
        # If the app started, it would run within milliseconds.
        assert {esptool.control.state()["firmware_pid"] for _ in range(200)} == {None}
    assert esptool.flash(0x200000, 4) == b"d\xff\xff\xff"


def test_read_flash_and_erase_region(esptool: Esptool, tmp_path: Path) -> None:
    content = bytes(range(256)) * 0x180  # every byte value, including those that SLIP and telnet escape
    (tmp_path / "in.bin").write_bytes(content)
    esptool("write-flash", "0x200000", str(tmp_path / "in.bin"))
    esptool("read-flash", "0x200100", "0x8123", str(tmp_path / "out.bin"))
    assert (tmp_path / "out.bin").read_bytes() == content[0x100:0x8223]
    esptool("erase-region", "0x201000", "0x1000")
    assert esptool.flash(0x200000, 0x1000) == content[:0x1000]
    assert esptool.flash(0x201000, 0x1000).count(0xFF) == 0x1000
    assert esptool.flash(0x202000, 0x1000) == content[0x2000:0x3000]


def test_stub_keeps_running_without_a_reset(esptool: Esptool, boards: Boards, build: Build) -> None:
    esptool("--after", "no-reset", "write-flash", *build.esptool_files())
    again = esptool("--before", "no-reset", "--after", "no-reset-stub", "flash-id")
    assert "Stub flasher is already running" in again
    with Console(boards.url) as console:
        console.restart()


@pytest.mark.parametrize("after", ["hard-reset", "watchdog-reset"])
def test_app_runs_after_a_reset(esptool: Esptool, boards: Boards, build: Build, after: str) -> None:
    esptool("--after", after, "write-flash", *build.esptool_files())
    with Console(boards.url) as console:
        console.send("anyone?")
        console.expect("anyone\\?")


def test_soft_reset_from_the_rom_loader_runs_the_app(esptool: Esptool, boards: Boards, build: Build) -> None:
    esptool("write-flash", *build.esptool_files())
    esptool("--no-stub", "--after", "soft-reset", "read-mac")
    with Console(boards.url) as console:
        console.send("anyone?")
        console.expect("anyone\\?")


def test_run_leaves_the_rom_loader_for_the_app(esptool: Esptool, boards: Boards, build: Build) -> None:
    esptool("write-flash", *build.esptool_files())
    esptool("--no-stub", "--after", "no-reset", "run")
    with Console(boards.url) as console:
        console.send("anyone?")
        console.expect("anyone\\?")


def test_before_no_reset_finds_no_loader_where_the_app_runs(
    esptool: Esptool, boards: Boards, build: Build
) -> None:
    esptool("write-flash", *build.esptool_files())
    output = esptool("--before", "no-reset", "--connect-attempts", "1", "read-mac", status=2)
    assert "Failed to connect to" in output


def test_registers_and_memory(esptool: Esptool, boards: Boards, tmp_path: Path) -> None:
    for options in ([], ["--no-stub"]):
        assert "= 0x00f01d83" in esptool(*options, "read-mem", "0x40001000")
    mac = int(boards.found[0]["mac"].replace(":", ""), 16)
    esptool("dump-mem", "0x3ff5a004", "8", str(tmp_path / "efuse.bin"))
    low, high = struct.unpack("<II", (tmp_path / "efuse.bin").read_bytes())
    assert (high & 0xFFFF) << 32 | low == mac
    esptool("--after", "no-reset", "write-mem", "0x3ffb0000", "0x12345678", "0xffff0000")
    assert "= 0x12340000" in esptool("--before", "no-reset", "read-mem", "0x3ffb0000")


def test_discoverable_parameters_give_the_density(esptool: Esptool) -> None:
    output = esptool("read-flash-sfdp", "0", "4")
    assert "SFDP[0..3]: 0x53 0x46 0x44 0x50" in output


def test_image_info_needs_no_board(esptool: Esptool, build: Build) -> None:
    output = esptool("image-info", str(build.files[0x10000]))
    assert re.search(r"Checksum: 0x[0-9a-f]+ \(valid\)", output)
    assert re.search(r"Validation hash: [0-9a-f]{64} \(valid\)", output)
    assert "Project name: fw" in output


@pytest.mark.parametrize("options", [[], ["--no-stub"]])
def test_program_for_the_chips_ram_is_not_run_and_a_reset_ends_it(
    esptool: Esptool, boards: Boards, tmp_path: Path, options: list[str]
) -> None:
    from esptool.bin_image import ELFSection, ESP32FirmwareImage

    program = ESP32FirmwareImage()
    program.entrypoint = 0x40080000
    program.segments = [ELFSection(b"code", 0x40080000, b"code of the chip", flags=0)]
    program.save(str(tmp_path / "ram.bin"))
    esptool(*options, "--after", "no-reset-stub", "load-ram", str(tmp_path / "ram.bin"))
    output = esptool("--before", "no-reset", "--connect-attempts", "1", "read-mac", status=2)
    assert "Failed to connect to" in output
    assert boards.found[0]["mac"] in esptool("--no-stub", "read-mac")


def test_flash_status_and_unknown_command(esptool: Esptool) -> None:
    esptool("write-flash-status", "--bytes", "2", "--non-volatile", "0x0202")
    for options in ([], ["--no-stub"]):
        assert "0x0202" in esptool(*options, "read-flash-status")
        assert "Failed to get security info" in esptool(*options, "get-security-info", status=2)
    output = esptool("--no-stub", "erase-flash", status=2)
    assert "ESP32 ROM does not support function erase_flash" in output


def test_port_in_use_is_reported_as_busy(esptool: Esptool, boards: Boards) -> None:
    with Console(boards.url):
        assert "the port is busy or doesn't exist" in esptool("chip-id", status=2)


def test_pyserials_rfc2217_client_works(esptool: Esptool, boards: Boards) -> None:
    # Slow, because pyserial's client waits for seconds. The test only checks that esptool ends.
    output = esptool("--no-stub", "--chip", "esp32", "read-mac", program="import esptool; esptool._main()")
    assert boards.found[0]["mac"] in output
