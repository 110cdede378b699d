"""The ELF files that the user names, and the choice of the file that fits a log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hotpin_hil.errors import UsageError
from hotpin_hil.symbols.decoder import AddressDecoder
from hotpin_hil.symbols.firmware_elf import FirmwareElf, read_elf
from hotpin_hil.symbols.machine import Machine

DIGITS = 9
"""Digits of the SHA-256 that ESP-IDF prints by default."""


@dataclass(frozen=True)
class ElfRemark:
    """The ELF file chosen for a part of a log, with the reason, or the reason why no file was chosen."""

    text: str
    elf: str = ""
    """Path of the file; empty if none was chosen."""
    sha256: str = ""
    is_match: bool | None = None
    """Whether the log names this ELF; None if the log does not name an ELF."""


class ElfSet:
    """The ELF files that the user named; at most one of them fits each firmware build in a log."""

    def __init__(self, paths: Sequence[Path], toolchain: str | None = None) -> None:
        """Read the files.

        Args:
            paths: ELF files, and folders in which all `*.elf` files are read.
            toolchain: as for AddressDecoder.

        Raises:
            UsageError: a file is not a usable ELF file, or a folder has none.
        """
        self._toolchain = toolchain
        self._has_folder = any(path.is_dir() for path in paths)
        self._elfs: list[FirmwareElf] = []
        self._decoders: dict[str, AddressDecoder] = {}
        for path in paths:
            found = _in_folder(path) if path.is_dir() else [read_elf(path)]
            self._elfs += [elf for elf in found if elf.sha256 not in {known.sha256 for known in self._elfs}]

    def choose(self, printed: str, machine: Machine | None) -> tuple[AddressDecoder | None, ElfRemark]:
        """Choose the ELF file for a part of a log.

        If only one file is named, it is used even if the log names another ELF or none; the remark says so.

        Args:
            printed: first digits of the SHA-256 in the log; empty if the log does not have it.
            machine: architecture of the board, None if unknown.

        Returns:
            The decoder, None if no file fits, and the remark.

        Raises:
            UsageError: the toolchain that the user named has no addr2line.
        """
        digits = printed.rstrip(".")
        for elf in self._elfs:
            if elf.matches(digits):
                return self._decoder(elf), ElfRemark(
                    f"{elf.path} ({elf.sha256[:DIGITS]})", str(elf.path), elf.sha256, True
                )
        if self._has_folder or len(self._elfs) != 1:
            return None, ElfRemark(self._none_fits(digits))
        (elf,) = self._elfs
        named = f"{elf.path} ({elf.sha256[:DIGITS]})"
        if machine is not None and machine is not elf.machine:
            return None, ElfRemark(f"not decoded: {named} is for {elf.machine}, the log is from {machine}")
        if digits:
            text = f"WARNING: the log is from ELF {digits}, {named} is another build: the names may be wrong"
            return self._decoder(elf), ElfRemark(text, str(elf.path), elf.sha256, False)
        text = f"{named}; the log does not name its ELF, so the match is not checked"
        return self._decoder(elf), ElfRemark(text, str(elf.path), elf.sha256)

    def for_core_dump(self, core: bytes) -> tuple[FirmwareElf | None, str]:
        """The ELF file whose SHA-256 is in the core dump, else the only named file; otherwise None, and why.

        esp-coredump checks whether the file fits.
        """
        for elf in self._elfs:
            if elf.sha256[:DIGITS].encode() in core:
                return elf, ""
        if len(self._elfs) == 1 and not self._has_folder:
            return self._elfs[0], ""
        return None, "not decoded: the core dump names none of the ELF files; name the ELF of its build"

    def _none_fits(self, digits: str) -> str:
        known = ", ".join(f"{elf.path.name} ({elf.sha256[:DIGITS]})" for elf in self._elfs[:5])
        more = f" and {len(self._elfs) - 5} more" if len(self._elfs) > 5 else ""
        if not digits:
            return f"not decoded: the log does not name its ELF; name one file instead of {known}{more}"
        return f"not decoded: the log is from ELF {digits}, which is not among {known}{more}"

    def _decoder(self, elf: FirmwareElf) -> AddressDecoder:
        if elf.sha256 not in self._decoders:
            self._decoders[elf.sha256] = AddressDecoder(elf, self._toolchain)
        return self._decoders[elf.sha256]


def _in_folder(folder: Path) -> list[FirmwareElf]:
    """The usable ELF files under a folder (recursive).

    Raises:
        UsageError: there are none.
    """
    found = []
    for path in sorted(folder.rglob("*.elf")):
        try:
            found.append(read_elf(path))
        except UsageError:
            continue  # a core dump, or an unfinished file of a running build
    if not found:
        raise UsageError(
            f"{folder} has no firmware ELF file", "name the build folder, or the .elf file in it"
        )
    return found
