"""Compares the heap model with recorded results of ESP-IDF, with recorded boots, and with a simple, slow model."""

from __future__ import annotations

import io
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotpin_hil.errors import BuildError
from hotpin_hil.paths import FIRMWARE_DIR
from hotpin_hil.virtual import profile as profiles
from hotpin_hil.virtual.heap import Block, Heap, HeapError, HeapSystem, SingleHeap, caps_bits, caps_names
from hotpin_hil.virtual.heap_library import LIBRARY_ENV, LIBRARY_NAME
from hotpin_hil.virtual.heap_replay import VectorError, replay
from hotpin_hil.virtual.profile import MEMORIES, Allocation, BoardProfile, ProfileError, explain, load_ledger
from tests.conftest import shared_data

HEAP_DIR = FIRMWARE_DIR / "native" / "heap"
PSRAM_START = 0x3F800000


def build_heap(directory: Path, target: str, *options: str) -> Path:
    """Build one target of the heap model from this checkout's sources."""
    subprocess.run(["cmake", "-S", HEAP_DIR, "-B", directory, *options], check=True, capture_output=True)
    done = subprocess.run(
        ["cmake", "--build", directory, "--target", target], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return directory


@pytest.fixture(scope="module", autouse=True)
def heap_library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The model, built from this checkout's sources in a temporary folder."""
    library = build_heap(tmp_path_factory.mktemp("heap"), "esp_heap") / LIBRARY_NAME
    before = os.environ.get(LIBRARY_ENV)
    os.environ[LIBRARY_ENV] = str(library)
    yield library
    if before is None:
        del os.environ[LIBRARY_ENV]
    else:
        os.environ[LIBRARY_ENV] = before


@pytest.fixture
def board() -> BoardProfile:
    return profiles.load("recorded")


@pytest.fixture
def heaps(board: BoardProfile) -> HeapSystem:
    """The heaps of the default board profile before the application's first allocation."""
    return board.boot_heap()


# --- Recordings


@pytest.mark.parametrize(("name", "operations"), [("multi_heap.jsonl", 20462), ("heap_caps.jsonl", 2440)])
def test_model_repeats_every_recorded_answer_of_the_real_heap(name: str, operations: int) -> None:
    out = io.StringIO()
    result = replay(shared_data(f"heap_vectors/{name}"), out)
    assert result.ok, out.getvalue()
    assert result.operations == operations
    assert "no difference" in out.getvalue()


def test_replay_reports_where_the_model_differs(tmp_path: Path) -> None:
    """Changes one result in the recording: a replay must find this difference and no other."""
    lines = shared_data("heap_vectors/heap_caps.jsonl").read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if '"op":"malloc"' in line)
    lines[at] = lines[at].replace('"0x3f80087c"', '"0x3f800880"')
    path = tmp_path / "changed.jsonl"
    path.write_text("\n".join(lines) + "\n")
    out = io.StringIO()
    result = replay(path, out)
    assert not result.ok
    assert [difference.line for difference in result.differences] == [at + 1]
    assert "recorded 0x3f800880, model 0x3f80087c" in out.getvalue()


@pytest.mark.parametrize(
    "key", ["free", "allocated", "largest", "minimum", "allocated_blocks", "free_blocks"]
)
def test_replay_compares_every_figure(tmp_path: Path, key: str) -> None:
    lines = shared_data("heap_vectors/multi_heap.jsonl").read_text().splitlines()[:200]
    at = next(i for i, line in enumerate(lines) if '"op":"stats"' in line)
    fields = json.loads(lines[at])
    lines[at] = json.dumps({**fields, key: fields[key] + 4})
    path = tmp_path / "changed.jsonl"
    path.write_text("\n".join(lines) + "\n")
    result = replay(path, io.StringIO())
    assert [(difference.line, difference.operation) for difference in result.differences] == [(at + 1, key)]


def test_replay_continues_after_differences_and_limits_its_output(tmp_path: Path) -> None:
    operations: list[dict[str, object]] = [{"op": "heap", "length": 6432, "seed": 1, "mixed": True}]
    for i in range(20):
        operations.append(
            {"op": "malloc", "id": 1, "size": 100, "offset": -1}
        )  # recorded as a failure, but in the model the allocation succeeds
        operations.append(
            {"op": "malloc", "id": 2, "size": 9000, "offset": 384}
        )  # recorded as a success, but in the model the allocation fails
        operations.append({"op": "realloc", "id": 2, "size": 100 + i, "offset": -1})
        operations.append({"op": "free", "id": 2})
    path = tmp_path / "wrong.jsonl"
    path.write_text("".join(json.dumps(operation) + "\n" for operation in operations))
    out = io.StringIO()
    result = replay(path, out, keep=3)
    assert result.difference_count == 60
    assert len(result.differences) == 3
    assert len(out.getvalue().splitlines()) == 4


