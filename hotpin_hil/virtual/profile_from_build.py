"""A board profile from a firmware build: the memory map that ESP-IDF will find when this image starts.

ESP-IDF makes its heaps from two tables in the ELF file: the chip's memory (`soc_memory_regions`) and its reserved parts
(for the ROM, the caches, the image's data and code). This module does the same calculation (components/heap:
port/memory_layout_utils.c, heap_caps_init.c). Only one other part of a profile depends on the build: which of ESP-IDF's
own objects the linker included.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from hotpin_hil.errors import BuildError, UsageError
from hotpin_hil.virtual.profile import HeapRegion, names

_REMEDY = "name the build directory of idf.py, or the application's ELF file in it"
_REGIONS, _REGION = "soc_memory_regions", struct.Struct("<5I")  # start, size, type, IRAM alias, startup stack
_RESERVED, _RANGE = "soc_reserved_memory_region", struct.Struct("<2I")
_TYPES = ("DRAM", "DIRAM", "IRAM", "SPIRAM", "RTCRAM")  # ESP-IDF: heap/port/esp32/memory_layout.c
_SMALLEST = 16  # smaller regions are left out
_ESP32_ROM_DATA = 0x3FFAE000  # the chip's first region, which no other chip has
_PSRAM = HeapRegion(0x3F800000, 4 << 20, "SPIRAM")  # what the chip can map
_ROM = range(0x40000000, 0x40070000)
_IDF_VERSION = (112, 32)  # of esp_app_desc_t
_TRAITS = {"prvTimerTask": "timer service", "esp_timer_create": "esp_timer"}


@dataclass(frozen=True)
class BuiltMap:
    """The parts of a profile that depend on the build."""

    elf: Path
    idf: str
    heaps: tuple[HeapRegion, ...]
    has: tuple[str, ...]

    @property
    def base(self) -> str:
        """Name of the shipped profile for the ESP-IDF version of this build."""
        name = f"hotpin-{_minor(self.idf)}"
        if name not in names():
            known = ", ".join(other for other in names() if other.startswith("hotpin-"))
            raise BuildError(
                f"{self.elf}: built with ESP-IDF {self.idf}, and there is no profile {name}",
                f"build with a version that has a profile: {known}",
            )
        return name

    def keys(self) -> str:
        """`heap` and `has` of a profile, as TOML."""
        regions = "".join(
            f'  {{ start = 0x{heap.start:08X}, length = {heap.length}, type = "{heap.type}" }},\n'
            for heap in self.heaps
        )
        has = ", ".join(f'"{trait}"' for trait in self.has)
        return f"has = [{has}]\nheap = [\n{regions}]\n"


class _Elf:
    """An ELF file's bytes by address, and its symbols."""

    def __init__(self, path: Path, file: ELFFile) -> None:
        self._path = path
        self._segments = [
            (segment["p_vaddr"], segment.data())
            for segment in file.iter_segments()
            if segment["p_type"] == "PT_LOAD"
        ]
        self._symbols: dict[str, tuple[int, int]] = {}
        for section in file.iter_sections():
            if isinstance(section, SymbolTableSection):
                for symbol in section.iter_symbols():
                    if symbol.entry["st_shndx"] != "SHN_UNDEF":
                        self._symbols[symbol.name] = (symbol.entry["st_value"], symbol.entry["st_size"])

    def __contains__(self, symbol: str) -> bool:
        return symbol in self._symbols

    def address(self, symbol: str) -> int:
        return self._symbol(symbol)[0]

    def content(self, symbol: str) -> bytes:
        return self.between(*self._symbol(symbol))

    def between(self, address: int, size: int) -> bytes:
        for start, data in self._segments:
            if start <= address and address + size <= start + len(data):
                return bytes(data[address - start : address - start + size])
        raise BuildError(f"{self._path}: nothing is loaded at 0x{address:08x}", _REMEDY)

    def _symbol(self, name: str) -> tuple[int, int]:
        if name not in self._symbols:
            raise BuildError(f"{self._path}: no symbol {name}: not an application for the ESP32", _REMEDY)
        return self._symbols[name]


