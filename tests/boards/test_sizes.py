"""Tests reading the sizes of an image from its ELF file and, if there is a map file, from esp-idf-size. If a size is
missing, the reason must be stated."""

from __future__ import annotations

import struct
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

from hotpin_hil.boards import in_use
from hotpin_hil.boards import sizes as module
from hotpin_hil.boards.artifacts import FirmwareBuild, read_build
from hotpin_hil.boards.kind import BoardKind
from hotpin_hil.boards.sizes import ImageSizes, first_heap_of, read_sizes, unknown_sizes
from hotpin_hil.evidence import lines
from hotpin_hil.evidence.model import MeasurementClass
from hotpin_hil.evidence.qualification import qualify
from hotpin_hil.report.sizes import sizes_notes, sizes_table
from hotpin_hil.virtual import profile as profiles
from tests.evidence.test_evidence import END, RUN, passed, results_of, row
from tests.report.test_report import Tags, page_of
from tests.support.fake_build import ELF_SHA256, write_build
from tests.support.plugin_suite import Suite
from tests.support.schemas import QUALIFICATION, RESULTS_LINE

pytest_plugins = ["pytester", "tests.support.plugin_suite"]

SECTIONS = {
    ".iram0.vectors": 1_027,
    ".iram0.text": 60_000,
    ".dram0.data": 22_160,
    ".noinit": 8,
    ".dram0.bss": 21_040,
    ".flash.appdesc": 256,
    ".flash.rodata": 80_000,
    ".flash.text": 200_000,
    ".debug_info": 999_999,
}
SYMBOLS = {"_heap_start": 0x3FFBA8C8, "_iram_end": 0x4008FB28}
XTENSA, X86_64 = 94, 62


def write_elf(path: Path, *, machine: int = XTENSA, symbols: dict[str, int] = SYMBOLS) -> None:
    """Writes a 32-bit ELF file with section headers and a symbol table, but empty sections."""
    names, texts = b"\0", {}
    for name in (*SECTIONS, ".symtab", ".strtab", ".shstrtab"):
        texts[name] = len(names)
        names += name.encode() + b"\0"
    strings, table = b"\0", bytes(16)
    for name, value in symbols.items():
        table += struct.pack("<IIIBBH", len(strings), value, 0, 0x10, 0, 0xFFF1)
        strings += name.encode() + b"\0"
    contents = {".symtab": table, ".strtab": strings, ".shstrtab": names}
    offset = 52
    places = {}
    for name, content in contents.items():
        places[name] = offset
        offset += len(content)
    headers = bytes(40)
    for name, size in SECTIONS.items():
        kind = 8 if "bss" in name or name == ".noinit" else 1
        headers += struct.pack("<10I", texts[name], kind, 3, 0, 52, size, 0, 0, 4, 0)
    strtab = len(SECTIONS) + 2
    kinds = {".symtab": (2, strtab, 1, 16), ".strtab": (3, 0, 0, 0), ".shstrtab": (3, 0, 0, 0)}
    for name, content in contents.items():
        kind, link, info, entry = kinds[name]
        headers += struct.pack(
            "<10I", texts[name], kind, 0, 0, places[name], len(content), link, info, 1, entry
        )
    count = len(SECTIONS) + 4
    head = struct.pack("<4s5B7xHHIIIIIHHHHHH", b"\x7fELF", 1, 1, 1, 0, 0, 2, machine, 1, 0, 0, offset, 0, 52, 0, 0, 40,
                       count, count - 1)  # fmt: skip
    path.write_bytes(head + b"".join(contents.values()) + headers)


MAP = """
Archive member included to satisfy reference by file (symbol)

Memory Configuration

Name             Origin             Length             Attributes
iram0_0_seg      0x0000000040080000 0x0000000000020000 xr
dram0_0_seg      0x000000003ffb0000 0x000000000002c200 rw
*default*        0x0000000000000000 0xffffffffffffffff

Linker script and memory map

LOAD CMakeFiles/hotpin.elf.dir/project_elf_src_esp32.c.obj

.iram0.text     0x0000000040080000      0x400
 .iram1.0       0x0000000040080000      0x400 esp-idf/memory_manager/libmemory_manager.a(mem_monitor.c.obj)

.dram0.data     0x000000003ffb0000      0x100
 .data          0x000000003ffb0000      0x100 esp-idf/memory_manager/libmemory_manager.a(mem_monitor.c.obj)

.dram0.bss      0x000000003ffb0100      0x200
 .bss           0x000000003ffb0100      0x200 esp-idf/hil_console/libhil_console.a(console_task.c.obj)

OUTPUT(hotpin.elf elf32-xtensa-le)

Cross Reference Table
"""