HEAP_LINE = '{"op":"heap","length":6432,"seed":1,"mixed":false}\n'
SYSTEM_LINE = '{"op":"system","seed":1}\n'
BLOCK_LINE = (
    '{"op":"block","heap":"0x3ffae6e0","end":"0x3ffb0000","ptr":"0x3ffae860","size":192,"used":true}\n'
)


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (b"", 0, "empty"),
        (b"\x89PNG\r\n\x1a\n\0\0", 1, "not JSON"),
        (b"hello\n", 1, "not JSON"),
        (b'{"op":1}\n', 1, 'an "op"'),
        (b"[]\n", 1, 'an "op"'),
        (b'{"op":"run","schema":1}\n', 1, "begins with 'run'"),
        (HEAP_LINE.encode() + b'{"op":"malloc","id":1,"si', 2, "ends in the middle of a line"),
        (HEAP_LINE.encode() + b'{"op":"malloc","id":1,"si\n' + b'{"op":"free","id":1}\n', 2, "not JSON"),
        (HEAP_LINE.encode(), 1, "no operation"),
        (HEAP_LINE.encode() + b'{"op":"calloc","id":1}\n', 2, "unknown operation 'calloc'"),
        (HEAP_LINE.encode() + b'{"op":"free","id":1}\n', 2, "not allocated"),
        (HEAP_LINE.encode() + b'{"op":"malloc","id":1,"size":"8","offset":0}\n', 2, "`size` is '8'"),
        (HEAP_LINE.encode() + b'{"op":"malloc","id":1,"size":-8,"offset":0}\n', 2, "`size` is -8"),
        (HEAP_LINE.encode() + b'{"op":"malloc","id":1,"size":8}\n', 2, "`offset` is None"),
        (HEAP_LINE.encode() + b'{"op":"malloc","id":1,"size":8,"offset":384}\n' * 2, 3, "allocated twice"),
        (b'{"op":"heap","length":10}\n', 1, "cannot be made"),
        (b'{"op":"heap","length":99999999}\n', 1, "cannot be made"),
        (SYSTEM_LINE.encode() + b'{"op":"free","id":1}\n', 2, "state is missing"),
        (SYSTEM_LINE.encode() + BLOCK_LINE.encode() + b'{"op":"free","id":1}\n', 2, "don't fill it"),
        (
            SYSTEM_LINE.encode()
            + BLOCK_LINE.replace("0x3ffa", "0x2ffa").encode()
            + b'{"op":"free","id":1}\n',
            2,
            "overlaps|no heap memory|don't fill|impossible",
        ),
    ],
)
def test_a_damaged_file_is_an_error_with_its_line(
    tmp_path: Path, content: bytes, line: int, words: str
) -> None:
    path = tmp_path / "vectors.jsonl"
    path.write_bytes(content)
    with pytest.raises(VectorError, match=words) as caught:
        replay(path, io.StringIO())
    assert str(path) + (f":{line}: " if line else ": ") in str(caught.value)
    assert caught.value.remedy


def test_a_missing_file_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(VectorError, match=r"absent\.jsonl: No such file"):
        replay(tmp_path / "absent.jsonl", io.StringIO())


def test_missing_library_names_the_build_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(LIBRARY_ENV, str(tmp_path / "none.so"))
    with pytest.raises(BuildError, match="make native"):
        HeapSystem()


# --- Facts


@pytest.mark.parametrize(
    # Recorded: length, control structure, free and largest of a fresh heap (None where no record gives it).
    ("length", "control", "free", "largest"),
    [
        (6_432, 360, 6_052, None),
        (93_056, 852, 92_184, None),
        (15_072, 396, 14_656, 14_336),
        (113_840, 852, 112_968, 110_592),
        (21_152, 716, 20_416, 19_456),
        (4_194_304, 2_148, 4_192_136, 4_128_768),
        (32_767, 716, 32_031, 31_744),
    ],
)
def test_fresh_heap_has_the_recorded_figures(
    length: int, control: int, free: int, largest: int | None
) -> None:
    heap = SingleHeap(PSRAM_START, length)
    stats = heap.stats()
    assert stats.free == stats.minimum == free == length - 20 - control
    assert largest is None or stats.largest == largest
    (block,) = heap.system.blocks()
    assert block == Block(
        PSRAM_START, PSRAM_START + length, PSRAM_START + 24 + control, (free - 8) & ~3, False
    )
    power = 1 << (length - 20).bit_length()
    for refused in (stats.largest + 1, block.size + 1, power - 1, power, power + 1):
        assert heap.malloc(refused) == 0
    assert heap.malloc(stats.largest) == block.address
    assert heap.system.check() is None


def test_boot_figures_match_the_recording(heaps: HeapSystem) -> None:
    """The figures come from build a67f01a at "System Boot", plus 96 bytes for the application's first mutex, which
    was already allocated then."""
    dma = 204_763 + 96
    expected = {  # memory: free, largest
        "internal": (dma, 110_592),
        "internal_with_iram": (dma + 20_416, 110_592),
        "dma": (dma, 110_592),
        "psram": (4_192_016, 4_128_768),
        "total": (4_364_748 + 96, 4_128_768),
    }
    for memory, caps in MEMORIES.items():
        stats = heaps.stats(caps)
        assert (stats.free, stats.largest) == expected[memory], memory
    assert heaps.check() is None


def test_startup_blocks_cost_the_fitted_constant(board: BoardProfile, heaps: HeapSystem) -> None:
    records = (5 * 36, 36, 36)
    before = 225_860 - 32_772 + 32_031  # the regions without IRAM, the pool's block, the pool's heap
    assert before - heaps.stats("DMA").free == 20_260
    requested = sum(records) + sum(sum(blocks.sizes) for blocks in board.startup_internal)
    assert requested < 20_260
    startup = board.startup_internal + board.startup_psram
    named = {blocks.what: heaps.boot_block(blocks.what) for blocks in startup}
    assert len(named) == len(startup)
    assert all(named.values())
    lump = [blocks for blocks in board.startup_internal if blocks.what.startswith("unidentified")]
    cost = sum(heaps.allocated_size(heaps.boot_block(lump[0].what, i)) + 4 for i in range(len(lump[0].sizes)))
    assert cost == 972


