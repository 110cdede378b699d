"""Tests reading core dumps from files and logs, and the stated reasons if there is no report of esp-coredump."""

from __future__ import annotations

import base64
import importlib.util
import stat
import struct
import zlib
from pathlib import Path

import pytest

from hotpin_hil.errors import UsageError
from hotpin_hil.symbols import esp_coredump
from hotpin_hil.symbols.firmware_elf import FirmwareElf, read_elf
from tests.support.small_elf import build_elf
from tests.support.xtensa_elf import write_elf

BODY = b"\x7fELF core of the test" * 20
CONTENT = struct.pack("<6I", 28 + len(BODY), 0x0102, 0, 0, 0, 301) + BODY
CORE = CONTENT + zlib.crc32(CONTENT).to_bytes(4, "little")
LINES = [base64.b64encode(CORE[at : at + 48]).decode() for at in range(0, len(CORE), 48)]


@pytest.fixture
def elf(tmp_path: Path) -> FirmwareElf:
    return read_elf(write_elf(tmp_path / "app.elf", code=range(0x400D0020, 0x400D1000)))


def test_core_dump_is_read_in_each_form(tmp_path: Path) -> None:
    path = tmp_path / "core"
    marked = ["================= CORE DUMP START =================", *LINES, "", "===== CORE DUMP END ====="]
    for written, core in (
        (CORE, CORE),
        (BODY, BODY),
        ("\n".join(LINES).encode(), CORE),
        ("\r\n".join(marked).encode(), CORE),
    ):
        path.write_bytes(written)
        assert esp_coredump.read_core_dump(path) == core


@pytest.mark.parametrize("content", [b"", b"I (31) boot: ESP-IDF\n", b"\0" * 64, b"QUJD\n" * 9])
def test_other_file_is_no_core_dump(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "core"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"core is (empty|not a core dump)"):
        esp_coredump.read_core_dump(path)
    with pytest.raises(UsageError, match="missing cannot be read"):
        esp_coredump.read_core_dump(tmp_path / "missing")


def test_missing_tools_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elf: FirmwareElf) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("IDF_TOOLS_PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    assert esp_coredump.report_core_dump(CORE, elf).startswith(
        "not decoded: xtensa-esp32-elf-gdb is not installed"
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    expected = "not decoded: esp-coredump is not installed (pip install 'hotpin-hil[decode]')"
    assert esp_coredump.report_core_dump(CORE, elf) == expected


def test_elf_of_the_host_has_no_core_dump(tmp_path: Path) -> None:
    report = esp_coredump.report_core_dump(CORE, read_elf(build_elf(tmp_path)))
    assert report.endswith("is for host; esp-coredump reads core dumps of chips")


def test_esp_coredumps_complaint_is_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elf: FirmwareElf
) -> None:
    pytest.importorskip(esp_coredump.ESP_COREDUMP)
    gdb = tmp_path / "xtensa-esp32-elf-gdb"
    gdb.write_text("#!/bin/sh\nexit 1\n")
    gdb.chmod(gdb.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    damaged = CORE[:-1] + bytes([CORE[-1] ^ 1])
    report = esp_coredump.report_core_dump(damaged, elf)
    assert report.startswith("not decoded: esp-coredump: ")
    assert "CRC" in report


def test_report_is_what_esp_coredump_prints_between_its_marks() -> None:
    output = (
        "espcoredump.py v1.17.2\n===============\n==================== ESP32 CORE DUMP START ====================\n\n"
        "Crashed task handle: 0x3ffd1c84, name: 'hil_console', GDB name: 'process 1073552516'\n\n"
        "===================== ESP32 CORE DUMP END =====================\n===============\nDone!\n"
    )
    assert esp_coredump._report(output).startswith("Crashed task handle: 0x3ffd1c84")
    assert "====" not in esp_coredump._report(output)
    assert esp_coredump._report(output.partition("CORE DUMP END")[0]) == ""
