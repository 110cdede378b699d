"""Tests decoding addresses to function, file and line, with and without addr2line."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import struct
from pathlib import Path

import pytest

from hotpin_hil.errors import UsageError
from hotpin_hil.symbols import addr2line
from hotpin_hil.symbols.address_ranges import read_address_ranges
from hotpin_hil.symbols.decoder import AddressDecoder
from hotpin_hil.symbols.dwarf import DwarfLookup
from hotpin_hil.symbols.firmware_elf import read_elf
from hotpin_hil.symbols.machine import Machine, call_address
from hotpin_hil.symbols.places import SourcePlace
from tests.support.small_elf import INNERMOST_LINES, MIDDLE_CALL, OUTER_CALL, build_elf, set_machine, symbols
from tests.support.xtensa_elf import write_elf

FORMATS = ("-gdwarf-2", "-gdwarf-4", "-gdwarf-5")


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


# Without addr2line


@pytest.mark.parametrize("debug_format", FORMATS)
def test_inlined_functions_are_listed_innermost_first(tmp_path: Path, debug_format: str) -> None:
    elf = build_elf(tmp_path, debug_format)
    places = DwarfLookup(elf).places(symbols(elf)["at_innermost"][0])
    assert [place.function for place in places] == ["innermost", "middle", "outer"]
    assert places[0].line in INNERMOST_LINES
    assert [place.line for place in places[1:]] == [MIDDLE_CALL, OUTER_CALL]
    assert {place.file for place in places} == {str(tmp_path / "src" / "small.c")}


@pytest.mark.parametrize("debug_format", FORMATS)
def test_every_address_gives_what_addr2line_gives(tmp_path: Path, debug_format: str) -> None:
    tool = shutil.which(addr2line.TOOL)
    if tool is None:
        pytest.skip("addr2line is not installed")
    elf = build_elf(tmp_path, debug_format)
    table = symbols(elf)
    addresses = [table[name][0] + at for name in ("outer", "main") for at in range(table[name][1])]
    lookup = DwarfLookup(elf)
    for address, expected in zip(addresses, addr2line.run_addr2line(Path(tool), elf, addresses), strict=True):
        assert lookup.places(address) == expected.places, hex(address)


def test_line_table_with_functions_that_touch_is_read(tmp_path: Path) -> None:
    touching = tmp_path / "touching.h"
    touching.write_text(
        "int first(int value) { return value + 1; }\nint second(int value) { return value + 2; }\n"
    )
    options = ("-g", "-ffunction-sections", "-falign-functions=1", "-include", str(touching))
    elf = build_elf(tmp_path, *options)
    table = symbols(elf)
    assert table["second"][0] == sum(table["first"])
    places = DwarfLookup(elf).places(table["second"][0])
    assert places == (SourcePlace("second", str(touching), 2),)


def test_without_debug_information_the_symbol_is_given(tmp_path: Path) -> None:
    elf = build_elf(tmp_path, "-g0")
    address, size = symbols(elf)["outer"]
    lookup = DwarfLookup(elf)
    assert not read_elf(elf).has_lines
    assert lookup.places(address + size - 1) == (SourcePlace("outer"),)
    stripped = build_elf(tmp_path, "-g0", "-s")
    assert DwarfLookup(stripped).places(address) == ()


def test_damaged_debug_information_counts_as_missing(tmp_path: Path) -> None:
    from elftools.elf.elffile import ELFFile

    elf = build_elf(tmp_path, "-g")
    address = symbols(elf)["outer"][0]
    with elf.open("rb") as file:
        info = ELFFile(file).get_section_by_name(".debug_info")
        start, size = info["sh_offset"], info["sh_size"]
    content = bytearray(elf.read_bytes())
    content[start + 4 : start + size] = b"\xff" * (size - 4)
    elf.write_bytes(content)
    assert DwarfLookup(elf).places(address) == (SourcePlace("outer"),)


def test_functions_that_the_linker_dropped_do_not_hide_others(tmp_path: Path) -> None:
    unused = tmp_path / "src" / "unused.h"
    unused.parent.mkdir()
    unused.write_text("int unused(int value) { return value + 1; }\n")
    elf = build_elf(tmp_path, "-g", "-ffunction-sections", "-Wl,--gc-sections", "-include", str(unused))
    assert "unused" not in symbols(elf)
    for name in ("outer", "main"):
        assert DwarfLookup(elf).places(symbols(elf)[name][0])[-1].function == name


def test_address_ranges_are_read_past_entries_that_the_linker_emptied() -> None:
    def unit(offset: int, *pairs: tuple[int, int]) -> bytes:
        content = b"".join(struct.pack("<II", *pair) for pair in (*pairs, (0, 0)))
        return struct.pack("<IHIBB4x", 12 + len(content), 2, offset, 4, 0) + content

    first = unit(0x20, (0x40080000, 0x10), (0, 0), (0x400D0000, 0x30))
    section = first + unit(0x90, (0x400E0000, 4))
    expected = [(range(0x40080000, 0x40080010), 0x20), (range(0x400D0000, 0x400D0030), 0x20)]
    assert list(read_address_ranges(section)) == [*expected, (range(0x400E0000, 0x400E0004), 0x90)]
    assert list(read_address_ranges(section[:-1])) == expected
    assert list(read_address_ranges(b"\xff" * 40)) == []


# The decoder


def test_decoder_gives_one_entry_per_address_in_order(tmp_path: Path) -> None:
    elf = build_elf(tmp_path, "-g")
    outer, main = (symbols(elf)[name][0] for name in ("outer", "main"))
    decoder = AddressDecoder(read_elf(elf))
    found = decoder.decode([main, 0x7FFFFFFF, outer, main])
    assert [entry.address for entry in found] == [main, 0x7FFFFFFF, outer, main]
    assert [entry.places[-1].function if entry.is_known else None for entry in found] == [
        "main",
        None,
        "outer",
        "main",
    ]
    assert str(found[1]) == "0x7fffffff: no function known"


@pytest.mark.parametrize("text", ["#!/bin/sh\nexit 1\n", "#!/no/such/interpreter\n", "#!/bin/sh\necho odd\n"])
def test_failing_addr2line_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    elf = build_elf(tmp_path, "-g")
    script(tmp_path / "bin" / addr2line.TOOL, text)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    decoder = AddressDecoder(read_elf(elf))
    assert decoder.method == addr2line.TOOL
    (found,) = decoder.decode([symbols(elf)["outer"][0]])
    assert found.places[-1].function == "outer"
    assert decoder.method == "DWARF"


def test_named_toolchain_must_work(tmp_path: Path) -> None:
    elf = read_elf(build_elf(tmp_path, "-g"))
    with pytest.raises(UsageError, match=r"no-such-addr2line does not exist"):
        AddressDecoder(elf, "no-such-")
    script(tmp_path / "bin" / "bad-addr2line", "#!/bin/sh\necho file format not recognized >&2\nexit 1\n")
    decoder = AddressDecoder(elf, str(tmp_path / "bin" / "bad-"))
    with pytest.raises(UsageError, match=r"bad-addr2line cannot decode .*: file format not recognized"):
        decoder.decode([symbols(elf.path)["main"][0]])


def test_output_of_addr2line_is_parsed() -> None:
    output = (
        "0x400d1231\nread_it\n/build/../src/main.c:7 (discriminator 2)\napp_main\n/src/main.c:12\n"
        "0x400d12fd\nmemcpy\n??:0\n0x4000c2c8\n??\n??:?\n0x400d2000\nns::Class::run(int)\n/src/c:x.cpp:?\n"
    )
    found = addr2line.parse(output)
    assert found[0x400D1231].places == (
        SourcePlace("read_it", "/src/main.c", 7),
        SourcePlace("app_main", "/src/main.c", 12),
    )
    assert (
        str(found[0x400D1231])
        == "0x400d1231: read_it at /src/main.c:7\n (inlined by) app_main at /src/main.c:12"
    )
    assert str(found[0x400D12FD]) == "0x400d12fd: memcpy"
    assert found[0x4000C2C8].places == ()
    assert str(found[0x400D2000]) == "0x400d2000: ns::Class::run(int) at /src/c:x.cpp:?"


@pytest.mark.parametrize(
    ("machine", "prefix", "inside"),
    [
        (Machine.XTENSA, "xtensa-esp32-elf-", "xtensa-esp-elf/esp-{}/xtensa-esp-elf/bin/"),
        (Machine.RISCV, "riscv32-esp-elf-", "riscv32-esp-elf/esp-{}/riscv32-esp-elf/bin/"),
    ],
)
def test_tool_is_found_on_the_path_before_idfs_tools(
    tmp_path: Path, machine: Machine, prefix: str, inside: str
) -> None:
    environment = {"PATH": str(tmp_path / "bin"), "IDF_TOOLS_PATH": str(tmp_path / "tools")}
    assert addr2line.find_tool(machine, environment=environment) is None
    script(tmp_path / "tools/tools" / (inside.format("13.2") + prefix + "addr2line"), "")
    newest = script(tmp_path / "tools/tools" / (inside.format("14.2") + prefix + "addr2line"), "")
    assert addr2line.find_tool(machine, environment=environment) == newest
    on_path = script(tmp_path / "bin" / f"{prefix}addr2line", "")
    assert addr2line.find_tool(machine, environment=environment) == on_path
    assert addr2line.find_tool(Machine.HOST, environment=environment) is None
    host = script(tmp_path / "bin" / "addr2line", "")
    assert addr2line.find_tool(Machine.HOST, environment=environment) == host


# Return addresses


@pytest.mark.parametrize(
    ("printed", "machine", "call"),
    [
        (
            0x800DF6D7,
            Machine.XTENSA,
            0x400DF6D4,
        ),  # A0 after call8; ESP-IDF prints such addresses in backtraces
        (0x400DF6D7, Machine.XTENSA, 0x400DF6D4),  # call4, or a caller of heap_trace_dump
        (0xC00DF6D7, Machine.XTENSA, 0x400DF6D4),  # call12
        (0x42009AB8, Machine.RISCV, 0x42009AB7),
        (0x1234, Machine.HOST, 0x1233),
    ],
)
def test_call_is_before_its_return_address(printed: int, machine: Machine, call: int) -> None:
    assert call_address(printed, machine) == call


# ELF files


def test_elf_is_identified(tmp_path: Path) -> None:
    elf = read_elf(build_elf(tmp_path, "-g"))
    assert (elf.machine, elf.has_lines) == (Machine.HOST, True)
    assert elf.sha256 == hashlib.sha256(elf.path.read_bytes()).hexdigest()
    assert elf.matches(elf.sha256[:9])
    assert elf.matches(f"{elf.sha256[:9].upper()}...")
    assert not elf.matches("0" * 9)
    assert not elf.matches("")
    assert elf.has_code_at(symbols(elf.path)["main"][0])
    assert not elf.has_code_at(symbols(elf.path)["_edata"][0])


@pytest.mark.parametrize(("number", "machine"), [(94, Machine.XTENSA), (243, Machine.RISCV)])
def test_architectures_of_the_chips_are_known(tmp_path: Path, number: int, machine: Machine) -> None:
    assert read_elf(set_machine(build_elf(tmp_path), number)).machine is machine


def test_invalid_elf_is_named_with_a_remedy(tmp_path: Path) -> None:
    elf = build_elf(tmp_path)
    content = elf.read_bytes()
    wrong = tmp_path / "wrong.elf"

    def complaint(data: bytes) -> str:
        wrong.write_bytes(data)
        with pytest.raises(UsageError) as caught:
            read_elf(wrong)
        return str(caught.value)

    assert "wrong.elf is not an ELF file" in complaint(b"")
    assert "wrong.elf is not an ELF file" in complaint(b"I (31) boot: ESP-IDF\n")
    for length in (5, 40, 64, len(content) // 2, len(content) - 100):
        assert "wrong.elf is a damaged ELF file" in complaint(content[:length])
    assert "is for another processor (EM_ARM)" in complaint(content[:18] + b"\x28\x00" + content[20:])
    assert "is a core dump, not a program" in complaint(content[:16] + b"\x04\x00" + content[18:])
    assert "is not a linked program (ET_REL)" in complaint(content[:16] + b"\x01\x00" + content[18:])
    with pytest.raises(UsageError, match=r"missing\.elf cannot be read: No such file"):
        read_elf(tmp_path / "missing.elf")


def test_elf_without_code_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a linked program"):
        read_elf(write_elf(tmp_path / "data.elf"))
