"""The section .debug_aranges: the addresses of each compile unit.

pyelftools stops reading a unit at its first empty entry. The linker empties the entries of functions that it drops, so
most units of an ESP-IDF build have empty entries between the others.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_SHORT = struct.Struct("<IHIBB")
"""Length of the table without this word, version, offset of the compile unit in .debug_info, and the sizes of an
address and of a segment selector."""
_LENGTH_BYTES = 4
_LONG_FORMAT = 0xFFFFFFF0
"""Lengths of at least this value mark the 64-bit format, which no toolchain for these chips writes."""
_WORDS = {4: "<II", 8: "<QQ"}


def read_address_ranges(section: bytes) -> Iterator[tuple[range, int]]:
    """Read the address ranges in a section, each with the offset of its compile unit; stops at damage."""
    at = 0
    while at + _SHORT.size <= len(section):
        length, _, unit, address_bytes, _ = _SHORT.unpack_from(section, at)
        end = at + _LENGTH_BYTES + length
        words = _WORDS.get(address_bytes)
        if length >= _LONG_FORMAT or end > len(section) or words is None:
            return
        pair = 2 * address_bytes
        first = at + -(-_SHORT.size // pair) * pair  # pairs are aligned from the start of the unit
        for start, size in struct.iter_unpack(words, section[first : first + (end - first) // pair * pair]):
            if size:
                yield range(start, start + size), unit
        at = end
