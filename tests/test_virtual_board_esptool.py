"""Unmodified esptool against a virtual board, with its default options."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotpin_hil.paths import PROJECT_ROOT

from .virtual_board import Boards, Build, Console

# esptool as its command line runs it, on the harness's own RFC 2217 client instead of pyserial's slow one.
ESPTOOL = (
    "from hotpin_hil.link.port import register_handlers; register_handlers(); import esptool; esptool._main()"
)


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    return Build(tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="module")
def boards(build: Build, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boards]:
    boards = Boards(tmp_path_factory.mktemp("state"), build.registry)
    yield boards
    boards.stop()


class Esptool:
    """Runs esptool on the board; its output, and failure if it fails."""

    def __init__(self, boards: Boards) -> None:
        self.boards = boards
        self.flash_file = boards.state_dir / "ai-thinker-0/flash.bin"

    def __call__(self, *arguments: str, status: int = 0, program: str = ESPTOOL) -> str:
        done = subprocess.run(
            [sys.executable, "-c", program, "--port", self.boards.url, *arguments],
            cwd=PROJECT_ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def flash(self, offset: int, length: int) -> bytes:
        """What the flash holds."""
        with self.flash_file.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def holds(self, build: Build) -> bool:
        return all(
            self.flash(at, file.stat().st_size) == file.read_bytes() for at, file in build.files.items()
        )


@pytest.fixture
def esptool(boards: Boards) -> Esptool:
    """esptool and a board with erased flash."""
    tool = Esptool(boards)
    with tool.flash_file.open("r+b") as file:
        file.write(b"\xff" * (4 << 20))
    return tool


def test_identity(esptool: Esptool, boards: Boards) -> None:
    said = esptool("chip-id")
    assert "ESP32-D0WD-V3 (revision v3.1)" in said
    assert re.search(r"Crystal frequency: +40MHz", said)
    assert re.search(rf"MAC: +{boards.found[0]['mac']}\n", said)
    assert re.search(rf"MAC: +{boards.found[0]['mac']}\n", esptool("--no-stub", "read-mac"))
    said = esptool("flash-id")
    assert "Manufacturer: c8\nDevice: 4016\nDetected flash size: 4MB\n" in said


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


def test_uncompressed_at_another_baud_rate(esptool: Esptool, build: Build, boards: Boards) -> None:
    esptool("--baud", "921600", "write-flash", "--no-compress", *build.esptool_files())
    assert esptool.holds(build)
    with Console(boards.url) as console:
        console.restart()


@pytest.mark.parametrize("compress", ["--compress", "--no-compress"])
def test_rom_loader_without_stub(esptool: Esptool, build: Build, compress: str, tmp_path: Path) -> None:
    esptool("--no-stub", "write-flash", compress, *build.esptool_files())
    assert esptool.holds(build)
    esptool("--no-stub", "read-flash", "0x8000", "0xc00", str(tmp_path / "table.bin"))
    assert (tmp_path / "table.bin").read_bytes() == build.files[0x8000].read_bytes()
    esptool("--no-stub", "erase-region", "0x8000", "0x1000")
    assert esptool.flash(0x8000, 0x1000).count(0xFF) == 0x1000


def test_read_flash_and_erase_region(esptool: Esptool, tmp_path: Path) -> None:
    content = bytes(range(256)) * 0x180  # every byte, also those that SLIP and telnet escape
    (tmp_path / "in.bin").write_bytes(content)
    esptool("write-flash", "0x200000", str(tmp_path / "in.bin"))
    esptool("read-flash", "0x200100", "0x8123", str(tmp_path / "out.bin"))
    assert (tmp_path / "out.bin").read_bytes() == content[0x100:0x8223]
    esptool("erase-region", "0x201000", "0x1000")
    assert esptool.flash(0x200000, 0x1000) == content[:0x1000]
    assert esptool.flash(0x201000, 0x1000).count(0xFF) == 0x1000
    assert esptool.flash(0x202000, 0x1000) == content[0x2000:0x3000]


def test_what_runs_after_no_reset(esptool: Esptool) -> None:
    esptool("--after", "no-reset", "flash-id")
    # esptool has the stub load the ROM's loader again, so it is uploaded once more.
    again = esptool("--before", "no-reset", "--after", "no-reset-stub", "flash-id")
    assert "Uploading stub flasher" in again
    assert "Stub flasher is already running" in esptool("--before", "no-reset", "flash-id")


def test_flash_status_and_unknown_command(esptool: Esptool) -> None:
    esptool("write-flash-status", "--bytes", "2", "--non-volatile", "0x0202")
    assert "0x0202" in esptool("read-flash-status")
    assert "Failed to get security info" in esptool("get-security-info", status=2)


def test_port_in_use_is_said_to_be_busy(esptool: Esptool, boards: Boards) -> None:
    with Console(boards.url):
        assert "the port is busy or doesn't exist" in esptool("chip-id", status=2)


def test_pyserials_own_client_works_too(esptool: Esptool, boards: Boards) -> None:
    # Its waits make it take seconds; that it comes to an end is what counts.
    said = esptool("--no-stub", "--chip", "esp32", "read-mac", program="import esptool; esptool._main()")
    assert boards.found[0]["mac"] in said
