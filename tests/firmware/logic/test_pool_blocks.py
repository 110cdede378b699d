"""Tests the blocks of a pool: sizes, the list of free blocks, wrong calls."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.support.c_build import build

MODULE = build("pool_blocks", ["memory_pool/src/pool_blocks.c"], ["pool_blocks.h"])
ffi, lib, new = MODULE.ffi, MODULE.lib, MODULE.new

COUNT_MAX = MODULE.const("POOL_COUNT_MAX")


class Pool:
    """A pool in memory of exactly its size, so that a sanitizer detects any access outside it."""

    def __init__(self, block: int, count: int) -> None:
        self.size = lib.pool_bytes(block, count)
        assert self.size > 0
        self.memory = new(f"uint32_t[{self.size // 4}]")
        self.pool = new("pool_blocks_t *")
        lib.pool_init(self.pool, self.memory, block, count)

    @property
    def blocks(self) -> int:
        return int(ffi.cast("uintptr_t", self.pool.blocks))

    def take(self) -> int:
        return int(ffi.cast("uintptr_t", lib.pool_take(self.pool)))

    def give(self, address: int) -> int:
        return int(lib.pool_give(self.pool, ffi.cast("void *", address)))


@pytest.mark.parametrize(
    ("block", "count", "size"),
    [
        (1, 1, 4 + 4),
        (4, 1, 4 + 4),
        (5, 2, 4 + 16),
        (100, 7, 16 + 700),
        (4096, 3, 8 + 12288),
        (4, 65_533, 131_068 + 262_132),
    ],
)
def test_size_is_that_of_the_list_and_the_aligned_blocks(block: int, count: int, size: int) -> None:
    assert lib.pool_bytes(block, count) == size


@pytest.mark.parametrize(
    ("block", "count"),
    [
        (0, 1),
        (1, 0),
        (4, COUNT_MAX + 1),
        (0x7FFFFFFF, 1),
        (0x40000000, 2),
        (2**63, 2),
        (1, 2**63),
        (2**64 - 1, 1),
    ],
)
def test_impossible_size_is_0(block: int, count: int) -> None:
    assert lib.pool_bytes(block, count) == 0


def test_largest_size_fits() -> None:
    assert lib.pool_bytes(0x7FFFFFFF - 4, 1) == 4 + 0x7FFFFFFC
    assert lib.pool_bytes(0x7FFFFFFF - 3, 1) == 0
    assert lib.pool_bytes(0x3FFFFFFB, 2) == 4 + 2 * 0x3FFFFFFC


@pytest.mark.parametrize("count", [1, 2, 3, 50, COUNT_MAX])
def test_each_block_is_taken_once(count: int) -> None:
    pool = Pool(8, count)
    taken = [pool.take() for _ in range(count)]
    assert taken == [pool.blocks + 8 * number for number in range(count)]
    assert taken[-1] + 8 == int(ffi.cast("uintptr_t", pool.memory)) + pool.size, (
        "the last block must end where the memory ends"
    )
    assert (pool.pool.used, pool.pool.high_water) == (count, count)
    assert pool.take() == 0
    assert (pool.pool.used, pool.pool.high_water) == (count, count)
    assert all(pool.give(address) == lib.POOL_GIVEN for address in taken)
    assert (pool.pool.used, pool.pool.high_water) == (0, count)
    assert {pool.take() for _ in range(count)} == set(taken)
    assert pool.take() == 0


def test_block_given_back_last_is_taken_first() -> None:
    pool = Pool(4, 3)
    first, second, _ = (pool.take() for _ in range(3))
    pool.give(second)
    pool.give(first)
    assert [pool.take(), pool.take(), pool.take()] == [first, second, 0]


def test_high_water_mark_is_the_most_at_a_time() -> None:
    pool = Pool(4, 5)
    taken = [pool.take() for _ in range(3)]
    pool.give(taken.pop())
    pool.take()
    assert (pool.pool.used, pool.pool.high_water) == (3, 3)


def test_wrong_pointers_change_nothing() -> None:
    pool = Pool(12, 3)
    block = pool.take()
    end = pool.blocks + 3 * 12
    for address, found in (
        (0, lib.POOL_OUTSIDE),
        (pool.blocks - 1, lib.POOL_OUTSIDE),
        (int(ffi.cast("uintptr_t", pool.memory)), lib.POOL_OUTSIDE),
        (end, lib.POOL_OUTSIDE),
        (end + 12, lib.POOL_OUTSIDE),
        (2**64 - 4, lib.POOL_OUTSIDE),
        (block + 1, lib.POOL_INSIDE),
        (block + 11, lib.POOL_INSIDE),
        (end - 1, lib.POOL_INSIDE),
        (block + 12, lib.POOL_FREE),
        (end - 12, lib.POOL_FREE),
    ):
        assert pool.give(address) == found, address - pool.blocks
    assert (pool.pool.used, pool.pool.high_water) == (1, 1)
    assert pool.give(block) == lib.POOL_GIVEN
    assert pool.give(block) == lib.POOL_FREE
    assert pool.pool.used == 0
    assert len({pool.take() for _ in range(3)}) == 3


def test_write_to_a_free_block_does_not_damage_the_list() -> None:
    pool = Pool(16, 4)
    block = pool.take()
    pool.give(block)
    ffi.memmove(ffi.cast("void *", block), b"\xff" * 16, 16)
    assert len({pool.take() for _ in range(4)}) == 4
    assert pool.take() == 0


@pytest.mark.parametrize("seed", range(5))
def test_random_calls_agree_with_a_model(seed: int) -> None:
    rng = random.Random(seed)
    size, count = rng.choice([4, 12, 100]), rng.randint(1, 40)
    pool, taken, most = Pool(size, count), list[Any](), 0
    for _ in range(2_000):
        if rng.random() < 0.5:
            block = pool.take()
            assert (block == 0) == (len(taken) == count)
            if block:
                assert block not in taken
                taken.append(block)
                most = max(most, len(taken))
        elif taken and rng.random() < 0.9:
            assert pool.give(taken.pop(rng.randrange(len(taken)))) == lib.POOL_GIVEN
        else:
            address = pool.blocks + rng.randrange(size * count)
            if address not in taken:
                expected = lib.POOL_FREE if (address - pool.blocks) % size == 0 else lib.POOL_INSIDE
                assert pool.give(address) == expected
        assert (pool.pool.used, pool.pool.high_water) == (len(taken), most)
