"""Tests the data kept about a panic in a failed test: the panic is decoded if addr2line is installed, and the core dump
is read from flash, checked and attached."""

from __future__ import annotations

import hashlib
import stat
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

from hotpin_hil.evidence.lines import ResultsLine
from hotpin_hil.link.channel import Channel
from hotpin_hil.protocol.core_dump import find_core_dump, find_partition
from hotpin_hil.pytest_plugin.panics import keep_panics
from hotpin_hil.symbols import addr2line
from tests.plugin.test_plugin_results import TALKING
from tests.support.plugin_suite import Suite
from tests.support.schemas import RESULTS_LINE
from tests.support.xtensa_elf import EM_XTENSA, write_elf

pytest_plugins = ["pytester", "tests.support.plugin_suite"]

XTENSA_TOOL = "xtensa-esp32-elf-addr2line"
SHA = "b2fc75dc3"
"""ELF SHA-256 in PANIC; the test's board prints that of its own ELF instead."""
CODE = range(0x400D0020, 0x400E0000)
EM_386 = 3
PANIC = """
Guru Meditation Error: Core  1 panic'ed (LoadProhibited). Exception was unhandled.

Core  1 register dump:
PC      : 0x400d1234  PS      : 0x00060d30  A0      : 0x800d1300  A1      : 0x3ffb5a30
EXCVADDR: 0x00000000  LBEG    : 0x400014fd  LEND    : 0x4000150d  LCOUNT  : 0xffffffff

Backtrace: 0x400d1231:0x3ffb5a30 0x400d12fd:0x3ffb5a50

ELF file SHA256: b2fc75dc3
"""
SAVED = "I (900) esp_core_dump_flash: Core dump has been saved to flash.\n"
TOOL = """#!/bin/sh
[ "$1 $2" = "-fiaC -e" ] || exit 2
printf '%s\\n' 0x400d1231 read_it /src/main.c:7 app_main /src/main.c:12 0x400d12fd main_task /src/app_startup.c:208
"""


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


# The core dump


def dump(version: int, body: bytes = b"\x7fELF core" * 8) -> bytes:
    length = {0x0102: 4, 0x0103: 32, 0x0104: 32}.get(version, 4)
    content = struct.pack("<6I", 24 + len(body) + length, version, 0, 0, 0, 301) + body
    if length == 32:
        return content + hashlib.sha256(content).digest()
    return content + zlib.crc32(content).to_bytes(4, "little")


@pytest.mark.parametrize("version", [0x0102, 0x0103, 0x0104])
def test_core_dump_is_checked(version: int) -> None:
    whole = dump(version)
    found = find_core_dump(whole + b"\xff" * 100)
    assert found is not None
    assert (found.content, found.is_sound) == (whole, True)
    for at in (10, len(whole) // 2, len(whole) - 1):
        damaged = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        found = find_core_dump(damaged)
        assert found is not None
        assert found.is_sound is False


def test_checksum_of_another_version_is_not_judged() -> None:
    found = find_core_dump(dump(0x0003))
    assert found is not None
    assert found.is_sound is None


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff" * 64, bytes(64), struct.pack("<II", 65, 0x0102) + bytes(56), b"\x08\0\0\0\x02\x01\0\0"],
)
def test_invalid_core_dump_is_none(content: bytes) -> None:
    assert find_core_dump(content) is None


def test_partition_is_found_in_the_table() -> None:
    def entry(type_: int, subtype: int, offset: int, size: int) -> bytes:
        return struct.pack("<HBBII16sI", 0x50AA, type_, subtype, offset, size, b"name", 0)

    table = entry(1, 2, 0x9000, 0x6000) + entry(0, 0, 0x10000, 0x200000) + entry(1, 3, 0x210000, 0x20000)
    assert find_partition(table + b"\xeb\xeb" + b"\xff" * 30) == (0x210000, 0x20000)
    assert find_partition(table[:64] + b"\xff" * 32) is None


# Both together


class Serial:
    def __init__(self, channel: Channel, partition: bytes) -> None:
        self.channel = channel
        self._partition = partition

    def read_flash(self, offset: int, size: int, path: Path) -> None:
        assert (offset, size) == (0x210000, 0x20000)
        path.write_bytes(self._partition)


class Dut:
    def __init__(self, folder: Path, output: str, partition: bytes = b"", machine: int = EM_XTENSA) -> None:
        table = struct.pack("<HBBII16sI", 0x50AA, 1, 3, 0x210000, 0x20000, b"coredump", 0)
        (folder / "table.bin").write_bytes(table)
        elf = write_elf(folder / "app.elf", code=CODE, machine=machine)
        sha = hashlib.sha256(elf.read_bytes()).hexdigest()
        output = output.replace(SHA, sha[:9])
        self.app = type("App", (), {})()
        self.app.binary_path = str(folder)
        self.app.elf_file = str(folder / "app.elf")
        self.app.flash_args = {"partition-table": {"file": "table.bin"}}
        self.channel = Channel(name="fake")
        self.channel.feed(output.replace("\n", "\r\n").encode())
        self.serial = Serial(self.channel, partition)