def test_a_tasks_stack_and_tcb_are_found_by_name(heaps: HeapSystem) -> None:
    assert heaps.allocated_size(heaps.boot_block("main task", 0)) == 4096
    assert heaps.allocated_size(heaps.boot_block("main task", 1)) == 352
    assert heaps.boot_block("main task", 2) == 0
    assert heaps.boot_block("no such task") == 0


def test_without_psram_there_is_no_pool_and_one_record_less(board: BoardProfile) -> None:
    heaps = BoardProfile(**{**vars(board), "psram_mb": 0}).boot_heap()
    assert heaps.stats("SPIRAM").total_blocks == 0
    assert [heap.type for heap in heaps.heaps()] == ["DRAM", "DRAM", "DIRAM", "DIRAM", "IRAM"]
    assert heaps.stats("DMA").free == 225_860 - 20_260 + 2 * 40


@pytest.mark.parametrize(
    ("default_caps", "total"), [(False, 4_192_016 + 204_859 - 32_031), (True, 4_192_016 + 204_859)]
)
def test_the_pool_counts_as_default_memory_in_newer_idf_only(
    board: BoardProfile, default_caps: bool, total: int
) -> None:
    pool = profiles.DmaPool(32_768, default_caps)
    heaps = BoardProfile(**{**vars(board), "pool": pool}).boot_heap()
    assert heaps.stats("DEFAULT").free == total
    assert heaps.stats("DMA").free == 204_859


# --- Search order and rules


def memory_of(heaps: HeapSystem, address: int) -> str:
    """Memory type of the innermost heap that contains the address."""
    inside = [heap for heap in heaps.heaps() if heap.start <= address < heap.end]
    return min(inside, key=lambda heap: heap.length).type if inside else "none"


@pytest.mark.parametrize(
    ("size", "caps", "memory"),
    [
        (100, "INTERNAL", "IRAM"),
        (100, "INTERNAL,8BIT", "DRAM"),
        (100, "DEFAULT", "SPIRAM"),
        (100, "8BIT", "DRAM"),
        (100, "32BIT", "IRAM"),
        (100, "DMA", "POOL_V542"),
        (100, "DEFAULT,INTERNAL", "DRAM"),
        (40_000, "DMA", "DRAM"),
        (60_000, "DMA", "DIRAM"),
        (100, "SPIRAM,DMA", "SPIRAM"),
        (100, "EXEC", "IRAM"),
        (100, "DMA_DESC_AHB", "POOL_V542"),
        (100, "SPIRAM,INTERNAL", "none"),
        (100, "EXEC,8BIT", "none"),
        (100, "EXEC,DMA", "none"),
        (100, "RTCRAM", "none"),
        (32_768, "DMA", "DRAM"),  # the camera's block: never in the 32 KB pool
        (0, "8BIT", "none"),
        (0x400001, "SPIRAM", "none"),
        (1 << 40, "SPIRAM", "none"),
    ],
)
def test_which_memory_serves_a_request(heaps: HeapSystem, size: int, caps: str, memory: str) -> None:
    address = heaps.malloc(size, caps)
    assert memory_of(heaps, address) == memory
    assert bool(address) == (memory != "none")


def test_malloc_takes_small_blocks_from_internal_memory_and_large_ones_from_psram(heaps: HeapSystem) -> None:
    assert memory_of(heaps, heaps.malloc_default(16_384)) == "DRAM"
    assert memory_of(heaps, heaps.malloc_default(16_385)) == "SPIRAM"


def test_task_stacks_use_up_the_pool_before_diram(heaps: HeapSystem) -> None:
    """This explains why at run time the reserved DMA pool is nearly used up on real boards, and thus reserves
    nothing."""
    while memory_of(heaps, heaps.malloc(8_192, "INTERNAL,8BIT")) == "DRAM":
        pass
    pool = heaps.heaps()[0]
    assert pool.figures.free < 32_031 - 8_192
    assert all(heap.figures.allocated_blocks == 0 for heap in heaps.heaps() if heap.type == "DIRAM")


def test_code_memory_from_diram_is_the_inverted_alias_and_can_be_freed(heaps: HeapSystem) -> None:
    while memory_of(heaps, heaps.malloc(1_024, "EXEC")) == "IRAM":
        pass  # the loop ends with the first allocation at the alias
    before = {block.address for block in heaps.blocks("DMA") if block.used}
    free = heaps.stats("DMA").free
    address = heaps.malloc(1_001, "EXEC")
    (data,) = {block.address for block in heaps.blocks("DMA") if block.used} - before
    assert address == 0x400A0000 + (0x40000000 - (data + 1_004)) - 4 + 4
    heaps.free(address)
    assert heaps.stats("DMA").free == free


def test_an_unknown_capability_is_named() -> None:
    with pytest.raises(HeapError, match=r"DMX.*known: EXEC, 32BIT"):
        caps_bits("INTERNAL,DMX")
    assert caps_names(caps_bits("INTERNAL,8BIT,INVALID")) == "8BIT,INTERNAL,INVALID"


