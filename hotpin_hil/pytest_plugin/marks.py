"""Decides which tests belong to the suite, which requirements they have, and why a test does not apply to a board."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hotpin_hil.errors import HilError
from hotpin_hil.evidence.lines import LeftOutNote, ResultsLine, SelectionNote
from hotpin_hil.evidence.requirements import Requirements, load_requirements
from hotpin_hil.pytest_plugin.board import BOARDS, LONG_MARKS, BoardInUse, wants_board, wants_faults
from hotpin_hil.pytest_plugin.selection import requirement_ids

FAULTS_ARE_VIRTUAL = "injects faults, which needs a virtual board started by the harness"


class SuiteMarks:
    """Checks the suite's requirement marks at collection, and finds the tests that do not apply to the board."""

    def __init__(
        self,
        config: pytest.Config,
        board: BoardInUse,
        requirements: Path,
        write: Callable[[ResultsLine], None],
    ) -> None:
        """Create the plugin.

        Args:
            config: Configuration of the run.
            board: Board that the tests run on.
            requirements: requirements.toml, in the folder of the suite.
            write: Writes a line of results.jsonl.
        """
        self._config = config
        self._board = board
        self.file = requirements
        """requirements.toml."""
        self._write = write
        self._requirements: Requirements | None = None
        self.is_suite = False
        """Whether this run includes tests of the suite; set at the start of the session."""

    def start_session(self) -> bool:
        """Determine whether the paths on the command line include tests of the suite."""
        if self.file.is_file():
            suite = self.file.parent.resolve()
            self.is_suite = any(
                suite in path.parents or _covers(path, suite) for path in _paths(self._config)
            )
        return self.is_suite

    def includes(self, item: pytest.Item) -> bool:
        """Whether a test belongs to the suite."""
        return self.is_suite and (wants_board(item) or bool(requirement_ids(item)))

    def requirements(self) -> Requirements:
        """The requirements of the suite.

        Raises:
            UsageError: The file cannot be read or has a wrong row.
        """
        if self._requirements is None:
            self._requirements = load_requirements(self.file)
        return self._requirements

    def uncollected(self) -> str:
        """Reason why the command line does not collect the whole suite; empty if it does."""
        config = self._config
        if not any(_covers(path, self.file.parent.resolve()) for path in _paths(config)):
            return f"only a part of the suite was selected: {' '.join(map(str, config.args))}"
        ignored = [*(config.option.ignore or ()), *(config.option.ignore_glob or ())]
        return f"not collected: {' '.join(map(str, ignored))}" if ignored else ""

    def not_applicable(self, item: pytest.Item) -> str:
        """Reason why this kind of board cannot test the requirements of a test; empty if it can."""
        if not self._board.is_chosen:
            return ""
        kind = self._board.kind
        ids = requirement_ids(item)
        kinds = {name for requirement in ids for name in self.requirements()[requirement].kinds}
        mark = item.get_closest_marker(BOARDS)
        missing = ""
        if wants_faults(item) and not self._board.can_fail_on_purpose:
            missing = FAULTS_ARE_VIRTUAL
        elif mark is not None and kind.value not in mark.args:
            missing = f"needs {mark.kwargs['needs']}, which a {kind} board does not have"
        if ids and kind.value not in kinds:
            return f"{', '.join(ids)} cannot be tested on a {kind} board"
        if not missing:
            return ""
        self._write(
            LeftOutNote(f"{', '.join(ids) or 'the suite'}: {item.name} was left out, because it {missing}")
        )
        return f"{item.name} {missing}"

    @pytest.hookimpl(wrapper=True)
    def pytest_pycollect_makeitem(self, collector: pytest.Collector) -> Generator[None, Any, Any]:
        """Fail the collection of a test that names an unknown requirement, because it would verify nothing."""
        made = yield
        for item in made if isinstance(made, list) else [made]:
            if isinstance(item, pytest.Item):
                self._check_ids(collector, item)
        return made

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """Record deselected tests, so that a requirement does not pass just because its failing test was not run.

        Long tests (`soak`, `burn_in`) do not count, because a normal run deselects them, and they only repeat other
        tests for longer.
        """
        left_out = [
            item
            for item in items
            if requirement_ids(item) and not any(map(item.get_closest_marker, LONG_MARKS))
        ]
        if self.is_suite and left_out:
            what = (
                "1 test of the suite was"
                if len(left_out) == 1
                else f"{len(left_out)} tests of the suite were"
            )
            self._write(SelectionNote(f"{what} deselected"))

    def _check_ids(self, collector: pytest.Collector, item: pytest.Item) -> None:
        if any(not mark.args or mark.kwargs for mark in item.iter_markers("requirement")):
            raise collector.CollectError(
                f"{item.nodeid} has a requirement mark without an id (write @pytest.mark.requirement('ID'))"
            )
        ids = requirement_ids(item)
        if not ids:
            return
        try:
            known = self.requirements()
        except HilError as error:
            raise collector.CollectError(str(error)) from error
        unknown = [str(requirement) for requirement in ids if requirement not in known]
        if unknown:
            raise collector.CollectError(
                f"{item.nodeid} is marked with the unknown requirement {', '.join(unknown)} "
                f"(add it to {self.file.name} or correct the mark)"
            )


def _paths(config: pytest.Config) -> list[Path]:
    """The paths on the command line; a single test is a path below its file."""
    return [(config.invocation_params.dir / str(arg).replace("::", "/")).resolve() for arg in config.args]


def _covers(path: Path, folder: Path) -> bool:
    return path == folder or path in folder.parents
