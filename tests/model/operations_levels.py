"""Operations on levels: thresholds, checks, callbacks."""

from __future__ import annotations

from hypothesis import strategies as st

from fixtures.memory import DEFAULT_THRESHOLDS
from tests.model import levels
from tests.model.game import Game, operation
from tests.model.levels import MEMORIES
from tests.model.memory import expect, expect_rows
from tests.model.operations_memory import split
from tests.model.operations_monitor import quiet_again, task_fits, writes_logs

CALLBACKS_MAX, CALLS_KEPT = 8, 48

OFFSETS = st.sampled_from(
    [-20_000, -1025, -1024, -4, 0, 1, 4, 1000, 1100, 5_000, 20_000, 60_000]
) | st.integers(-9_000, 9_000)
POINTS = st.integers(-8, 8)


def set_thresholds(game: Game, default: bool = False, **values: int) -> None:
    """Set some thresholds; the others must keep their values. A contradictory set must change nothing."""
    watcher = game.watcher
    asked = {**(DEFAULT_THRESHOLDS if default else watcher.thresholds), **values}
    good = levels.are_valid(asked)
    if good:
        watcher.thresholds = asked
    game.agree(good, "ESP_ERR_INVALID_ARG", "mem.thresholds", default=default or None, **values)
    reply = game.good("mem.thresholds")
    heard = {name: reply[name] for name in asked}
    expect(heard == watcher.thresholds, f"thresholds are {heard}, not {watcher.thresholds}")


@operation(memory=st.sampled_from(sorted(MEMORIES)), warning=OFFSETS, critical=OFFSETS)
def near(game: Game, memory: str, warning: int, critical: int) -> None:
    """Set a memory type's thresholds the given number of bytes above its free memory (negative: below)."""
    free = game.known()[f"{memory}_free"]
    prefix = MEMORIES[memory]
    set_thresholds(game, **{
        f"{prefix}_warning": max(free + warning, 0), f"{prefix}_critical": max(free + critical, 0)
    })  # fmt: skip


@operation(warning=POINTS, critical=POINTS)
def near_fragmentation(game: Game, warning: int, critical: int) -> None:
    """Set the fragmentation thresholds the given number of points above the highest fragmentation of the memory
    types."""
    worst = max(game.known()[f"{memory}_fragmentation"] for memory in MEMORIES)
    set_thresholds(
        game, fragmentation_warning=max(worst + warning, 0), fragmentation_critical=max(worst + critical, 0)
    )


@operation(
    offsets=st.lists(st.sampled_from([-3000, 0, 1, 50, 3000]), min_size=6, max_size=6).map(
        lambda offsets: "+".join(map(str, offsets))
    )
)
def near_all(game: Game, offsets: str) -> None:
    """Set all byte thresholds near the current figures, so that several levels change in one check."""
    numbers = [int(text) for text in offsets.split("+")]
    values = {}
    for index, (memory, prefix) in enumerate(MEMORIES.items()):
        pair = numbers[2 * index : 2 * index + 2]
        free = game.known()[f"{memory}_free"]
        values[f"{prefix}_warning"] = max(free + max(pair), 0)
        values[f"{prefix}_critical"] = max(free + min(pair), 0)
    set_thresholds(game, **values)
    check_now(game)


@operation(
    memory=st.sampled_from(sorted(MEMORIES)),
    level=st.sampled_from(["warning", "critical"]),
    edge=st.sampled_from([-1, 0, 1, 4]),
    far=st.integers(0, 1),
)
def edges(game: Game, memory: str, level: str, edge: int, far: int) -> None:
    """Enter a memory type's level, then leave it, each time `edge` bytes from the value at which the level changes."""
    free, prefix = game.known()[f"{memory}_free"], MEMORIES[memory]
    other = "critical" if level == "warning" else "warning"
    rest = {"critical": 0, "warning": free + 100_000 if far else None}[other]
    for threshold in (free + edge, _threshold_left_at(free + edge)):
        values = {level: threshold, other: max(threshold, 0) if rest is None else rest}
        set_thresholds(game, **{f"{prefix}_{name}": max(value, 0) for name, value in values.items()})
        check_now(game)
    if game.watcher.callbacks:
        calls(game, 0)


def _threshold_left_at(free: int) -> int:
    """The threshold whose level ends at this number of free bytes. A level ends a tenth, at least 1,024 bytes, above
    its threshold."""
    threshold = free * 10 // 11
    while threshold + max(threshold // 10, levels.HYSTERESIS_BYTES) > free and threshold > 0:
        threshold -= 1
    return max(threshold, 0)


@operation(caps=st.sampled_from(["", "DMA", "SPIRAM"]), edge=st.integers(-1, 1), critical=st.integers(0, 1))
def percent_edges(game: Game, caps: str, edge: int, critical: int) -> None:
    """Enter a level of fragmentation, then leave it, each time `edge` points from the value at which the level changes.

    Args:
        game: the game.
        caps: memory to fragment first, "" for none.
        edge: distance in percentage points.
        critical: 1 for both levels, 0 for the warning level only.
    """
    if caps:
        split(game, caps, 2000, 100)
    worst = max(game.known()[f"{memory}_fragmentation"] for memory in MEMORIES)
    for threshold in (worst + edge, worst + levels.HYSTERESIS_POINTS + edge):
        warning = max(threshold, 0)
        set_thresholds(
            game, fragmentation_warning=warning, fragmentation_critical=warning if critical else 100
        )
        check_now(game)


@operation()
def default_thresholds(game: Game) -> None:
    """Set the default thresholds."""
    set_thresholds(game, default=True)


@operation()
def check_now(game: Game) -> None:
    """Call memory_manager_check_thresholds(). When it returns, levels must be updated, events sent and callbacks
    called."""
    figures = game.known()
    if not task_fits(game):
        return
    changes = game.watcher.expect_check(figures)
    writes_logs(game, changes)
    game.good("bench.run", what="threshold", n=1)
    game.watcher.confirm_check(changes)
    game.settle()
    quiet_again(game)


@operation(add=st.integers(1, 8), log=st.integers(0, 1))
def register(game: Game, add: int, log: int) -> None:
    """Register callbacks for warnings and for recoveries. If they exceed the limit, the firmware must register none of
    them."""
    watcher = game.watcher
    good = watcher.callbacks + add <= CALLBACKS_MAX
    if good:
        watcher.callbacks += add
        watcher.callback_logs |= bool(log)
    game.agree(good, "ESP_ERR_NO_MEM", "mem.callbacks", add=add, log=log or None)


@operation(reset=st.integers(0, 1))
def calls(game: Game, reset: int) -> None:
    """Compare all calls of the callbacks, in order. `reset` also unregisters the callbacks."""
    watcher, due = game.watcher, list(game.watcher.calls)
    reply = game.good("mem.callbacks")
    expect(
        reply["registered"] == watcher.callbacks, f"{reply['registered']} registered, not {watcher.callbacks}"
    )
    expect(reply["count"] == len(due), f"{reply['count']} calls of callbacks, {len(due)} were due")
    expect_rows(reply["calls"], due[:CALLS_KEPT], "calls of callbacks")
    if reset:
        game.good("mem.callbacks", reset=1)
        watcher.callbacks, watcher.callback_logs = 0, False
        watcher.calls.clear()