def kept(folder: Path, dut: Dut) -> tuple[list[dict[str, Any]], list[str]]:
    kept: list[ResultsLine] = []
    texts = keep_panics("a/t.py::test_it[x/y]", None, dut.channel, dut, folder=folder, take=kept.append)
    lines = [line.as_json() for line in kept]
    for line in lines:
        RESULTS_LINE.validate(line)
    return lines, texts


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = script(tmp_path / "bin" / XTENSA_TOOL, TOOL)
    monkeypatch.setenv("PATH", str(path.parent), prepend=":")
    return path


def test_panic_is_decoded_and_its_core_dump_kept(tmp_path: Path, tool: Path) -> None:
    whole = dump(0x0102)
    dut = Dut(tmp_path, PANIC + SAVED + "Rebooting...\n", whole + b"\xff" * 1000)
    (line,), (text,) = kept(tmp_path, dut)
    assert (line["cause"], line["core"], line["is_host"]) == ("LoadProhibited", 1, False)
    assert line["backtrace"] == ["0x400d1231:0x3ffb5a30", "0x400d12fd:0x3ffb5a50"]
    assert line["calls"][1] == "0x400d12fd: main_task at /src/app_startup.c:208"
    assert "main_task at /src/app_startup.c:208" in text
    assert (tmp_path / line["file"]).read_text() == text == line["text"]
    core = line["core_dump"]
    assert (tmp_path / core["file"]).read_bytes() == whole
    assert (core["size"], core["sound"]) == (len(whole), True)
    assert core["sha256"] == hashlib.sha256(whole).hexdigest()
    assert "checksum correct" in text


def test_raw_backtrace_is_kept_without_addr2line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("IDF_TOOLS_PATH", str(tmp_path))
    (line,), (text,) = kept(tmp_path, Dut(tmp_path, PANIC))
    assert line["calls"] == ["0x400d1231: no function known", "0x400d12fd: no function known"]
    assert "0x400d1231:0x3ffb5a30" in text
    assert line["core_dump"] is None


def test_backtrace_of_another_build_is_not_decoded(tmp_path: Path, tool: Path) -> None:
    (line,), (text,) = kept(tmp_path, Dut(tmp_path, PANIC.replace(SHA, "123456789")))
    assert line["calls"] == []
    assert "does not match the firmware that panicked (123456789)" in text


def test_damaged_elf_is_named(tmp_path: Path, tool: Path) -> None:
    dut = Dut(tmp_path, PANIC)
    Path(dut.app.elf_file).write_bytes(b"\x7fELF and no more")
    (line,), (text,) = kept(tmp_path, dut)
    assert line["calls"] == []
    assert "not decoded: " in text
    assert "app.elf is a damaged ELF file" in text


def test_host_panic_is_marked_and_decoded_by_the_hosts_tool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(tmp_path / "bin" / addr2line.TOOL, TOOL)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    output = PANIC.replace("\nBacktrace", "(host process: registers are its own)\n\nBacktrace")
    (line,), (text,) = kept(tmp_path, Dut(tmp_path, output, machine=EM_386))
    assert line["is_host"]
    assert "the host's, not an ESP32's" in text
    assert "read_it" in line["calls"][0]


def test_damaged_core_dump_is_kept_and_marked_as_damaged(tmp_path: Path, tool: Path) -> None:
    whole = bytearray(dump(0x0102))
    whole[30] ^= 1
    (line,), (text,) = kept(tmp_path, Dut(tmp_path, PANIC + SAVED, bytes(whole)))
    assert line["core_dump"]["sound"] is False
    assert "checksum WRONG" in text


def test_panic_is_attached_to_the_failing_test(suite: Suite) -> None:
    result = suite.run(
        f"{TALKING}\nPANIC = {PANIC.replace(chr(10), chr(13) + chr(10))!r}\n"
        "@requirement('AAA-01')\ndef test_crash(device, firmware):\n"
        "    firmware.output(PANIC.encode())\n"
        "    firmware.output(b'\\r\\nrst:0xc (SW_CPU_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\\r\\n')\n"
        "    device.info()\n"
        "@requirement('AAA-02')\ndef test_good(request, device, firmware):\n"
        "    firmware.output(PANIC.encode())\n"
        "    from hotpin_hil.pytest_plugin.plugin import recorder_of\n"
        "    recorder_of(request.node).measure('x', 1, exact=1)\n",
        *("--alluredir=allure", "hil_tests"),
    )
    result.stdout.fnmatch_lines(["*- panic -*", "Guru Meditation Error: Core  1 panic'ed (LoadProhibited)*"])
    # A passed test gets no attachment, because it caused its panic on purpose.
    (line,) = [line for line in suite.lines if line.get("about") == "panic"]
    assert line["test"].endswith("::test_crash")
    attached = [path.read_text() for path in Path("allure").glob("*-attachment.txt")]
    assert any("panic'ed (LoadProhibited)" in text and "backtrace" in text for text in attached)
    assert suite.verdict("AAA-01") == "FAIL"
    suite.validate()


@pytest.mark.parametrize("is_emulated", [True, False])
def test_panic_that_qemu_can_cause_is_marked(tmp_path: Path, is_emulated: bool) -> None:
    output = PANIC.replace("LoadProhibited", "Interrupt wdt timeout on CPU1")
    dut = Dut(tmp_path, output)
    if is_emulated:
        dut.serial.faults = []  # type: ignore[attr-defined]  # attributes of HilQemu
    _, (text,) = kept(tmp_path, dut)
    assert ("a known defect of QEMU can also cause this" in text) == is_emulated
