"""Finds functions and lines of addresses with pyelftools, for machines without the toolchain.

The line table gives the place of an address. The tree of debug entries gives the function that contains it, and the
functions inlined there. Only the compile units that contain a decoded address are read.
"""

from __future__ import annotations

import io
import posixpath
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

from hotpin_hil.symbols.address_ranges import read_address_ranges
from hotpin_hil.symbols.places import SourcePlace

_SCOPES = ("DW_TAG_namespace", "DW_TAG_class_type", "DW_TAG_structure_type", "DW_TAG_union_type")
_LINKS = ("DW_AT_abstract_origin", "DW_AT_specification")
_LINKS_MAX = 8
_C_LANGUAGES = (0x01, 0x02, 0x0C, 0x1D, 0x2C, 0x8001)
"""C89, C, C99, C11, C17 and assembler, where functions have no namespace or class."""


class _Row(NamedTuple):
    """A row of the line table: the line of all addresses up to the next row."""

    start: int
    file: int
    line: int
    is_end: bool
    """Whether the address is the first after a sequence."""


class _Unit:
    """One compile unit."""

    def __init__(self, dwarf: Any, unit: Any) -> None:
        self._dwarf = dwarf
        self._unit = unit
        self.top = unit.get_top_DIE()
        self.offset: int = unit.cu_offset

    def ranges(self, die: Any) -> list[range]:
        """The addresses of a debug entry."""
        attributes = die.attributes
        if "DW_AT_ranges" in attributes:
            return self._listed(attributes["DW_AT_ranges"].value)
        if "DW_AT_low_pc" not in attributes or "DW_AT_high_pc" not in attributes:
            return []
        start, end = attributes["DW_AT_low_pc"].value, attributes["DW_AT_high_pc"]
        size = end.value if end.form != "DW_FORM_addr" else end.value - start
        return [range(start, start + size)]

    def _listed(self, offset: int) -> list[range]:
        lists = self._dwarf.range_lists()
        if lists is None:
            return []
        low = self.top.attributes.get("DW_AT_low_pc")
        base = low.value if low is not None else 0
        found = []
        for entry in lists.get_range_list_at_offset(offset, self._unit):
            if hasattr(entry, "base_address"):
                base = entry.base_address
            else:
                origin = 0 if entry.is_absolute else base
                found.append(range(origin + entry.begin_offset, origin + entry.end_offset))
        return found

    @cached_property
    def functions(self) -> list[tuple[range, Any]]:
        """The functions of the unit, with the addresses of each, sorted by address."""
        found = [
            (addresses, die)
            for die in self._functions(self.top)
            for addresses in self.ranges(die)
            if addresses
        ]
        return sorted(found, key=lambda entry: entry[0].start)

    def _functions(self, parent: Any) -> Iterator[Any]:
        for die in parent.iter_children():
            if die.tag == "DW_TAG_subprogram":
                yield die
            elif die.tag in _SCOPES:
                yield from self._functions(die)

    @cached_property
    def rows(self) -> list[_Row]:
        """The rows of the line table, sorted by address."""
        program = self._dwarf.line_program_for_CU(self._unit)
        if program is None:
            return []
        states = [entry.state for entry in program.get_entries() if entry.state is not None]
        rows = [_Row(state.address, state.file, state.line, bool(state.end_sequence)) for state in states]
        rows.sort(key=lambda row: (row.start, not row.is_end))  # a sequence may start where another ends
        return rows

    def place(self, address: int) -> tuple[str, int | None]:
        """File and line of an address; an empty file without line information."""
        at = bisect_right(self.rows, address, key=lambda row: row.start) - 1
        if at < 0 or self.rows[at].is_end:
            return "", None
        row = self.rows[at]
        return self.file(row.file), row.line or None

    @cache  # noqa: B019  # the unit lives as long as its lookups
    def file(self, number: int) -> str:
        """Path of a file of the line table."""
        program = self._dwarf.line_program_for_CU(self._unit)
        if program is None:
            return ""
        header = program.header
        is_new = header["version"] >= 5
        index = number if is_new else number - 1  # older line tables count from 1
        entries = header["file_entry"]
        if not 0 <= index < len(entries):
            return ""
        folder = entries[index].dir_index or 0
        folders = header["include_directory"]
        built_in = self.top.attributes.get("DW_AT_comp_dir")
        parts = [_text(built_in.value)] if built_in is not None else []
        if not is_new and folder:
            folder -= 1
        elif not is_new:
            folders = ()
        if 0 <= folder < len(folders):
            parts.append(_text(folders[folder]))
        return posixpath.normpath(posixpath.join("", *parts, _text(entries[index].name)))

    def calls(self, address: int) -> list[Any]:
        """The function at an address, then the functions inlined there, from the outside in."""
        at = bisect_right(self.functions, address, key=lambda entry: entry[0].start) - 1
        if at < 0 or address not in self.functions[at][0]:
            return []
        chain = [self.functions[at][1]]
        inner: Any = chain[0]
        while inner is not None:
            inner = self._inlined(inner, address)
            if inner is not None:
                chain.append(inner)
        return chain

    def _inlined(self, parent: Any, address: int) -> Any:
        for die in parent.iter_children():
            if die.tag == "DW_TAG_inlined_subroutine":
                if any(address in addresses for addresses in self.ranges(die)):
                    return die
            elif die.tag == "DW_TAG_lexical_block" and (found := self._inlined(die, address)) is not None:
                return found
        return None

    @cached_property
    def _has_scopes(self) -> bool:
        language = self.top.attributes.get("DW_AT_language")
        return language is not None and language.value not in _C_LANGUAGES

    def name(self, die: Any) -> str:
        """Name of a function, with the namespaces and classes that contain it."""
        for _ in range(_LINKS_MAX):
            link = next((name for name in _LINKS if name in die.attributes), None)
            if link is None:
                break
            die = die.get_DIE_from_attribute(link)
        name = die.attributes.get("DW_AT_name")
        names = [_text(name.value) if name is not None else ""]
        parent = die.get_parent() if self._has_scopes and names[0] else None
        while parent is not None and parent.tag in _SCOPES:
            name = parent.attributes.get("DW_AT_name")
            names.append(_text(name.value) if name is not None else "(anonymous)")
            parent = parent.get_parent()
        return "::".join(reversed(names))


