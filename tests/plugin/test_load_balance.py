"""Checks that with several boards the tests that took longest in the last run start first."""

from __future__ import annotations

import heapq
import json
import random

import pytest

from hotpin_hil.pytest_plugin.load_balance import NODES_HAVE, balanced
from tests.support.plugin_suite import Suite

pytest_plugins = ["pytester", "tests.support.plugin_suite"]


def time_of(order: list[int], durations: list[float], workers: int) -> float:
    """Duration of a run by workers that have NODES_HAVE tests each, and get the next one when they end one."""
    batches = [order[NODES_HAVE * worker : NODES_HAVE * (worker + 1)] for worker in range(workers)]
    waiting = order[NODES_HAVE * workers :]
    free_at = [(durations[batch[0]], worker) for worker, batch in enumerate(batches) if batch]
    heapq.heapify(free_at)
    queued = [batch[1:] for batch in batches]
    end = 0.0
    while free_at:
        now, worker = heapq.heappop(free_at)
        end = max(end, now)
        if waiting:
            queued[worker].append(waiting.pop(0))
        if queued[worker]:
            heapq.heappush(free_at, (now + durations[queued[worker].pop(0)], worker))
    return end


def test_long_tests_are_not_left_for_the_end() -> None:
    """In file order, a 20 s test that comes last would leave the other boards idle."""
    durations = [1.0] * 40 + [20.0]
    names = [str(index) for index in range(41)]
    order = balanced(names, dict(zip(names, durations, strict=True)), 3)
    assert sorted(order) == list(range(41))
    assert time_of(list(range(41)), durations, 3) > 30
    assert time_of(order, durations, 3) <= 21


@pytest.mark.parametrize("workers", [2, 3, 8, 16])
def test_drawn_durations_end_within_the_longest_of_the_optimum(workers: int) -> None:
    """The bound of list scheduling: no order of any kind can take less than the mean per worker."""
    drawn = random.Random(workers)
    for _ in range(50):
        durations = [drawn.expovariate(1) for _ in range(drawn.randint(1, 200))]
        names = [str(index) for index in range(len(durations))]
        order = balanced(names, dict(zip(names, durations, strict=True)), workers)
        assert sorted(order) == list(range(len(durations)))
        optimum = max(sum(durations) / workers, *durations)
        shortest = sorted(durations)[: NODES_HAVE * workers]
        assert time_of(order, durations, workers) <= optimum * 4 / 3 + sum(shortest)


def test_unknown_test_starts_first() -> None:
    assert balanced(["a", "b", "new", "c"], {"a": 1.0, "b": 3.0, "c": 2.0}, 2)[0] == 2


# --- In a run ---------------------------------------------------------------------------------------------------

TESTS = "".join(f"@requirement('AAA-01')\ndef test_{name}(): pass\n" for name in "abcdef")
CACHE = ".pytest_cache/v/hotpin/durations-virtual"


def test_each_worker_starts_with_one_of_the_longest_tests(suite: Suite, pytester: pytest.Pytester) -> None:
    known = {
        f"hil_tests/test_it.py::test_{name}": float(taken)
        for name, taken in zip("abcdef", (1, 2, 9, 4, 8, 3), strict=True)
    }
    pytester.mkdir(".pytest_cache").joinpath("v", "hotpin").mkdir(parents=True)
    suite.write(CACHE, json.dumps({**known, "of another run": 7.0}))
    suite.run(TESTS, "-n", "2", "hil_tests")
    first: dict[str, str] = {}
    for line in suite.lines:
        if line.get("about") == "started":
            first.setdefault(line["worker"], line["test"][-1])
    assert sorted(first.values()) == ["c", "e"]
    kept = json.loads((pytester.path / CACHE).read_text())
    assert kept.pop("of another run") == 7.0
    assert set(kept) == set(known)
    assert all(taken < 1 for taken in kept.values())  # measured in this run


def test_one_board_keeps_the_order_of_the_source(suite: Suite, pytester: pytest.Pytester) -> None:
    for _ in range(2):
        suite.run(TESTS)
        assert [line["test"][-1] for line in suite.lines if line.get("about") == "started"] == [*"abcdef"]
    assert (pytester.path / CACHE).is_file()


@pytest.mark.parametrize("content", ["[1]", '{"hil_tests/test_it.py::test_a": "long"}', "{"])
def test_unusable_durations_are_ignored(suite: Suite, pytester: pytest.Pytester, content: str) -> None:
    pytester.mkdir(".pytest_cache").joinpath("v", "hotpin").mkdir(parents=True)
    suite.write(CACHE, content)
    suite.run(TESTS, "-n", "2", "hil_tests")
    assert set(json.loads((pytester.path / CACHE).read_text())) == {
        f"hil_tests/test_it.py::test_{name}" for name in "abcdef"
    }
