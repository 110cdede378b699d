"""Operations on modes."""

from __future__ import annotations

import itertools

from hypothesis import strategies as st

from tests.model.game import MONITOR_TASK, Game, operation
from tests.model.memory import CAPS, expect
from tests.model.operations_log import STATES_MAX
from tests.model.watcher import Snapshot

STEPS = {
    "voice": ["camera.stop", "settle.down", "audio.start", "stt.start", "settle.up"],
    "camera": ["tts.stop", "stt.stop", "audio.stop", "settle.down", "camera.start", "settle.up"],
}
"""Steps of a change to this mode, after `lock` and `admission`: firmware/README.md, "Mode changes"."""
WITHOUT_UNDO = {"tts.stop", "settle.up"}
FAILABLE = ["lock", "admission", *dict.fromkeys(STEPS["voice"] + STEPS["camera"])]
DRIVERS_MS = {"voice": range(310, 400), "camera": range(350, 500)}
"""Duration of a change to this mode without its two pauses, with the virtual board's drivers."""
PLENTY = {"internal": 60_000, "psram": 200_000}
"""Bytes per memory type: if a free block of this size exists in each, every mode fits."""


def has_plenty(game: Game) -> bool:
    """Whether there is certainly enough memory for every mode."""
    figures = game.known()
    return all(figures[f"{memory}_largest"] >= size for memory, size in PLENTY.items())


def _before(game: Game) -> None:
    """Prepare the model for a mode change, which changes memory and may cause failed allocations in drivers."""
    game.good("mem.events")
    game.watcher.memory.changes()
    game.forget_sum()


@operation(to=st.sampled_from(["camera", "voice", "voice"]), fail=st.just("") | st.sampled_from(FAILABLE),
           undo=st.integers(0, 3).map(lambda number: int(number == 0)))  # fmt: skip
def mode(game: Game, to: str, fail: str, undo: int) -> None:
    """Change the mode and wait. `fail`: a step that must fail; `undo`: whether the undo of the preceding step also
    fails."""
    watcher, old = game.watcher, game.mode
    if not has_plenty(game):
        return
    if to == old:
        game.good("mode.set", to=to, wait=1)
        _check_mode(game)
        return
    names = ["lock", "admission", *STEPS[to]]
    fails = fail if fail in names else ""
    stuck_at = _undone_first(STEPS[to], fails) if undo else ""
    if fails:
        game.good("heap.fail", step=f"{fails},undo:{stuck_at}" if stuck_at else fails)
    figures = game.known()
    _before(game)
    watcher.modes.clear()
    title = to.capitalize()
    if fails != "lock":
        watcher.logged.append(Snapshot(f"Before {title} Transition", figures))
    if not fails:
        watcher.logged.append(Snapshot(f"After {title} Transition"))
    elif fails not in ("lock", "admission"):
        watcher.logged.append(Snapshot("After Error Recovery"))
    reply = game.ask("mode.set", to=to, wait=1)
    if fails:
        expect(
            not reply["ok"] and reply["err"] == "ESP_FAIL" and reply["value"] == fails,
            f"{fails} fails: {reply}",
        )
        game.good("heap.fail", off=1)
        game.failures += 1
        if stuck_at:
            game.previous = "error"
            game.transitions += 1
    else:
        expect(reply["ok"], f"mode.set to={to}: {reply}")
        game.mode, game.previous = to, old
        game.transitions += 1
        game.cycles += to == "camera"
    done = STEPS[to][: STEPS[to].index(fails)] if fails in STEPS[to] else STEPS[to]
    if stuck_at or (to == "camera" and "tts.stop" in done and fails not in ("lock", "admission")):
        game.stream = None  # both recovery and a change to camera mode close the stream
    game.settle()
    _check_event(game, old, to, fails, bool(stuck_at))
    _check_mode(game)
    if not stuck_at and fails not in ("lock", "admission"):
        _check_ledger(game, to, fails)
    if not watcher.schedule.interval_ms:
        game.run(50_000)
    game.probe()
    if not fails:
        _check_baseline(game, to)


def _undone_first(steps: list[str], fails: str) -> str:
    """The first step to be undone if the step `fails` fails; "" if no step is undone."""
    done = steps[: steps.index(fails)] if fails in steps else []
    return next((step for step in reversed(done) if step not in WITHOUT_UNDO), "")


