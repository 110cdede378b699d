"""Decodes code addresses with one ELF file."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from hotpin_hil.errors import UsageError
from hotpin_hil.symbols.addr2line import Addr2lineError, find_tool, run_addr2line, tool_with_prefix
from hotpin_hil.symbols.dwarf import DwarfLookup
from hotpin_hil.symbols.firmware_elf import FirmwareElf
from hotpin_hil.symbols.places import DecodedAddress


class AddressDecoder:
    """Decodes addresses with the toolchain's addr2line, or without it in Python. Remembers what it has decoded."""

    def __init__(self, elf: FirmwareElf, toolchain: str | None = None) -> None:
        """Choose the tool to decode with.

        Args:
            elf: the firmware.
            toolchain: prefix of the toolchain's tools ("xtensa-esp32-elf-"); None for the installed one, if any.

        Raises:
            UsageError: `toolchain` was given but has no addr2line.
        """
        self.elf = elf
        self._is_named = toolchain is not None
        self._tool: Path | None = find_tool(elf.machine) if toolchain is None else tool_with_prefix(toolchain)
        self._known: dict[int, DecodedAddress] = {}

    @property
    def method(self) -> str:
        """The decoding method: the name of the tool, or "DWARF" for the lookup in Python."""
        return self._tool.name if self._tool is not None else "DWARF"

    def decode(self, addresses: Iterable[int]) -> list[DecodedAddress]:
        """Decode addresses of code.

        Args:
            addresses: each within an instruction. For a return address, pass `call_address(address, elf.machine)`.

        Returns:
            One entry per address, in order; without places if the ELF has no code there.

        Raises:
            UsageError: the addr2line that the user named cannot read the ELF.
        """
        wanted = list(addresses)
        missing = list(dict.fromkeys(address for address in wanted if address not in self._known))
        in_code = [address for address in missing if self.elf.has_code_at(address)]
        self._known |= {address: DecodedAddress(address) for address in missing}
        self._known |= {found.address: found for found in self._look_up(in_code)}
        return [self._known[address] for address in wanted]

    def _look_up(self, addresses: list[int]) -> list[DecodedAddress]:
        if self._tool is not None and addresses:
            try:
                return run_addr2line(self._tool, self.elf.path, addresses)
            except Addr2lineError as error:
                if self._is_named:
                    raise UsageError(
                        f"--toolchain: {self._tool} cannot decode {self.elf.path}: {error}",
                        f"name a toolchain for {self.elf.machine}, or leave the option out",
                    ) from None
                self._tool = None
        return [DecodedAddress(address, self._dwarf.places(address)) for address in addresses]

    @cached_property
    def _dwarf(self) -> DwarfLookup:
        return DwarfLookup(self.elf.path)
