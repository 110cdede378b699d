"""Chooses the folder of a run, and cleans it up if the run executes no test."""

from __future__ import annotations

import shutil
import uuid
import warnings
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from hotpin_hil.boards.board import RUN_STATE
from hotpin_hil.errors import UsageError
from hotpin_hil.evidence.results import FILE_NAME, is_being_written
from hotpin_hil.evidence.run_folders import LATEST, point_latest, run_name
from hotpin_hil.paths import RUNS_DIR, RUNS_NAME, state_dir
from hotpin_hil.pytest_plugin.board import worker_id
from hotpin_hil.pytest_plugin.panics import FOLDER as PANICS
from hotpin_hil.report.write import METRICS_FILE, QUALIFICATION_FILE, REPORT_FILE

ALLURE_RESULTS = "allure-results"
LOGS = "logs"
_FILES = (FILE_NAME, QUALIFICATION_FILE, REPORT_FILE, METRICS_FILE, LOGS, PANICS, ALLURE_RESULTS)
"""Files and folders of a run, in a folder that the user chose."""

_HANDED_OVER = "hotpin_folder"
"""Key of a worker's input: the folder of the run."""


class RunFolder:
    """The folder of this run. It never contains files of two runs."""

    def __init__(self, config: pytest.Config) -> None:
        """Choose the folder without creating it.

        Args:
            config: Configuration of the run.
        """
        named = config.option.qualification_dir
        handed_over = getattr(config, "workerinput", {}).get(_HANDED_OVER)
        self.run = str(uuid.uuid4())
        """Id of the run; unused in a worker."""
        if handed_over:
            self.path = Path(handed_over)
        elif named:
            self.path = config.invocation_params.dir / named
        else:
            self.path = _runs(config) / run_name(datetime.now(timezone.utc), self.run)
        self._is_workers = bool(worker_id(config))
        self._is_named = bool(named)
        self._before = {name for name in ("", *_FILES) if (self.path / name).exists()}
        """Names that existed before the run; "" is the folder itself."""
        self._with_allure = config.option.allure
        self._may_overwrite = config.option.overwrite
        self._older: Path | None = None
        """Folder with the overwritten files of the earlier run; they are restored if no test is executed."""
        self.holds_results = False
        """Whether this run has written results.jsonl in the folder."""
        self._has_test = False

    def begin(self) -> None:
        """Make sure that the folder does not contain another run's results.

        Raises:
            UsageError: It does, and the user did not ask to overwrite them.
        """
        if not (self.path / FILE_NAME).exists() or is_being_written(self.path):
            return  # for a folder with a run in progress, ResultsWriter raises another error
        if not self._may_overwrite:
            raise UsageError(
                f"{self.path} holds the results of another run",
                "give another --qualification-dir, leave it out, or add --overwrite",
            )
        self._older = self.path / f"overwritten-{self.run[:8]}"
        self._older.mkdir()
        _move(self.path, self._older)
        if self._with_allure:
            (self.path / ALLURE_RESULTS).mkdir()  # allure-pytest has created it, and does not create it again

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Pass the folder to a worker before pytest-xdist starts it."""
        node.workerinput[_HANDED_OVER] = str(self.path.absolute())

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self) -> None:
        """Keep the folder once the first test starts, and point `latest` to it."""
        if self._has_test or self._is_workers:
            return
        self._has_test = True
        if not self._is_named and (self.path / FILE_NAME).exists():
            try:
                point_latest(self.path)
            except OSError as error:
                warnings.warn(
                    pytest.PytestWarning(f"cannot write {self.path.with_name(LATEST)}: {error}"), stacklevel=1
                )

    def close(self) -> None:
        """Delete the overwritten files. If no test ran, delete this run's files instead, and restore the
        overwritten files."""
        if self._is_workers:
            return
        shutil.rmtree(self.path / RUN_STATE, ignore_errors=True)
        if self._has_test:
            if self._older is not None:
                shutil.rmtree(self._older, ignore_errors=True)
            return
        if not self._is_named:
            shutil.rmtree(self.path, ignore_errors=True)
            return
        if self.holds_results:
            for name in _FILES:
                if name not in self._before or (self._older is not None and (self._older / name).exists()):
                    _remove(self.path / name)
        if self._older is not None:
            _move(self._older, self.path)
            self._older.rmdir()
        for name in (ALLURE_RESULTS, ""):
            if name not in self._before:
                with suppress(OSError):  # the JUnit file that pytest wrote to the folder stays
                    (self.path / name).rmdir()


def _runs(config: pytest.Config) -> Path:
    """Folder of all runs."""
    given = config.option.state_dir
    state = config.invocation_params.dir / given if given else state_dir()
    return state / RUNS_NAME if state else config.rootpath / RUNS_DIR


def _move(source: Path, target: Path) -> None:
    for name in _FILES:
        if (source / name).exists():
            (source / name).rename(target / name)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
