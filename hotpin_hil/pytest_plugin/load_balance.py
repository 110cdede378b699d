"""Order of tests over several boards: the longest first, so that no board works alone at the end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest

from hotpin_hil.boards.in_use import BoardInUse
from hotpin_hil.pytest_plugin.board import worker_count, worker_id

_DURATIONS = "hotpin_durations"
"""Key of a pytest-xdist worker's input: the expected durations that the controller read."""
NODES_HAVE = 2
"""Tests that pytest-xdist gives a worker at once: one to run, one that waits."""


def balanced(tests: Sequence[str], durations: dict[str, float], workers: int) -> list[int]:
    """Order in which workers that always take the next test end at nearly the same time.

    Args:
        tests: names of the tests.
        durations: expected duration of each known test, in seconds. A new test counts as the longest.
        workers: number of workers, at least 1. pytest-xdist gives each worker two tests at the start, so each of the
            longest tests is followed by one of the shortest, which has to wait for it.

    Returns:
        Indices of the tests.
    """
    order = sorted(range(len(tests)), key=lambda index: -durations.get(tests[index], float("inf")))
    if len(order) < NODES_HAVE * workers:
        return order
    longest, rest, shortest = order[:workers], order[workers:-workers], order[-workers:]
    return [index for pair in zip(longest, shortest, strict=True) for index in pair] + rest


class LoadBalancePlugin:
    """Measures the duration of each test, and in the next run with `-n` starts the longest tests first.

    The durations of each kind of board are kept in pytest's cache. Only the controller reads it, so that all workers
    agree on the order.
    """

    def __init__(self, config: pytest.Config, board: BoardInUse) -> None:
        self._config = config
        self._board = board
        self._taken: defaultdict[str, float] = defaultdict(float)
        workers = worker_count(config)
        if workers > 1 and config.option.maxschedchunk is None:
            config.option.maxschedchunk = 1

    @property
    def _key(self) -> str:
        return f"hotpin/durations-{self._board.kind.value}"

    def _expected(self) -> dict[str, float]:
        cache = getattr(self._config, "cache", None)
        found = cache.get(self._key, {}) if cache is not None else {}
        if not isinstance(found, dict):
            return {}
        return {str(test): float(taken) for test, taken in found.items() if isinstance(taken, (int, float))}

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Pass the expected durations to a worker."""
        if self._board.is_chosen:
            node.workerinput[_DURATIONS] = self._expected()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Sort a worker's tests. A run with one board keeps the order of the source."""
        worker_input = getattr(self._config, "workerinput", {})
        if durations := worker_input.get(_DURATIONS):
            order = balanced([item.nodeid for item in items], durations, worker_count(self._config))
            items[:] = [items[index] for index in order]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add up a test's set-up, call and teardown."""
        self._taken[report.nodeid] += report.duration

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Keep the durations for the next run, with those of tests that this run left out."""
        cache = getattr(self._config, "cache", None)
        if cache is not None and self._taken and self._board.is_chosen and not worker_id(self._config):
            cache.set(
                self._key, {**self._expected(), **{test: round(s, 3) for test, s in self._taken.items()}}
            )
