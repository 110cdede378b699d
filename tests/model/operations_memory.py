"""Operations on the heap, and the manager's replies about the heap."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.model.game import Game, operation
from tests.model.memory import CAPS, expect, expect_rows

CAPS_BITS = {"DMA": 1 << 3, "SPIRAM": 1 << 10, "INTERNAL,8BIT": 1 << 11 | 1 << 2}
MEMORY_OF = {"DMA": "dma", "SPIRAM": "psram", "INTERNAL,8BIT": "internal"}
HOLDS_MAX, BLOCK_MIN, BLOCK_HEADER = 64, 12, 4
SPLIT_MAX = 4500
CLASS_STEP = 8
"""Number of size classes per power of two (at least) in the allocator. Within one class the allocator may choose
another block than `mem.place` does (mem_layout.h)."""

CAPS_SETS = st.sampled_from(sorted(CAPS_BITS))
SIZES = st.sampled_from([1, 12, 13, 100, 1600, 4096, 20_000, 32_768, 65_536, 110_000, 500_000]) | st.integers(
    1, 70_000
)


def _free_id(game: Game) -> int | None:
    return next((number for number in range(1, HOLDS_MAX + 1) if number not in game.holds), None)


def _note_hold(game: Game, reply: dict[str, int], caps: str) -> None:
    memory = "psram" if caps == "SPIRAM" else "internal"
    game.holds[reply["id"]] = {"memory": memory, "bytes": reply["held"] + BLOCK_HEADER * reply["blocks"]}


@operation(caps=CAPS_SETS, size=SIZES)
def hold(game: Game, caps: str, size: int) -> None:
    """Allocate one block."""
    fits = max(size, BLOCK_MIN) <= game.known()[f"{MEMORY_OF[caps]}_largest"]
    wanted = _free_id(game)
    if wanted is None:
        game.agree(False, "ESP_ERR_INVALID_STATE", "heap.hold", caps=caps, size=size)
        return
    if not fits:
        _fails(game, size, caps)
    game.watcher.memory.changes()
    reply = game.agree(fits, "ESP_ERR_NO_MEM", "heap.hold", caps=caps, size=size)
    if fits:
        expect(reply["id"] == wanted, f"{reply}, the first free id is {wanted}")
        _note_hold(game, reply, caps)
    game.probe()


def _fails(game: Game, size: int, caps: str) -> None:
    game.watcher.fail(max(size, BLOCK_MIN), CAPS_BITS[caps], "heap_caps_malloc")


@operation(caps=CAPS_SETS, free=SIZES, block=st.sampled_from([0, 0, 512, 4096]))
def leave(game: Game, caps: str, free: int, block: int) -> None:
    """Allocate all but `free` bytes, in blocks of at most `block` bytes."""
    good = game.known()[f"{MEMORY_OF[caps]}_free"] >= free
    if _free_id(game) is None:
        return
    game.watcher.memory.changes()
    reply = game.agree(good, "ESP_ERR_INVALID_SIZE", "heap.hold", caps=caps, leave=free, block=block or None)
    if good:
        expect(reply["free"] >= free, f"leave={free}: {reply}")
        _note_hold(game, reply, caps)
    game.probe()


@operation(caps=CAPS_SETS, block=st.integers(12, 4000), count=st.integers(2, 200))
def split(game: Game, caps: str, block: int, count: int) -> None:
    """Allocate blocks and free every second one."""
    if _free_id(game) is None:
        return
    game.watcher.memory.changes()
    reply = game.ask("heap.split", caps=caps, block=block, count=count)
    if reply["ok"]:
        expect((count + 1) // 2 <= reply["blocks"] <= count, f"split of {count}: {reply}")
        _note_hold(game, reply, caps)
    else:
        expect(reply["err"] == "ESP_ERR_NO_MEM", f"{reply}")
    game.probe()


@operation(which=st.integers(0, 3))
def release(game: Game, which: int) -> None:
    """Free the `which`-th hold. 0 frees all holds; for a number beyond the last hold, the command gets an unknown
    id."""
    if which > len(game.holds):
        game.agree(False, "ESP_ERR_NOT_FOUND", "heap.release", id=HOLDS_MAX)
        return
    game.watcher.memory.changes()
    if which == 0:
        game.good("heap.release", all=1)
        game.holds.clear()
    else:
        number = sorted(game.holds)[which - 1]
        game.good("heap.release", id=number)
        del game.holds[number]
    game.probe()


@operation()
def probe(game: Game) -> None:
    """Compare every figure of the memory manager with the allocator's figure."""
    figures = game.probe()
    quick = game.good("mem.free")
    expect(all(quick[memory] == figures[f"{memory}_free"] for memory in MEMORY_OF.values()),
           f"mem.free says {quick}, the allocator {figures}")  # fmt: skip