# --- Out of memory, minima, damage


def test_failed_allocation_changes_nothing_and_freeing_restores_all(heaps: HeapSystem) -> None:
    fresh = heaps.stats("DMA")
    blocks = []
    while address := heaps.malloc(4_096, "DMA"):
        blocks.append(address)
    empty = heaps.stats("DMA")
    assert empty.largest < 4_096
    assert heaps.realloc(blocks[0], 8_192, "DMA") == 0
    assert heaps.aligned_alloc(64, 4_096, "DMA") == 0
    assert heaps.malloc(32_768, "DMA") == 0
    assert heaps.stats("DMA") == empty
    assert heaps.allocated_size(blocks[0]) == 4_096
    for address in blocks:
        heaps.free(address)
    assert heaps.stats("DMA") == type(fresh)(**{**vars(fresh), "minimum": empty.minimum})
    assert heaps.check() is None


def test_minimum_is_the_sum_of_the_heaps_own_minima(heaps: HeapSystem) -> None:
    """ESP-IDF adds up the minima of the heaps even if these occurred at different times, so total free memory was never
    that low."""
    free = heaps.stats("DMA").free
    first = heaps.malloc(30_000, "DMA")  # in the pool
    second = heaps.malloc(40_000, "DMA")  # in DRAM, while the pool is still low
    heaps.free(first)
    heaps.free(second)
    third = heaps.malloc(100_000, "DMA")  # in D/IRAM, alone
    heaps.free(third)
    assert heaps.stats("DMA").free == free
    assert heaps.stats("DMA").minimum <= free - 170_000
    for index in range(len(heaps.heaps())):
        old = heaps.reset_minimum(index)
        heaps.lower_minimum(index, old + 1_000_000)  # a higher level does not change the minimum
    assert heaps.stats("DMA").minimum == free


def test_a_moving_realloc_never_shows_both_blocks_in_the_minimum() -> None:
    heap = SingleHeap(PSRAM_START, 93_056)
    first = heap.malloc(10_000)
    barrier = heap.malloc(100)
    low = heap.stats().minimum
    moved = heap.realloc(first, 12_000)
    assert moved > barrier
    assert heap.stats().minimum == heap.stats().free > low - 10_000


def test_invalid_free_is_an_error_without_effect(heaps: HeapSystem) -> None:
    block = heaps.malloc(100, "DMA")
    stats = heaps.stats("DMA")
    for address, words in (
        (block + 2, "not the start of a block"),
        (block + 8, "not the start of a block"),
        (0x20000000, "not in any heap"),
        (0x3FFE0440, "not the start"),
    ):
        with pytest.raises(HeapError, match=words):
            heaps.free(address)
    heaps.free(0)
    assert heaps.stats("DMA") == stats
    heaps.free(block)
    with pytest.raises(HeapError, match="already free"):
        heaps.free(block)
    with pytest.raises(HeapError, match="already free"):
        heaps.realloc(block, 10, "DMA")
    assert heaps.check() is None


def test_an_overrun_of_one_byte_into_a_header_is_found(heaps: HeapSystem) -> None:
    """The overrun is found because the chip is little endian: the first byte after a block contains the flags and the
    low size bits of the next block."""
    block, neighbour = heaps.malloc(64, "SPIRAM"), heaps.malloc(64, "SPIRAM")
    heaps.write(block, b"\xff" * 65)
    found = heaps.check("SPIRAM")
    assert found is not None
    assert "heap at 0x3f800000" in found
    with pytest.raises(HeapError):
        heaps.free(neighbour)


def test_write_to_a_freed_block_is_found_by_check_and_malloc(heaps: HeapSystem) -> None:
    block, barrier = heaps.malloc(64, "SPIRAM"), heaps.malloc(64, "SPIRAM")
    assert barrier
    heaps.free(block)
    heaps.write(block, b"\xa5" * 64)
    assert heaps.check("SPIRAM") is not None
    with pytest.raises(HeapError, match="heap at 0x3f800000"):
        heaps.malloc(64, "SPIRAM")


def test_realloc_keeps_the_contents(heaps: HeapSystem) -> None:
    data = bytes(range(200))
    block = heaps.malloc(200, "DMA")
    heaps.write(block, data)
    grown = heaps.realloc(block, 5_000, "DMA")
    barrier = heaps.malloc(16, "DMA")
    moved = heaps.realloc(grown, 20_000, "DMA")
    elsewhere = heaps.realloc(moved, 300, "SPIRAM")
    shrunk = heaps.realloc(elsewhere, 100, "SPIRAM")
    assert (grown, shrunk) == (block, elsewhere)
    assert moved != grown
    assert barrier
    assert memory_of(heaps, elsewhere) == "SPIRAM"
    assert heaps.read(shrunk, 100) == data[:100]
    assert heaps.realloc(shrunk, 0, "SPIRAM") == 0
    assert heaps.check() is None


