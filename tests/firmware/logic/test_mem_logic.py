"""Tests the memory manager's logic: thresholds, hysteresis, fragmentation, placement, deltas, the snapshot ring."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.c_build import build

KB = 1024
MODULE = build(
    "mem_logic",
    [
        "memory_manager/src/mem_logic.c",
        "memory_manager/src/mem_layout.c",
        "memory_manager/src/mem_ring.c",
        "memory_manager/src/mem_alloc_failed.c",
        "telemetry/src/telemetry_crc.c",
    ],
    ["mem_logic.h", "mem_layout.h", "mem_ring.h", "mem_alloc_failed.h"],
    extra_cdef="memory_thresholds_t default_thresholds(void);",
    extra_source="memory_thresholds_t default_thresholds(void)"
    "{ return (memory_thresholds_t) MEMORY_THRESHOLDS_DEFAULT(); }",
)
ffi, lib, new = MODULE.ffi, MODULE.lib, MODULE.new
FINE = {"internal_free": 10**6, "dma_free": 10**6, "psram_free": 10**7}
MEMORIES = {"internal": "internal_ram", "dma": "dma_capable", "psram": "psram"}

memory_names = st.sampled_from(sorted(MEMORIES))


def make_stats(**fields: int) -> Any:
    return new("memory_stats_t *", {**FINE, **fields})


def make_thresholds(**fields: int) -> Any:
    thresholds = new("memory_thresholds_t *", lib.default_thresholds())
    for name, value in fields.items():
        setattr(thresholds, name, value)
    return thresholds


class Levels:
    """State machine under test; check() returns the levels that one sample enters ("+") or leaves ("-")."""

    def __init__(self, **thresholds: int) -> None:
        self.state = new("mem_levels_t *")
        self.thresholds = make_thresholds(**thresholds)

    def changes(self, **stats: int) -> list[tuple[str, str, int, int]]:
        room = 2 * 4
        out = new("mem_change_t[]", room + 1)
        ffi.memmove(
            ffi.addressof(out[room]), b"\xa5" * ffi.sizeof("mem_change_t"), ffi.sizeof("mem_change_t")
        )
        count = lib.mem_levels_update(self.state, self.thresholds, make_stats(**stats), out)
        assert bytes(ffi.buffer(ffi.addressof(out[room]))) == b"\xa5" * ffi.sizeof("mem_change_t")
        return [
            (
                "-" if change.recovered else "+",
                ffi.string(lib.memory_warning_name(change.warning.type)).decode(),
                change.warning.current_value,
                change.warning.threshold_value,
            )
            for change in out[0:count]
        ]

    def check(self, **stats: int) -> list[str]:
        return [sign + name for sign, name, _value, _threshold in self.changes(**stats)]


def test_levels_stand_with_their_hysteresis() -> None:
    levels = Levels()
    low, critical = new("bool *"), new("bool *")
    seen = []
    for free in (60 * KB, 45 * KB, 15 * KB, 21 * KB, 23 * KB, 51 * KB, 60 * KB):
        levels.changes(internal_free=free)
        lib.mem_levels_standing(levels.state, low, critical)
        seen.append((low[0], critical[0]))
    assert seen == [
        (False, False),
        (True, False),
        (True, True),
        (True, True),
        (True, False),
        (True, False),
        (False, False),
    ]


# Thresholds


def test_default_thresholds_are_the_guides() -> None:
    thresholds = lib.default_thresholds()
    assert (thresholds.internal_ram_warning, thresholds.internal_ram_critical) == (50 * KB, 20 * KB)
    assert (thresholds.dma_capable_warning, thresholds.dma_capable_critical) == (35 * KB, 20 * KB)
    assert (thresholds.psram_warning, thresholds.psram_critical) == (500 * KB, 200 * KB)
    assert (thresholds.fragmentation_warning, thresholds.fragmentation_critical) == (30, 50)
    assert lib.mem_thresholds_check(make_thresholds()) == 0


@pytest.mark.parametrize("memory", MEMORIES.values())
def test_critical_above_warning_is_refused(memory: str) -> None:
    equal = make_thresholds(**{f"{memory}_warning": 1000, f"{memory}_critical": 1000})
    above = make_thresholds(**{f"{memory}_warning": 1000, f"{memory}_critical": 1001})
    assert lib.mem_thresholds_check(equal) == 0
    assert lib.mem_thresholds_check(above) == MODULE.const("ESP_ERR_INVALID_ARG")


@pytest.mark.parametrize(
    ("warning", "critical", "good"),
    [(0, 0, True), (30, 100, True), (100, 100, True), (50, 49, False), (30, 101, False)],
)
def test_fragmentation_thresholds(warning: int, critical: int, good: bool) -> None:
    thresholds = make_thresholds(fragmentation_warning=warning, fragmentation_critical=critical)
    assert (lib.mem_thresholds_check(thresholds) == 0) == good


@pytest.mark.parametrize("memory", sorted(MEMORIES))
@pytest.mark.parametrize("threshold", [1, 999, 10 * KB, 35 * KB, 500 * KB + 3])
def test_warning_is_raised_below_its_threshold_and_left_above_the_margin(memory: str, threshold: int) -> None:
    margin = max(threshold // 10, 1024)
    levels = Levels(**{f"{MEMORIES[memory]}_warning": threshold, f"{MEMORIES[memory]}_critical": 0})
    free, name = f"{memory}_free", f"{memory.upper()}_LOW"
    assert levels.check(**{free: threshold}) == []
    assert levels.changes(**{free: threshold - 1}) == [("+", name, threshold - 1, threshold)]
    assert levels.check(**{free: threshold - 1}) == []
    assert levels.check(**{free: threshold + margin - 1}) == []
    assert levels.changes(**{free: threshold + margin}) == [("-", name, threshold + margin, threshold)]
    assert levels.check(**{free: threshold}) == []


@pytest.mark.parametrize("memory", ["internal", "dma", "psram"])
def test_fragmentation_is_raised_at_its_threshold_and_left_five_points_below(memory: str) -> None:
    levels = Levels()
    field, name = f"{memory}_fragmentation", "FRAGMENTATION_HIGH"
    assert levels.check(**{field: 29}) == []
    assert levels.changes(**{field: 30}) == [("+", name, 30, 30)]
    assert levels.check(**{field: 26}) == []
    assert levels.changes(**{field: 49}) == []
    assert levels.changes(**{field: 50}) == [("+", name, 50, 50)]
    assert levels.check(**{field: 46}) == []
    assert levels.changes(**{field: 45}) == [("-", name, 45, 50)]
    assert levels.changes(**{field: 25}) == [("-", name, 25, 30)]


def test_fragmentation_thresholds_near_zero_cause_no_warning_storm() -> None:
    for threshold in range(7):
        levels = Levels(fragmentation_warning=threshold, fragmentation_critical=100)
        changes = [levels.check(internal_fragmentation=value) for value in [7, 7, 6, 7, 5, 7]]
        assert changes[0] == ["+FRAGMENTATION_HIGH"], threshold
        assert not any(changes[1:]), threshold
        left = [levels.check(internal_fragmentation=0) for _ in range(3)]
        assert left == [["-FRAGMENTATION_HIGH"] if threshold else [], [], []], "nothing is below 0 %"


def test_fragmentation_level_uses_the_most_fragmented_memory() -> None:
    levels = Levels()
    changes = levels.changes(internal_fragmentation=31, dma_fragmentation=33, psram_fragmentation=32)
    assert changes == [("+", "FRAGMENTATION_HIGH", 33, 30)]


def test_critical_supersedes_low_and_both_recover_in_order() -> None:
    levels = Levels()
    assert levels.check(dma_free=30 * KB) == ["+DMA_LOW"]
    assert levels.check(dma_free=19 * KB) == ["+DMA_CRITICAL"]
    assert levels.check(dma_free=25 * KB) == ["-DMA_CRITICAL"]
    assert levels.check(dma_free=60 * KB) == ["-DMA_LOW"]


def test_fall_straight_to_critical_raises_one_warning_and_recovers_once() -> None:
    levels = Levels()
    assert levels.check(dma_free=1 * KB) == ["+DMA_CRITICAL"]
    assert levels.check(dma_free=60 * KB) == ["-DMA_CRITICAL"]


def test_low_superseded_by_critical_is_raised_when_only_critical_is_left() -> None:
    levels = Levels()
    assert levels.check(dma_free=1 * KB) == ["+DMA_CRITICAL"]
    assert levels.check(dma_free=30 * KB) == ["-DMA_CRITICAL", "+DMA_LOW"]
    assert levels.check(dma_free=60 * KB) == ["-DMA_LOW"]


def test_order_within_one_check() -> None:
    levels = Levels()
    everything = {"internal_free": 0, "dma_free": 0, "psram_free": 0, "psram_fragmentation": 99}
    assert levels.check(**everything) == [
        "+INTERNAL_CRITICAL",
        "+DMA_CRITICAL",
        "+PSRAM_CRITICAL",
        "+FRAGMENTATION_HIGH",
    ]
    assert levels.check() == ["-INTERNAL_CRITICAL", "-DMA_CRITICAL", "-PSRAM_CRITICAL", "-FRAGMENTATION_HIGH"]


def test_maximum_number_of_changes_in_one_check() -> None:
    levels = Levels()
    for stage in (30, 10):
        levels.check(
            internal_free=stage * KB,
            dma_free=stage * KB,
            psram_free=stage * 10 * KB,
            dma_fragmentation=60 - stage,
        )
    assert len(levels.check()) == 8


@dataclass
class OneLevel:
    """Model of one threshold level of one memory type, written from the specification."""

    threshold: int
    active: bool = False

    def update(self, value: int) -> None:
        margin = max(self.threshold // 10, 1024)
        if value < self.threshold:
            self.active = True
        elif value >= self.threshold + margin:
            self.active = False


@given(
    memory=memory_names,
    pair=st.tuples(st.integers(0, 200_000), st.integers(0, 200_000)),
    values=st.lists(st.integers(0, 230_000) | st.sampled_from(range(-2, 3)), max_size=60),
)
def test_state_machine_against_a_model(memory: str, pair: tuple[int, int], values: list[int]) -> None:
    low, critical = OneLevel(max(pair)), OneLevel(min(pair))
    levels = Levels(
        **{f"{MEMORIES[memory]}_warning": low.threshold, f"{MEMORIES[memory]}_critical": critical.threshold}
    )
    announced = {"LOW": False, "CRITICAL": False}
    for raw in values:
        # Small numbers select a value at one of the four boundaries.
        edges = [low.threshold, critical.threshold, low.threshold + max(low.threshold // 10, 1024)]
        value = max(0, edges[raw % 3] + raw) if -2 <= raw <= 2 else raw
        low.update(value)
        critical.update(value)
        for change in levels.check(**{f"{memory}_free": value}):
            sign, level = change[0], change.removeprefix(change[0] + memory.upper() + "_")
            assert announced[level] == (sign == "-"), (
                "a level was entered twice, or left without having been entered"
            )
            announced[level] = sign == "+"
        assert announced["CRITICAL"] == critical.active
        assert announced["LOW"] <= low.active, "LOW was raised again after it was left"
        if value < low.threshold and not critical.active:
            assert announced["LOW"]


@given(threshold=st.integers(5, 200_000), jitter=st.lists(st.integers(-1000, 1000), min_size=20, max_size=50))
def test_hovering_at_the_threshold_raises_one_warning(threshold: int, jitter: list[int]) -> None:
    levels = Levels(dma_capable_warning=threshold, dma_capable_critical=0)
    changes = [change for step in jitter for change in levels.check(dma_free=max(0, threshold + step))]
    assert len(changes) <= 1


def test_levels_follow_new_thresholds() -> None:
    levels = Levels()
    assert levels.check(psram_free=300 * KB) == ["+PSRAM_LOW"]
    levels.thresholds.psram_warning, levels.thresholds.psram_critical = 100 * KB, 50 * KB
    assert levels.changes(psram_free=300 * KB) == [("-", "PSRAM_LOW", 300 * KB, 100 * KB)]


def test_huge_thresholds_do_not_wrap() -> None:
    levels = Levels(psram_warning=2**32 - 1, psram_critical=0)
    assert levels.check(psram_free=2**32 - 2) == ["+PSRAM_LOW"]
    assert levels.check(psram_free=2**32 - 1) == []


def test_every_warning_type_has_its_name() -> None:
    assert ffi.string(lib.memory_warning_name(lib.MEMORY_WARNING_TYPES_)) == b"?"
    names = {ffi.string(lib.memory_warning_name(kind)).decode() for kind in range(lib.MEMORY_WARNING_TYPES_)}
    levels = {f"{memory}_{level}" for memory in ("INTERNAL", "DMA", "PSRAM") for level in ("LOW", "CRITICAL")}
    assert names == levels | {"FRAGMENTATION_HIGH"}


# Fragmentation


def fragmentation(heaps: list[list[int]]) -> int:
    census = new("mem_census_t *")
    for number, blocks in enumerate(heaps):
        for block in blocks:
            lib.mem_census_add(census, 0x3FFB0000 + number * 0x10000, block)
    return int(lib.mem_census_fragmentation(census))


@given(st.lists(st.lists(st.integers(12, 4_000_000), max_size=8), max_size=6))
def test_fragmentation_against_the_definition(heaps: list[list[int]]) -> None:
    total = sum(map(sum, heaps))
    largest = sum(max(blocks, default=0) for blocks in heaps)
    exact = 100 * (1 - Fraction(largest, total)) if total else Fraction(0)
    assert abs(fragmentation(heaps) - exact) <= Fraction(1, 2)


def test_separate_regions_are_not_fragmentation() -> None:
    # Heaps of an idle board; the original firmware reported 46 % fragmentation for them.
    assert fragmentation([[31_744], [6_052], [92_184], [14_656], [112_968]]) == 0


def test_nothing_free_is_no_fragmentation() -> None:
    assert fragmentation([]) == 0


def test_split_memory_is_fragmentation_and_halves_round_up() -> None:
    assert fragmentation([[100, 100, 100, 100]]) == 75
    assert fragmentation([[1000], [100] * 10]) == 45
    assert fragmentation([[995, 5]]) == 1  # 0.5 %


# Placement

SL_LOG2 = {8: 3, 16: 4, 32: 5}


def class_step(size: int, classes: int) -> int:
    return 4 if size < 4 * classes else 2 ** (size.bit_length() - 1) // classes


def rounded_request(size: int, classes: int) -> int:
    """The block size for which the allocator searches: at least 12 bytes, rounded up to a multiple of 4 and then to the
    next size class."""
    size = max(12, -(-size // 4) * 4)
    step = class_step(size, classes)
    return -(-size // step) * step


def size_class(size: int, classes: int) -> tuple[int, int]:
    return (0, size // 4) if size < 4 * classes else (size.bit_length(), size // class_step(size, classes))


@given(
    st.sampled_from([8, 16, 32]),
    st.integers(3, 1_000_000).map(lambda words: words * 4),
    st.integers(1, 4_100_000),
)
def test_fit_is_exact_on_both_sides(classes: int, block: int, request: int) -> None:
    fit = lib.mem_place_fit(block, SL_LOG2[classes])
    for wanted in (request, fit - 1, fit, fit + 1):
        # The allocator uses any block in the size class of the rounded request or in a higher class.
        served = size_class(rounded_request(wanted, classes), classes) <= size_class(block, classes)
        assert served == (wanted <= fit), (wanted, fit)


HEAP_SIZES = {8: 15_072, 16: 113_840, 32: 4_194_304}


def place(heaps: list[tuple[int, list[int]]], sizes: list[int], passes: Sequence[int] = (0,) * 4) -> Any:
    """Places blocks in heaps. `heaps`: for each heap, in the order of the walk, its number of size classes per power of
    two, and the sizes of its free blocks."""
    blocks = new("mem_place_t *")
    for number, (classes, free) in enumerate(heaps):
        start = 0x3F000000 + number * 0x1000000
        lib.mem_place_heap(blocks, start, start + HEAP_SIZES[classes], passes[number])
        for block in free:
            lib.mem_place_add(blocks, block)
    out = new("memory_placement_t *")
    lib.mem_place_run(blocks, sizes, len(sizes), out)
    return out


def allocate(heaps: list[tuple[int, list[int]]], sizes: list[int]) -> int:
    """Number of blocks that the allocator places if it uses the smallest free block of a class first."""
    heaps = [(classes, list(free)) for classes, free in heaps]
    for done, size in enumerate(sizes):
        for classes, free in heaps:
            needed = rounded_request(size, classes)
            fitting = [block for block in free if size_class(block, classes) >= size_class(needed, classes)]
            if fitting:
                block = min(fitting, key=lambda block: (size_class(block, classes), block))
                free.remove(block)
                if block - needed >= 16:
                    free.append(block - needed - 4)
                break
        else:
            return done
    return len(sizes)


free_lists = st.lists(st.integers(3, 3000).map(lambda words: words * 4), max_size=6)


@given(
    st.lists(st.tuples(st.sampled_from([8, 16, 32]), free_lists), min_size=1, max_size=4),
    st.lists(st.integers(1, 9000), min_size=1, max_size=MODULE.const("MEMORY_PLACE_MAX")),
    st.lists(st.integers(0, 2), min_size=4, max_size=4),
)
def test_placement_against_the_allocators_rules(
    heaps: list[tuple[int, list[int]]], sizes: list[int], passes: list[int]
) -> None:
    in_order = sorted(range(len(heaps)), key=lambda heap: passes[heap])
    placed = allocate([heaps[heap] for heap in in_order], sizes)
    found = place(heaps, sizes, passes)
    assert (found.placeable, found.placed) == (placed == len(sizes), placed)
    assert found.missing == (0 if placed == len(sizes) else sizes[placed])


@given(st.data())
@settings(max_examples=30)
def test_more_free_blocks_than_entries_do_not_hide_room(data: st.DataObject) -> None:
    limit = MODULE.const("MEMORY_PLACE_MAX")
    blocks = data.draw(st.lists(st.integers(3, 500).map(lambda words: words * 4), min_size=40, max_size=120))
    wanted = data.draw(st.lists(st.sampled_from(blocks), min_size=1, max_size=limit))
    sizes = [lib.mem_place_fit(size, 4) for size in sorted(wanted, reverse=True)]
    if allocate([(16, blocks)], sizes) == len(sizes):
        assert place([(16, blocks)], sizes).placeable


def test_enough_free_memory_without_a_large_block_is_not_placeable() -> None:
    # Recorded: I2S failed; it needs 25,980 bytes, and 27,267 were free.
    i2s = [4096] * 4 + [2048] * 4
    assert place([(16, [2200] * 12)], [2048] * 8).placeable
    found = place([(16, [2200] * 12)], i2s)
    assert (found.placeable, found.placed, found.missing) == (False, 0, 4096)
    assert found.largest == lib.mem_place_fit(2200, 4)


def test_camera_block_never_fits_the_dma_pool() -> None:
    # In the 32 KB pool at most 32,031 bytes are free; camera_controller needs a block of 32,768.
    assert not place([(16, [32_024])], [32_768]).placeable
    assert place([(16, [32_024]), (16, [65_536])], [32_768]).placeable


@pytest.mark.parametrize("outer_free", [[8000], []], ids=["outer-heap-with-room", "outer-heap-full"])
def test_a_heap_inside_another_has_the_pass_of_the_pool(outer_free: list[int]) -> None:
    """ESP-IDF lists the reserved DMA pool, which is inside another heap, first, but allocates from it last for
    MALLOC_CAP_8BIT."""
    outer, pool, other, size = 0x3FFE4350, 0x3FFE5000, 0x3FFB0000, 32_768
    for nested_pass, missing in ((1, 0), (0, 31_000)):
        place = new("mem_place_t *", {"nested_pass": nested_pass})
        lib.mem_place_heap(place, pool, pool + size - 1, 0)
        lib.mem_place_add(place, 32_040)
        lib.mem_place_heap(place, outer, 0x40000000, 0)
        for block in outer_free:
            lib.mem_place_add(place, block)
        lib.mem_place_heap(place, other, 0x3FFC0000, 0)
        lib.mem_place_add(place, 8000)
        out = new("memory_placement_t *")
        lib.mem_place_run(place, [4000, 31_000], 2, out)
        assert (out.placeable, out.missing) == (missing == 0, missing)


def test_heaps_beyond_the_table_are_not_used() -> None:
    count = MODULE.const("MEM_PLACE_HEAPS")
    assert place([(8, [100])] * (count - 1) + [(8, [900])], [800], [0] * count).placeable
    assert not place([(8, [100])] * count + [(8, [900])], [800], [0] * (count + 1)).placeable


def test_size_classes_are_those_of_the_heaps_length() -> None:
    for classes, fits in ((8, 1024), (16, 1088), (32, 1120)):
        assert place([(classes, [1148])], [fits]).placeable
        assert not place([(classes, [1148])], [fits + 1]).placeable


def test_a_split_block_loses_a_header() -> None:
    assert place([(8, [40])], [12, 24]).placeable
    assert not place([(8, [40])], [12, 25]).placeable
    assert not place([(8, [24])], [12, 1]).placeable  # the rest is too small to be a block


@pytest.mark.parametrize("size", [0, 2**32, 2**33 + 12])
def test_impossible_sizes_are_not_placeable(size: int) -> None:
    assert not place([(32, [4_000_000])], [size]).placeable


# Deltas and baselines


@given(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1))
def test_delta_is_present_minus_baseline(then: int, now: int) -> None:
    baseline = new(
        "memory_baseline_t *", lib.mem_baseline(make_stats(internal_free=then, dma_free=5, total_free=7))
    )
    delta = lib.mem_delta(
        make_stats(internal_free=now, dma_free=3, psram_free=FINE["psram_free"], total_free=8), baseline
    )
    assert (delta.internal, delta.dma, delta.psram, delta.total) == (now - then, -2, 0, 1)


# Advice


def advice(**stats: int) -> set[str]:
    bits = lib.mem_advice(make_thresholds(), make_stats(**stats))
    return {
        ffi.string(lib.memory_advice_text(kind)).decode()
        for kind in range(lib.MEMORY_ADVICE_KINDS_)
        if bits >> kind & 1
    }


def test_healthy_memory_needs_no_advice() -> None:
    assert advice() == set()


def test_audio_restart_is_advised_from_forty_percent() -> None:
    assert not any("audio driver" in text for text in advice(dma_fragmentation=39))
    assert any("restart the audio driver" in text for text in advice(dma_fragmentation=40))


@pytest.mark.parametrize(
    ("field", "quiet", "loud"),
    [
        ("internal_free", 50 * KB, 50 * KB - 1),
        ("dma_free", 35 * KB, 35 * KB - 1),
        ("psram_free", 500 * KB, 500 * KB - 1),
        ("internal_fragmentation", 29, 30),
        ("psram_fragmentation", 29, 30),
    ],
)
def test_advice_follows_the_thresholds(field: str, quiet: int, loud: int) -> None:
    assert advice(**{field: quiet}) == set()
    assert len(advice(**{field: loud})) == 1


# The snapshot ring

SIZE = MODULE.const("MEMORY_HISTORY_SIZE")


class Boot:
    """One boot of the board, with a ring that persists across boots."""

    def __init__(self, ring: Any, boot_count: int) -> None:
        self.ring = ring  # keeps a reference, because cffi would otherwise free the memory of the banks
        last_valid = new("bool *")
        boot = new("memory_last_boot_t *", {"boot_count": boot_count, "boot_id": boot_count * 1000})
        index = lib.mem_ring_open(ring, boot, last_valid)
        self.bank = ffi.addressof(ring.bank[index])
        self.last = ffi.addressof(ring.bank[1 - index]) if last_valid[0] else None

    def put(self, sequence: int) -> None:
        stats = {"timestamp_ms": sequence * 7, "total_watermark": sequence}
        snapshot = {"sequence": sequence, "stats": stats, "context": b"snapshot %d" % sequence}
        lib.mem_bank_put(self.bank, new("memory_snapshot_t *", snapshot))


def listed(bank: Any, room: int = 99) -> list[int]:
    out = new("memory_snapshot_t[]", room)
    count = lib.mem_bank_list(bank, out, room)
    for snapshot in out[0:count]:
        assert snapshot.stats.total_watermark == snapshot.sequence
        assert ffi.string(snapshot.context) == b"snapshot %d" % snapshot.sequence
    return [snapshot.sequence for snapshot in out[0:count]]


def noise(seed: int) -> Any:
    ring = new("mem_ring_t *")
    ffi.memmove(ring, random.Random(seed).randbytes(ffi.sizeof("mem_ring_t")), ffi.sizeof("mem_ring_t"))
    return ring


@given(st.integers())
def test_power_on_noise_is_not_a_previous_boot(seed: int) -> None:
    boot = Boot(noise(seed), 1)
    assert boot.last is None
    assert listed(boot.bank) == []


@given(st.integers(), st.lists(st.integers(0, 40), min_size=1, max_size=5))
@settings(max_examples=30)
def test_each_boot_finds_the_snapshots_of_the_one_before(seed: int, boots: list[int]) -> None:
    ring = noise(seed)
    before: list[int] | None = None
    for number, count in enumerate(boots):
        boot = Boot(ring, number + 1)
        if before is None:
            assert boot.last is None
        else:
            assert boot.last.boot.boot_count == number
            assert boot.last.boot.boot_id == number * 1000
            assert listed(boot.last) == before
        assert listed(boot.bank) == []
        for sequence in range(1, count + 1):
            boot.put(sequence)
        before = list(range(count, max(0, count - SIZE), -1))
        assert listed(boot.bank) == before
        assert listed(boot.bank, room=3) == before[:3]


def test_torn_snapshot_is_left_out_and_the_others_stay() -> None:
    ring = noise(3)
    boot = Boot(ring, 1)
    for sequence in range(1, 6):
        boot.put(sequence)
    half = ffi.sizeof("memory_snapshot_t") // 2
    ffi.memmove(
        ffi.addressof(boot.bank.slot[3]), b"\xff" * half, half
    )  # a reset in the middle of writing number 3
    assert listed(Boot(ring, 2).last) == [5, 4, 2, 1]


@given(
    st.sampled_from([1, 2, 3]),
    st.integers(0, ffi.sizeof("mem_slot_t") - 1),
    st.integers(1, 255),
)
def test_changed_byte_hides_only_its_snapshot(sequence: int, offset: int, flip: int) -> None:
    ring = noise(4)
    boot = Boot(ring, 1)
    for number in (1, 2, 3):
        boot.put(number)
    memory = ffi.buffer(ffi.addressof(boot.bank.slot[sequence]))
    memory[offset] = bytes([memory[offset][0] ^ flip])
    assert listed(Boot(ring, 2).last) == [number for number in (3, 2, 1) if number != sequence]


@given(st.integers(0, ffi.offsetof("mem_bank_t", "slot") - 1), st.integers(1, 255))
def test_changed_byte_in_the_head_hides_the_boot(offset: int, flip: int) -> None:
    ring = noise(4)
    boot = Boot(ring, 1)
    boot.put(1)
    memory = ffi.buffer(boot.bank)
    memory[offset] = bytes([memory[offset][0] ^ flip])
    assert Boot(ring, 2).last is None


def test_snapshots_of_a_boot_with_a_lost_head_do_not_join_the_current_boot() -> None:
    ring = noise(6)
    boot = Boot(ring, 1)
    boot.put(1)
    boot.bank.magic = 0
    again = Boot(ring, 2)  # starts from the same generation, so it uses the same bank
    assert again.bank == boot.bank
    assert listed(again.bank) == []


def test_get_finds_only_snapshots_still_in_the_ring() -> None:
    boot = Boot(noise(5), 1)
    out = new("memory_snapshot_t *")
    for sequence in range(1, SIZE + 3):
        boot.put(sequence)
    assert [n for n in range(SIZE + 6) if lib.mem_bank_get(boot.bank, n, out)] == list(range(3, SIZE + 3))


# Failed allocations

SLOTS = MODULE.const("MEM_ALLOC_FAILED_SLOTS")
FUNCTION = new("char[]", b"heap_caps_malloc")


def drain() -> tuple[list[tuple[int, int, int]], int]:
    out, lost = new("mem_alloc_failed_t *"), new("uint32_t *")
    taken = []
    while lib.mem_alloc_failed_take(out, lost):
        assert out.function == FUNCTION
        taken.append((out.time_ms, out.size, out.caps))
    return taken, lost[0]


def put(number: int) -> None:
    failed = {"time_ms": number, "size": number * 3, "caps": number * 5, "function": FUNCTION}
    lib.mem_alloc_failed_put(new("mem_alloc_failed_t *", failed))


def test_failed_allocations_come_out_in_order_and_overflow_is_counted() -> None:
    drain()
    for number in range(1, SLOTS + 4):
        put(number)
    assert drain() == ([(n, n * 3, n * 5) for n in range(1, SLOTS + 1)], 3)
    put(77)
    assert drain() == ([(77, 231, 385)], 0)


def test_failed_allocations_of_many_tasks_are_never_torn_nor_uncounted() -> None:
    drain()
    writers, each = 4, 3000
    done = threading.Event()
    taken: list[tuple[int, int, int]] = []
    lost = 0

    def write(start: int) -> None:
        for number in range(start, start + each):
            put(number)

    def read() -> None:
        nonlocal lost
        while not done.is_set():
            some, missed = drain()
            taken.extend(some)
            lost += missed

    threads = [threading.Thread(target=write, args=(1 + each * i,)) for i in range(writers)]
    reader = threading.Thread(target=read)
    for thread in [*threads, reader]:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    reader.join()
    put(0)  # the record of this failure also reports the failures lost before it
    some, missed = drain()
    assert all((size, caps) == (time * 3, time * 5) for time, size, caps in taken)
    assert len(set(taken)) == len(taken)
    assert len(taken) + len(some) + lost + missed == writers * each + 1
