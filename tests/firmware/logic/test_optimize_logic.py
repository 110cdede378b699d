"""Tests when automatic optimisation makes an attempt, waits or gives up."""

from __future__ import annotations

from tests.support.c_build import build

MODULE = build("optimize_logic", ["memory_optimize/src/optimize_logic.c"], ["optimize_logic.h"])
lib, new = MODULE.lib, MODULE.new
COOLDOWN = 300_000


class Record:
    def __init__(self) -> None:
        self.record = new("optimize_record_t *")

    def due(self, now: int, needed: bool = True) -> bool:
        return bool(lib.optimize_is_due(self.record, needed, now % 2**32, COOLDOWN))

    def note(self, now: int, helped: bool) -> None:
        lib.optimize_note(self.record, helped, now % 2**32)


def test_first_attempt_is_due_as_soon_as_it_is_needed() -> None:
    record = Record()
    assert not record.due(5, needed=False)
    assert record.due(5)


def test_attempts_that_help_are_a_cooldown_apart_also_when_the_clock_wraps() -> None:
    record, start = Record(), 2**32 - 10
    record.note(start, helped=True)
    assert not record.due(start + COOLDOWN - 1)
    assert record.due(start + COOLDOWN)
    assert (record.record.attempts, record.record.helped, record.record.gave_up) == (1, 1, False)


def test_attempt_that_does_not_help_is_the_last_until_the_cause_has_ended() -> None:
    record = Record()
    record.note(0, helped=False)
    assert (record.record.attempts, record.record.helped, record.record.gave_up) == (1, 0, True)
    assert not record.due(10 * COOLDOWN)
    assert not record.due(1, needed=False)
    assert not record.due(COOLDOWN - 1), "the minimum time between two attempts is not over"
    assert record.due(COOLDOWN)
