"""Tests heap.hold, heap.split and heap.blocks on the exact heap model."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotpin_hil.paths import FIRMWARE_DIR, PROJECT_ROOT
from hotpin_hil.virtual import profile as profiles
from tests.support.c_program import build_driver

CONSOLE = FIRMWARE_DIR / "components" / "hil_console" / "src"
HEAP_MODEL = FIRMWARE_DIR / "native" / "heap"
DRIVER = PROJECT_ROOT / "tests" / "fakes" / "heap_hold_driver.c"

SETS = ("DMA", "INTERNAL,8BIT", "INTERNAL", "SPIRAM", "DEFAULT")
RESIDUE = 4
"""Free memory moves in steps of 4 bytes."""
SEARCH_ROUNDING = 1 + 1 / 8
"""When the allocator searches, it rounds the request up by at most this factor, so it may miss a hole that is only
slightly larger than the request."""
HOLDS = 64
ESP_OK, ESP_ERR_NO_MEM, ESP_ERR_INVALID_STATE, ESP_ERR_INVALID_SIZE = 0, 0x101, 0x103, 0x104


class Driver:
    """A test program with the heaps that a board has when the application starts."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="ascii"
        )
        for line in profiles.load(profiles.DEFAULT_PROFILE).boot_lines():
            key, _, value = line.partition("=")
            assert self.ask(f"boot {key} {value}") == [1], line

    def ask(self, line: str) -> list[int]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the test program exited after {line!r}"
        return [int(word) for word in answer.split()]

    def free(self, caps: str) -> int:
        return self.ask(f"free {caps}")[0]

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(timeout=10) == 0
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    modules = [
        CONSOLE / name for name in ("hooks/heap_hold.c", "hooks/heap_blocks.c", "console/console_caps.c")
    ]
    includes = [
        CONSOLE / "console",
        CONSOLE / "hooks",
        HEAP_MODEL,
        FIRMWARE_DIR / "components" / "common" / "include",
        FIRMWARE_DIR / "native" / "include",
    ]
    sources = [DRIVER, *modules, *sorted(HEAP_MODEL.glob("*.c"))]
    return build_driver(tmp_path_factory.mktemp("heap_hold"), sources, includes)


@pytest.fixture
def board(program: Path) -> Iterator[Driver]:
    driver = Driver(program)
    yield driver
    driver.close()


def reachable(free: int, leave: int) -> int:
    """The smallest amount of free memory of at least `leave` bytes that allocations can reach. It has the same
    remainder modulo 4 as `free`."""
    return leave + (free - leave) % RESIDUE


@pytest.mark.parametrize("caps", SETS)
def test_level_is_met_to_the_byte(board: Driver, caps: str) -> None:
    """Starts from an untouched heap. Each level must be reached exactly, both with one large block and with small
    blocks."""
    rng = random.Random(1)
    start = board.free(caps)
    for _ in range(100):
        leave = rng.randrange(256, start - 256)
        block = rng.choice([0, 0, 1024, 4096])
        error, identifier, free, _ = board.ask(f"leave {caps} {leave} {block}")
        assert (error, free) == (ESP_OK, reachable(start, leave)), f"leave={leave} block={block} of {start}"
        assert board.ask(f"release {identifier}")[0] == 1
        assert board.free(caps) == start


@pytest.mark.parametrize(
    ("caps", "leave", "block"),
    [("DMA", 66_239, 4096), ("DMA", 90_847, 4096), ("INTERNAL", 36_775, 4096), ("INTERNAL", 32_675, 4096)],
)
def test_level_is_met_where_every_small_block_comes_from_one_hole(
    board: Driver, caps: str, leave: int, block: int
) -> None:
    """The hole from which the small blocks come remains 4 bytes too large, so the search must start again with another
    hole."""
    assert board.ask(f"leave {caps} {leave} {block}")[2] == leave


@pytest.mark.parametrize("caps", SETS)
def test_level_is_met_among_small_holes(board: Driver, caps: str) -> None:
    """Holes of all small sizes exist, so a block may become larger than requested."""
    rng = random.Random(2)
    exact = 0
    rounds = 40
    for _ in range(rounds):
        sizes = [rng.choice([12, 16, 20, 32, 60, 100, 500, 2048, 9000]) for _ in range(rng.randrange(2, 60))]
        blocks = [address for size in sizes if (address := board.ask(f"take {caps} {size}")[0])]
        rng.shuffle(blocks)
        for address in blocks[::2]:
            board.ask(f"give {address}")
        start = board.free(caps)
        leave = rng.randrange(256, start - 512)
        error, identifier, free, _ = board.ask(f"leave {caps} {leave} {rng.choice([0, 1024])}")
        assert error == ESP_OK
        assert free >= leave, "never below the requested level"
        exact += free == reachable(start, leave)
        board.ask(f"release {identifier}")
        assert board.free(caps) == start
        for address in blocks[1::2]:
            board.ask(f"give {address}")
    assert exact == rounds


