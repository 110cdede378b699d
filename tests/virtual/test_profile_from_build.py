"""Tests `hotpin-hil profile`, which reads the memory map of a build from the tables in its ELF file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hotpin_hil.cli import main as cli
from hotpin_hil.virtual import profile as profiles
from tests.conftest import shared_data
from tests.support.xtensa_elf import REGIONS, RESERVED, write_elf

MAP = (
    profiles.HeapRegion(0x3FFAE6E0, 6_432, "DRAM"),
    profiles.HeapRegion(0x3FFBA8C8, 153_400, "DRAM"),
    profiles.HeapRegion(0x3FFE0440, 15_072, "DIRAM"),
    profiles.HeapRegion(0x3FFE4350, 113_840, "DIRAM"),
    profiles.HeapRegion(0x4008FB28, 66_776, "IRAM"),
    profiles.HeapRegion(0x3F800000, 4 << 20, "SPIRAM"),
)
"""Memory map of the recorded build that write_elf() imitates: hil of f74ed55, ESP-IDF v5.4."""


def built(tmp_path: Path, elf: Path, out: str = "mine.toml") -> profiles.BoardProfile:
    assert cli.main(["profile", str(elf), "--out", str(tmp_path / out)]) == 0
    return profiles.load(tmp_path / out)


def test_map_of_a_build_matches_its_recorded_start(tmp_path: Path) -> None:
    profile = built(tmp_path, write_elf(tmp_path / "hotpin.elf"))
    assert profile.heaps == MAP
    assert (profile.name, profile.has) == ("mine", ("IDF 5.4", "one core"))
    lines = shared_data("qemu_runs/hil-in-qemu.log").read_text(errors="replace")
    for heap in profile.heaps[:-1]:
        assert f"At {heap.start:08X} len {heap.length:08X}" in lines


def test_build_directory_names_its_elf(tmp_path: Path) -> None:
    write_elf(tmp_path / "app.elf")
    (tmp_path / "project_description.json").write_text(json.dumps({"app_elf": "app.elf"}))
    assert built(tmp_path, tmp_path).heaps == MAP


def test_one_core_leaves_the_other_cores_memory_to_the_heap(tmp_path: Path) -> None:
    one_core = tuple(pair for pair in RESERVED if pair[0] not in (0x40078000, 0x3FFE3F20))
    heaps = built(tmp_path, write_elf(tmp_path / "app.elf", reserved=one_core)).heaps
    assert profiles.HeapRegion(0x3FFE0440, 0x40000000 - 0x3FFE0440, "DIRAM") in heaps
    assert profiles.HeapRegion(0x40078000, 0x8000, "IRAM") in heaps


def test_linked_symbols_decide_the_steps_of_the_start(tmp_path: Path) -> None:
    symbols = {
        "__sinit": 0x400D1234,
        "ipc_task": 0x400D1800,
        "esp_timer_create": 0x400D2000,
        "prvTimerTask": 0x400D3000,
    }
    elf = write_elf(tmp_path / "app.elf", idf="v5.5.5-260-gdd8d7946bb4", symbols=symbols)
    profile = built(tmp_path, elf)
    assert set(profile.has) == {"IDF 5.5", "newlib in flash", "two cores", "esp_timer", "timer service"}
    assert profile.search_order == "size"
    owners = {blocks.what for blocks in profile.startup("psram")}
    assert {"esp_timer task", "Tmr Svc task", "stdio: locks of __sinit"} <= owners


def test_in_an_existing_profile_only_the_map_is_replaced(tmp_path: Path) -> None:
    shipped = (profiles.PROFILES_DIR / "hotpin-5.5-qemu.toml").read_text()
    (tmp_path / "old.toml").write_text(f"# A comment.\n{shipped}\n[costs]\nwatt = 2\n")
    profile = built(tmp_path, write_elf(tmp_path / "app.elf", idf="v5.5.5"), "old.toml")
    assert profile.heaps == MAP
    assert (profile.name, profile.costs) == ("hotpin-5.5-qemu", {"watt": 2.0})
    assert (tmp_path / "old.toml").read_text().startswith("# A comment.\n")
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("name", [name for name in profiles.names() if name.startswith("hotpin-5")])
def test_each_shipped_map_can_be_replaced(name: str, tmp_path: Path) -> None:
    file = tmp_path / f"{name}.toml"
    file.write_text((profiles.PROFILES_DIR / file.name).read_text())
    idf = f"v{name[7:10]}.4"
    assert built(tmp_path, write_elf(tmp_path / "app.elf", idf=idf), file.name).heaps[1].length == 153_400


def test_it_prints_a_profile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["profile", str(write_elf(tmp_path / "app.elf"))]) == 0
    (tmp_path / "printed.toml").write_text(capsys.readouterr().out)
    assert profiles.load(tmp_path / "printed.toml").heaps == MAP


def test_mistake_is_one_line_with_thing_and_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tuple((start + 0x100000, size, kind) for start, size, kind in REGIONS)
    (tmp_path / "text.elf").write_text("no ELF")
    (tmp_path / "empty").mkdir()
    (tmp_path / "plain.toml").write_text('like = "hotpin-5.4"\n')
    app = str(write_elf(tmp_path / "app.elf"))
    for arguments, message in (
        ([str(tmp_path / "nosuch")], "nosuch: there is no such file"),
        ([str(tmp_path / "empty")], "empty: no project_description.json"),
        ([str(tmp_path / "text.elf")], "text.elf: not an ELF file"),
        ([str(write_elf(tmp_path / "pc.elf", machine=62))], "for X86_64, not for the ESP32"),
        ([str(write_elf(tmp_path / "s3.elf", regions=elsewhere))], "built for another chip"),
        ([str(write_elf(tmp_path / "old.elf", idf="v4.4.1"))], "there is no profile hotpin-4.4"),
        ([app, "--out", str(tmp_path / "no/such/file.toml")], "file.toml: No such file"),
        ([app, "--out", str(tmp_path / "plain.toml")], "plain.toml: no `has"),
    ):
        assert cli.main(["profile", *arguments]) == 2, arguments
        error = capsys.readouterr().err
        assert message in error
        assert error.startswith("error: ")
        assert error.count("\n") == 1
