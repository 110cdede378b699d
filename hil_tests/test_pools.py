"""Memory pools: each pool is a single allocation, detects wrong calls, and serves tasks and interrupts; plays from a
pool do not fragment memory."""

from __future__ import annotations

import itertools

import pytest

from fixtures.audio import tone
from fixtures.measure import Measure
from fixtures.memory import INTERNAL, KB, MEMORIES, PSRAM, Heaps, Memory, Monitor
from fixtures.modes import CAMERA, VOICE, Modes
from hotpin_hil.analysis.heap_layout import BLOCK_OVERHEAD
from hotpin_hil.boards.qemu import at_chip_speed
from hotpin_hil.device import Device, DeviceError, Pool
from hotpin_hil.pytest_plugin.plugin import BoardInUse

SOURCE = "requirement FUT-09"
POOL = "test"
BLOCK, COUNT = 100, 7
SIZE_CLASSES = 8
"""Number of size classes per power of two in ESP-IDF's smallest heaps (tlsf.c); the heap rounds a request up to a size
class."""
LIST_ENTRY = 2
"""Bytes per block that the pool's list of free blocks needs."""
PLAYS = 1_000
PLAY_BLOCK, PLAY_COUNT = 2 * KB, 6
ROOM = 128 * KB
REAL_PLAYS = 8
INTERRUPTS = 50
PAIRS = 1_000
PAIR_US_MAX = 5
POOLS_MAX = 4
"""CONFIG_HOTPIN_MEM_POOLS_MAX."""
CHUNKS = "audio chunks"
CHUNK, CHUNK_COUNT = 4 * KB, 3
STATIC_MAX = 640
"""Limit in bytes for the component's internal memory: 280 on the chip; the host's pointers are twice as long."""


@pytest.fixture
def qemu_extra_args(qemu_extra_args: str | None) -> str | None:
    """QEMU's arguments for running at about the chip's speed."""
    return at_chip_speed(qemu_extra_args) if qemu_extra_args else qemu_extra_args


def scattered(heaps: Heaps, memory: Memory) -> int:
    """Free bytes outside the largest free block of each heap."""
    return sum(region.free - region.largest for region in heaps.regions(memory))


@pytest.mark.requirement("FUT-09")
@pytest.mark.parametrize("memory", [INTERNAL, PSRAM], ids=lambda memory: memory.name)
def test_pool_is_one_allocation(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure, memory: Memory
) -> None:
    monitor.stop()
    before, blocks = heaps.free(memory.caps), sum(region.blocks for region in device.regions())
    answer = device.pools(create=POOL, block=BLOCK, count=COUNT, caps=memory.caps)
    pool = answer[POOL]
    size = COUNT * BLOCK + (COUNT * LIST_ENTRY + 3) // 4 * 4
    measure("size of the allocation", pool.bytes, "B", exact=size, source="blocks and their list")
    taken = before - heaps.free(memory.caps)
    highest = size + BLOCK_OVERHEAD + (1 << size.bit_length() - 1) // SIZE_CLASSES
    measure("bytes taken", taken, "B", low=size + BLOCK_OVERHEAD, high=highest, source="heap's size classes")
    created = sum(region.blocks for region in device.regions()) - blocks
    measure(
        "blocks of the heap",
        created,
        low=0,
        high=1,
        source="an allocation without a remainder replaces a free block",
    )

    start = heaps.free(memory.caps)
    answer = device.pools(take=COUNT + 1)
    measure("blocks taken", len(answer.at), exact=COUNT, source="an empty pool refuses")
    spread = sorted(answer.at)
    steps = {after - before for before, after in itertools.pairwise(spread)}
    measure("distance of the blocks", str(steps), exact=str({BLOCK}), source="adjacent blocks")
    measure("alignment", max(address % 4 for address in spread), exact=0, source="4 bytes")
    measure("heap used by the blocks", start - heaps.free(memory.caps), "B", exact=0)
    pool = answer[POOL]
    measure("figures", str((pool.used, pool.high_water, pool.refused)), exact=str((COUNT, COUNT, 1)))
    pool = device.pools(give=3)[POOL]
    measure(
        "figures",
        str((pool.used, pool.high_water)),
        exact=str((COUNT - 3, COUNT)),
        source="the high-water mark does not fall",
    )
    again = device.pools(take=3)
    measure("blocks given back are taken again", str(set(again.at) <= set(spread)), exact="True")
    measure("own memory", again.bytes_static, "B", max=STATIC_MAX, source="firmware/README.md, Memory budget")
    device.pools(off=True)
    measure("free afterwards", heaps.free(memory.caps), "B", exact=before, source="the pool is deleted")


