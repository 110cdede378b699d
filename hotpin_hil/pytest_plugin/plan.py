"""Writes the plan of a run: its tests, their requirements and descriptions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable

import pytest

from hotpin_hil.evidence.lines import PlanNote, ProcedureNote, ResultsLine
from hotpin_hil.pytest_plugin.marks import SuiteMarks
from hotpin_hil.pytest_plugin.selection import requirement_ids


class PlanPlugin:
    """Writes the planned tests to results.jsonl, in each process that collects them."""

    def __init__(self, marks: SuiteMarks, write: Callable[[ResultsLine], None]) -> None:
        self._marks = marks
        self._write = write

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Write the list of planned tests with their descriptions."""
        items = [item for item in session.items if self._marks.includes(item)]
        if items:
            self._write(PlanNote({item.nodeid: requirement_ids(item) for item in items}))
        texts = procedures(items)
        if texts:
            self._write(ProcedureNote(texts))


def procedures(items: Iterable[pytest.Item]) -> dict[str, str]:
    """Node id without parameters -> docstring of the test's function, for each test that has one."""
    found = {}
    for item in items:
        text = inspect.getdoc(getattr(item, "function", None))
        if text and isinstance(item, pytest.Function):
            found[item.nodeid.partition("[")[0]] = text
    return found