def _check_event(game: Game, old: str, to: str, fails: str, stuck: bool) -> None:
    wanted = [(old, to, not fails, fails or None)] + [("error", old, True, None)] * stuck
    said = [(row["from"], row["to"], row["ok"], row["step"]) for row in game.watcher.modes]
    expect(said == wanted, f"mode events {said}, not {wanted}")
    if not fails:
        took_ms = game.watcher.modes[0]["duration_ms"] - sum(game.settle_ms)
        expect(
            took_ms in DRIVERS_MS[to], f"the drivers took {took_ms} ms besides the pauses {game.settle_ms}"
        )


def _check_mode(game: Game) -> None:
    now = game.good("mode.get")
    wanted = {"mode": game.mode, "previous": game.previous, "transitions": game.transitions,
              "cycles": game.cycles, "failures": game.failures, "busy": False}  # fmt: skip
    said = {key: now[key] for key in wanted}
    expect(said == wanted, f"mode.get: {said}, not {wanted}")


def _check_ledger(game: Game, to: str, fails: str) -> None:
    steps = STEPS[to]
    end = steps.index(fails) if fails else len(steps)
    wanted = [(step, False, "ESP_OK") for step in steps[:end]]
    if fails:
        wanted.append((fails, False, "ESP_FAIL"))
        wanted += [(step, True, "ESP_OK") for step in reversed(steps[:end]) if step not in WITHOUT_UNDO]
    ledger = game.good("mode.ledger")["ledger"]
    said = [(row["step"], row["undo"], row["err"]) for row in ledger]
    expect(said == wanted, f"ledger {said}, not {wanted}")
    for row, after in itertools.pairwise(ledger):
        same = all(row[f"{memory}_after"] == after[f"{memory}_before"] for memory in ("internal", "psram"))
        expect(same, f"memory changed between two steps: {row}, {after}")


def _check_baseline(game: Game, name: str) -> None:
    """Check that a mode's baseline is the free memory after its first entry; later entries must not change it."""
    if name in game.baselines or len(game.baselines) >= STATES_MAX:
        return
    entered = next(row for row in game.watcher.history.rows() if row["context"].startswith("After"))
    reply = game.good("mem.baseline", state=name)
    said = {memory: reply[memory] for memory in CAPS}
    wanted = {memory: entered[f"{memory}_free"] for memory in CAPS}
    # While monitoring is off, the preceding log may have created the task that writes the logs, and this task uses
    # memory.
    writer = {memory: free - (0 if memory == "psram" else MONITOR_TASK) for memory, free in wanted.items()}
    possible = [wanted] if game.watcher.schedule.interval_ms else [wanted, writer]
    expect(said in possible, f"baseline of {name} is {said}, after the entry {wanted} were free")
    game.baselines[name] = said


@operation(first=st.sampled_from(["camera", "voice"]), last=st.sampled_from(["camera", "voice"]))
def requests(game: Game, first: str, last: str) -> None:
    """Send two requests in quick succession. The board must end in the mode requested last; it must skip the first
    request."""
    if not has_plenty(game) or last == game.mode:
        return
    watcher, old = game.watcher, game.mode
    figures = game.known()
    _before(game)
    watcher.modes.clear()
    watcher.logged.append(Snapshot(f"Before {last.capitalize()} Transition", figures))
    watcher.logged.append(Snapshot(f"After {last.capitalize()} Transition"))
    game.ask_all([("mode.set", {"to": first}), ("mode.set", {"to": last, "wait": 1})])
    game.settle()
    game.mode, game.previous = last, old
    game.transitions += 1
    game.cycles += last == "camera"
    game.stream = None if last == "camera" else game.stream
    _check_event(game, old, last, "", False)
    _check_mode(game)
    if not watcher.schedule.interval_ms:
        game.run(50_000)
    game.probe()
    _check_baseline(game, last)


@operation(down=st.sampled_from([-1, 0, 10, 50, 300]), up=st.sampled_from([-1, 0, 10, 50, 300, 10_001]))
def pauses(game: Game, down: int, up: int) -> None:
    """Set the pauses of a mode change; -1 leaves a pause unchanged."""
    wanted = tuple(old if new < 0 else new for old, new in zip(game.settle_ms, (down, up), strict=True))
    good = max(wanted) <= 10_000
    given = {key: value for key, value in (("down", down), ("up", up)) if value >= 0}
    game.agree(good, "ESP_ERR_INVALID_ARG", "mode.settle", **given)
    if good:
        game.settle_ms = wanted
    reply = game.good("mode.settle")
    expect((reply["down_ms"], reply["up_ms"]) == game.settle_ms, f"pauses {reply}, not {game.settle_ms}")
