"""The evidence of a session: starts results.jsonl, writes it while the tests run, ends it and makes the reports.

The process that reports to the user (with pytest-xdist: the controller) starts and ends results.jsonl. Workers append
to the same file, so that their results survive if they are killed.
"""

from __future__ import annotations

import os
import platform
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

from hotpin_hil import __version__
from hotpin_hil.boards.sizes import ImageSizes, read_sizes, unknown_sizes
from hotpin_hil.errors import BuildError, HilError, HostError, host_remedy
from hotpin_hil.evidence.burn_in import burn_in_of, leaking
from hotpin_hil.evidence.lines import (
    EVIDENCE,
    BoardNote,
    EndLine,
    KnownNoiseNote,
    ResultsLine,
    RunLine,
    SelectionNote,
    SizesNote,
    WaiverNote,
)
from hotpin_hil.evidence.model import MeasurementClass, Verdict
from hotpin_hil.evidence.qualification import (
    EXIT_BLOCKED,
    EXIT_INCOMPLETE,
    INCOMPLETE,
    exit_status,
    has_failed,
)
from hotpin_hil.evidence.results import Results, ResultsFile, ResultsWriter, read_results
from hotpin_hil.evidence.waiver_use import waiver_uses
from hotpin_hil.evidence.waivers import Waivers
from hotpin_hil.logs.noise import Noise
from hotpin_hil.pytest_plugin.baseline import Baseline
from hotpin_hil.pytest_plugin.board import BoardInUse, BoardPlugin, worker_id
from hotpin_hil.pytest_plugin.marks import SuiteMarks
from hotpin_hil.pytest_plugin.metrics import add_metrics, begin_metrics, metric_path
from hotpin_hil.pytest_plugin.note_keeper import NoteKeeper
from hotpin_hil.pytest_plugin.plan import PlanPlugin
from hotpin_hil.pytest_plugin.reporters import ReporterPlugin
from hotpin_hil.pytest_plugin.run_folder import RunFolder
from hotpin_hil.pytest_plugin.run_provenance import read_provenance
from hotpin_hil.pytest_plugin.step_summary import add_step_summary
from hotpin_hil.pytest_plugin.terminal import TerminalPlugin
from hotpin_hil.pytest_plugin.verdicts import RECORDER_KEY, VerdictCounter, VerdictPlugin
from hotpin_hil.pytest_plugin.waivers import run_waivers
from hotpin_hil.report.burn_in import burn_in_lines
from hotpin_hil.report.write import METRICS_FILE, write_reports

__all__ = ["RECORDER_KEY", "EvidencePlugin"]

_RESULTS_FILE = "hotpin_results"
"""Key of a worker's input: path of the results file that it appends to."""
_PACKAGES = ("pytest", "pytest-embedded", "pytest-embedded-idf", "esptool", "pyserial")