def test_realloc_moves_to_another_heap_when_its_own_is_full(heaps: HeapSystem) -> None:
    block = heaps.malloc(20_000, "DMA")
    assert memory_of(heaps, block) == "POOL_V542"
    heaps.write(block, b"kept")
    moved = heaps.realloc(block, 40_000, "DMA")
    assert memory_of(heaps, moved) == "DRAM"
    assert heaps.read(moved, 4) == b"kept"
    assert heaps.heaps()[0].figures.allocated_blocks == 0


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("heap=0x3FFAE6E0", "not START,LENGTH"),
        ("heap=0x3FFAE6E0,6432,SRAM", "not START,LENGTH"),
        ("heap=0x3FFAE6E2,6432,DRAM", "multiple of 4"),
        ("heap=0x3FFAE6E0,100,DRAM", "cannot be made"),
        ("heap=0x3F800000,4194304,SPIRAM", "no internal heap has room"),
        ("startup=INTERNAL:x", "no internal heap|not CAPS"),
        ("pool=32768", "not SIZE,0"),
        ("pool=32768,2", "not SIZE,0"),
        ("stack=1", "unknown key"),
    ],
)
def test_a_wrong_boot_line_is_named(line: str, words: str) -> None:
    with pytest.raises(HeapError, match=words):
        HeapSystem().boot_line(line)


def test_impossible_boot_lines_are_refused(heaps: HeapSystem) -> None:
    for line, words in (
        ("heap=0x3FFAE6E0,6432,DRAM", "overlaps|must be added before"),
        ("startup=INTERNAL,8BITS:16", "unknown capability"),
        ("startup=DMA:300000:too much", "no memory for 300000 bytes"),
    ):
        with pytest.raises(HeapError, match=words):
            heaps.boot_line(line)
    for size in (4_096, 64, 4):
        while heaps.malloc(size, "DMA"):
            pass
    with pytest.raises(HeapError, match="no DMA memory for the last 32768 bytes of the pool"):
        heaps.boot_line("pool=32768,0")


# --- A simple, slow model of the same rules


@dataclass
class Piece:
    """A block of the slow model. `freed`: sequence number of its release; None while the block is in use."""

    address: int
    size: int
    freed: int | None


class SlowHeap:
    """TLSF's rules, applied by brute force to a list of blocks in address order."""

    def __init__(self, first: Block, length: int) -> None:
        bytes_ = length - 20
        self.steps = 8 if bytes_ <= 16_384 else 16 if bytes_ <= 262_144 else 32
        self.limit = 1 << bytes_.bit_length()
        self.clock = 1
        self.pieces = [Piece(first.address, first.size, 0)]

    @classmethod
    def of(cls, heap: Heap, blocks: list[Block]) -> SlowHeap:
        """Slow model of a heap that has at most one free block."""
        inside = [
            block
            for block in blocks
            if heap.start <= block.address < heap.end and block.heap_start == heap.start
        ]
        slow = cls(inside[0], heap.length)
        slow.pieces = [Piece(block.address, block.size, None if block.used else 0) for block in inside]
        return slow

    def step(self, size: int) -> int:
        return 4 if size < 4 * self.steps else (1 << (size.bit_length() - 1)) // self.steps

    def round_down(self, size: int) -> int:
        return size - size % self.step(size)

    def round_up(self, size: int) -> int:
        return -(-size // self.step(size)) * self.step(size)

    def need(self, size: int) -> int:
        words = (size + 3) // 4 * 4
        return max(words, 12) if size > 0 and words < self.limit else 0

    def fit(self, size: int) -> Piece | None:
        fitting = [
            piece for piece in self.pieces if piece.freed is not None and self.round_down(piece.size) >= size
        ]
        if not fitting:
            return None
        smallest = min(self.round_down(piece.size) for piece in fitting)
        same = [piece for piece in fitting if self.round_down(piece.size) == smallest]
        return max(same, key=lambda piece: piece.freed or 0)

    def mark_free(self, piece: Piece) -> None:
        """Frees a piece and merges it with free neighbours; the result counts as the most recently freed."""
        at = self.pieces.index(piece)
        piece.freed = self.clock
        self.clock += 1
        for neighbour in (at + 1, at - 1):
            if 0 <= neighbour < len(self.pieces) and self.pieces[neighbour].freed is not None:
                other = self.pieces.pop(neighbour)
                piece.address = min(piece.address, other.address)
                piece.size += other.size + 4

    def use(self, piece: Piece, size: int) -> int:
        piece.freed = None
        if piece.size >= size + 16:
            rest = Piece(piece.address + size + 4, piece.size - size - 4, None)
            self.pieces.insert(self.pieces.index(piece) + 1, rest)
            piece.size = size
            self.mark_free(rest)
        return piece.address

    def malloc(self, size: int) -> int:
        needed = self.need(size)
        rounded = self.round_up(needed) if needed else 0
        piece = self.fit(rounded) if needed else None
        return self.use(piece, rounded) if piece else 0

    def aligned_alloc(self, size: int, alignment: int) -> int:
        needed = self.need(size)
        room = (
            self.need((needed + alignment + 16 + alignment - 1) // alignment * alignment)
            if alignment > 4
            else needed
        )
        piece = self.fit(self.round_up(room)) if needed and room else None
        if piece is None:
            return 0
        gap = -piece.address % alignment
        while gap in range(1, 16):
            gap += alignment
        if gap:
            rest = Piece(piece.address + gap, piece.size - gap, None)
            self.pieces.insert(self.pieces.index(piece) + 1, rest)
            piece.size = gap - 4
            piece.freed, self.clock = self.clock, self.clock + 1
            piece = rest
        return self.use(piece, needed)

    def find(self, address: int) -> Piece:
        return next(piece for piece in self.pieces if piece.address == address)

    def free(self, address: int) -> None:
        self.mark_free(self.find(address))

    def realloc(self, address: int, size: int) -> int:
        piece, needed = self.find(address), self.need(size)
        if needed == 0:
            return 0
        at = self.pieces.index(piece)
        above = self.pieces[at + 1] if at + 1 < len(self.pieces) else None
        if needed > piece.size:
            if above is None or above.freed is None or piece.size + 4 + above.size < needed:
                moved = self.malloc(size)
                if moved:
                    self.free(address)
                return moved
            self.pieces.remove(above)
            piece.size += 4 + above.size
        return self.use(piece, needed)


LENGTHS = st.sampled_from([1_500, 6_432, 16_404, 16_405, 32_767, 113_840, 262_164, 262_165, 4_194_304])
SIZES = st.one_of(
    st.integers(0, 100),
    st.integers(0, 5_000),
    st.integers(0, 300_000),
    st.integers((1 << 32) - 8, (1 << 32) - 1),
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["malloc", "malloc", "aligned_alloc", "realloc", "free", "free"]),
        st.integers(0, 15),
        SIZES,
        st.sampled_from([1, 4, 8, 16, 64, 256, 4_096]),
    ),
    max_size=60,
)


