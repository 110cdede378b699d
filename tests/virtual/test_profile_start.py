"""Tests a board profile's description of the boot: order of steps, freed blocks, steps that some builds do not have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hotpin_hil.virtual import profile as profiles
from hotpin_hil.virtual.heap import HeapError, HeapSystem

DRAM = "heap=0x3FFB0000,65536,DRAM"


def load(tmp_path: Path, text: str) -> profiles.BoardProfile:
    path = tmp_path / "board.toml"
    path.write_text(f'like = "hotpin-5.4"\nname = "board"\n{text}', encoding="utf-8")
    return profiles.load(path)


def heap(*lines: str) -> HeapSystem:
    system = HeapSystem()
    for line in lines:
        system.boot_line(line)
    return system


def test_freed_startup_blocks_are_reused_by_the_next() -> None:
    system = heap(DRAM, "startup=INTERNAL,8BIT:44:page", "startup=INTERNAL,8BIT:52:list", "free=page")
    system.boot_line("startup=INTERNAL,8BIT:44:next")
    assert [block.size for block in system.blocks() if block.used] == [36, 44, 52]
    with pytest.raises(HeapError, match="free=page: no earlier startup line"):
        system.boot_line("free=page")


def test_minimum_of_a_pool_that_joins_late_counts_as_zero() -> None:
    early, late = heap(DRAM, "pool=4096,1"), heap(DRAM, "pool=4096,1,1")
    pool = early.heaps()[0].figures.free
    assert early.stats("DMA").free == late.stats("DMA").free
    assert early.stats("DMA").minimum - late.stats("DMA").minimum == pool
    with pytest.raises(HeapError, match="not SIZE,0"):
        late.boot_line("pool=4096,1,2")


def test_steps_of_the_start_are_sorted(tmp_path: Path) -> None:
    entries = "".join(
        f'[[startup_internal]]\nwhat = "{step}"\nsizes = [64]\nafter = "{step}"\n'
        for step in ("pool", "psram", "reset")
    )
    lines = load(tmp_path, entries).boot_lines()
    steps = [re.split("[:,]", line)[-1] for line in lines if not line.endswith("RAM")]
    assert steps == ["reset", "psram", "1", "pool"]
    assert lines.index("heap=0x3F800000,4194304,SPIRAM") < lines.index("startup=INTERNAL,8BIT:64:psram")


def test_parts_missing_from_a_build_take_no_memory(tmp_path: Path) -> None:
    def free(has: str) -> int:
        return load(tmp_path, f"has = [{has}]\n").boot_heap().stats("INTERNAL").free

    bare = free('"IDF 5.4"')
    assert bare - free('"IDF 5.4", "esp_timer"') >= 4096 + 4 + 340 + 4
    assert bare - free('"IDF 5.4", "timer service"') >= 2048 + 4 + 340 + 4


def test_heaps_are_searched_in_the_order_of_their_idf() -> None:
    def own(name: str) -> list[int]:
        return [heap.length for heap in profiles.load(name).boot_heap().heaps() if heap.type != "SPIRAM"][1:]

    assert own("hotpin-5.4") == [heap.length for heap in profiles.load("hotpin-5.4").heaps[:-1]]
    assert own("hotpin-5.5") == sorted(own("hotpin-5.5"))


def test_ledger_skips_allocations_made_at_the_start(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.toml"
    ledger.write_text(
        '[[allocation]]\nwhat = "list"\ncaps = "INTERNAL,8BIT"\nsize = 52\nunless = "partition list"\n'
    )
    placed = [
        len(profiles.explain(profiles.load(name), profiles.load_ledger(ledger)).placed)
        for name in ("hotpin-5.4", "recorded")
    ]
    assert placed == [0, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('search_order = "alphabet"', "`search_order` is not valid: 'alphabet'.*address, size"),
        ('has = "esp_timer"', "`has` is not valid: 'esp_timer'.*a list of strings"),
        (
            '[[startup_internal]]\nwhat = "x"\nsizes = [4]\nafter = "lunch"',
            "`after` is not valid: 'lunch'.*reset, psram, pool",
        ),
        ('[[startup_internal]]\nfrees = "x"\nsizes = [4]', "unknown key 'sizes'"),
        (
            "[pool]\nsize = 4\ndefault_caps = true\nminimum_zero = 1",
            "`minimum_zero` is not valid: 1.*true or false",
        ),
    ],
)
def test_a_mistake_names_key_value_and_remedy(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(profiles.ProfileError, match=message):
        load(tmp_path, text)