@pytest.mark.parametrize(("block", "count"), [(12, 0), (12, 4501), (1024, 0xFFFFFFFF)])
def test_more_blocks_than_a_walk_may_take_are_refused(board: Driver, block: int, count: int) -> None:
    """With 200,000 blocks, each heap walk would take 100 ms with interrupts disabled."""
    start = board.free("SPIRAM")
    assert board.ask(f"split SPIRAM {block} {count}")[0] == ESP_ERR_INVALID_SIZE
    assert board.free("SPIRAM") == start
    assert board.ask("split SPIRAM 12 4500")[0] == ESP_OK


def test_levels_follow_one_another_in_steps_of_four(board: Driver) -> None:
    """Performs the steps of the threshold tests: to the level, 4 bytes below it, and back."""
    start = board.free("INTERNAL,8BIT")
    for threshold in (51_203, 20_483, 35_843, 8_191):
        for level in (threshold, threshold - 4, threshold + 64, threshold):
            _, identifier, free, _ = board.ask(f"leave INTERNAL,8BIT {level} 0")
            assert free == level
            board.ask(f"release {identifier}")
    outer = board.ask("leave INTERNAL,8BIT 51267 0")[1]
    for _ in range(6):
        _, inner, free, _ = board.ask("leave INTERNAL,8BIT 51199 0")
        assert free == 51_199
        board.ask(f"release {inner}")
    board.ask(f"release {outer}")
    assert board.free("INTERNAL,8BIT") == start


def test_remaining_psram_is_one_block(board: Driver) -> None:
    """Memory must be filled without being split: if 96 KB are left, a 64 KB buffer must still fit."""
    assert board.ask("leave SPIRAM 98304 0")[2] == 98_304
    assert board.ask("free SPIRAM")[1] >= 65_536


def test_level_above_free_memory_is_refused(board: Driver) -> None:
    free = board.free("DMA")
    assert board.ask(f"leave DMA {free + 1} 0")[0] == ESP_ERR_INVALID_SIZE
    assert board.ask(f"leave DMA {free} 0")[::2] == [ESP_OK, free]


def test_one_block_is_held_or_refused(board: Driver) -> None:
    start = board.free("SPIRAM")
    error, identifier, free, blocks = board.ask("size SPIRAM 65536")
    assert (error, free, blocks) == (ESP_OK, start - 65_540, 1)
    assert board.ask(f"release {identifier}") == [1, 65_536, 1]
    assert board.ask("size SPIRAM 5000000")[0] == ESP_ERR_NO_MEM
    assert board.ask(f"release {identifier}")[0] == 0, "the block is already released"
    assert board.free("SPIRAM") == start


def test_ids_run_out_and_are_reused(board: Driver) -> None:
    identifiers = [board.ask("size SPIRAM 100")[1] for _ in range(HOLDS)]
    assert sorted(identifiers) == list(range(1, HOLDS + 1))
    assert board.ask("size SPIRAM 100")[0] == ESP_ERR_INVALID_STATE
    board.ask("release 7")
    assert board.ask("size SPIRAM 100")[:2] == [ESP_OK, 7]


@pytest.mark.parametrize(("caps", "kept"), [("DMA", 21), ("SPIRAM", 20)])
def test_split_leaves_every_second_block(board: Driver, caps: str, kept: int) -> None:
    """In DMA memory an additional block remains, because the blocks are in two heaps, and the last block of each heap
    is kept."""
    start = board.free(caps)
    error, identifier, free, blocks = board.ask(f"split {caps} 1024 40")
    assert (error, blocks, free) == (ESP_OK, kept, start - kept * 1028)
    board.ask(f"release {identifier}")
    assert board.free(caps) == start


def test_split_of_everything_leaves_no_room_for_more_than_a_block(board: Driver) -> None:
    start = board.free("SPIRAM")
    error, identifier, free, _ = board.ask("split SPIRAM 32768 0")
    assert error == ESP_OK
    assert free > 98_304, "free memory must be enough in total for a 64 KB buffer and its margin"
    assert board.ask("free SPIRAM")[1] < 65_536, "no single block may be large enough"
    board.ask(f"release {identifier}")
    assert board.free("SPIRAM") == start


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("block", [1_024, 4_092, 6_000])
def test_split_of_everything_leaves_no_hole_larger_than_a_block(board: Driver, block: int, seed: int) -> None:
    """Whatever holes existed before the split, no two freed blocks may merge, and no freed block may merge with the
    remainder of its hole."""
    rng = random.Random(seed)
    taken = [board.ask(f"take DMA {rng.randrange(12, 9_000)}")[0] for _ in range(30)]
    for address in rng.sample([address for address in taken if address], 12):
        board.ask(f"give {address}")
    error, identifier, *_ = board.ask(f"split DMA {block} 0")
    assert error == ESP_OK
    holes = [-size for *_, sizes in blocks(board, "DMA").values() for size in sizes if size < 0]
    assert max(holes) < block * SEARCH_ROUNDING
    board.ask(f"release {identifier}")


