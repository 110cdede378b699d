"""Compares the tables of the allocation profile with a model made of Python dictionaries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.c_build import build

MODULE = build(
    "profile_table",
    ["memory_profile/src/profile_table.c"],
    ["profile_table.h"],
    # cffi passes no structs with bit fields by value
    extra_cdef="void take_out(profile_table_t *table, uint32_t address, profile_block_t *block);"
    "void put_back(profile_table_t *table, const profile_block_t *block);",
    extra_source="void take_out(profile_table_t *table, uint32_t address, profile_block_t *block)"
    "{ *block = profile_table_remove(table, address); }"
    "void put_back(profile_table_t *table, const profile_block_t *block)"
    "{ profile_table_restore(table, *block); }",
)
ffi, lib, new = MODULE.ffi, MODULE.lib, MODULE.new

FRAMES = MODULE.const("MEMORY_PROFILE_FRAMES")
INTERNAL, PSRAM = 0, 1
NAMES = ("state", "hil_console", "stt_capture", "tts_playback", "a_name_of_16_chars")


def padded(*frames: int) -> tuple[int, ...]:
    """The frames of a site, padded to the length of a row."""
    return *frames, *[0] * (FRAMES - len(frames))


class Table:
    """A profile table, in memory that Python owns."""

    def __init__(self, slots: int = 64, rows: int = 32, index: int = 64, tasks: int = 8) -> None:
        self.blocks = new("profile_block_t[]", slots)
        self.rows = new("profile_row_t[]", rows)
        self.index = new("uint16_t[]", index)
        self.tasks = new("profile_task_t[]", tasks)
        self.usable = slots - slots // 4
        self.table = new(
            "profile_table_t *",
            {
                "blocks": self.blocks,
                "block_slots": slots,
                "rows": self.rows,
                "row_index": self.index,
                "index_slots": index,
                "row_max": rows,
                "tasks": self.tasks,
                "task_max": tasks,
            },
        )

    def add(
        self,
        address: int,
        size: int,
        memory: int = INTERNAL,
        frames: Sequence[int] = (1,),
        name: str = "state",
    ) -> None:
        lib.profile_table_add(self.table, address, size, memory, padded(*frames), name.encode())

    def remove(self, address: int) -> Any:
        block = new("profile_block_t *")
        lib.take_out(self.table, address, block)
        return block

    def site(self, number: int) -> tuple[str, int, tuple[int, ...], tuple[int, ...]]:
        row = self.rows[number]
        return self.name(row.task), row.memory, tuple(row.frames), use(row.use)

    def name(self, task: int) -> str:
        text: str = ffi.string(self.tasks[task].name).decode()
        return text

    @property
    def sites(self) -> list[tuple[str, int, tuple[int, ...], tuple[int, ...]]]:
        return [self.site(number) for number in range(len(self.rows)) if self.rows[number].use.allocations]

    @property
    def held(self) -> int:
        """Total bytes in use: the sum of all rows plus the lost blocks."""
        return sum(row.use.bytes for row in self.rows) + sum(self.table.loss.bytes)


def use(counters: Any) -> tuple[int, int, int, int]:
    return counters.bytes, counters.blocks, counters.peak, counters.allocations


def test_block_counts_for_its_row_and_its_task() -> None:
    table = Table()
    table.add(0x3FFB0000, 100, frames=(7, 8, 9), name="state")
    table.add(0x3FFB1000, 50, frames=(7, 8, 9), name="state")
    table.add(0x3F800000, 1000, PSRAM, frames=(7, 8, 9), name="state")
    table.add(0x3FFB2000, 20, frames=(7, 8), name="main")
    table.remove(0x3FFB0000)
    table.add(0x3FFB3000, 10, frames=(7, 8, 9), name="state")
    assert table.sites == [
        ("state", INTERNAL, padded(7, 8, 9), (60, 2, 150, 3)),
        ("state", PSRAM, padded(7, 8, 9), (1000, 1, 1000, 1)),
        ("main", INTERNAL, padded(7, 8), (20, 1, 20, 1)),
    ]
    assert [use(task.use) for task in table.tasks[0:2]] == [(1060, 3, 1150, 4), (20, 1, 20, 1)]


def test_each_frame_tells_sites_apart() -> None:
    table = Table(rows=32)
    frames = [1] * FRAMES
    table.add(4, 1, frames=frames)
    for place in range(FRAMES):
        table.add(8 + 4 * place, 1, frames=[*frames[:place], 2, *frames[place + 1 :]])
    assert table.table.row_count == 1 + FRAMES


def test_block_at_a_known_address_replaces_the_old_one() -> None:
    """This happens if heap_caps reuses an address before the profile has recorded that the old block was freed."""
    table = Table()
    table.add(64, 100, frames=(1,))
    table.add(64, 30, frames=(2,))
    assert [site[3] for site in table.sites] == [(0, 0, 100, 1), (30, 1, 30, 1)]
    assert table.table.block_count == 1


def test_restored_block_is_no_allocation() -> None:
    table = Table()
    table.add(64, 100)
    old = table.remove(64)
    assert (old.address, old.size) == (64, 100)
    lib.put_back(table.table, old)
    assert table.sites[0][3] == (100, 1, 100, 1)
    assert lib.profile_table_knows(table.table, 64)
    lib.put_back(table.table, table.remove(68))  # there was no known block at this address
    assert table.table.block_count == 1


def test_largest_block_keeps_its_size() -> None:
    table = Table()
    largest = MODULE.const("PROFILE_BLOCK_MAX")
    table.add(4, largest)
    table.add(8, largest + 5)
    assert table.remove(4).size == table.remove(8).size == largest


def test_full_table_counts_blocks_that_find_no_slot() -> None:
    table = Table(slots=64)
    for number in range(table.usable + 3):
        table.add(0x1000 + 16 * number, 10, PSRAM if number % 2 else INTERNAL)
    loss = table.table.loss
    assert (table.table.block_count, loss.no_slot) == (table.usable, 3)
    assert (list(loss.bytes), list(loss.blocks)) == ([20, 10], [2, 1])
    assert table.held == 10 * (table.usable + 3)
    assert sum(row.use.allocations for row in table.rows) == table.usable + 3
    lib.profile_table_freed_unknown(table.table, 10, PSRAM)
    assert (list(loss.bytes), list(loss.blocks), loss.unknown_frees) == ([20, 0], [2, 0], 0)
    lib.profile_table_freed_unknown(table.table, 10, PSRAM)
    assert (list(loss.bytes), loss.unknown_frees) == ([20, 0], 1)
    lib.profile_table_freed_unknown(table.table, 21, INTERNAL)
    assert (list(loss.bytes), list(loss.blocks), loss.unknown_frees) == ([20, 0], [2, 0], 2)


def test_sites_without_a_row_share_the_last_one_of_their_memory() -> None:
    rows = 6
    table = Table(rows=rows)
    for number in range(rows):
        table.add(4 * number + 4, 10, INTERNAL, frames=(number + 1,))
        table.add(4 * number + 0x400, 5, PSRAM, frames=(number + 1,))
    rest = {site[1]: site for site in table.sites if site[0] == "(other)"}
    own = len(table.sites) - 2
    assert own == rows - 2
    assert rest[INTERNAL] == ("(other)", INTERNAL, (0,) * FRAMES, (40, 4, 40, 4))
    assert rest[PSRAM] == ("(other)", PSRAM, (0,) * FRAMES, (20, 4, 20, 4))
    assert table.table.loss.no_row == 2 * rows - own
    assert table.held == 15 * rows


def test_tasks_without_a_place_share_the_last_one() -> None:
    table = Table(tasks=3)
    for number, name in enumerate(("a", "b", "c", "d", "a")):
        table.add(4 * number + 4, 10, frames=(number + 1,), name=name)
    assert [(table.name(number), use(table.tasks[number].use)) for number in range(3)] == [
        ("a", (20, 2, 20, 2)),
        ("b", (10, 1, 10, 1)),
        ("(other)", (20, 2, 20, 2)),
    ]
    assert table.table.loss.no_task == 2


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("", ""),
        ("abc", "abc"),
        ("exactly15chars_", "exactly15chars_"),
        ("more_than_15_chars", "more_than_15_ch"),
    ],
)
def test_name_is_kept_up_to_15_characters(name: str, kept: str) -> None:
    table = Table()
    table.add(4, 1, name=name)
    table.add(8, 1, name=name)
    assert (table.name(0), table.table.task_count) == (kept, 1)


def test_names_are_told_apart_by_any_character() -> None:
    table = Table()
    for number, name in enumerate(("LOAD0", "LOAD1", "LOAD", "MOAD0", "LOAD00")):
        table.add(4 + 4 * number, 1, name=name)
    assert table.table.task_count == 5


def test_mark_keeps_the_counters_of_rows_and_tasks() -> None:
    table = Table(rows=4, tasks=3)
    for number in range(4):
        table.add(4 + 4 * number, 10, PSRAM, frames=(number + 1,), name="abcd"[number])
    lib.profile_table_mark(table.table)
    table.add(0x100, 10, PSRAM, frames=(1,), name="a")
    marks = [(row.mark.bytes, row.mark.blocks, row.mark.allocations) for row in table.rows]
    assert marks == [(10, 1, 1), (10, 1, 1), (0, 0, 0), (20, 2, 2)]
    assert [task.mark.bytes for task in table.tasks] == [10, 10, 20]


@dataclass
class Model:
    """Expected content of the table: blocks by address, counters by site."""

    blocks: dict[int, tuple[tuple[Any, ...], int]] = field(default_factory=dict)
    allocations: Counter[tuple[Any, ...]] = field(default_factory=Counter)
    peaks: Counter[tuple[Any, ...]] = field(default_factory=Counter)

    def bytes(self, site: tuple[Any, ...]) -> int:
        return sum(size for other, size in self.blocks.values() if other == site)

    def add(self, address: int, site: tuple[Any, ...], size: int) -> None:
        self.blocks[address] = (site, size)
        self.allocations[site] += 1
        self.peaks[site] = max(self.peaks[site], self.bytes(site))


addresses = st.integers(1, 40).map(lambda number: 0x3FFB0000 + 64 * number)
sites = st.tuples(st.sampled_from(NAMES), st.sampled_from([INTERNAL, PSRAM]), st.integers(1, 4))
steps = st.one_of(st.tuples(addresses, sites, st.integers(1, 100_000)), st.tuples(addresses))


@settings(max_examples=200, deadline=None)
@given(st.lists(steps, max_size=120), st.sampled_from([16, 32, 64]))
def test_table_agrees_with_a_model(steps: list[Any], slots: int) -> None:
    """Any order of allocations and frees must give the model's content, even if many addresses share a slot."""
    table, model = Table(slots=slots), Model()
    for step in steps:
        address = step[0]
        if len(step) == 1:
            found = table.remove(address)
            expected = model.blocks.pop(address, None)
            assert (found.address != 0) == (expected is not None)
        elif len(model.blocks) < table.usable or address in model.blocks:
            (name, memory, frame), size = step[1:]
            table.add(address, size, memory, (frame,), name)
            model.blocks.pop(address, None)
            model.add(address, (name[:15], memory, frame), size)
    assert {(name, memory, frames[0]): counters for name, memory, frames, counters in table.sites} == {
        site: (
            model.bytes(site),
            sum(other == site for other, _ in model.blocks.values()),
            model.peaks[site],
            model.allocations[site],
        )
        for site in model.allocations
    }
    for address in range(0x3FFB0000, 0x3FFB0000 + 64 * 50, 64):
        assert lib.profile_table_knows(table.table, address) == (address in model.blocks)
