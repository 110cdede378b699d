"""Checks the rounds of a burn-in against a fake board that breaks promises, and what the log of a burn-in records."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from fixtures.burn_in import Plan, Rounds, draw_round
from fixtures.burn_in_log import ROUNDS_MIN, BurnInLog
from fixtures.modes import CAMERA, VOICE, Reading
from hotpin_hil.device import DeviceError

STEPS = {VOICE: ["lock", "audio.start"], CAMERA: ["lock", "camera.start"]}
QUIET = Plan(record_s=0.1, stream_ms=10, is_closed_early=False, samples=0)
FLAT = Reading(200_000, 100_000, 3_000_000, 300, 12)


def test_a_round_depends_only_on_seed_and_number() -> None:
    assert draw_round(7, 118, STEPS) == draw_round(7, 118, STEPS)
    assert draw_round(7, 118, STEPS) != draw_round(8, 118, STEPS)
    assert draw_round(7, 118, STEPS) != draw_round(7, 119, STEPS)


def test_rounds_have_every_kind_of_fault_in_both_changes() -> None:
    plans = [draw_round(1, number, STEPS) for number in range(400)]
    faults = Counter((plan.failing_change, plan.step) for plan in plans)
    assert set(faults) == {("", ""), *((mode, step) for mode in STEPS for step in ("", *STEPS[mode]))}
    assert 150 < faults["", ""] < 250
    assert all((plan.allocation > 0) == bool(plan.failing_change and not plan.step) for plan in plans)
    assert 80 < sum(plan.is_closed_early for plan in plans) < 160


@dataclass
class Board:
    """Fake of `device` and `modes`. The fields after `mode` are promises that it breaks."""

    mode: str = CAMERA
    fails_without_fault: bool = False
    ignores_fault: bool = False
    stays_in_error: bool = False
    frames_lost: int = 0
    cuts_picture: bool = False
    steps_failed: int = 0
    armed: list[dict[str, Any]] = field(default_factory=list)

    def to(self, mode: str) -> Any:
        if self.armed and not self.ignores_fault:
            self.steps_failed += 1
            self.mode = "error" if self.stays_in_error else self.mode
            raise DeviceError("mode.set", {"err": "ESP_FAIL", "msg": "a step failed"})
        if self.fails_without_fault:
            raise DeviceError("mode.set", {"err": "ESP_FAIL", "msg": "just so"})
        self.mode = mode
        return SimpleNamespace(duration_ms=400, mode=mode)

    def fail(self, *, off: bool = False, **fault: Any) -> dict[str, int]:
        self.armed = [] if off else self.armed + [fault] * bool(fault)
        return {"steps_failed": self.steps_failed, "failed": self.steps_failed}

    def play(self, stream: bytes) -> Any:
        frames = (len(stream) - 44) // 2
        return SimpleNamespace(data={"err": "ESP_OK", "samples": frames - self.frames_lost})

    def capture(self) -> Any:
        return SimpleNamespace(soi=True, eoi=not self.cuts_picture)

    def settled(self) -> Any:
        return SimpleNamespace(mode=self.mode)

    def read(self) -> Reading:
        return FLAT

    def rounds(self) -> Rounds:
        device: Any = SimpleNamespace(
            fail=self.fail,
            fail_call=lambda off: None,
            capture=self.capture,
            mark=lambda: None,
            mode_steps=lambda mode, start: STEPS[mode],
            monitor=lambda: SimpleNamespace(interval_ms=15_000),
            tts_play=lambda: None,
            tts_close=lambda: SimpleNamespace(state="closed"),
        )
        modes: Any = SimpleNamespace(
            to=self.to,
            play=self.play,
            write=lambda stream: None,
            record=lambda seconds: 1,
            read=self.read,
            settled=self.settled,
        )
        return Rounds(device, modes)


def fault(mode: str, step: str = "", allocation: int = 0) -> Plan:
    return Plan(0.1, 10, True, 0, mode, step, allocation)


@pytest.mark.parametrize("plan", [QUIET, fault(VOICE, "audio.start"), fault(CAMERA, allocation=3)], ids=str)
def test_good_board_ends_each_round_in_camera_mode(plan: Plan) -> None:
    board = Board()
    rounds = board.rounds()
    assert rounds.run(plan) == FLAT
    assert (board.mode, board.armed, rounds.last_change_ms) == (CAMERA, [], 400)
    assert board.steps_failed == bool(plan.failing_change)


def test_allocation_that_is_never_reached_must_not_fail_the_change() -> None:
    board = Board(ignores_fault=True)
    assert board.rounds().run(fault(VOICE, allocation=12)) == FLAT


@pytest.mark.parametrize(
    ("board", "plan", "error"),
    [
        (Board(ignores_fault=True), fault(VOICE, "audio.start"), "succeeded although audio.start failed"),
        (
            Board(stays_in_error=True),
            fault(CAMERA, "lock"),
            "in error mode after the fault, not in voice mode",
        ),
        (Board(frames_lost=1), QUIET, "159 of 160 frames were played"),
        (Board(cuts_picture=True), QUIET, "does not end with JPEG's EOI"),
    ],
)
def test_broken_promise_fails_the_round(board: Board, plan: Plan, error: str) -> None:
    with pytest.raises(AssertionError, match=error):
        board.rounds().run(plan)


def test_failure_without_a_fault_is_an_error_of_the_firmware() -> None:
    with pytest.raises(DeviceError, match="just so"):
        Board(fails_without_fault=True).rounds().run(QUIET)
    with pytest.raises(AssertionError, match="failed without the planned fault"):
        Board(fails_without_fault=True, ignores_fault=True).rounds().run(fault(VOICE, allocation=3))


class Log:
    """A BurnInLog on a clock that the test advances, with everything that it records and prints."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, hours: float) -> None:
        self.now_s = 1_000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now_s)
        self.measured: dict[str, Any] = {}
        self.limits: dict[str, Any] = {}
        self.readings: list[float] = []
        self.told: list[str] = []
        self.log = BurnInLog("board-1 cam-1", hours, self.measure, self.series, self.told.append)

    def measure(self, name: str, value: Any, unit: str = "", **limit: Any) -> Any:
        assert name not in self.measured
        self.measured[name], self.limits[name] = value, limit

    def series(self, name: str, values: Any, unit: str = "", budget: float | None = None) -> None:
        if name == "burn-in: internal":
            self.readings += values

    def add(self, internal: int = 200_000, took_s: float = 1.0) -> None:
        self.now_s += took_s
        board_ms = round((self.now_s - 1_000) * 100_000)
        self.log.add(Reading(internal, 100_000, 3_000_000, 300, 12), board_ms, 400)