def read_build(build: Path) -> BuiltMap:
    """Read the memory map of a build: a build directory or an ELF file. Raises BuildError if it is neither."""
    path = _elf_file(build)
    try:
        with path.open("rb") as file:
            parsed = ELFFile(file)
            if parsed["e_machine"] != "EM_XTENSA":
                machine = str(parsed["e_machine"]).removeprefix("EM_")
                raise BuildError(f"{path}: an ELF file for {machine}, not for the ESP32 (Xtensa)", _REMEDY)
            elf = _Elf(path, parsed)
    except OSError as error:
        raise BuildError(f"{path}: {error.strerror}", _REMEDY) from error
    except ELFError as error:
        raise BuildError(f"{path}: not an ELF file ({error})", _REMEDY) from error
    offset, length = _IDF_VERSION
    idf = elf.content("esp_app_desc")[offset : offset + length].split(b"\0")[0].decode("ascii", "replace")
    return BuiltMap(path, idf, _heaps(path, elf), tuple(_traits(elf, idf)))


def _minor(idf: str) -> str:
    return ".".join(idf.lstrip("v").split("-")[0].split(".")[:2])


def _elf_file(build: Path) -> Path:
    if not build.exists():
        raise BuildError(f"{build}: there is no such file or directory", _REMEDY)
    if build.is_file():
        return build
    description = build / "project_description.json"
    if description.is_file():
        elf = re.search(
            r'"app_elf"\s*:\s*"([^"]+)"', description.read_text(encoding="utf-8", errors="replace")
        )
        if elf:
            return build / elf.group(1)
    raise BuildError(f"{build}: no project_description.json that names the application's ELF file", _REMEDY)


def _heaps(path: Path, elf: _Elf) -> tuple[HeapRegion, ...]:
    regions = [
        (start, start + size, kind) for start, size, kind, _, _ in _REGION.iter_unpack(elf.content(_REGIONS))
    ]
    if not any(start == _ESP32_ROM_DATA for start, _, _ in regions):
        raise BuildError(f"{path}: its memory regions are not the ESP32's: built for another chip", _REMEDY)
    first, last = elf.address(f"{_RESERVED}_start"), elf.address(f"{_RESERVED}_end")
    reserved = sorted(_RANGE.iter_unpack(elf.between(first, last - first)))
    free = [(low, high, kind) for start, end, kind in regions for low, high in _without(start, end, reserved)]
    joined: list[tuple[int, int, int]] = []
    for low, high, kind in sorted(free):
        adjoins = bool(joined) and joined[-1][1:] == (low, kind)
        joined.append((joined.pop()[0] if adjoins else low, high, kind))
    heaps = tuple(HeapRegion(low, high - low, _TYPES[kind]) for low, high, kind in joined)
    psram = any(_TYPES[kind] == "SPIRAM" for _, _, kind in regions)
    return heaps + ((_PSRAM,) if psram else ())


def _without(start: int, end: int, reserved: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The parts of a region outside its reservations; reservations are widened to whole words."""
    for first, last in reserved:
        low, high = first & ~3, (last + 3) & ~3
        if high <= start or low >= end:
            continue
        if low - start > _SMALLEST:
            yield start, low
        start = max(start, high)
    if end - start > _SMALLEST:
        yield start, end


def _traits(elf: _Elf, idf: str) -> Iterator[str]:
    yield f"IDF {_minor(idf)}"
    if "__sinit" in elf and elf.address("__sinit") not in _ROM:
        yield "newlib in flash"
    yield "two cores" if "ipc_task" in elf else "one core"
    for symbol, trait in _TRAITS.items():
        if symbol in elf:
            yield trait


def write_profile(built: BuiltMap, out: Path) -> None:
    """Write a profile with this map; in an existing profile, replace only the map.

    Raises UsageError if the file cannot be read or written, or has no map to replace.
    """
    try:
        if out.exists():
            old = out.read_text(encoding="utf-8")
            text, count = re.subn(r"(?ms)^has = \[.*?\]\nheap = \[\n.*?^\]\n", lambda _: built.keys(), old)
            if count != 1:
                raise UsageError(
                    f"{out}: no `has = […]` followed by `heap = […]` to replace",
                    "give --out the name of a new file, or of a profile that this command wrote",
                )
        else:
            text = new_profile(built, out.stem)
        unfinished = out.with_name(f".{out.name}.new")
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, out)
    except OSError as error:
        raise UsageError(f"{out}: {error.strerror}", "name a TOML file in a folder that exists") from error


def new_profile(built: BuiltMap, name: str) -> str:
    """A profile of this build as TOML, otherwise like the shipped profile for its ESP-IDF."""
    return (
        f"# The memory map of a build with ESP-IDF {built.idf}, by `hotpin-hil profile`.\n\n"
        f'like = "{built.base}"\nname = "{name[:31]}"\n{built.keys()}'
    )