def test_failed_split_takes_nothing(board: Driver) -> None:
    start = board.free("DMA")
    assert board.ask("split DMA 20000 100")[0] == ESP_ERR_NO_MEM
    assert board.free("DMA") == start


HEADER = 4
"""Size in bytes of the header in front of each block's user address."""


def blocks(board: Driver, caps: str, room: int = 4096) -> dict[int, tuple[int, bool, list[int]]]:
    """For each heap: the address of the first block, whether the list is truncated, and the signed sizes."""
    words = board.ask(f"blocks {caps} {room}")
    heaps = {}
    while words:
        heap, at, truncated, count = words[:4]
        heaps[heap] = (at, bool(truncated), words[4 : 4 + count])
        del words[: 4 + count]
    return heaps


@pytest.mark.parametrize("caps", SETS)
def test_map_shows_every_block_where_it_lies(board: Driver, caps: str) -> None:
    rng = random.Random(4)
    taken = {
        board.ask(f"take {caps} {size}")[0]: size for size in (rng.randrange(12, 2000) for _ in range(200))
    }
    for address in rng.sample(sorted(taken), 100):
        board.ask(f"give {address}")
        del taken[address]
    used = {}
    free = 0
    for first, truncated, sizes in blocks(board, caps).values():
        assert not truncated
        at = first
        for size in sizes:
            if size > 0:
                used[at] = size
            else:
                free += HEADER - size
            at += abs(size) + HEADER
    assert set(taken) <= set(used)
    assert all(taken[address] <= used[address] for address in taken)
    ends = board.free(caps) - free
    heaps = len(blocks(board, caps))
    assert HEADER * heaps <= ends < 2 * HEADER * heaps, "the allocator also counts each heap's end as free"


def test_map_that_exceeds_its_buffer_is_marked_as_truncated(board: Driver) -> None:
    for _ in range(20):
        board.ask("take SPIRAM 100")
    ((at, _, everything),) = blocks(board, "SPIRAM").values()
    count = len(everything)
    assert blocks(board, "SPIRAM", count).popitem()[1] == (at, False, everything)
    assert blocks(board, "SPIRAM", count - 1).popitem()[1] == (at, True, everything[:-1])


def test_map_of_a_set_that_no_heap_has_is_empty(board: Driver) -> None:
    assert blocks(board, "SPIRAM,DMA") == {}


def census(board: Driver) -> dict[int, tuple[int, ...]]:
    """Number, total size and checksum of the used blocks of each heap."""
    words = board.ask("census")
    return {words[at]: tuple(words[at + 1 : at + 4]) for at in range(0, len(words), 4)}


def test_census_counts_the_used_blocks_of_every_heap(board: Driver) -> None:
    """The census must agree with the maps of all heaps."""
    words = board.ask("blocks DEFAULT 4000")
    found = {}
    while words:
        heap, _, truncated, count, *rest = words
        assert not truncated
        used = [size for size in rest[:count] if size > 0]
        found[heap] = (len(used), sum(used))
        words = rest[count:]
    counted = {heap: figures[:2] for heap, figures in census(board).items()}
    assert found.items() <= counted.items()


def test_census_is_the_same_again_only_with_blocks_of_the_same_sizes(board: Driver) -> None:
    """Blocks in another order give the same census; blocks with different sizes but the same sum do not."""
    sizes = [100, 200, 304]
    start = census(board)
    addresses = [board.ask(f"take SPIRAM {size}")[0] for size in sizes]
    taken = census(board)
    for address in addresses:
        board.ask(f"give {address}")
    assert census(board) == start
    addresses = [board.ask(f"take SPIRAM {size}")[0] for size in reversed(sizes)]
    assert census(board) == taken
    for address in addresses:
        board.ask(f"give {address}")
    for size in (104, 196, 304):
        board.ask(f"take SPIRAM {size}")
    other = census(board)
    assert {heap: figures[:2] for heap, figures in other.items()} == {
        heap: figures[:2] for heap, figures in taken.items()
    }
    assert other != taken