@pytest.mark.requirement("FUT-09")
@pytest.mark.parametrize("block", [1, 97, 98, 99])
def test_blocks_of_any_size_are_aligned_and_apart(
    device: Device, monitor: Monitor, measure: Measure, block: int
) -> None:
    monitor.stop()
    device.pools(create=POOL, block=block, count=COUNT, caps=INTERNAL.caps)
    taken = sorted(device.pools(take=COUNT).at)
    measure("alignment", max(address % 4 for address in taken), exact=0, source="4 bytes")
    least = min(after - before for before, after in itertools.pairwise(taken))
    measure("least distance", least, "B", min=block, source="no block overlaps the next")


def blocks_of(device: Device, memory: Memory, size: int) -> int:
    """Number of used heap blocks of at least `size` bytes."""
    return sum(block >= size for heap in device.blocks(memory.caps) for block in heap.blocks)


@pytest.mark.requirement("FUT-09")
@pytest.mark.parametrize("memory", [INTERNAL, PSRAM], ids=lambda memory: memory.name)
@pytest.mark.parametrize("block", [BLOCK, BLOCK + 1, BLOCK + 4])
def test_blocks_from_the_heap_are_as_large_as_those_of_the_pool(
    device: Device, monitor: Monitor, measure: Measure, memory: Memory, block: int
) -> None:
    """Takes more blocks than the pool has. The console writes to each byte of a block, so a block that is too small
    damages the heap."""
    monitor.stop()
    device.pools(create=POOL, block=block, count=2, caps=memory.caps, heap=True)
    before = blocks_of(device, memory, block)
    taken = device.pools(take=6)
    measure("blocks from the heap", taken[POOL].heap_used, exact=4, source="six blocks of a pool of two")
    large = blocks_of(device, memory, block) - before
    measure("more blocks of the heap that are large enough", large, exact=4, source="heap.blocks")
    back = device.pools(give=6)
    measure(
        "figures", str((back[POOL].used, back[POOL].heap_used)), exact=str((0, 0)), source="mem.pool give=6"
    )


CLASS_STEP = 512
"""Bytes by which a block of up to 16 KB in PSRAM may exceed its request: the width of the allocator's size class."""


@pytest.mark.requirement("FUT-09")
def test_each_pool_lies_in_its_memory(device: Device, measure: Measure) -> None:
    """Compares the firmware's own pools with the blocks of the heaps: they belong to sound, so they use PSRAM."""
    sizes = [size for heap in device.blocks(PSRAM.caps) for size in heap.blocks]
    pools = device.pools().pools
    measure("pools", len(pools), min=1, source="audio_chunk.h")
    for pool in pools:
        found = [size for size in sizes if pool.bytes <= size < pool.bytes + CLASS_STEP]
        measure(f"{pool.name}: PSRAM blocks of its size", len(found), min=1, source="heap.blocks")


