"""A small ELF file like that of an ESP-IDF build for the ESP32, with the tables that define the heaps."""

from __future__ import annotations

import struct
from pathlib import Path

EM_XTENSA = 94
DATA = 0x3FFB0000
TYPES = {"DRAM": 0, "DIRAM": 1, "IRAM": 2, "SPIRAM": 3}

REGIONS = (
    (0x3F800000, 0x400000, "SPIRAM"),
    (0x3FFAE000, 0x2000, "DRAM"),
    (0x3FFB0000, 0x8000, "DRAM"),
    (0x3FFB8000, 0x28000, "DRAM"),
    (0x3FFE0000, 0x4000, "DIRAM"),
    (0x3FFE4000, 0x1C000, "DIRAM"),
    (0x40070000, 0x8000, "IRAM"),
    (0x40078000, 0x8000, "IRAM"),
    (0x40080000, 0x20000, "IRAM"),
)
RESERVED = (
    (0x40070000, 0x40078000),
    (0x40078000, 0x40080000),
    (0x3FFE0000, 0x3FFE0440),
    (0x3FFE3F20, 0x3FFE4350),
    (0x3FFAE000, 0x3FFAE6E0),
    (0x3F800000, 0x3FC00000),
    (0x3FFB0000, 0x3FFBA8C6),  # static data, whose size is not a multiple of a word
    (0x40080000, 0x4008FB28),  # code
)


def write_elf(
    path: Path,
    *,
    idf: str = "v5.4.4-956-g69ae551ac64",
    machine: int = EM_XTENSA,
    regions: tuple[tuple[int, int, str], ...] = REGIONS,
    reserved: tuple[tuple[int, int], ...] = RESERVED,
    symbols: dict[str, int] | None = None,
    code: range = range(0),
    instructions: bytes = b"",
    functions: dict[str, int] | None = None,
) -> Path:
    """Writes an ELF file with one loaded segment (both tables and the app descriptor) and a symbol table.

    Args:
        path: the file.
        idf: version in the app descriptor.
        machine: architecture.
        regions: start, size and type of each memory region.
        reserved: start and end of each reserved range.
        symbols: additional symbols with their addresses.
        code: addresses of a section for code.
        instructions: content of that section; if empty, the section is left out.
        functions: names of functions in that section with their addresses.
    """
    table = b"".join(struct.pack("<5I", start, size, TYPES[kind], 0, 0) for start, size, kind in regions)
    ranges = b"".join(struct.pack("<2I", *pair) for pair in reserved)
    descriptor = struct.pack("<112s32s112x", b"\x32\x54\xcd\xab", idf.encode())
    content = table + ranges + descriptor
    first_range, first_descriptor = DATA + len(table), DATA + len(table) + len(ranges)
    named = {
        "soc_memory_regions": (DATA, len(table)),
        "soc_reserved_memory_region_start": (first_range, 0),
        "soc_reserved_memory_region_end": (first_descriptor, 0),
        "esp_app_desc": (first_descriptor, len(descriptor)),
        **{name: (address, 0) for name, address in (symbols or {"__sinit": 0x40001E38}).items()},
    }
    strings, entries = b"\0", bytes(16)
    for name, (address, size) in named.items():
        entries += struct.pack("<3I2BH", len(strings), address, size, 0x11, 0, 1)
        strings += name.encode() + b"\0"
    for name, address in (functions or {}).items():
        entries += struct.pack("<3I2BH", len(strings), address, 0, 0x12, 0, 5)
        strings += name.encode() + b"\0"
    section_names = b"\0.data\0.symtab\0.strtab\0.shstrtab\0.text\0"
    parts = [content, entries, strings, section_names, instructions]
    offsets = [84]
    for part in parts:
        offsets.append(offsets[-1] + len(part))
    sections = bytes(40)
    for name_at, kind, address, index, link, info, entry_size in (
        (1, 1, DATA, 0, 0, 0, 0),
        (7, 2, 0, 1, 3, 1, 16),
        (15, 3, 0, 2, 0, 0, 0),
        (23, 3, 0, 3, 0, 0, 0),
    ):
        sections += struct.pack(
            "<10I", name_at, kind, 2, address, offsets[index], len(parts[index]), link, info, 4, entry_size
        )
    kind = 1 if instructions else 8
    sections += struct.pack("<10I", 33, kind, 6, code.start, offsets[4], len(code), 0, 0, 4, 0)
    header = b"\x7fELF\x01\x01\x01" + bytes(9)
    header += struct.pack("<2H5I6H", 2, machine, 1, 0, 52, offsets[-1], 0, 52, 32, 1, 40, 6, 4)
    segment = struct.pack("<8I", 1, offsets[0], DATA, DATA, len(content), len(content), 6, 4)
    path.write_bytes(header + segment + b"".join(parts) + sections)
    return path