@pytest.fixture
def build(tmp_path: Path) -> FirmwareBuild:
    """Build for the ESP32 with an ELF file and no map file."""
    folder = write_build(tmp_path / "build", idf="v5.4.4")
    write_elf(folder / "hotpin.elf")
    return read_build(folder, BoardKind.HARDWARE)


def test_static_memory_and_code_are_those_of_the_elf_file(build: FirmwareBuild) -> None:
    found = read_sizes(build, lines.WITH_CONSOLE)
    assert (found.source, found.is_modelled, found.elf_sha256) == ("ELF file", False, build.elf_sha256)
    assert (found.data, found.bss, found.static_dram) == (22_160, 21_048, 0xA8C8)
    assert (found.first_heap, found.iram_end) == (0x3FFBA8C8, 0x4008FB28)
    assert (found.iram, found.flash_code, found.flash_data) == (61_027, 200_000, 80_256)
    assert found.image_size == build.app_file.stat().st_size
    assert found.idf_size is None
    assert found.not_measured == (f"sizes by memory type: there is no map file {build.map_file}",)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.unlink(), "No such file"),
        (lambda path: path.write_bytes(b"no ELF"), "is damaged"),
        (lambda path: write_elf(path, machine=X86_64), "is not an ESP32 program (EM_X86_64)"),
    ],
    ids=["missing", "damaged", "of_the_host"],
)
def test_unreadable_elf_file_is_named_without_stopping_the_run(
    build: FirmwareBuild, spoil: Any, reason: str
) -> None:
    spoil(build.elf_file)
    found = read_sizes(build, lines.RELEASE)
    assert found.static_dram is found.first_heap is None
    assert reason in found.not_measured[0]
    assert str(build.elf_file) in found.not_measured[0]
    assert found.image_size is not None


def test_stripped_elf_file_has_sizes_and_no_addresses(build: FirmwareBuild) -> None:
    write_elf(build.elf_file, symbols={})
    found = read_sizes(build, lines.RELEASE)
    assert (found.data, found.first_heap, found.static_dram) == (22_160, None, None)


def test_map_file_is_read_by_esp_idf_size(build: FirmwareBuild) -> None:
    try:
        tool = f"esp-idf-size {version('esp-idf-size')}"
    except PackageNotFoundError:
        pytest.skip("esp-idf-size is not installed")
    build.map_file.write_text(MAP)
    found = read_sizes(build, lines.WITH_CONSOLE)
    assert not found.not_measured
    assert found.idf_size is not None
    assert found.idf_size["tool"] == tool
    memory = found.idf_size["memory"]
    assert memory["DRAM"]["used"] == 0x300
    assert memory["IRAM"]["used"] == 0x400


