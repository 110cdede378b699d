"""Tests which reclaimers run, in which order, and at which levels."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.c_build import build

MODULE = build("reclaim_logic", ["memory_reclaim/src/reclaim_logic.c"], ["reclaim_logic.h"])
lib, new = MODULE.lib, MODULE.new

INTERNAL, PSRAM = 1 << 11, 1 << 10
LOW, CRITICAL, FAILURE, REFUSAL, REQUEST = (
    getattr(lib, f"MEMORY_RECLAIM_{name}") for name in ("LOW", "CRITICAL", "FAILURE", "REFUSAL", "REQUEST")
)


def reclaimer(cost: int = 0, *, caps: int = PSRAM, start: int = LOW) -> Any:
    made = new("memory_reclaim_t *")
    made.cost, made.caps = cost, caps
    setattr(made, "from", start)
    return made


class Chain:
    def __init__(self) -> None:
        self.first = new("memory_reclaim_t **")

    def insert(self, item: Any) -> bool:
        return bool(lib.reclaim_insert(self.first, item))

    def remove(self, item: Any) -> bool:
        return bool(lib.reclaim_remove(self.first, item))

    def costs(self) -> list[int]:
        found, item = [], self.first[0]
        while item != MODULE.ffi.NULL:
            found.append(item.cost)
            item = item.next
        return found


def test_reclaimers_are_kept_by_cost_then_by_registration() -> None:
    chain = Chain()
    items = [reclaimer(cost) for cost in (20, 10, 30, 20, 10)]
    assert all(chain.insert(item) for item in items)
    assert chain.costs() == [10, 10, 20, 20, 30]
    assert chain.first[0] == items[1]
    assert chain.first[0].next == items[4]
    assert chain.first[0].next.next == items[0]


def test_reclaimer_is_registered_once() -> None:
    chain = Chain()
    first, last = reclaimer(1), reclaimer(2)
    assert chain.insert(first)
    assert chain.insert(last)
    assert not chain.insert(last)
    assert not chain.insert(first)
    assert chain.costs() == [1, 2]


@pytest.mark.parametrize("which", [0, 1, 2])
def test_reclaimer_can_be_removed_from_any_place(which: int) -> None:
    chain = Chain()
    items = [reclaimer(cost) for cost in (1, 2, 3)]
    for item in items:
        chain.insert(item)
    assert chain.remove(items[which])
    assert not chain.remove(items[which])
    assert chain.costs() == [cost for cost in (1, 2, 3) if cost != which + 1]
    assert chain.insert(items[which])
    assert chain.costs() == [1, 2, 3]


@pytest.mark.parametrize("trigger", [LOW, CRITICAL, FAILURE, REFUSAL, REQUEST])
@pytest.mark.parametrize("start", [LOW, CRITICAL, FAILURE, REFUSAL, REQUEST])
def test_reclaimer_runs_from_its_mildest_trigger_on(trigger: int, start: int) -> None:
    assert bool(lib.reclaim_may_run(reclaimer(start=start), trigger, PSRAM)) == (trigger >= start)


def test_reclaimer_runs_only_for_its_memory() -> None:
    for caps, wanted, runs in (
        (PSRAM, PSRAM, True),
        (PSRAM, INTERNAL, False),
        (INTERNAL, PSRAM, False),
        (INTERNAL | PSRAM, PSRAM, True),
        (INTERNAL, INTERNAL | PSRAM, True),
    ):
        assert bool(lib.reclaim_may_run(reclaimer(caps=caps), LOW, wanted)) == runs


def test_third_run_without_gain_is_the_last_but_on_request() -> None:
    item = reclaimer()
    assert [bool(lib.reclaim_count(item, 0)) for _ in range(2)] == [False, False]
    assert lib.reclaim_may_run(item, REFUSAL, PSRAM)
    assert lib.reclaim_count(item, 0), "the third run without gain"
    assert lib.reclaim_is_skipped(item)
    assert not lib.reclaim_may_run(item, REFUSAL, PSRAM)
    assert lib.reclaim_may_run(item, REQUEST, PSRAM)
    assert not lib.reclaim_count(item, 0), "a skipped reclaimer must be announced only once"
    assert (item.runs, item.gained) == (4, 0)
    for _ in range(300):
        lib.reclaim_count(item, 0)
    assert lib.reclaim_is_skipped(item), "the counter does not wrap"
    assert not lib.reclaim_count(item, 100)
    assert lib.reclaim_may_run(item, LOW, PSRAM), "a gain on request must end the skipping"


def test_gain_between_runs_starts_the_count_again() -> None:
    item = reclaimer()
    for gain in (0, 0, 8, 0, 0):
        assert not lib.reclaim_count(item, gain)
    assert (item.runs, item.gained) == (5, 8)
    assert lib.reclaim_count(item, 0)


@pytest.mark.parametrize(
    ("threshold", "leave"),
    [(0, 1024), (10_239, 11_263), (10_240, 11_264), (10_250, 11_275), (512_000, 563_200)],
)
def test_level_is_left_a_tenth_or_1_kb_above_its_threshold(threshold: int, leave: int) -> None:
    assert lib.reclaim_leave(threshold) == leave


class Level:
    """The reclaimers' level of one memory type, whose warning threshold is 50,000 bytes and critical threshold 20,000
    bytes."""

    def __init__(self) -> None:
        self._level, self._target = new("reclaim_level_t *"), new("uint32_t *")
        self._trigger = new("memory_reclaim_trigger_t *")

    def sample(self, free: int) -> tuple[int, int] | None:
        if not lib.reclaim_enters(self._level, free, 50_000, 20_000, self._target, self._trigger):
            return None
        return int(self._trigger[0]), int(self._target[0])


def test_each_level_is_entered_once_until_it_is_left() -> None:
    level = Level()
    assert level.sample(50_000) is None
    assert level.sample(49_999) == (LOW, 55_000)
    assert level.sample(30_000) is None
    assert level.sample(20_000) is None
    assert level.sample(19_999) == (CRITICAL, 22_000)
    assert level.sample(21_999) is None
    assert level.sample(19_000) is None, "the critical level is still active"
    assert level.sample(22_000) is None
    assert level.sample(19_999) == (CRITICAL, 22_000)
    assert level.sample(54_999) is None
    assert level.sample(49_000) is None, "the level is still active"
    assert level.sample(55_000) is None
    assert level.sample(49_999) == (LOW, 55_000)


def test_fall_past_both_thresholds_is_critical() -> None:
    level = Level()
    assert level.sample(1) == (CRITICAL, 22_000)
    assert level.sample(30_000) is None, "the warning level was entered as well"