def assert_sound(heap: SingleHeap, length: int) -> None:
    """Asserts that the blocks fill the heap without gaps and without adjacent free blocks, and that the heap's figures
    match the blocks."""
    blocks, stats = heap.system.blocks(), heap.stats()
    for below, above in itertools.pairwise(blocks):
        assert below.address + below.size + 4 == above.address
        assert below.used or above.used
    used = [block.size for block in blocks if block.used]
    free = [block.size for block in blocks if not block.used]
    assert stats.allocated == sum(used)
    assert (stats.allocated_blocks, stats.free_blocks) == (len(used), len(free))
    assert stats.minimum <= stats.free
    assert stats.largest <= max(free, default=0)
    assert blocks[-1].address + blocks[-1].size <= heap.start + length
    assert heap.system.check() is None


@settings(max_examples=400, deadline=None)
@given(length=LENGTHS, steps=STEPS)
def test_placement_matches_brute_force(length: int, steps: list[tuple[str, int, int, int]]) -> None:
    heap = SingleHeap(PSRAM_START, length)
    slow = SlowHeap(heap.system.blocks()[0], length)
    held: dict[int, int] = {}
    for operation, slot, size, alignment in steps:
        if operation == "free" or (operation == "realloc" and slot not in held):
            if slot in held:
                heap.free(held[slot])
                slow.free(held.pop(slot))
            continue
        if operation == "realloc":
            if not 0 < size < 1 << 31:
                continue
            fast, expected = heap.realloc(held[slot], size), slow.realloc(held[slot], size)
        elif slot in held or size >= 1 << 31:
            continue
        elif operation == "malloc":
            fast, expected = heap.malloc(size), slow.malloc(size)
        else:
            fast, expected = heap.aligned_alloc(size, alignment), slow.aligned_alloc(size, alignment)
            assert fast % alignment == 0
        assert fast == expected, (operation, size, alignment)
        if fast:
            held[slot] = fast
        assert [(block.address, block.size, block.used) for block in heap.system.blocks()] == [
            (piece.address, piece.size, piece.freed is None) for piece in slow.pieces
        ]
        assert heap.stats().largest == max(
            (slow.round_down(piece.size) for piece in slow.pieces if piece.freed is not None), default=0
        )
    assert_sound(heap, length)


CAPS = ["INTERNAL", "INTERNAL,8BIT", "DMA", "SPIRAM", "DEFAULT", "32BIT", "8BIT", "EXEC", "SPIRAM,DMA"]


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 31), st.integers(1, 60_000), st.sampled_from(CAPS), st.booleans()),
        max_size=80,
    )
)
def test_system_of_heaps_stays_sound_and_is_restored_by_free(steps: list[tuple[int, int, str, bool]]) -> None:
    heaps = profiles.load("recorded").boot_heap()
    fresh = {caps: heaps.stats(caps) for caps in CAPS}
    held: dict[int, tuple[int, str]] = {}
    for slot, size, caps, again in steps:
        if slot not in held:
            largest = heaps.stats(caps).largest
            address = heaps.malloc(size, caps)
            if address:
                held[slot] = (address, caps)
            assert address or size > largest - 4 or caps == "SPIRAM,DMA", (
                "a block reported as free was refused"
            )
        elif again:
            moved = heaps.realloc(held[slot][0], size, held[slot][1])
            held[slot] = (moved or held[slot][0], held[slot][1])
        else:
            heaps.free(held.pop(slot)[0])
    assert heaps.check() is None
    for address, _ in held.values():
        heaps.free(address)
    for caps in CAPS:
        now = heaps.stats(caps)
        assert (now.free, now.largest, now.free_blocks) == (
            fresh[caps].free,
            fresh[caps].largest,
            fresh[caps].free_blocks,
        )


# --- The same for several heaps: ESP-IDF's heap_caps_*_base with the table of capabilities

