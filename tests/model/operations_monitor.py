"""Operations on monitoring intervals and on time."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.model.game import MONITOR_TASK, Game, operation
from tests.model.memory import expect
from tests.model.schedule import TICK_MS
from tests.model.watcher import Snapshot

MIN_INTERVAL_MS = 100
BACKLOG_MS = 6000
"""More time than the serial line needs to send 16 records and 8 boxes."""
SCARCE = 2600
"""Size of a block that is certainly large enough for a task's stack and control block."""
SAMPLES_MAX = 120
VOICE_WAIT_MS = 30_000
DAY_MS = 86_400_000
CLEARANCE_US = 100_000
"""Minimum distance of a jump's end from a sample, because the model computes sample times only to a tick."""

INTERVALS = st.sampled_from(
    [0, 0, 99, 2000, 2005, 5000, 15_000, 15_000, 60_000, 3_600_000, 1 << 31, (1 << 32) - 1]
)


def task_fits(game: Game) -> bool:
    """Whether the short-lived task that writes logs is not needed, or memory is certainly enough for it."""
    return game.watcher.schedule.interval_ms > 0 or game.known()["internal_largest"] >= SCARCE


def writes_logs(game: Game, outputs: object) -> None:
    """Note that logs follow. While monitoring is off, a short-lived task writes the logs and uses memory meanwhile."""
    if outputs and not game.watcher.schedule.interval_ms:
        game.watcher.memory.sinks()


def quiet_again(game: Game) -> None:
    """Wait until the memory of the short-lived task is free again, if monitoring is off."""
    if not game.watcher.schedule.interval_ms:
        expect(game.run(50_000), "the program ended")


@operation(interval_ms=INTERVALS)
def monitor(game: Game, interval_ms: int) -> None:
    """Start monitoring, change its interval, or stop it (0)."""
    schedule, memory = game.watcher.schedule, game.watcher.memory
    if not task_fits(game):
        return
    game.idle()
    if interval_ms == 0:
        game.watcher.memory.changes()
        reply = game.good("mem.monitor", stop=1)
        schedule.set(game.board.now_us, 0)
        expect(game.watcher.is_quiet(), f"stopped before all was written: {game.watcher.outstanding()}")
    elif interval_ms < MIN_INTERVAL_MS:
        game.agree(False, "ESP_ERR_INVALID_ARG", "mem.monitor", start=interval_ms)
        return
    else:
        memory.changes()
        schedule.set(game.board.now_us, interval_ms)
        reply = game.good("mem.monitor", start=interval_ms)
    wanted = {"interval_ms": interval_ms, "running": interval_ms > 0, "samples": schedule.samples}
    heard = {key: reply[key] for key in wanted}
    expect(heard == wanted, f"mem.monitor: {heard}, not {wanted}")
    game.probe()
    own = game.good("mem.self")
    taken = MONITOR_TASK if interval_ms else 0
    expect(
        own["bytes_task"] == taken and own["bytes_internal"] == own["bytes_static"] + taken,
        f"mem.self: {own}",
    )
    expect(own["samples"] == schedule.samples, f"mem.self: {own}, {schedule.samples} samples")


@operation(interval_ms=st.sampled_from([100, 130, 250, 400, 1000]), ms=st.integers(900, 8000))
def burst(game: Game, interval_ms: int, ms: int) -> None:
    """Monitor faster than the serial line can send the logs, then as before. No record may be lost; the oldest boxes
    may be dropped."""
    schedule = game.watcher.schedule
    if schedule.interval_ms == 0 or game.mode == "voice":
        return
    before_ms = max(schedule.interval_ms, BACKLOG_MS)
    game.idle()
    start_ms = game.board.now_us // 1000
    schedule.set(game.board.now_us, interval_ms, congested=True)
    samples = schedule.samples
    set_us = game.watcher.taken_us(game.good("mem.monitor", start=interval_ms)["t"])
    expect(game.run(ms * 1000), "the program ended")
    reply = game.good("mem.monitor", start=before_ms)
    ended_us = game.board.now_us
    restarted_us = game.watcher.taken_us(reply["t"])
    game.settle()
    if schedule.samples < reply["samples"]:  # the last sample was taken just before the command
        expect(game.run(BACKLOG_MS * 1000), "the program ended")
        game.settle()
    taken, most = schedule.samples - samples, (ended_us // 1000 - start_ms) // interval_ms
    least = min(1, ((restarted_us - set_us) // 1000 - TICK_MS) // interval_ms)
    expect(reply["samples"] <= schedule.samples, f"{reply}, {schedule.samples} samples arrived")
    expect(least <= taken <= most + 1, f"{taken} samples in {most} intervals of {interval_ms} ms")
    schedule.set(restarted_us, before_ms, loose_us=TICK_MS * 1000)
    expect(game.good("mem.monitor")["samples"] == schedule.samples, f"{schedule.samples} samples arrived")


@operation(
    ms=st.sampled_from([1, 10, 300, 1000, 2500, 15_000, 31_000, 200_000, 1_000_000, 7_300_000])
    | st.integers(1, 5000)
)
def wait(game: Game, ms: int) -> None:
    """Let the clock run without any other action."""
    interval_ms = game.watcher.schedule.interval_ms
    ms = min(ms, SAMPLES_MAX * interval_ms) if interval_ms else ms
    ms = min(ms, VOICE_WAIT_MS) if game.mode == "voice" else ms
    game.known()
    expect(game.run(ms * 1000), f"the program ended with {game.board.reset_code}")


@operation(
    days=st.sampled_from([0, 0, 1, 24, 25, 49, 50, 100]), ms=st.integers(0, 9_000_000).map(lambda n: n * 10)
)
def jump(game: Game, days: int, ms: int) -> None:
    """Advance the clock by up to months at once, then log. One of the missed samples must be taken, and the grid must
    be unchanged."""
    if not task_fits(game):
        return
    watcher, schedule = game.watcher, game.watcher.schedule
    game.known()
    game.idle()
    watcher.memory.sinks()
    span_us = (days * DAY_MS + ms) * 1000
    if schedule.is_near_due(game.board.now_us + span_us):
        span_us += CLEARANCE_US
    game.board.jump(span_us)
    watcher.jumped(game.board.now_us)
    if (schedule.due_in_us(game.board.now_us) or 0) < 0:
        schedule.skip_to(game.board.now_us)
    watcher.logged.append(Snapshot("After Jump", watcher.memory.known))
    game.good("mem.log", context="After Jump")
    game.settle()
    quiet_again(game)
    game.guard()
    game.probe()
