"""The layout rules against recordings of ESP-IDF's own allocator."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpin_hil.analysis.heap_layout import (
    BLOCK_OVERHEAD,
    HeapState,
    class_ceil,
    class_floor,
    fits_one,
    fragmentation_percent,
    largest_request,
    placeable,
    serving,
)
from tests.conftest import shared_data

DRAM = frozenset({"8BIT", "DEFAULT", "INTERNAL", "DMA", "32BIT"})
IRAM = frozenset({"INTERNAL", "EXEC", "32BIT"})
SPIRAM = frozenset({"SPIRAM", "DEFAULT", "8BIT", "32BIT"})


def region(length: int, *, free: int, largest: int, caps: frozenset[str] = DRAM) -> HeapState:
    return HeapState(start=0x3FFB0000, length=length, caps=caps, free=free, largest=largest)


@pytest.mark.parametrize(
    ("length", "first_block", "largest"),
    [
        # heap length, size of its single free block when untouched, largest free block reported by the real heap
        (15_072, 14_648, 14_336),
        (113_840, 112_960, 110_592),
        (21_152, 20_408, 19_456),
        (4_194_304, 4_192_128, 4_128_768),
        (32_767, 32_020, 31_744),
    ],
)
def test_largest_block_of_an_untouched_heap_matches_the_recording(
    length: int, first_block: int, largest: int
) -> None:
    assert class_floor(first_block, length) == largest


def test_one_block_fits_exactly_when_the_recorded_malloc_succeeded() -> None:
    """In the recordings a malloc follows each query. Its result shows whether the largest block was large enough."""
    checked = refused = 0
    length = 0
    lines = [
        json.loads(line) for line in shared_data("heap_vectors/multi_heap.jsonl").read_text().splitlines()
    ]
    for before, operation in pairwise(lines):
        if before["op"] == "heap":
            length = before["length"]
        if before["op"] != "stats" or operation["op"] != "malloc":
            continue
        served = operation["offset"] != -1
        heap = [region(length, free=before["free"], largest=before["largest"])]
        assert fits_one(heap, operation["size"]) == served, (length, before, operation)
        checked += 1
        refused += not served
    assert checked > 500
    assert refused > 50


@given(size=st.integers(1, 4_000_000), length=st.integers(1_000, 4_194_304))
def test_size_classes_enclose_the_size(size: int, length: int) -> None:
    assert class_floor(size, length) <= size <= class_ceil(size, length)
    assert class_floor(class_ceil(size, length), length) == class_ceil(size, length)


@given(block=st.integers(12, 1_000_000).map(lambda n: n // 4 * 4), length=st.integers(20_000, 4_194_304))
def test_largest_request_is_the_boundary(block: int, length: int) -> None:
    heap = [region(length, free=block, largest=block)]
    boundary = largest_request(heap)
    assert fits_one(heap, boundary)
    assert not fits_one(heap, boundary + 1)


def test_nothing_fits_without_a_free_block() -> None:
    assert largest_request([]) == 0
    assert not fits_one([], 1)
    assert not fits_one([region(4096, free=4, largest=0)], 1)


def test_heap_serves_a_request_only_with_all_capabilities() -> None:
    heaps = [
        region(6_432, free=1, largest=1),
        region(21_152, free=1, largest=1, caps=IRAM),
        region(4_194_304, free=1, largest=1, caps=SPIRAM),
    ]
    assert serving(heaps, ["INTERNAL"]) == heaps[:2]
    assert serving(heaps, ["INTERNAL", "8BIT"]) == heaps[:1]
    assert serving(heaps, ["DEFAULT"]) == [heaps[0], heaps[2]]


def test_separate_whole_heaps_are_not_fragmentation() -> None:
    """The original firmware computed 1 - largest/free over all heaps, which is 51 % for this healthy layout."""
    heaps = [region(n + 900, free=n, largest=n) for n in (6_052, 92_184, 14_656, 112_968)]
    assert fragmentation_percent(heaps) == 0


@pytest.mark.parametrize(
    ("free", "largest", "percent"),
    [
        (1000, 1000, 0),
        (1000, 996, 0),
        (1000, 995, 1),
        (1000, 994, 1),
        (200, 99, 51),
        (3, 1, 67),
        (8, 3, 63),
        (0, 0, 0),
    ],
)
def test_fragmentation_is_rounded_to_nearest(free: int, largest: int, percent: int) -> None:
    assert fragmentation_percent([region(4096, free=free, largest=largest)]) == percent


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), max_size=6))
def test_fragmentation_is_a_percentage(heaps: list[tuple[int, int]]) -> None:
    percent = fragmentation_percent([region(10**6, free=max(pair), largest=min(pair)) for pair in heaps])
    assert 0 <= percent <= 100


def test_camera_block_does_not_fit_the_dma_pool() -> None:
    """Of the 32 KB reserved for DMA, 32,020 bytes are usable; the camera needs 32,768."""
    pool = region(32_767, free=32_020, largest=32_020)
    assert not fits_one([pool], 32_768)
    assert fits_one([pool], 31_744)
    assert not fits_one([pool], 31_745)


def test_enough_memory_in_total_without_a_large_block_is_not_placeable() -> None:
    holes = [(4_096, 113_840)] * 8
    assert sum(block for block, _ in holes) >= 32_768
    assert not placeable(holes, [32_768])
    assert placeable(holes, [4_096] * 8)
    assert not placeable(holes, [4_096] * 9)


def test_each_placed_block_costs_its_header() -> None:
    blocks = [(2 * 4_096 + BLOCK_OVERHEAD, 113_840)]
    assert placeable(blocks, [4_096, 4_096])
    assert not placeable([(2 * 4_096, 113_840)], [4_096, 4_096])


def test_small_request_leaves_the_large_block_whole() -> None:
    assert placeable([(8_192, 113_840), (512, 113_840)], [512, 8_192])