PRIORITIES = {
    # Capabilities of each memory type at each of the three priorities.
    "DRAM": ("8BIT,DEFAULT", "INTERNAL,DMA,32BIT", ""),
    "DIRAM": ("", "DMA,8BIT,INTERNAL,DEFAULT", "32BIT,EXEC"),
    "IRAM": ("INTERNAL,EXEC,32BIT", "", ""),
    "SPIRAM": ("SPIRAM,DEFAULT", "", "8BIT,32BIT"),
    "POOL_V542": ("", "DMA,INTERNAL", "8BIT,32BIT"),
}


class SlowSystem:
    """Heaps in search order, each with the brute-force model."""

    def __init__(self, heaps: HeapSystem) -> None:
        self.heaps = [(heap, SlowHeap.of(heap, heaps.blocks())) for heap in heaps.heaps()]
        self.caps = [
            [set(filter(None, caps.split(","))) for caps in PRIORITIES[heap.type]] for heap, _ in self.heaps
        ]

    def owner(self, address: int) -> int:
        """Heap that contains the block at an address; the pool is inside another heap but has its own blocks."""
        return next(
            index
            for index, (_, slow) in enumerate(self.heaps)
            if any(piece.address == address and piece.freed is None for piece in slow.pieces)
        )

    def aligned_alloc(self, alignment: int, size: int, caps: set[str]) -> int:
        caps = caps - {"DMA"} if "SPIRAM" in caps else caps
        if size == 0:
            return 0
        for priority in range(3):
            for (_, slow), offered in zip(self.heaps, self.caps, strict=True):
                if offered[priority] & caps and caps <= set().union(*offered):
                    found = slow.malloc(size) if alignment <= 4 else slow.aligned_alloc(size, alignment)
                    if found:
                        return found
        return 0

    def realloc(self, address: int, size: int, caps: set[str]) -> int:
        caps = caps - {"DMA"} if "SPIRAM" in caps else caps
        index = self.owner(address)
        _, slow = self.heaps[index]
        if caps <= set().union(*self.caps[index]):
            resized = slow.realloc(address, size)
            if resized:
                return resized
        moved = self.aligned_alloc(4, size, caps)
        if moved:
            slow.free(address)
        return moved

    def free(self, address: int) -> None:
        self.heaps[self.owner(address)][1].free(address)


def system_of_all_memories() -> HeapSystem:
    """A small board with every type of memory and a pool, all nearly full."""
    heaps = HeapSystem()
    for line in (
        "heap=0x3FFAE6E0,6432,DRAM",
        "heap=0x3FFC9480,20000,DRAM",
        "heap=0x3FFE4350,9000,DIRAM",
        "heap=0x4009AD60,5000,IRAM",
        "heap=0x3F800000,65536,SPIRAM",
        "pool=4096,0",
    ):
        heaps.boot_line(line)
    return heaps


@settings(max_examples=300, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["aligned_alloc", "aligned_alloc", "realloc", "realloc", "free"]),
            st.integers(0, 11),
            st.one_of(st.integers(1, 60), st.integers(1, 9_000)),
            st.sampled_from([1, 4, 8, 32, 256]),
            st.sampled_from(["DMA", "INTERNAL", "INTERNAL,8BIT", "SPIRAM", "DEFAULT", "8BIT", "SPIRAM,DMA"]),
        ),
        max_size=50,
    )
)
def test_realloc_and_aligned_alloc_over_all_heaps_match_brute_force(
    steps: list[tuple[str, int, int, int, str]],
) -> None:
    heaps = system_of_all_memories()
    slow = SlowSystem(heaps)
    held: dict[int, int] = {}
    for operation, slot, size, alignment, caps in steps:
        wanted = set(caps.split(","))
        if "DMA" in wanted:
            size = (size + max(alignment, 4) - 1) // max(alignment, 4) * max(alignment, 4)  # noqa: PLW2901
        if operation == "free":
            if slot in held:
                heaps.free(held[slot])
                slow.free(held.pop(slot))
        elif slot not in held:
            address = heaps.aligned_alloc(alignment, size, caps)
            assert address == slow.aligned_alloc(alignment, size, wanted), (alignment, size, caps)
            assert address % alignment == 0
            if address:
                held[slot] = address
        elif operation == "realloc":
            heaps.write(held[slot], b"kept")
            moved = heaps.realloc(held[slot], size, caps)
            assert moved == slow.realloc(held[slot], size, wanted), (held[slot], size, caps)
            assert heaps.read(moved or held[slot], min(size, 4)) == b"kept"[: min(size, 4) if moved else 4]
            held[slot] = moved or held[slot]
    assert heaps.check() is None


# --- Profiles and ledgers

GOOD = """
name = "bench"
chip = "esp32"
revision = 300
mac = "24:0a:c4:12:34:56"
flash_mb = 4
psram_mb = 0
startup_internal = [{what = "one", sizes = [100]}]
[[heap]]
start = 0x3FFAE6E0
length = 6432
type = "DRAM"
"""