@pytest.mark.requirement("FUT-09")
@pytest.mark.parametrize("heap", [False, True], ids=["refuses", "falls-back"])
def test_wrong_frees_are_caught(device: Device, monitor: Monitor, measure: Measure, heap: bool) -> None:
    """Frees a block twice, and frees stale, inner, foreign and NULL pointers: each call must be refused and counted. A
    foreign pointer must also be refused while blocks are in use, even if one of these blocks comes from the heap."""
    monitor.stop()
    device.pools(create=POOL, block=BLOCK, count=2, caps=PSRAM.caps, heap=heap)
    for number, (how, err) in enumerate(
        {
            "double": "ESP_ERR_INVALID_STATE",
            "stale": "ESP_ERR_INVALID_STATE",
            "inside": "ESP_ERR_INVALID_ARG",
            "foreign": "ESP_ERR_INVALID_ARG",
            "null": "ESP_ERR_INVALID_ARG",
        }.items(),
        1,
    ):
        answer = device.pools(misuse=how)
        measure(f"{how} free", answer.err_free, exact=err, source=SOURCE)
        measure(f"{how} free: blocks in use", answer[POOL].used, exact=0, source="a wrong call has no effect")
        measure(f"{how} free: counted", answer[POOL].misused, exact=number, source="memory_pool.h")
    taken = device.pools(take=3).at
    measure(
        "blocks taken", len(taken), exact=3 if heap else 2, source="the third is from the heap, if allowed"
    )
    measure("distinct blocks", len(set(taken)), exact=len(taken), source="no block is taken twice")
    measure("foreign free", device.pools(misuse="foreign").err_free, exact="ESP_ERR_INVALID_ARG")


@pytest.mark.requirement("FUT-09")
@pytest.mark.parametrize("memory", MEMORIES, ids=lambda memory: memory.name)
def test_empty_pool_falls_back_to_the_heap(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure, memory: Memory
) -> None:
    """Takes more blocks than the pool has: the substitutes must come from the pool's own memory type."""
    monitor.stop()
    device.pools(create=POOL, block=BLOCK, count=2, caps=memory.caps, heap=True)
    start = heaps.free(memory.caps)
    pool = device.pools(take=4)[POOL]
    measure("figures", str((pool.used, pool.from_heap, pool.heap_used)), exact=str((2, 2, 2)), source=SOURCE)
    measure("taken from the heap", start - heaps.free(memory.caps), "B", min=2 * (BLOCK + BLOCK_OVERHEAD))
    pool = device.pools(give=4)[POOL]
    measure("figures", str((pool.used, pool.from_heap, pool.heap_used)), exact=str((0, 2, 0)), source=SOURCE)
    measure(
        "free afterwards", heaps.free(memory.caps), "B", exact=start, source="blocks of the heap are freed"
    )
    measure("misused", pool.misused, exact=0, source="each block was freed correctly")


@pytest.mark.requirement("FUT-09")
def test_interrupts_take_blocks_but_never_from_the_heap(
    device: Device, monitor: Monitor, measure: Measure
) -> None:
    monitor.stop()
    device.pools(create=POOL, block=BLOCK, count=2, caps=INTERNAL.caps, heap=True)
    answer = device.pools(interrupts=INTERRUPTS)
    pool = answer[POOL]
    measure("interrupts served", answer.served, exact=INTERRUPTS, source=SOURCE)
    measure(
        "failed",
        answer.failed + pool.misused,
        exact=0,
        source="tasks and interrupts may use the pool at the same time",
    )
    measure("blocks in use", pool.used, exact=0, source="all were given back")
    device.pools(take=2)
    answer = device.pools(interrupts=INTERRUPTS)
    measure("interrupts served by an empty pool", answer.served, exact=0, source="no heap in an interrupt")
    measure("refused", answer[POOL].refused, exact=INTERRUPTS, source="counted")


def play_all(device: Device, source: str) -> Pool:
    device.pools(create=POOL, block=PLAY_BLOCK, count=PLAY_COUNT, caps=PSRAM.caps)
    answer = device.pools(plays=PLAYS, source=source)
    assert answer.failed == 0, f"{answer.failed} allocations of chunks failed"
    assert answer.kept, "the plays must leave small objects allocated"
    return answer[POOL]