@operation(memory=st.sampled_from(["dma", "psram"]), near=st.integers(-64, 64) | SIZES)
def check(game: Game, memory: str, near: int) -> None:
    """`mem.check` must be true exactly if an allocation succeeds. `near`: if at most 64, the size's distance from the
    largest block, otherwise the size itself."""
    largest = game.known()[f"{memory}_largest"]
    size = max(largest + near, 1) if abs(near) <= 64 else near
    said = game.good("mem.check", **{memory: size})["available"]
    expect(
        said == (size <= largest), f"mem.check {memory}={size} says {said}, the largest block has {largest}"
    )
    if _free_id(game) is not None and size >= BLOCK_MIN:
        caps = next(name for name, value in MEMORY_OF.items() if value == memory)
        if not said:
            _fails(game, size, caps)
        game.watcher.memory.changes()
        reply = game.agree(said, "ESP_ERR_NO_MEM", "heap.hold", caps=caps, size=size)
        if said:
            game.good("heap.release", id=reply["id"])
        game.probe()


@operation(
    caps=CAPS_SETS, sizes=st.lists(SIZES, min_size=1, max_size=8).map(lambda sizes: "+".join(map(str, sizes)))
)
def place(game: Game, caps: str, sizes: str) -> None:
    """`mem.place` reports how many of these blocks fit. This must equal the number of blocks that can be allocated."""
    wanted = [int(size) for size in str(sizes).split("+")]
    said = game.good("mem.place", caps=caps, sizes=",".join(map(str, wanted)))
    if len(game.holds) + len(wanted) > HOLDS_MAX:
        return
    game.watcher.memory.changes()
    ids: list[int] = []
    for size in wanted:
        reply = game.ask("heap.hold", caps=caps, size=size)
        if not reply["ok"]:
            _fails(game, size, caps)
            break
        ids.append(reply["id"])
    fits = len(ids) == len(wanted)
    for number in reversed(ids):
        game.good("heap.release", id=number)
    taken = {"placeable": fits, "placed": len(ids), "missing": 0 if fits else wanted[len(ids)]}
    heard = {key: said[key] for key in taken}
    limit = max(taken["missing"], said["missing"], said["largest"])
    near = (
        len(wanted) > 1
        and abs(max(taken["missing"], said["missing"]) - said["largest"]) <= limit // CLASS_STEP
    )
    expect(heard == taken or near, f"mem.place {caps} {wanted} says {said}, heap.hold took {taken}")
    game.probe()


@operation(caps=st.sampled_from(["DMA", "SPIRAM"]), nth=st.integers(1, 3), count=st.integers(1, 7))
def fail(game: Game, caps: str, nth: int, count: int) -> None:
    """Let allocations fail. Until the failures are reported, the firmware must keep the first four and count the
    others."""
    if game.known()[f"{MEMORY_OF[caps]}_largest"] < 1024 or len(game.holds) + nth > HOLDS_MAX:
        return
    game.good("heap.fail", caps=caps, nth=nth, count=count)
    game.watcher.memory.changes()
    for number in range(1, nth + count):
        size = 100 + number
        if number >= nth:
            _fails(game, size, caps)
        reply = game.agree(number < nth, "ESP_ERR_NO_MEM", "heap.hold", caps=caps, size=size)
        if number < nth:
            _note_hold(game, reply, caps)
    state = game.good("heap.fail", off=1)
    expect(state["failed"] == count, f"{count} allocations were to fail: {state}")
    game.probe()


@operation()
def finish(game: Game) -> None:
    """Free everything; no byte may be missing."""
    release(game, 0)
    expect_rows(game.good("mem.events")["events"], game.watcher.events.since(0), "mem.events")
    expect(not len(game.watcher.failures), "failed allocations are not reported")
    assert set(CAPS) >= set(MEMORY_OF.values())
