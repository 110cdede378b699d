"""Builds a small program with the host's compiler. Its labels are at known lines, so that decoded addresses can be
checked."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = """\
static inline __attribute__((always_inline)) int innermost(volatile int *cell)
{
    __asm__ volatile(".globl at_innermost\\nat_innermost:");
    return ++*cell;
}

static inline __attribute__((always_inline)) int middle(volatile int *cell)
{
    return innermost(cell) + 2;
}

__attribute__((noinline)) int outer(volatile int *cell)
{
    return middle(cell) + 3;
}

int main(void)
{
    volatile int cell = 1;
    return outer(&cell);
}
"""
INNERMOST_LINES = range(3, 5)
MIDDLE_CALL, OUTER_CALL = 9, 14
"""Lines of the calls that the compiler inlines."""


def build_elf(folder: Path, *options: str) -> Path:
    """Compiles the program with these options besides -O1; returns the ELF file."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("gcc is not installed")
    (folder / "src").mkdir(exist_ok=True)
    (folder / "src" / "small.c").write_text(SOURCE)
    elf = folder / "small.elf"
    command = [compiler, "-O1", *options, "src/small.c", "-o", str(elf)]
    subprocess.run(command, cwd=folder, capture_output=True, check=True)
    return elf


def symbols(elf: Path) -> dict[str, tuple[int, int]]:
    """Address and size of each symbol of a program."""
    from elftools.elf.elffile import ELFFile

    with elf.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        return {symbol.name: (symbol["st_value"], symbol["st_size"]) for symbol in table.iter_symbols()}


def set_machine(elf: Path, number: int) -> Path:
    """Change the architecture in the header of an ELF file."""
    content = bytearray(elf.read_bytes())
    content[18:20] = number.to_bytes(2, "little")
    elf.write_bytes(content)
    return elf
