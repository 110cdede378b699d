"""Checks that code that can run while the flash cache is off does not use flash.

ESP-IDF keeps the heap's functions in IRAM so that they can be called while the cache is off. Code of this project that
they call (the wrappers of the test console and of the allocation profile, the failed-allocation callback) must also be
in IRAM, together with everything that it uses. The host builds use the same section names, so the test reads the
references of the code in IRAM from their object files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection

from hotpin_hil.paths import FIRMWARE_DIR, NATIVE_BUILD_DIR, NATIVE_PROFILE_BUILD_DIR

COMPONENTS = FIRMWARE_DIR / "components"
IRAM, DRAM = ".iram1.", (".dram1.", ".bss", ".data")
RTC = "rtc_coredump"
"""Section in RTC memory, which is readable while the flash cache is off."""

# Symbols of ESP-IDF v5.4 and v5.5 that are in IRAM or ROM with this configuration, after the file that puts them there:
ELSEWHERE_IN_IRAM = {
    "esp_log_timestamp",  # log/linker.lf
    "xTaskGetCurrentTaskHandle",  # freertos/linker.lf puts all of FreeRTOS into IRAM, so its callees are there as well
    "pcTaskGetName",  # freertos/linker.lf; called only while the flash cache is on
    "xPortInIsrContext",
    "esp_backtrace_get_start",  # esp_system/port/arch/xtensa: debug_helpers_asm.S (IRAM), IRAM_ATTR
    "esp_backtrace_get_next_frame",
    "spi_flash_cache_enabled",  # spi_flash/cache_utils.c: IRAM_ATTR
    "vPortEnterCritical",
    "vPortExitCritical",
    "memcpy",  # ROM (esp_rom/esp32/ld/esp32.rom.newlib-funcs.ld); with CONFIG_SPIRAM_CACHE_WORKAROUND newlib's
    "memset",
    # heap/heap_caps.c, heap_caps_base.c: HEAP_IRAM_ATTR
    "heap_caps_malloc",
    "heap_caps_free",
    "__real_heap_caps_malloc",
    "__real_heap_caps_calloc",
    "__real_heap_caps_realloc",
    "__real_heap_caps_aligned_alloc",
    "__real_heap_caps_aligned_calloc",
    "__real_heap_caps_malloc_default",
    "__real_heap_caps_realloc_default",
    # heap/heap_caps_base.c: HEAP_IRAM_ATTR
    "__real_heap_caps_malloc_base",
    "__real_heap_caps_aligned_alloc_base",
    "__real_heap_caps_calloc_base",
    "__real_heap_caps_realloc_base",
    "__real_heap_caps_free",
    "heap_caps_get_allocated_size",  # memory_profile/linker.lf
}
PROFILE_WRAPS = 5


@pytest.fixture(scope="module")
def objects() -> list[Path]:
    """Object files of the builds with the test console, without and with the allocation profile."""
    builds = [
        sorted((build / "esp-idf").rglob("*.o")) for build in (NATIVE_BUILD_DIR, NATIVE_PROFILE_BUILD_DIR)
    ]
    if not all(builds):
        pytest.skip("the firmware is not built for the host: make native")
    return [path for build in builds for path in build]


def functions_in_iram(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        elf = ELFFile(file)
        for symbol in elf.get_section_by_name(".symtab").iter_symbols():
            section = symbol["st_shndx"]
            defined = symbol["st_info"]["type"] == "STT_FUNC" and isinstance(section, int)
            if defined and elf.get_section(section).name.startswith(IRAM):
                yield symbol.name


def needs(path: Path) -> Iterator[tuple[str, str]]:
    """References of the code in IRAM.

    Returns:
        Pairs of a symbol or section name and its section; the section is "" if another object defines the symbol.
    """
    with path.open("rb") as file:
        elf = ELFFile(file)
        for relocations in elf.iter_sections():
            if not isinstance(relocations, RelocationSection):
                continue
            if not elf.get_section(relocations["sh_info"]).name.startswith(IRAM):
                continue
            symbols = elf.get_section(relocations["sh_link"])
            for relocation in relocations.iter_relocations():
                symbol = symbols.get_symbol(relocation["r_info_sym"])
                index = symbol["st_shndx"]
                section = elf.get_section(index).name if isinstance(index, int) else ""
                yield symbol.name or section, section


def called_by_the_heap() -> set[str]:
    """Functions that the linker wraps around the heap's functions, and callbacks registered with the heap."""
    wrapped = re.findall(
        r"^\s+(heap_caps_\w*alloc)$", (COMPONENTS / "hil_console/wrap.cmake").read_text(), re.M
    )
    registered = {
        name
        for path in COMPONENTS.rglob("*.c")
        for argument in re.findall(
            r"[^_]heap_caps_register_failed_alloc_callback\((.*)\)", path.read_text(encoding="utf-8")
        )
        for name in re.findall(r"\b(on_\w+|report_\w+)\b", argument)
    }
    assert len(wrapped) == 5, "the wrapper functions were renamed: update this test"
    profile = (COMPONENTS / "memory_profile/CMakeLists.txt").read_text()
    base = re.findall(r"heap_caps_\w+_base|heap_caps_free", profile.partition("foreach(name IN ITEMS")[2])
    assert len(base) == PROFILE_WRAPS, "the profile's wrapper functions were renamed: update this test"
    wrapped += base
    assert registered, "the failed-allocation callback is registered in another way: update this test"
    return {f"__wrap_{name}" for name in wrapped} | registered


def test_functions_called_by_the_heap_lie_in_iram(objects: list[Path]) -> None:
    there = {name for path in objects for name in functions_in_iram(path)}
    assert called_by_the_heap() <= there


def test_code_in_iram_needs_nothing_in_flash(objects: list[Path]) -> None:
    ours = {name for path in objects for name in functions_in_iram(path)}
    for path in objects:
        for name, section in needs(path):
            if section:
                assert section.startswith((IRAM, *DRAM, RTC)), (
                    f"{path.stem}: code in IRAM uses {name} in {section}"
                )
            else:
                assert name in ours | ELSEWHERE_IN_IRAM, f"{path.stem}: code in IRAM calls {name}"
