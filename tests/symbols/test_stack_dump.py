"""Tests finding return addresses in the stack memory that a RISC-V panic prints."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from hotpin_hil.protocol.panic import StackMemory
from hotpin_hil.symbols.decoder import AddressDecoder
from hotpin_hil.symbols.firmware_elf import read_elf
from hotpin_hil.symbols.riscv_calls import is_call
from hotpin_hil.symbols.stack_dump import PANIC_DECODER, panic_text, scan_stack, unwind_stack
from tests.support.xtensa_elf import write_elf

EM_RISCV = 243
START = 0x42000000
CALL, NO_CALL = b"\xdd\x37", b"\x41\x01"  # c.jal; c.addi
INSTRUCTIONS = NO_CALL * 2 + CALL + NO_CALL * 5 + CALL + NO_CALL * 3
AFTER_CALLS = (START + 6, START + 18)
REGISTERS = {"MEPC": START, "RA": START + 18, "SP": 0x3FC93B20, "S0/FP": 0x3FC93B50, "MHARTID": 0}
STACK = StackMemory(
    0x3FC93B20, (0x11, START, AFTER_CALLS[1], START + 8, AFTER_CALLS[0], 0x3FC93B50, 0xA5A5A5A5, 3, 4)
)


@pytest.fixture
def decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AddressDecoder:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("IDF_TOOLS_PATH", str(tmp_path))
    code = range(START, START + len(INSTRUCTIONS))
    functions = {"app_main": START, "crash": START + 10}
    elf = write_elf(
        tmp_path / "app.elf", machine=EM_RISCV, code=code, instructions=INSTRUCTIONS, functions=functions
    )
    return AddressDecoder(read_elf(elf))


def fake_gdb(folder: Path, text: str) -> None:
    path = folder / "bin" / "riscv32-esp-elf-gdb"
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("ef000000", True),  # jal ra
        ("e7800700", True),  # jalr ra, a5
        ("0000dd37", True),  # c.jal
        ("00008297", True),  # c.jalr a5
        ("6f000000", False),  # jal zero: a jump
        ("67800000", False),  # jalr zero, ra: return
        ("00008280", False),  # c.jr ra: return
        ("00000290", False),  # c.ebreak
        ("13050500", False),  # addi
    ],
)
def test_calls_are_told_from_other_instructions(before: str, expected: bool) -> None:
    assert is_call(bytes.fromhex(before)) is expected


def test_words_behind_a_call_are_decoded_in_the_order_of_the_stack(decoder: AddressDecoder) -> None:
    assert scan_stack(decoder, STACK) == [
        f"0x{AFTER_CALLS[1] - 1:08x}: crash",
        f"0x{AFTER_CALLS[0] - 1:08x}: app_main",
    ]


def test_without_gdb_the_stack_is_scanned(decoder: AddressDecoder) -> None:
    calls, method = unwind_stack(decoder, REGISTERS, STACK)
    assert calls == scan_stack(decoder, STACK)
    assert (
        method
        == "return addresses on the stack; some calls may have returned (no gdb for RISC-V is installed)"
    )


def test_gdb_unwinds_the_stack(tmp_path: Path, decoder: AddressDecoder) -> None:
    fake_gdb(
        tmp_path,
        'echo "Reading $4 $6 $8"; echo "#0  crash () at main.c:7"; echo "#1  0x42000006 in app_main ()"',
    )
    calls, method = unwind_stack(decoder, REGISTERS, STACK)
    assert calls == ["#0  crash () at main.c:7", "#1  0x42000006 in app_main ()"]
    assert method == "unwound by riscv32-esp-elf-gdb with esp-idf-panic-decoder"


@pytest.mark.parametrize(
    "text", ["echo No stack. >&2; exit 1", "echo '#0  0x00000000 in ?? ()'; echo No stack. >&2"]
)
def test_gdb_that_finds_no_frame_is_replaced_by_the_scan(
    tmp_path: Path, decoder: AddressDecoder, text: str
) -> None:
    fake_gdb(tmp_path, text)
    calls, method = unwind_stack(decoder, REGISTERS, STACK)
    assert calls == scan_stack(decoder, STACK)
    assert "(riscv32-esp-elf-gdb: No stack.)" in method


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # from pyparsing, used by esp-idf-panic-decoder
def test_esp_idf_panic_decoder_reads_the_registers_and_the_stack() -> None:
    server = pytest.importorskip(f"{PANIC_DECODER}.gdb_panic_server")
    read = server.parse_idf_riscv_panic_output(panic_text(REGISTERS, STACK))
    assert read.regs == REGISTERS
    assert read.stack_base_addr == STACK.start
    assert read.stack_data == b"".join(word.to_bytes(4, "little") for word in STACK.words)