@pytest.fixture
def write_profile(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "profile.toml"
        path.write_text(text)
        return path

    return write


def test_profile_is_loaded_by_path(write_profile: Callable[[str], Path]) -> None:
    board = profiles.load(write_profile(GOOD))
    assert board.boot_lines() == ["heap=0x3FFAE6E0,6432,DRAM", "startup=INTERNAL,8BIT:100:one"]
    # Minus the descriptor of one heap (36 bytes) and the block of 100, rounded up to 104, each with a header.
    assert board.boot_heap().stats("DMA").free == 6_052 - 40 - 108


def test_every_shipped_profile_boots() -> None:
    assert profiles.DEFAULT_PROFILE in profiles.names()
    for name in profiles.names():
        assert profiles.load(name).name == name
        assert profiles.load(name).boot_heap().check() is None


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "bench"', "", "`name` is missing"),
        ('"esp32"', '"esp32s3"', "`chip` is not valid: 'esp32s3'"),
        ("24:0a", "24-0a", "`mac` is"),
        ("length = 6432", 'length = "6432"', "heap 1: `length` is not valid: '6432'"),
        ('"DRAM"', '"SRAM"', "heap 1: `type` is not valid: 'SRAM'"),
        ("sizes = [100]", "sizes = []", r"startup_internal 1: `sizes` is not valid: \[\]"),
        ("flash_mb", "flash", "unknown key 'flash'"),
        ("psram_mb = 0", "psram_mb = true", "`psram_mb` is not valid: True"),
        ("[[heap]]", "[heap]", "`heap` is"),
        ("[[heap]]", "[[heap", "TOML|Expected|at line"),
    ],
)
def test_a_wrong_profile_names_file_key_and_value(
    write_profile: Callable[[str], Path], old: str, new: str, words: str
) -> None:
    path = write_profile(GOOD.replace(old, new))
    with pytest.raises(ProfileError, match=words) as caught:
        profiles.load(path)
    assert str(path) in str(caught.value)
    assert caught.value.remedy


def test_a_profile_that_does_not_fit_the_chip(write_profile: Callable[[str], Path]) -> None:
    with pytest.raises(ProfileError, match=r"profile 'bench': startup=.*no memory for 9000 bytes"):
        profiles.load(write_profile(GOOD.replace("[100]", "[9000]"))).boot_heap()
    with pytest.raises(ProfileError, match=r"no board profile 'nano'.*hotpin-5.4"):
        profiles.load("nano")


def test_a_ledger_explains_the_figures(board: BoardProfile, tmp_path: Path) -> None:
    path = tmp_path / "ledger.toml"
    path.write_text(
        """
        [[allocation]]
        what = "monitor task"
        caps = "INTERNAL,8BIT"
        sizes = [2048, 352]
        [[allocation]]
        what = "scratch"
        caps = "malloc"
        size = 20000
        [[allocation]]
        what = "minimum monitor"
        caps = "DEFAULT"
        size = 28
        [[allocation]]
        frees = "scratch"
        """
    )
    explanation = explain(board, load_ledger(path))
    assert (
        explanation.figures["dma"].free == 204_859 - 2_408
    )  # a task with a stack of N bytes allocates N + 360
    assert explanation.figures["psram"].free == 4_192_016 - 32
    assert explanation.figures["psram"].minimum < 4_192_016 - 20_000
    assert [(block.what, block.requested, block.cost) for block in explanation.placed] == [
        ("monitor task", 2048, 2052),
        ("monitor task", 352, 356),
        ("minimum monitor", 28, 32),
    ]
    assert {block.address for block in explanation.placed} <= {
        b.address for b in explanation.blocks if b.used
    }


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (Allocation("big", "DMA", (300_000,)), r"ledger entry 1 \(big\): no memory for 300000 bytes of DMA"),
        (Allocation("free", frees="big"), "no block named 'big' is allocated"),
    ],
)
def test_impossible_ledger_is_refused(board: BoardProfile, entry: Allocation, words: str) -> None:
    with pytest.raises(ProfileError, match=words):
        explain(board, [entry])


# --- C code


def test_esp_heap_caps_on_the_chips_addresses_under_sanitizers(tmp_path: Path) -> None:
    program = build_heap(tmp_path, "test_heap_caps", "-DHEAP_SANITIZE=ON") / "test_heap_caps"
    done = subprocess.run([program], check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_library_builds_without_a_warning(tmp_path: Path, compiler: str) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    build_heap(tmp_path, "all", f"-DCMAKE_C_COMPILER={compiler}")  # -Wall -Wextra -Werror


def test_recordings_replay_clean_under_sanitizers(tmp_path: Path) -> None:
    """Replays every recorded operation with the model built under AddressSanitizer and UBSan."""
    vectors = [shared_data(f"heap_vectors/{name}.jsonl") for name in ("multi_heap", "heap_caps")]
    runtime = subprocess.run(
        ["gcc", "-print-file-name=libasan.so"], check=False, capture_output=True, text=True
    )
    if runtime.returncode or not Path(runtime.stdout.strip()).is_absolute():
        pytest.skip("gcc's AddressSanitizer is not installed")
    library = build_heap(tmp_path, "esp_heap", "-DHEAP_SANITIZE=ON", "-DCMAKE_C_COMPILER=gcc") / LIBRARY_NAME
    environment = {
        **os.environ,
        LIBRARY_ENV: str(library),
        "LD_PRELOAD": str(Path(runtime.stdout.strip()).resolve()),
        "ASAN_OPTIONS": "detect_leaks=0",
    }
    for path in vectors:
        done = subprocess.run(
            [sys.executable, "-m", "hotpin_hil", "heap", "replay", path],
            check=False, capture_output=True, text=True, env=environment, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert "no difference" in done.stdout
