"""Sizes of a firmware image: memory and code from its ELF file, and the figures of esp-idf-size from its map file.

A build for the virtual board is a host program, so its sections are not those of an ESP32. The memory map then comes
from the board's profile, and the sizes name the profile.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotpin_hil.boards.artifacts import NATIVE_IDF_VERSION, FirmwareBuild

if TYPE_CHECKING:
    from elftools.elf.elffile import ELFFile

    from hotpin_hil.virtual.profile import BoardProfile

DRAM_ORIGIN = 0x3FFB0000
"""Start of static data on an ESP32 without Bluetooth: dram0_0_seg in ESP-IDF's memory.ld."""

IRAM_ORIGIN = 0x40080000
"""Start of code in IRAM: iram0_0_seg of the same script. On one core, the heaps include IRAM below it."""

IDF_SIZE = "esp-idf-size"
IDF_SIZE_TIMEOUT_S = 60.0
"""Time limit of esp-idf-size, which takes 1 to 3 s for this firmware's map file."""

_DATA = (".dram0.data",)
_BSS = (".noinit", ".dram0.bss")
_IRAM = (".iram0.vectors", ".iram0.text", ".iram0.data", ".iram0.bss")
_FLASH_CODE = (".flash.text",)
_FLASH_DATA = (".flash.appdesc", ".flash.rodata")
# The sections of ESP-IDF's linker script for the ESP32 (esp_system/ld/esp32/sections.ld.in), v5.4 and v5.5.

_HEAP_START, _IRAM_END = "_heap_start", "_iram_end"
"""Symbols of the same script: heap_init adds the memory after them to the heap."""


@dataclass(frozen=True)
class ImageSizes:
    """Bytes and addresses of one image; None if not measured, for the reason in `not_measured`."""

    image: str
    """Name of the image: one of the constants of `hotpin_hil.device.images`."""
    elf_sha256: str
    source: str
    """Source of the figures: "ELF file" or "profile NAME"."""
    is_modelled: bool
    """Whether the figures come from a board profile."""
    first_heap: int | None = None
    """Start address of the first heap after the static data."""
    static_dram: int | None = None
    """Bytes of .data and .bss, with alignment."""
    data: int | None = None
    bss: int | None = None
    iram: int | None = None
    iram_end: int | None = None
    flash_code: int | None = None
    flash_data: int | None = None
    image_size: int | None = None
    """Bytes of the app image in flash."""
    idf_size: Mapping[str, Any] | None = None
    """{"tool": "esp-idf-size 2.3.2", "total": bytes, "memory": {type: {"used": bytes, "total": bytes}}}."""
    not_measured: tuple[str, ...] = field(default=())


def read_sizes(build: FirmwareBuild, image: str, profile: BoardProfile | None = None) -> ImageSizes:
    """Measure a build. Does not raise; `not_measured` names the unreadable figures.

    Args:
        build: the build.
        image: name of the firmware's image.
        profile: profile of the virtual board that runs it, if any.
    """
    if build.idf == NATIVE_IDF_VERSION:
        return _of_profile(build, image, profile)
    missing: list[str] = []
    fields: dict[str, Any] = {}
    try:
        fields |= _read_elf(build.elf_file)
    except _NotReadError as error:
        missing.append(f"static memory and code: {error}")
    try:
        fields["image_size"] = build.app_file.stat().st_size
    except OSError as error:
        missing.append(f"image: {build.app_file}: {error.strerror}")
    try:
        fields["idf_size"] = _run_idf_size(build.map_file)
    except _NotReadError as error:
        missing.append(f"sizes by memory type: {error}")
    return ImageSizes(
        image=image,
        elf_sha256=build.elf_sha256,
        source="ELF file",
        is_modelled=False,
        not_measured=tuple(missing),
        **fields,
    )


def unknown_sizes(image: str, elf_sha256: str, reason: str) -> ImageSizes:
    """The sizes of an image that cannot be measured; `reason` goes into `not_measured`."""
    return ImageSizes(image, elf_sha256, "nothing", is_modelled=False, not_measured=(reason,))


