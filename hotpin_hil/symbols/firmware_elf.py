"""The ELF file of a firmware build: its identity and its ranges of code."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hotpin_hil.errors import UsageError
from hotpin_hil.symbols.machine import Machine

_MACHINES = {
    "EM_XTENSA": Machine.XTENSA,
    "EM_RISCV": Machine.RISCV,
    "EM_X86_64": Machine.HOST,
    "EM_386": Machine.HOST,
    "EM_AARCH64": Machine.HOST,
}
_PROGRAMS = ("ET_EXEC", "ET_DYN")
_REMEDY = "name the .elf file in the build folder of the firmware that wrote the log"
_CODE = 0x4  # SHF_EXECINSTR
_LOADED = 0x2  # SHF_ALLOC


@dataclass(frozen=True)
class FirmwareElf:
    """An ELF file that has been read and checked."""

    path: Path
    sha256: str
    """SHA-256 of the whole file; the bootloader, the application and the panic handler print its first digits."""
    machine: Machine
    code: tuple[range, ...]
    """Addresses of the sections with code."""
    has_lines: bool
    """Whether the file has debug information with line numbers."""

    def has_code_at(self, address: int) -> bool:
        """Whether the address is in a section with code."""
        return any(address in addresses for addresses in self.code)

    def matches(self, printed: str) -> bool:
        """Whether the file's SHA-256 starts with the digits that a log printed."""
        digits = printed.rstrip(".").lower()
        return bool(digits) and self.sha256.startswith(digits)


def read_elf(path: Path) -> FirmwareElf:
    """Read the identity of an ELF file.

    Raises:
        UsageError: the file cannot be read, is damaged, or is not a program for a known architecture.
    """
    from elftools.elf.elffile import ELFFile

    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from None
    if content[:4] != b"\x7fELF":
        raise UsageError(f"{path} is not an ELF file", _REMEDY)
    try:
        elf = ELFFile(io.BytesIO(content))
        kind, type_ = str(elf["e_machine"]), str(elf["e_type"])
        sections = [(section.name, section.header) for section in elf.iter_sections()]
    except Exception as error:  # a damaged file makes pyelftools raise any exception
        raise UsageError(f"{path} is a damaged ELF file: {error or type(error).__name__}", _REMEDY) from None
    if type_ == "ET_CORE":
        raise UsageError(f"{path} is a core dump, not a program", "give it with --core")
    machine = _MACHINES.get(kind)
    if machine is None:
        raise UsageError(
            f"{path} is for another processor ({kind}), not for a chip of the ESP32 family", _REMEDY
        )
    code = tuple(addresses for _, header in sections if (addresses := _code_addresses(header)))
    if type_ not in _PROGRAMS or not code:
        raise UsageError(f"{path} is not a linked program ({type_})", _REMEDY)
    names = {name for name, _ in sections}
    return FirmwareElf(
        path,
        hashlib.sha256(content).hexdigest(),
        machine,
        code,
        bool({".debug_line", ".zdebug_line"} & names),
    )


def _code_addresses(header: Any) -> range:
    is_code = header["sh_flags"] & _CODE and header["sh_flags"] & _LOADED
    return range(header["sh_addr"], header["sh_addr"] + header["sh_size"]) if is_code else range(0)
