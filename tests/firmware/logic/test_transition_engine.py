"""Compares the transition engine with a model, and tests the decision on a request in each state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.c_build import build

C = build(
    "transition",
    ["state_manager/src/transition.c", "state_manager/src/state_logic.c"],
    ["transition.h", "state_logic.h"],
)
DONE, UNDONE, STUCK = C.lib.TRANSITION_DONE, C.lib.TRANSITION_UNDONE, C.lib.TRANSITION_STUCK
STEPS_MAX = C.const("TRANSITION_STEPS_MAX")
OK = 0

MEMORY_START = 100_000
PSRAM_START = 4_000_000
INIT, CAMERA, VOICE, ERROR, SHUTDOWN = range(5)


@dataclass(frozen=True)
class Step:
    """One step. cost: bytes that `run` allocates and `undo` frees; errors: return values of the step's functions."""

    cost: int = 0
    run_err: int = OK
    undo_err: int = OK
    has_undo: bool = True
    refused: bool = False
    undo_refused: bool = False


@dataclass
class Board:
    """Runs a transition of `steps` and records every call."""

    steps: list[Step]
    calls: list[tuple[str, int, bool]] = field(default_factory=list)
    free: int = MEMORY_START

    def run(self) -> tuple[int, list[dict[str, Any]], Any]:
        ffi = C.ffi
        names = [ffi.new("char[]", f"step{i}".encode()) for i in range(len(self.steps))]
        keep: list[Any] = list(names)

        def function(index: int, undo: bool) -> Any:
            step = self.steps[index]

            def call() -> int:
                self.calls.append(("undo" if undo else "run", index, undo))
                err = step.undo_err if undo else step.run_err
                if err == OK:
                    self.free += step.cost if undo else -step.cost
                return err

            callback = ffi.callback("esp_err_t(void)", call)
            keep.append(callback)
            return callback

        array = C.new("transition_step_t[]", max(1, len(self.steps)))
        for i, step in enumerate(self.steps):
            array[i].name = names[i]
            array[i].run = function(i, False)
            array[i].undo = function(i, True) if step.has_undo else ffi.NULL

        def enter(name: Any, undo: bool) -> int:
            index = int(ffi.string(name).decode()[4:])
            self.calls.append(("enter", index, bool(undo)))
            refused = self.steps[index].undo_refused if undo else self.steps[index].refused
            return 0x77 if refused else OK

        def measure() -> Any:
            return [self.free, PSRAM_START - self.free]

        env = C.new("transition_env_t *")
        env.enter = keep_callback(keep, "esp_err_t(const char *, bool)", enter)
        env.measure = keep_callback(keep, "transition_memory_t(void)", lambda: memory(measure()))
        ledger = C.new("transition_ledger_t *")
        ledger.count = 99
        end = C.lib.transition_run(array, len(self.steps), env, ledger)
        rows = [
            {
                "index": int(ffi.string(entry.step).decode()[4:]),
                "undo": bool(entry.undo),
                "err": entry.err,
                "before": (entry.before.internal, entry.before.psram),
                "after": (entry.after.internal, entry.after.psram),
            }
            for entry in (ledger.entries[i] for i in range(ledger.count))
        ]
        failure = C.lib.transition_failure(ledger)
        failed = None if failure == ffi.NULL else (int(ffi.string(failure.step).decode()[4:]), failure.err)
        return end, rows, failed


def memory(values: list[int]) -> Any:
    made = C.ffi.new("transition_memory_t *")
    made.internal, made.psram = values
    return made[0]


def keep_callback(keep: list[Any], signature: str, function: Any) -> Any:
    callback = C.ffi.callback(signature, function)
    keep.append(callback)
    return callback


def expected(steps: list[Step]) -> tuple[int, list[tuple[int, bool, int]]]:
    """The outcome that the model expects, and the ledger's rows (step, undo, err) in order."""
    rows: list[tuple[int, bool, int]] = []
    for i, step in enumerate(steps):
        err = 0x77 if step.refused else step.run_err
        rows.append((i, False, err))
        if err != OK:
            for j in reversed(range(i)):
                if not steps[j].has_undo:
                    continue
                undo_err = 0x77 if steps[j].undo_refused else steps[j].undo_err
                rows.append((j, True, undo_err))
                if undo_err != OK:
                    return STUCK, rows
            return UNDONE, rows
    return DONE, rows


