"""Finds the calls in the stack memory that RISC-V chips print instead of a backtrace.

gdb unwinds the stack with the ELF's call frame information; esp-idf-panic-decoder gives it the registers and the stack
of the log. Without gdb, the words that follow a call instruction are listed: they include calls that have returned.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hotpin_hil.protocol.panic import StackMemory
from hotpin_hil.symbols.addr2line import find_tool, named_tool
from hotpin_hil.symbols.decoder import AddressDecoder
from hotpin_hil.symbols.machine import Machine, call_address
from hotpin_hil.symbols.riscv_calls import CallFinder

PANIC_DECODER = "esp_idf_panic_decoder"
TIMEOUT_S = 40.0
CONNECT_S = 20
"""Time that gdb waits for esp-idf-panic-decoder. Its default of 2 s is too short if Python starts slowly."""
EXTRA = "pip install 'hotpin-hil[decode]'"
CALLS_MAX = 60
_ANY_GDB = "gdb-multiarch"
"""Debian's gdb, which also supports RISC-V."""
_WORDS_PER_LINE = 8


def unwind_stack(
    decoder: AddressDecoder, registers: Mapping[str, int], stack: StackMemory, toolchain: str | None = None
) -> tuple[list[str], str]:
    """The calls on the stack of a RISC-V panic, innermost first, and how they were found.

    Args:
        decoder: decoder for the firmware's ELF.
        registers: values by ESP-IDF's names.
        stack: words, starting at the stack pointer.
        toolchain: prefix of the toolchain's tools, None for the installed one.
    """
    gdb = _find_gdb(toolchain)
    has_decoder = importlib.util.find_spec(PANIC_DECODER) is not None
    why = (
        f"{PANIC_DECODER} is not installed: {EXTRA}" if not has_decoder else "no gdb for RISC-V is installed"
    )
    if gdb is not None and has_decoder:
        calls, why = _by_gdb(gdb, decoder.elf.path, registers, stack)
        if calls:
            return calls, f"unwound by {gdb.name} with esp-idf-panic-decoder"
    return scan_stack(decoder, stack), f"return addresses on the stack; some calls may have returned ({why})"


def _find_gdb(toolchain: str | None) -> Path | None:
    found = named_tool(toolchain, "gdb") if toolchain is not None else None
    any_gdb = shutil.which(_ANY_GDB)
    return found or find_tool(Machine.RISCV, "gdb") or (Path(any_gdb) if any_gdb is not None else None)


def panic_text(registers: Mapping[str, int], stack: StackMemory) -> str:
    """Registers and stack in the layout of ESP-IDF's panic handler, which esp-idf-panic-decoder parses."""
    values = [f"{name:<8}: 0x{value:08x}" for name, value in registers.items()]
    lines = ["Core  0 register dump:"]
    lines += ["  ".join(values[at : at + 4]) for at in range(0, len(values), 4)]
    lines += ["", "Stack memory:"]
    for at in range(0, len(stack.words), _WORDS_PER_LINE):
        words = " ".join(f"0x{word:08x}" for word in stack.words[at : at + _WORDS_PER_LINE])
        lines.append(f"{stack.start + 4 * at:08x}: {words}")
    return "\n".join(lines) + "\n"


def _by_gdb(gdb: Path, elf: Path, registers: Mapping[str, int], stack: StackMemory) -> tuple[list[str], str]:
    """The frames that gdb prints; if there are none, the reason."""
    with tempfile.TemporaryDirectory() as folder:
        panic = Path(folder) / "panic.txt"
        panic.write_text(panic_text(registers, stack))
        server = f'target remote | "{sys.executable}" -m {PANIC_DECODER} "{panic}"'
        command = [str(gdb), "--batch", "-n", str(elf)]
        for step in (f"set remotetimeout {CONNECT_S}", server, f"bt {CALLS_MAX}"):
            command += ["-ex", step]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, check=False
            )
        except (OSError, subprocess.SubprocessError) as error:
            return [], f"{gdb.name}: {error}"
    frames = [line.strip() for line in done.stdout.splitlines() if line.startswith("#")]
    if frames and not (len(frames) == 1 and " ?? " in frames[0]):
        return frames, ""
    said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return [], f"{gdb.name}: {said[-1] if said else 'no frames'}"


def scan_stack(decoder: AddressDecoder, stack: StackMemory) -> list[str]:
    """Find the words on the stack that follow a call instruction of the ELF; decoded, in the order of the stack."""
    finder = CallFinder(decoder.elf.path)
    returns = [word for word in stack.words if finder.follows_call(word)]
    calls = decoder.decode(call_address(word, Machine.RISCV) for word in returns[:CALLS_MAX])
    return [str(call) for call in calls if call.is_known]