def test_without_esp_idf_size_the_evidence_says_what_to_install(
    build: FirmwareBuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    build.map_file.write_text(MAP)

    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(module, "version", absent)
    found = read_sizes(build, lines.WITH_CONSOLE)
    assert found.not_measured == (
        "sizes by memory type: esp-idf-size is not installed: pip install 'hotpin-hil[sizes]'",
    )
    assert found.static_dram == 0xA8C8


def test_unreadable_map_file_is_named(build: FirmwareBuild) -> None:
    build.map_file.write_text("no map\n")
    (reason,) = read_sizes(build, lines.WITH_CONSOLE).not_measured
    assert reason.startswith("sizes by memory type: esp-idf-size")


def test_native_build_has_the_map_of_its_boards_profile(tmp_path: Path) -> None:
    build = read_build(write_build(tmp_path / "build"), BoardKind.VIRTUAL)
    profile = profiles.load()
    found = read_sizes(build, lines.WITH_CONSOLE, profile)
    assert found.source == f"profile {profile.name}"
    assert found.is_modelled
    assert found.first_heap in {heap.start for heap in profile.heaps}
    assert found.data is found.image_size is None
    unknown = read_sizes(build, lines.WITH_CONSOLE)
    assert unknown.first_heap is None
    assert "profile is unknown" in unknown.not_measured[0]


@pytest.mark.parametrize("name", profiles.names())
def test_code_in_iram_ends_above_its_origin_on_every_profile(tmp_path: Path, name: str) -> None:
    """The end of the code must be found even if IRAM below the code is a heap, as on a single core."""
    build = read_build(write_build(tmp_path / "build"), BoardKind.VIRTUAL)
    found = read_sizes(build, lines.WITH_CONSOLE, profiles.load(name))
    assert found.iram_end is not None
    assert 0x40080000 < found.iram_end < 0x400A0000


@pytest.mark.parametrize("name", profiles.names())
def test_first_heap_lies_behind_static_data_on_every_profile(name: str) -> None:
    first = first_heap_of(profiles.load(name))
    assert first is not None
    assert module.DRAM_ORIGIN < first < 0x3FFE0000


# --- Evidence and report ----------------------------------------------------------------------------------------


def known(image: str, **fields: Any) -> ImageSizes:
    whole = ImageSizes(image, "ab" * 32, "ELF file", is_modelled=False)
    return replace(whole, **{"static_dram": 30_900, "first_heap": 0x3FFB78B8, **fields})


IDENTITY = f'dut.confirm({{"build": "native", "mac": dut.mac, "elf_sha256": {ELF_SHA256!r}}}'


def test_run_keeps_the_sizes_of_the_images_that_its_boards_ran(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_use, "release_build_dir", lambda kind: tmp_path / "none")
    suite.run(f"""
@requirement("AAA-01")
def test_first(dut, measure):
    {IDENTITY})
    {IDENTITY}, image="release")
    measure("x", 1, max=2)

@requirement("AAA-02")
def test_second(dut, measure):
    {IDENTITY.replace("dut.mac", repr("24:0a:c4:00:00:02"))})
    measure("x", 1, max=2)
""")
    suite.validate()
    console, release = suite.qualification["sizes"]
    profile = suite.lines[0]["board"]["profile"]
    assert (console["image"], console["class"], console["source"]) == (
        lines.WITH_CONSOLE,
        "modelled",
        f"profile {profile}",
    )
    assert release["first_heap"] is None
    assert "no firmware build" in release["not_measured"][0]


def test_board_that_runs_another_build_has_no_sizes(suite: Suite) -> None:
    suite.run(f"""
@requirement("AAA-01")
def test_first(dut, measure):
    {IDENTITY.replace(ELF_SHA256, "ab" * 32)})
    measure("x", 1, max=2)
""")
    (only,) = suite.qualification["sizes"]
    assert only["elf_sha256"] == "ab" * 32
    assert "is not the build in" in only["not_measured"][0]


def note_of(sizes: ImageSizes) -> lines.SizesNote:
    figures = asdict(sizes)
    klass = "modelled" if figures.pop("is_modelled") else "measured"
    return lines.SizesNote(MeasurementClass(klass), **figures)


def run_with(*sizes: ImageSizes) -> Any:
    notes = [note_of(size) for size in sizes]
    for note in notes:
        RESULTS_LINE.validate(note.as_json())
    return results_of({**RUN, "requirements": [row("A")]}, [*notes, *passed("A"), END])


def test_qualification_lists_the_image_with_the_console_first() -> None:
    tool = {"tool": "esp-idf-size 2", "total": 9, "memory": {"DRAM": {"used": 30_892, "total": 180_736}}}
    console = known(lines.WITH_CONSOLE, idf_size=tool)
    results = run_with(known(lines.RELEASE), console)
    qualification = qualify(results)
    QUALIFICATION.validate(qualification)
    assert [size["image"] for size in qualification["sizes"]] == [lines.WITH_CONSOLE, lines.RELEASE]
    assert qualification["sizes"][0]["class"] == "measured"
    text = " ".join(Tags(page_of(results)).text.split())
    assert "with test console (measured) release (measured)" in text
    assert "static DRAM (.data + .bss), B 30,900 30,900" in text
    assert "first heap starts at 0x3FFB78B8 0x3FFB78B8" in text
    assert "DRAM according to esp-idf-size, B 30,892 not measured" in text
    assert "ELF file; esp-idf-size 2 ELF file" in text


def test_missing_measurement_is_listed_once_with_its_images() -> None:
    reason = "<b>no map file</b>"
    sizes = [unknown_sizes(image, "ab" * 32, reason) for image in (lines.WITH_CONSOLE, lines.RELEASE)]
    results = run_with(*sizes)
    listed = qualify(results)["sizes"]
    assert sizes_notes(listed) == [f"Not measured, with test console and release: {reason}"]
    table = sizes_table(listed)
    assert table is not None
    assert [cells[0] for cells in table.rows] == ["read from"]
    page = page_of(results)
    assert "<b>no map" not in page


def test_run_without_sizes_has_no_section() -> None:
    assert "sizes" not in Tags(page_of(run_with())).ids