class _NotReadError(Exception):
    """A figure could not be read. The message names the file and the reason, and the remedy if there is one."""


def _of_profile(build: FirmwareBuild, image: str, profile: BoardProfile | None) -> ImageSizes:
    missing = ["code, .data and .bss: the image is a host program"]
    first = iram_end = None
    if profile is None:
        missing.insert(0, "memory map: the virtual board's profile is unknown")
    else:
        first = first_heap_of(profile)
        iram_end = _heap_from(profile, "IRAM", IRAM_ORIGIN)
    return ImageSizes(
        image=image,
        elf_sha256=build.elf_sha256,
        source=f"profile {profile.name}" if profile else "no profile",
        is_modelled=True,
        first_heap=first,
        static_dram=None if first is None else first - DRAM_ORIGIN,
        iram_end=iram_end,
        not_measured=tuple(missing),
    )


def first_heap_of(profile: BoardProfile) -> int | None:
    """Start address of the first heap after the static data, on a board with this profile."""
    return _heap_from(profile, "DRAM", DRAM_ORIGIN)


def _heap_from(profile: BoardProfile, kind: str, origin: int) -> int | None:
    starts = [heap.start for heap in profile.heaps if heap.type == kind and heap.start >= origin]
    return min(starts, default=None)


def _read_elf(path: Path) -> dict[str, Any]:
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        with path.open("rb") as file:
            elf = ELFFile(file)
            if elf["e_machine"] != "EM_XTENSA":
                raise _NotReadError(f"{path} is not an ESP32 program ({elf['e_machine']})")
            symbols = _symbols(elf, (_HEAP_START, _IRAM_END))
            sizes = {section.name: section["sh_size"] for section in elf.iter_sections()}
    except OSError as error:
        raise _NotReadError(f"{path}: {error.strerror}") from error
    except ELFError as error:
        raise _NotReadError(f"{path} is damaged: {error}") from error

    def total(names: tuple[str, ...]) -> int:
        return sum(sizes.get(name, 0) for name in names)

    first_heap = symbols.get(_HEAP_START)
    return {
        "first_heap": first_heap,
        "static_dram": None if first_heap is None else first_heap - DRAM_ORIGIN,
        "data": total(_DATA),
        "bss": total(_BSS),
        "iram": total(_IRAM),
        "iram_end": symbols.get(_IRAM_END),
        "flash_code": total(_FLASH_CODE),
        "flash_data": total(_FLASH_DATA),
    }


def _symbols(elf: ELFFile, names: tuple[str, ...]) -> dict[str, int]:
    from elftools.elf.sections import SymbolTableSection

    table = elf.get_section_by_name(".symtab")
    if not isinstance(table, SymbolTableSection):
        return {}
    found = {name: table.get_symbol_by_name(name) for name in names}
    return {name: symbols[0]["st_value"] for name, symbols in found.items() if symbols}


def _run_idf_size(map_file: Path) -> dict[str, Any]:
    if not map_file.is_file():
        raise _NotReadError(f"there is no map file {map_file}")
    try:
        tool = f"{IDF_SIZE} {version(IDF_SIZE)}"
    except PackageNotFoundError:
        raise _NotReadError(f"{IDF_SIZE} is not installed: pip install 'hotpin-hil[sizes]'") from None
    command = [sys.executable, "-m", "esp_idf_size", "--format", "json2", str(map_file)]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=IDF_SIZE_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise _NotReadError(f"{tool} took more than {IDF_SIZE_TIMEOUT_S:g} s for {map_file}") from None
    if result.returncode:
        words = (result.stderr or result.stdout).strip().splitlines()
        raise _NotReadError(
            f"{tool} exited with status {result.returncode}: {words[-1] if words else 'no output'}"
        )
    try:
        report = json.loads(result.stdout)
        memory = {
            row["name"]: {"used": int(row["used"]), "total": int(row["total"])} for row in report["layout"]
        }
        return {"tool": tool, "total": int(report["total_size"]), "memory": memory}
    except (ValueError, KeyError, TypeError) as error:
        raise _NotReadError(f"{tool} did not write its format json2: {error!r}") from error
