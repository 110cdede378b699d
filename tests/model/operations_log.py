"""Operations on logs, rings, baselines and advice."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.model import levels
from tests.model.game import Game, operation
from tests.model.memory import CAPS, expect, expect_rows
from tests.model.operations_monitor import BACKLOG_MS, quiet_again, task_fits, writes_logs
from tests.model.watcher import Snapshot

CONTEXT_MAX = 31
STATES_MAX = 4
CONTEXTS = st.sampled_from(["a", "After_Camera_Capture", 'say_"x"', "back\\slash", "x" * 31, "y" * 40])
STATES = st.sampled_from(["", "m1", "m2", "m3", "m4", "camera", "voice"])

API_CASES = {
    "init_again": "ESP_ERR_INVALID_STATE",
    "get_stats_null": "ESP_ERR_INVALID_ARG",
    "get_events_null": "ESP_ERR_INVALID_ARG",
    "log_stats_null": "ESP_ERR_INVALID_ARG",
    "callback_null": "ESP_ERR_INVALID_ARG",
    "callbacks_full": "ESP_ERR_NO_MEM",
    "recovery_callbacks_full": "ESP_ERR_NO_MEM",
    "unregister_unknown": "ESP_ERR_NOT_FOUND",
    "start_below_minimum": "ESP_ERR_INVALID_ARG",
    "thresholds_critical_above_warning": "ESP_ERR_INVALID_ARG",
}


@operation(context=CONTEXTS, times=st.sampled_from([1, 1, 2, 8, 9, 10, 15, 16, 17, 20, 33]))
def log(game: Game, context: str, times: int) -> None:
    """Log the statistics `times` times in a row without a pause. No record may be lost; the oldest boxes may be
    dropped."""
    if not task_fits(game):
        return
    if 0 < game.watcher.schedule.interval_ms < 2 * BACKLOG_MS:
        # More output would still be waiting for the serial line when the next sample is due, and would delay the
        # sample.
        times = min(times, 2)
    if times > 2:
        game.guard(BACKLOG_MS * 1000)
    figures = game.known()
    names = [f"{context}{number or ''}" for number in range(times)]
    monitored = game.watcher.schedule.interval_ms > 0
    for number, name in enumerate(names):
        # While monitoring is off, the first log creates the task that writes the logs, and this task uses memory.
        known = figures if monitored or number == 0 else None
        game.watcher.logged.append(Snapshot(name[:CONTEXT_MAX], known))
    writes_logs(game, names)
    for reply in game.ask_all([("mem.log", {"context": name}) for name in names]):
        expect(reply["ok"], f"mem.log: {reply}")
    game.settle()
    quiet_again(game)


@operation(times=st.integers(1, 12))
def log_and_stop(game: Game, times: int) -> None:
    """Log, and stop monitoring immediately. The reply must not arrive before all logs are written."""
    schedule = game.watcher.schedule
    if not task_fits(game) or not schedule.interval_ms:
        return
    if schedule.interval_ms < 2 * BACKLOG_MS:
        times = min(times, 2)
    game.guard(BACKLOG_MS * 1000)
    figures = game.known()
    names = [f"s{number}" for number in range(times)]
    game.watcher.logged.extend(Snapshot(name, figures) for name in names)
    game.watcher.memory.changes()
    game.ask_all([*(("mem.log", {"context": name}) for name in names), ("mem.monitor", {"stop": 1})])
    schedule.set(game.board.now_us, 0)
    expect(
        game.watcher.is_quiet(),
        f"the script stopped before all output was written: {game.watcher.outstanding()}",
    )
    game.probe()


@operation(last=st.integers(0, 17))
def history(game: Game, last: int) -> None:
    """Compare the reply of `mem.history`, newest first."""
    wanted = game.watcher.history.rows(last)
    reply = game.good("mem.history", last=last)
    rows = [dict(zip(reply.get("fields", []), row, strict=True)) for row in reply["snapshots"]]
    expect_rows(rows, wanted, f"mem.history last={last}")


@operation(back=st.integers(-1, 10))
def events(game: Game, back: int) -> None:
    """Compare the reply of `mem.events`: the last `back` events, oldest first. The command must also report failed
    allocations."""
    newest = game.watcher.events.newest + len(game.watcher.failures)
    since = max(newest - back, 0)
    said = game.good("mem.events", since=since)["events"]
    expect(not len(game.watcher.failures), "mem.events did not report all failed allocations")
    expect_rows(said, game.watcher.events.since(since), f"mem.events since={since}")


@operation(state=STATES, take=st.integers(0, 1))
def baseline(game: Game, state: str, take: int) -> None:
    """Read all baselines and, if `take` is set, first set the baseline of a state ("": the general one)."""
    figures = {memory: game.known()[f"{memory}_free"] for memory in CAPS}
    watcher, states = game.watcher, game.baselines
    if take:
        good = not state or state in states or len(states) < STATES_MAX
        reply = game.agree(good, "ESP_ERR_NO_MEM", "mem.baseline", state=state or None, set=1)
        if good:
            watcher.taken_us(reply["timestamp_ms"])
            heard = {memory: reply[memory] for memory in CAPS}
            expect(heard == figures, f"baseline {state!r} is set to {heard}, free are {figures}")
            if state:
                states[state] = figures
            else:
                watcher.memory.baseline = figures
    for name, wanted in {"": watcher.memory.baseline, **states}.items():
        reply = game.good("mem.baseline", state=name or None)
        heard = {memory: reply[memory] for memory in CAPS}
        expect(heard == wanted, f"baseline {name!r} is {heard}, not {wanted}")
    game.agree(False, "ESP_ERR_NOT_FOUND", "mem.baseline", state="nobody")


@operation(count=st.integers(2, 5))
def baselines(game: Game, count: int) -> None:
    """Set the baselines of `count` states; baselines beyond the limit must be refused."""
    for number in range(1, count + 1):
        baseline(game, f"m{number}", 1)


@operation()
def optimize(game: Game) -> None:
    """`mem.optimize` must give advice that matches free memory and fragmentation, and close a stream that has ended."""
    figures = game.known()
    wanted = levels.advice(figures, game.watcher.thresholds)
    gives = game.stream["costs"] if game.stream is not None and game.stream["ended"] else 0
    if gives:
        game.watcher.memory.changes()
        game.forget_sum()
    reply = game.good("mem.optimize")
    said = reply["advice"]
    good = len(said) == len(wanted) and all(
        text.startswith(start) for text, start in zip(said, wanted, strict=True)
    )
    expect(good, f"advice {said}, not {wanted}")
    expect(reply["reclaimed"] == gives, f"{gives} bytes can be reclaimed: {reply}")
    if gives:
        game.stream = None
    game.probe()


@operation(case=st.sampled_from(sorted(API_CASES)))
def api(game: Game, case: str) -> None:
    """Call an edge case of the API, which must return an error and have no effect."""
    reply = game.good("mem.api", case=case)
    expect(reply["err"] == API_CASES[case], f"mem.api {case}: {reply['err']}, not {API_CASES[case]}")