class DwarfLookup:
    """Looks up addresses in the debug information of an ELF file, or in its symbols if it has none for an address."""

    def __init__(self, path: Path) -> None:
        """Open an ELF file that `read_elf` accepts."""
        from elftools.elf.elffile import ELFFile

        self._elf = ELFFile(io.BytesIO(path.read_bytes()))
        self._units: dict[int, _Unit] = {}

    def places(self, address: int) -> tuple[SourcePlace, ...]:
        """The functions at an address, the innermost inlined function first; empty if the address is unknown.

        Damaged debug information counts as missing.
        """
        try:
            found = self._from_debug_info(address)
        except Exception:  # damaged data makes pyelftools raise any exception
            found = []
        if not found or not found[-1].function:
            symbol = self._symbol(address)
            if not found:
                return (SourcePlace(symbol),) if symbol else ()
            found[-1] = SourcePlace(symbol, found[-1].file, found[-1].line)
        return tuple(found)

    def _from_debug_info(self, address: int) -> list[SourcePlace]:
        unit = self._unit_at(address)
        if unit is None:
            return []
        file, line = unit.place(address)
        chain = unit.calls(address)
        places = []
        for die in reversed(chain):
            places.append(SourcePlace(unit.name(die), file, line))
            if die.tag == "DW_TAG_inlined_subroutine":
                called = die.attributes.get("DW_AT_call_file")
                file = unit.file(called.value) if called is not None else ""
                called = die.attributes.get("DW_AT_call_line")
                line = called.value if called is not None else None
        return places or ([SourcePlace("", file, line)] if file else [])

    def _unit_at(self, address: int) -> _Unit | None:
        offset = _find(self._listed_units, address)
        if offset is None:
            offset = _find(self._other_units, address)
        if offset is None:
            return None
        if offset not in self._units:
            self._units[offset] = _Unit(self._dwarf, self._dwarf.get_CU_at(offset))
        return self._units[offset]

    @cached_property
    def _dwarf(self) -> Any:
        return self._elf.get_dwarf_info(relocate_dwarf_sections=False)

    @cached_property
    def _listed_units(self) -> list[tuple[range, int]]:
        """Addresses and offsets of the compile units in the table of address ranges."""
        section = self._elf.get_section_by_name(".debug_aranges")
        return _by_address(read_address_ranges(section.data())) if section is not None else []

    @cached_property
    def _other_units(self) -> list[tuple[range, int]]:
        """Addresses and offsets of the compile units that are not in the table, which is optional."""
        if not self._elf.has_dwarf_info():
            return []
        listed = {offset for _, offset in self._listed_units}
        units = [_Unit(self._dwarf, unit) for unit in self._dwarf.iter_CUs() if unit.cu_offset not in listed]
        return _by_address((addresses, unit.offset) for unit in units for addresses in unit.ranges(unit.top))

    def _symbol(self, address: int) -> str:
        """Name of the function symbol at an address; a symbol without a size extends to the next symbol."""
        at = bisect_right(self._symbols, address, key=lambda entry: entry[0]) - 1
        if at < 0:
            return ""
        start, size, section, name = self._symbols[at]
        return name if address < start + size or (not size and address in section) else ""

    @cached_property
    def _symbols(self) -> list[tuple[int, int, range, str]]:
        from elftools.elf.sections import SymbolTableSection

        table = self._elf.get_section_by_name(".symtab")
        if not isinstance(table, SymbolTableSection):
            return []
        sections = [
            range(section["sh_addr"], section["sh_addr"] + section["sh_size"])
            for section in self._elf.iter_sections()
        ]
        found = []
        for symbol in table.iter_symbols():
            index = symbol["st_shndx"]
            if symbol["st_info"]["type"] == "STT_FUNC" and isinstance(index, int) and index < len(sections):
                found.append((symbol["st_value"], symbol["st_size"], sections[index], symbol.name))
        return sorted(found, key=lambda entry: entry[:2])


def _by_address(entries: Iterable[tuple[range, int]]) -> list[tuple[range, int]]:
    return sorted((entry for entry in entries if entry[0]), key=lambda entry: entry[0].start)


def _find(units: list[tuple[range, int]], address: int) -> int | None:
    at = bisect_right(units, address, key=lambda entry: entry[0].start) - 1
    return units[at][1] if at >= 0 and address in units[at][0] else None


def _text(value: Any) -> str:
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value or "")