def test_readings_are_recorded_while_the_burn_in_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(monkeypatch, hours=1)
    for number in range(49):
        log.add(200_000 - 100 * number)
    assert log.readings == [200_000 - 100 * number for number in range(25)]
    log.log.record()
    log.log.record()  # without a new round
    assert log.readings == [200_000 - 100 * number for number in range(49)]
    assert log.measured["after 49 rounds: rounds"] == 49
    assert log.measured["after 49 rounds: internal lost since warm-up"] == 100 * (48 - 4)
    assert log.limits["after 49 rounds: internal lost since warm-up"]["max"] == pytest.approx(
        1_024 + 1.024 * 49
    )


def test_burn_in_ends_after_its_time_but_not_before_it_has_a_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(monkeypatch, hours=60 / 3_600)
    for _ in range(ROUNDS_MIN - 1):
        log.add(took_s=10)
    assert not log.log.is_over
    log.add()
    assert log.log.is_over
    log = Log(monkeypatch, hours=60 / 3_600)
    for _ in range(59):
        log.add()
    assert not log.log.is_over
    log.add()
    assert log.log.is_over


def test_progress_is_told_after_the_first_round_and_then_each_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(monkeypatch, hours=8)
    for number in range(181):
        log.add(200_000 - number)
    first, *_, last = log.told
    assert len(log.told) == 4
    assert first == (
        "burn-in board-1 cam-1: round 1, 0:00:01 of 8:00:00 (board's clock 0:01:40), "
        "lost: internal 0 B, psram 0 B, last change 400 ms"
    )
    assert "round 181, 0:03:01 of 8:00:00 (board's clock 5:01:40), lost: internal 176 B, " in last


def test_board_that_is_ahead_waits_at_the_pace_of_its_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(monkeypatch, hours=8)  # 14.4 s per round
    log.add(took_s=1)
    log.add(took_s=1)
    assert log.log.ahead_s == pytest.approx(2 * 14.4 - 2)
    assert log.log.pace == pytest.approx(50)  # the first second is the start of its clock
    log.add(took_s=60)
    assert log.log.ahead_s < 0