class EvidencePlugin:
    """Writes the evidence of a session that runs the suite, and registers the plugins that produce it."""

    def __init__(
        self,
        config: pytest.Config,
        board: BoardPlugin,
        reporters: ReporterPlugin,
        requirements: Path,
        run_folder: RunFolder,
    ) -> None:
        """Create the plugin and its parts.

        Args:
            config: Configuration of the run.
            board: Plugin that provides the board.
            reporters: Receives the verdicts for JUnit and Allure.
            requirements: requirements.toml, in the folder of the suite.
            run_folder: Folder for results.jsonl and the reports.
        """
        self._config = config
        self._board_plugin = board
        self._board = board.board
        self._reporters = reporters
        self._run_folder = run_folder
        folder = self._folder = run_folder.path
        self._writer: ResultsWriter | None = None
        self._results: ResultsFile | None = None
        """File for the lines of this process; in a worker, the controller's file."""
        self._waivers: Waivers | None = None
        self.qualification: dict[str, Any] | None = None
        """Content of qualification.json at the end of the run; None before, and in a worker."""
        self.on_line: Callable[[ResultsLine], object] | None = None
        """Callback for each line that this process writes, from any thread."""
        self._baseline = Baseline(config)
        self._metrics = metric_path(config)
        self._marks = SuiteMarks(config, self._board, requirements, self._write)
        self._counter = VerdictCounter(self._board, folder, self._write)
        self._terminal = TerminalPlugin(config, folder)
        notes = NoteKeeper(self._board, folder, self._write)
        verdicts = VerdictPlugin(
            config,
            board,
            self._marks,
            notes,
            reporters,
            write=self._write,
            evidence_fault=self._fault,
            waivers=lambda: self._waivers,
        )
        for name, plugin in (
            ("marks", self._marks),
            ("plan", PlanPlugin(self._marks, self._write)),
            ("verdicts", verdicts),
            ("counter", self._counter),
            ("terminal", self._terminal),
        ):
            config.pluginmanager.register(plugin, f"hotpin-{name}")
        self._board.on_identity = self._note_identity
        self._board.on_noise = self._note_known_noise

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Start results.jsonl, or in a worker open the controller's."""
        config = self._config
        if not self._marks.start_session() or config.option.collectonly:
            return
        if worker_id(config):
            self._start_worker()
            return
        self._board_plugin.choose()
        run = self._run_line()
        try:
            self._baseline.read(self._board.kind.value)
            if self._metrics is not None:
                begin_metrics(self._metrics)
            self._waivers = run_waivers(config, self._board.kind, self._marks.requirements(), run.started)
            self._run_folder.begin()
            self._results = self._writer = ResultsWriter(self._folder, run)
        except HilError as error:
            raise pytest.UsageError(str(error)) from error
        self._run_folder.holds_results = True
        for waiver in self._waivers:
            self._write(WaiverNote(waiver))
        self._counter.is_active = True
        if uncollected := self._marks.uncollected():
            self._write(SelectionNote(uncollected))
        self._terminal.write_first_line(self._board)

    def _start_worker(self) -> None:
        path = getattr(self._config, "workerinput", {}).get(_RESULTS_FILE)
        if path:
            self._results = ResultsFile(Path(path))
            self._waivers = read_results(Path(path)).waivers
            self._config.add_cleanup(self._results.close)
        # The controller has already reported any error. An error that is new here is raised again by the first test.
        with suppress(HilError):
            self._board.choose()

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Pass the path of the results to a worker before pytest-xdist starts it."""
        if self._writer is not None:
            node.workerinput[_RESULTS_FILE] = str(self._writer.path.resolve())

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> Generator[None, None, None]:
        """End results.jsonl, make the reports from it, and set pytest's exit status."""
        if self._writer is not None:
            self._finish(self._writer, session, int(exitstatus))
        try:
            yield
            self._reporters.mend_junit(self.qualification)
            if self.qualification is not None:
                add_step_summary(self.qualification, os.environ)
        except OSError as error:
            if not host_remedy(error):
                raise
            self._report_fault(session, f"{error} ({host_remedy(error)})")
        if self.qualification is not None:
            self._terminal.write_headline(self.qualification)

    def _finish(self, writer: ResultsWriter, session: pytest.Session, status: int) -> None:
        counts = Counter(self._counter.counts)
        results = None
        with suppress(HilError):  # write_reports raises and shows the same error
            results = read_results(self._folder)
            self._terminal.is_selection = results.is_selection
            self._terminal.burn_in = burn_in_lines(burn_in_of(results))
            counts[Verdict.FAIL] += len(leaking(results))
            counts[Verdict.FAIL] += sum(bool(use.problem) for use in waiver_uses(results))
            for note in _sizes(self._board, results.boards()):
                _append(note, writer, results)
            compared = self._baseline.compare(results)
            if compared is not None:
                _append(compared, writer, results)
                counts[Verdict.FAIL] += has_failed(compared)
        status = exit_status(counts, status)
        session.exitstatus = status
        _append(EndLine(status, _now()), writer, results)
        fault = writer.flush()
        if fault is not None:
            self._report_fault(session, str(fault))
            results = None  # the report shows only what the file holds
        try:
            self.qualification = write_reports(self._folder, results)
            if self._metrics is not None:
                add_metrics(self._metrics, (self._folder / METRICS_FILE).read_text(encoding="utf-8"))
        except HilError as error:
            if not host_remedy(error.__cause__):
                session.exitstatus = status or pytest.ExitCode.INTERNAL_ERROR
            self._report_fault(session, f"the report failed: {error}")
        if self.qualification is not None:
            self._note_incomplete(session, self.qualification)
        if self._counter.counts:  # without a completed test, an empty table would hide pytest's own message
            self._terminal.qualification = self.qualification
        self._results = None
        writer.close()  # last, so that no other run replaces the results before they are read

    def _note_incomplete(self, session: pytest.Session, qualification: Mapping[str, Any]) -> None:
        must_be_complete = self._config.option.require_complete and session.exitstatus == pytest.ExitCode.OK
        if must_be_complete and qualification["overall"] == INCOMPLETE:
            session.exitstatus = EXIT_INCOMPLETE

    def _report_fault(self, session: pytest.Session, text: str) -> None:
        """Show why the evidence is incomplete, and exit as if a test were BLOCKED unless the run failed anyway."""
        session.exitstatus = session.exitstatus or EXIT_BLOCKED
        self._terminal.write_line(text, bold=True, red=True)

    def _fault(self) -> HostError | None:
        """Why the evidence cannot be written now; None if it can."""
        return self._results.flush() if self._results is not None else None

    def _run_line(self) -> RunLine:
        return RunLine(
            run=self._run_folder.run,
            evidence=EVIDENCE[self._board.kind.value],
            started=_now(),
            board=self._board.as_json(),
            firmware=self._board.build.as_json(),
            harness=_harness(),
            requirements=tuple(self._marks.requirements().values()),
            provenance=read_provenance(self._config, self._board, self._marks.file),
        )

    def _note_identity(self, identity: Mapping[str, Any]) -> None:
        if self._marks.is_suite:
            self._write(BoardNote(identity))

    def _note_known_noise(self, noise: Noise, test: str, count: int) -> None:
        if self._marks.is_suite:
            text = f"{noise.level} {noise.tag}: {noise.text}"
            self._write(KnownNoiseNote(test, text, count, noise.reason))

    def _write(self, line: ResultsLine) -> None:
        """Write a line; thread-safe."""
        if self._results is not None:
            self._results.append(line)
        if self.on_line is not None:
            self.on_line(line)