ERRORS = st.sampled_from([OK, OK, OK, OK, 0x101, -1])
STEPS = st.lists(
    st.builds(
        Step,
        cost=st.integers(0, 5000),
        run_err=ERRORS,
        undo_err=ERRORS,
        has_undo=st.booleans(),
        refused=st.sampled_from([False] * 7 + [True]),
        undo_refused=st.sampled_from([False] * 7 + [True]),
    ),
    max_size=STEPS_MAX,
)


@given(STEPS)
def test_engine_matches_the_model(steps: list[Step]) -> None:
    end, rows, failed = Board(steps).run()
    model_end, model_rows = expected(steps)
    assert end == model_end
    assert [(row["index"], row["undo"], row["err"]) for row in rows] == model_rows
    assert failed == next(((i, err) for i, _, err in model_rows if err != OK), None)


@given(STEPS)
def test_undone_transition_leaves_memory_as_it_was(steps: list[Step]) -> None:
    steps = [
        Step(**{**step.__dict__, "has_undo": True, "undo_err": OK, "undo_refused": False}) for step in steps
    ]
    board = Board(steps)
    end, _, _ = board.run()
    assert end in (DONE, UNDONE)
    taken = sum(step.cost for step in steps) if end == DONE else 0
    assert board.free == MEMORY_START - taken


@given(STEPS)
def test_ledger_has_the_memory_around_each_step(steps: list[Step]) -> None:
    board = Board(steps)
    _, rows, _ = board.run()
    free = MEMORY_START
    for row in rows:
        assert row["before"] == (free, PSRAM_START - free)
        if row["err"] == OK:
            cost = steps[row["index"]].cost
            free += cost if row["undo"] else -cost
        assert row["after"] == (free, PSRAM_START - free)
    assert free == board.free


@given(STEPS)
def test_every_step_is_entered_before_it_runs_and_refused_ones_do_not_run(steps: list[Step]) -> None:
    board = Board(steps)
    board.run()
    entered = None
    for kind, index, undo in board.calls:
        if kind == "enter":
            entered = (index, undo)
            continue
        assert entered == (index, undo)
        assert not (steps[index].undo_refused if undo else steps[index].refused)
        entered = None


def test_failing_undo_stops_the_rollback() -> None:
    """After a failed undo the state is unknown, so the rollback must stop; further calls would confuse the drivers
    more."""
    steps = [Step(), Step(undo_err=-1), Step(), Step(run_err=0x101)]
    end, rows, failed = Board(steps).run()
    assert end == STUCK
    assert [(row["index"], row["undo"]) for row in rows[4:]] == [(2, True), (1, True)]
    assert failed == (3, 0x101)


def test_full_ledger_holds_every_step_and_its_undo() -> None:
    steps = [Step(cost=10) for _ in range(STEPS_MAX - 1)] + [Step(run_err=-1)]
    end, rows, _ = Board(steps).run()
    assert end == UNDONE
    assert len(rows) == 2 * STEPS_MAX - 1


def test_transition_with_more_steps_than_the_ledger_is_refused() -> None:
    board = Board([Step()] * (STEPS_MAX + 1))
    assert board.run() == (UNDONE, [], None)
    assert board.calls == []


STAY, CHANGE, REFUSE = C.lib.STATE_STAY, C.lib.STATE_CHANGE, C.lib.STATE_REFUSE


@pytest.mark.parametrize(
    ("now", "wanted", "decision"),
    [
        (INIT, CAMERA, CHANGE),
        (INIT, VOICE, CHANGE),
        (CAMERA, CAMERA, STAY),
        (CAMERA, VOICE, CHANGE),
        (VOICE, CAMERA, CHANGE),
        (ERROR, CAMERA, CHANGE),
        (ERROR, SHUTDOWN, CHANGE),
        (SHUTDOWN, SHUTDOWN, STAY),
        (SHUTDOWN, CAMERA, REFUSE),
        (CAMERA, INIT, REFUSE),
        (CAMERA, ERROR, REFUSE),
        (ERROR, ERROR, REFUSE),
        (INIT, INIT, REFUSE),
        (CAMERA, 77, REFUSE),
    ],
)
def test_decision_on_a_request_in_each_state(now: int, wanted: int, decision: int) -> None:
    assert C.lib.state_decide(now, wanted) == decision


def test_state_names_are_those_of_the_protocol() -> None:
    names = [C.ffi.string(C.lib.state_manager_name(state)).decode() for state in (*range(5), 5, 1000)]
    assert names == ["init", "camera", "voice", "error", "shutdown", "?", "?"]
