"""Call instructions of RISC-V, to tell return addresses from other words on a stack."""

from __future__ import annotations

import io
from pathlib import Path

_BEFORE_BYTES = 4


def is_call(before: bytes) -> bool:
    """Whether the four bytes before an address end with a call: `jal ra`, `jalr ra`, `c.jal` or `c.jalr`."""
    word = int.from_bytes(before, "little")
    if word & 0xFFF == 0x0EF or word & 0x7FFF == 0x0E7:
        return True
    half = word >> 16
    return half & 0xE003 == 0x2001 or (half & 0xF07F == 0x9002 and half & 0x0F80 != 0)


class CallFinder:
    """Finds the call instructions in the code of an ELF file."""

    def __init__(self, path: Path) -> None:
        """Read the code of an ELF file that `read_elf` accepts."""
        from elftools.elf.constants import SH_FLAGS
        from elftools.elf.elffile import ELFFile

        elf = ELFFile(io.BytesIO(path.read_bytes()))
        self._code = [
            (section["sh_addr"], section.data())
            for section in elf.iter_sections()
            if section["sh_flags"] & SH_FLAGS.SHF_EXECINSTR
        ]

    def follows_call(self, address: int) -> bool:
        """Whether the instruction before an address is a call."""
        for start, code in self._code:
            end = address - start
            if _BEFORE_BYTES <= end <= len(code):
                return is_call(code[end - _BEFORE_BYTES : end])
        return False