def _append(line: ResultsLine, writer: ResultsWriter, results: Results | None) -> None:
    """Append a line to the file, and to the results already read from the file."""
    writer.append(line)
    if results is not None:
        results.add(line)


def _sizes(board: BoardInUse, identities: list[Mapping[str, Any]]) -> Iterator[SizesNote]:
    """The sizes of each image that ran on a board. Read last, once for all workers, because it takes seconds."""
    images = dict.fromkeys(
        (identity["image"], identity["elf_sha256"])
        for identity in identities
        if identity.keys() >= {"image", "elf_sha256"}
    )
    for image, elf_sha256 in images:
        found = asdict(_sizes_of(board, image, elf_sha256))
        is_modelled = found.pop("is_modelled")
        klass = MeasurementClass.MODELLED if is_modelled else MeasurementClass.MEASURED
        yield SizesNote(klass, **found)


def _sizes_of(board: BoardInUse, image: str, elf_sha256: str) -> ImageSizes:
    try:
        build = board.build_of(image)
        if build.elf_sha256 != elf_sha256:
            raise BuildError(f"the image on the board is not the build in {build.folder}", "flash it")
    except BuildError as error:
        return unknown_sizes(image, elf_sha256, str(error))
    return read_sizes(build, image, board.profile_of_own())


def _harness() -> dict[str, Any]:
    packages = {}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            packages[name] = version(name)
    return {
        "version": __version__,
        "python": platform.python_version(),
        "system": sys.platform,
        "packages": packages,
    }


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