@pytest.mark.requirement("FUT-09")
def test_a_thousand_plays_from_a_pool_do_not_fragment_memory(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    """Plays in chunks of 1 to 2,048 bytes, first from the heap, then from a pool. Every tenth play leaves a small
    object allocated. Only the plays from the heap may fragment memory."""
    monitor.stop()
    heaps.leave(PSRAM, ROOM)
    before, percent = scattered(heaps, PSRAM), heaps.fragmentation(PSRAM)
    pool = play_all(device, "heap")
    without = scattered(heaps, PSRAM)
    measure("from the heap: free outside the largest block", without - before, "B", min=PLAY_BLOCK)
    device.pools(off=True)
    pool = play_all(device, "pool")
    measure("from a pool: free outside the largest block", scattered(heaps, PSRAM), "B", exact=before)
    measure("from a pool: fragmentation", heaps.fragmentation(PSRAM), "%", max=percent, source="at the start")
    measure("blocks in use", pool.used, exact=0, source="all were given back")
    measure("most blocks in use", pool.high_water, exact=PLAY_COUNT, source="chunks that wait for playback")


@pytest.mark.requirement("FUT-09")
def test_speech_uses_the_pool_of_chunks(
    device: Device, heaps: Heaps, modes: Modes, monitor: Monitor, measure: Measure
) -> None:
    """Plays streams in voice mode. The capture uses one chunk and playback uses two, all from the pool. Thus a play
    must allocate no PSRAM besides the stream's buffer."""
    monitor.stop()
    pool = device.pools()[CHUNKS]
    measure("pool", str((pool.block_size, pool.count, pool.used)), exact=str((CHUNK, CHUNK_COUNT, 0)))
    modes.to(VOICE)
    measure("used by the capture", device.pools()[CHUNKS].used, exact=1, source="audio_chunk.h")
    idle, spread = heaps.free(PSRAM.caps), scattered(heaps, PSRAM)
    for number in range(1, REAL_PLAYS + 1):
        modes.write(tone(400 * number, channels=1 + number % 2))
        opened = heaps.free(PSRAM.caps)
        device.tts_play(wait=True)
        measure(f"play {number}: PSRAM for playback", opened - heaps.free(PSRAM.caps), "B", exact=0)
        measure(f"play {number}: chunks in use", device.pools()[CHUNKS].used, exact=CHUNK_COUNT)
        device.tts_close()
        measure(f"play {number}: PSRAM free", heaps.free(PSRAM.caps), "B", exact=idle, source="as before")
    measure(
        "free outside the largest block", scattered(heaps, PSRAM), "B", exact=spread, source="at the start"
    )
    modes.to(CAMERA)
    pool = device.pools()[CHUNKS]
    measure("at the end", str((pool.used, pool.high_water, pool.from_heap)), exact=str((0, CHUNK_COUNT, 0)))
    measure("wrong frees", pool.misused, exact=0, source="none")


@pytest.mark.requirement("FUT-09")
def test_impossible_pools_are_refused(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    """Requests each invalid pool POOLS_MAX + 1 times. A refusal must not use up an entry, so a valid pool can still be
    created afterwards."""
    monitor.stop()
    before = heaps.free(PSRAM.caps)
    for block, count in ((0, 4), (4, 0), (4, 65_534), (1 << 31, 2), (0xFFFFFFFF, 1), (4 * KB, 2_000)):
        for _ in range(POOLS_MAX + 1):
            with pytest.raises(DeviceError) as refused:
                device.pools(create=POOL, block=block, count=count, caps=PSRAM.caps)
        measure(f"{count} blocks of {block:,} B", refused.value.err, exact="ESP_ERR_NO_MEM")
    measure("free afterwards", heaps.free(PSRAM.caps), "B", exact=before, source="nothing is kept")
    created = device.pools(create=POOL, block=BLOCK, count=COUNT, caps=PSRAM.caps)[POOL]
    measure("blocks of the next pool", created.count, exact=COUNT, source="the refusals kept no entry")


@pytest.mark.boards("hardware", "qemu", needs="the chip's speed")
@pytest.mark.requirement("FUT-09")
def test_a_block_of_a_pool_takes_less_time_than_one_of_the_heap(
    device: Device, board: BoardInUse, monitor: Monitor, measure: Measure
) -> None:
    monitor.stop()
    device.pools(create=POOL, block=BLOCK, count=2, caps=INTERNAL.caps)
    answer = device.pools(bench=PAIRS)
    measure("pair of calls of the pool", answer.pool_us / PAIRS, "us", max=PAIR_US_MAX)
    measure("pool against heap", answer.pool_us / answer.heap_us, max=1, source="heap_caps_malloc and _free")
