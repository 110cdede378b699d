"""Pytest side of the evidence: what each test measured and came to is written as it happens, then summed up.

The process that reports to the user (with pytest-xdist: the controller) begins and ends results.jsonl; workers
append to it too, so that what they have seen is there even if they are killed.
"""

from __future__ import annotations

import platform
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

from hotpin_hil import __version__
from hotpin_hil.boards.sizes import ImageSizes, read_sizes, unknown_sizes
from hotpin_hil.errors import BenchError, BuildError, EmulatorError, HilError
from hotpin_hil.evidence import lines
from hotpin_hil.evidence.blame import TEARDOWN, Finding, blame
from hotpin_hil.evidence.lines import Line
from hotpin_hil.evidence.model import Measurement, Verdict, worst
from hotpin_hil.evidence.qualification import BEST, EVIDENCE, exit_status, headline
from hotpin_hil.evidence.recorder import Recorder
from hotpin_hil.evidence.requirements import Requirements, load_requirements
from hotpin_hil.evidence.results import (
    FILE_NAME,
    SCHEMA_VERSION,
    ResultsFile,
    ResultsWriter,
    read_results,
)
from hotpin_hil.plugin_board import (
    BOARDS,
    SOAK,
    BoardPlugin,
    first_dut,
    wants_board,
    wants_faults,
    worker_id,
)
from hotpin_hil.plugin_reporters import ReporterPlugin
from hotpin_hil.plugin_selection import requirement_ids
from hotpin_hil.plugin_story import StoryKeeper
from hotpin_hil.report.table import blocked_lines, failed_lines, table_lines
from hotpin_hil.report.text import printable, shorten_log
from hotpin_hil.report.write import QUALIFICATION_FILE, REPORT_FILE, write_reports
from hotpin_hil.telemetry.noise import Noise

RECORDER_KEY = pytest.StashKey[Recorder]()
_FINDINGS_KEY = pytest.StashKey[list[Finding]]()

_RESULTS_FILE = "hotpin_results"
"""What a worker is told: the path of the results file it appends to."""
_REPORT_VERDICT = "hotpin_verdict"
"""Attribute of a test report of the suite: the verdict of that phase."""
_REPORT_VERDICTS = "hotpin_verdicts"
"""Attribute of the last report of a test of the suite: the verdicts that its requirements came to."""

_REPORT_TRACEBACK = "hotpin_traceback"
"""Attribute of a report that is BLOCKED for something that nobody foresaw."""

_PACKAGES = ("pytest", "pytest-embedded", "pytest-embedded-idf", "esptool", "pyserial")
_CRASH_REMEDY = "run it again; if it happens again, run it alone and without -n to see the crash"
_COLOURS = {Verdict.PASS: "green", Verdict.FAIL: "red", Verdict.UNSET: "red"}


class _NotMet(AssertionError):
    """Raised at the end of a test for what it measured, or didn't; `Recorder.verdicts` says it per
    requirement."""


FAULTS_ARE_VIRTUAL = "causes faults, which only a virtual board that the harness starts can have"


class EvidencePlugin:
    """Takes the evidence of a session that runs the suite (the folder that has the requirements file)."""

    def __init__(
        self,
        config: pytest.Config,
        board: BoardPlugin,
        reporters: ReporterPlugin,
        requirements: Path,
        folder: Path,
    ) -> None:
        self._config = config
        self._board_plugin = board
        self._board = board.board
        self._reporters = reporters
        self._requirements_file = requirements
        self._folder = folder
        self._requirements: Requirements | None = None
        self._is_suite = False
        self._writer: ResultsWriter | None = None
        self._results: ResultsFile | None = None
        """Where the lines of this process go: the writer's file, or in a worker the controller's."""
        self._story = StoryKeeper(self._board, folder, self._take)
        self._verdicts: Counter[Verdict] = Counter()
        self._dead: Finding | None = None
        self._qualification: dict[str, Any] | None = None
        self.on_line: Callable[[Line], object] | None = None
        """Told of each line that this process writes; from any thread."""
        self._board.on_identity = self._note_identity
        self._board.on_noise = self._note_known_noise

    @property
    def qualification(self) -> dict[str, Any] | None:
        """What the run came to, once that is known; never in a worker."""
        return self._qualification

    # Session

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        config = self._config
        self._is_suite = _runs_suite(config, self._requirements_file)
        if not self._is_suite:
            return
        if config.option.collectonly:
            return
        if worker_id(config):
            path = getattr(config, "workerinput", {}).get(_RESULTS_FILE)
            if path:
                self._results = ResultsFile(Path(path))
                config.add_cleanup(self._results.close)
            # What is wrong has been said by the controller; if it came up since, the first test will say it.
            with suppress(HilError):
                self._board.choose()
            return
        self._board_plugin.choose()
        try:
            self._results = self._writer = ResultsWriter(self._folder, self._header())
        except HilError as error:
            raise pytest.UsageError(str(error)) from error
        _forget_reports(self._folder)
        left_out = _what_is_left_out(config, self._requirements_file)
        if left_out:
            self._take(lines.selection(left_out))
        self._write_line(self._first_line(), bold=True)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Of pytest-xdist, in the controller: a worker is about to start."""
        if self._writer is not None:
            node.workerinput[_RESULTS_FILE] = str(self._writer.path.resolve())

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        tests = {item.nodeid: requirement_ids(item) for item in session.items if self._is_of_suite(item)}
        if tests:
            self._take(lines.plan(tests))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> Generator[None, None, None]:
        if self._writer is not None:
            self._finish(session, int(exitstatus))
        yield
        self._reporters.mend_junit()
        if self._qualification is not None:
            # The terminal reporter is through: nothing follows this line.
            self._write_line(headline(self._qualification), bold=True)

    def _finish(self, session: pytest.Session, status: int) -> None:
        assert self._writer is not None
        status = exit_status(self._verdicts, status)
        session.exitstatus = status
        for line in self._size_lines():
            self._writer.append(line)
        self._writer.append({"kind": "end", "exit": status, "finished": _now()})
        try:
            self._qualification = write_reports(self._folder)
        except HilError as error:
            session.exitstatus = status or pytest.ExitCode.INTERNAL_ERROR
            self._write_line(f"no report was made: {error}", bold=True, red=True)
        self._results = None
        self._writer.close()  # only now: no other run may begin its results before these are read

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self._qualification is None or not self._verdicts:
            return  # nothing came to its end: pytest has said why, and a table of nothing would hide it
        for report in terminalreporter.getreports("blocked"):
            if getattr(report, _REPORT_TRACEBACK, False) and self._config.option.tbstyle != "no":
                terminalreporter.section(f"{report.nodeid}, {report.when}", sep="_")
                terminalreporter.write_line(printable(report.longreprtext))
        terminalreporter.section("requirements")
        for text, verdict in table_lines(self._qualification):
            terminalreporter.write_line(text, **_markup(verdict))
        for title, texts in (
            ("failed", failed_lines(self._qualification)),
            ("blocked", blocked_lines(self._qualification)),
        ):
            if texts:
                terminalreporter.section(title)
                for text in texts:
                    terminalreporter.write_line(text)
        terminalreporter.section("evidence")
        for name in (FILE_NAME, QUALIFICATION_FILE, REPORT_FILE):
            terminalreporter.write_line(_shown_path(self._folder / name))

    def _first_line(self) -> str:
        kind = self._board.kind
        evidence = EVIDENCE[kind.value]
        about = self._board.as_json().get("emulator") or self._board.why
        why = f" ({about})" if about else ""
        return f"evidence: {kind} board{why}, at best {BEST[evidence]} ({evidence})"

    def _write_line(self, text: str, **markup: bool) -> None:
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.ensure_newline()
            reporter.write_line(text, **markup)

    def _header(self) -> Line:
        return {
            "schema": SCHEMA_VERSION,
            "kind": "run",
            "run": str(uuid.uuid4()),
            "evidence": EVIDENCE[self._board.kind.value],
            "started": _now(),
            "board": self._board.as_json(),
            "firmware": self._board.build.as_json(),
            "harness": _harness(),
            "requirements": self._known_requirements().as_json(),
        }

    # Collection

    @pytest.hookimpl(wrapper=True)
    def pytest_pycollect_makeitem(self, collector: pytest.Collector) -> Generator[None, Any, Any]:
        """A test that names an unknown requirement is an error of collection: it would show nothing."""
        made = yield
        for item in made if isinstance(made, list) else [made]:
            if isinstance(item, pytest.Item):
                self._check_ids(collector, item)
        return made

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """A requirement must not pass because the test that fails it was left out.

        Long tests that a normal run leaves out (`soak`) repeat at length what another test shows.
        """
        left_out = [item for item in items if requirement_ids(item) and not item.get_closest_marker(SOAK)]
        if self._is_suite and left_out:
            self._take(lines.selection(f"{len(left_out)} tests of the suite were deselected"))

    def _check_ids(self, collector: pytest.Collector, item: pytest.Item) -> None:
        if any(not mark.args or mark.kwargs for mark in item.iter_markers("requirement")):
            raise collector.CollectError(
                f"{item.nodeid} has a requirement mark without an id (write @pytest.mark.requirement('ID'))"
            )
        ids = requirement_ids(item)
        if not ids:
            return
        try:
            known = self._known_requirements()
        except HilError as error:
            raise collector.CollectError(str(error)) from error
        unknown = [str(one) for one in ids if one not in known]
        if unknown:
            raise collector.CollectError(
                f"{item.nodeid} is marked with the unknown requirement {', '.join(unknown)} "
                f"(add it to {self._requirements_file.name} or mend the mark)"
            )

    def _known_requirements(self) -> Requirements:
        if self._requirements is None:
            self._requirements = load_requirements(self._requirements_file)
        return self._requirements

    # One test

    def _is_of_suite(self, item: pytest.Item) -> bool:
        return self._is_suite and (wants_board(item) or bool(requirement_ids(item)))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        if self._is_of_suite(item):
            item.stash[RECORDER_KEY] = Recorder(item.nodeid, requirement_ids(item), self._record)
            item.stash[_FINDINGS_KEY] = []
        return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if RECORDER_KEY not in item.stash:
            return
        self._take(lines.started(item.nodeid, requirement_ids(item), worker_id(self._config)))
        self._story.begin(item)
        self._skip_if_not_applicable(item)
        if self._dead is not None and wants_board(item):
            raise BenchError(f"not tried again: {self._dead.reason}", self._dead.remedy)

    def _skip_if_not_applicable(self, item: pytest.Item) -> None:
        if not self._board.is_chosen:
            return
        ids = requirement_ids(item)
        kinds = {kind for one in ids for kind in self._known_requirements()[one].kinds}
        mark = item.get_closest_marker(BOARDS)
        without = ""
        if ids and wants_faults(item) and not self._board.can_fail_on_purpose:
            without = FAULTS_ARE_VIRTUAL
        elif mark is not None and self._board.kind.value not in mark.args:
            without = f"needs {mark.kwargs['needs']}, which a {self._board.kind} board has not"
        reason = ""
        if ids and self._board.kind.value not in kinds:
            reason = f"{', '.join(ids)} cannot be shown on a {self._board.kind} board"
        elif without:
            reason = f"{item.name} {without}"
            self._take(lines.left_out(f"{', '.join(ids) or 'the suite'} without {item.name}: it {without}"))
        if reason:
            item.stash[_FINDINGS_KEY].append(Finding(Verdict.NOT_APPLICABLE, reason))
            pytest.skip(reason)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: Any, request: pytest.FixtureRequest
    ) -> Generator[None, Any, Any]:
        __tracebackhide__ = True
        result = yield
        if fixturedef.argname == "dut":
            self._story.listen(request.node, first_dut(result))
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        __tracebackhide__ = True
        result = yield
        recorder = item.stash.get(RECORDER_KEY, None)
        if recorder is not None:
            unset = [one for one, verdict in recorder.verdicts().items() if verdict is Verdict.UNSET]
            problems = [f"out of limit: {one}{_source(one)}" for one in recorder.failures]
            problems += [f"UNSET: nothing was measured for {one}" for one in unset]
            if problems:
                raise _NotMet(printable("\n".join(problems)))
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if RECORDER_KEY not in item.stash:
            return report
        finding = self._finding(report, call)
        if finding is not None:
            item.stash[_FINDINGS_KEY].append(finding)
            setattr(report, _REPORT_VERDICT, _shown_verdict(item.stash[_FINDINGS_KEY]).value)
            if report.failed and finding.needs_traceback:
                setattr(report, _REPORT_TRACEBACK, True)
            elif report.failed and finding.verdict is Verdict.BLOCKED:
                report.longrepr = printable(str(finding))  # the bench's traceback helps nobody
            if finding.board_is_dead and self._is_lost(call) and not self._board_plugin.revive():
                self._dead = finding
        elif call.excinfo is not None:
            setattr(report, _REPORT_VERDICT, Verdict.FAIL.value)
            report.longrepr = str(call.excinfo.value)
        if report.failed:
            panics = self._story.failed(item, call.excinfo.value) if call.excinfo is not None else []
            report.sections = [(name, shorten_log(text)) for name, text in report.sections]
            report.sections.append(("the board's console", shorten_log(self._board_plugin.console_log())))
            report.sections += [("panic", text) for text in panics]
        if call.when == TEARDOWN:
            self._story.end(item)
            verdicts = self._verdict_lines(item)
            for line in verdicts:
                self._take(line)
            setattr(report, _REPORT_VERDICTS, [line["verdict"] for line in verdicts])
            self._reporters.told(report, verdicts)
        return report

    def _is_lost(self, call: pytest.CallInfo[None]) -> bool:
        """Whether the next test would meet the same dead board."""
        assert call.excinfo is not None
        return self._board.outlives_a_test or isinstance(call.excinfo.value, EmulatorError)

    def _finding(self, report: pytest.TestReport, call: pytest.CallInfo[None]) -> Finding | None:
        """What ended this phase, if it was not what the test measured."""
        if call.excinfo is None or isinstance(call.excinfo.value, _NotMet):
            return None
        error = call.excinfo.value
        if isinstance(error, pytest.FixtureLookupError):
            what = (error.msg or f"there is no fixture {error.argname!r}").splitlines()[0]
            return Finding(
                Verdict.BLOCKED,
                f"the test's {call.when} raised {type(error).__name__}: {what}",
                "mend the test, or the conftest.py that should have it",
            )
        if hasattr(report, "wasxfail"):
            return Finding(Verdict.FAIL, f"known to fail: {report.wasxfail}")
        if report.skipped:
            return Finding(
                Verdict.BLOCKED, f"skipped: {error}", "a requirement is not shown by a skipped test"
            )
        return blame(error, call.when, self._board_plugin.chip_answers, self._board_plugin.channel)

    def _verdict_lines(self, item: pytest.Item) -> list[Line]:
        """One line for each verdict that requirements of the test came to."""
        recorder = item.stash[RECORDER_KEY]
        findings = item.stash[_FINDINGS_KEY]
        if any(finding.verdict is Verdict.NOT_APPLICABLE for finding in findings):
            findings = [finding for finding in findings if finding.verdict is Verdict.NOT_APPLICABLE]
        ended = worst(finding.verdict for finding in findings)
        groups: dict[Verdict, list[str]] = {}
        for one, measured in recorder.verdicts().items():
            groups.setdefault(_combine(measured, ended), []).append(one)
        if not recorder.requirements:
            groups[_combine(Verdict.FAIL if recorder.failures else Verdict.PASS, ended)] = []
        return [self._verdict_line(item, verdict, ids, findings) for verdict, ids in groups.items()]

    def _verdict_line(
        self, item: pytest.Item, verdict: Verdict, ids: list[str], findings: list[Finding]
    ) -> Line:
        recorder = item.stash[RECORDER_KEY]
        own = [finding for finding in findings if finding.verdict is verdict]
        reasons = [finding.reason for finding in own]
        if verdict in (Verdict.FAIL, Verdict.MARGINAL):
            concerned = [one for one in recorder.measurements if not ids or set(ids) & set(one.requirement)]
            reasons += [str(one) for one in concerned if one.verdict is verdict]
        if verdict is Verdict.UNSET:
            reasons.append("nothing was measured for it")
        if verdict is Verdict.NOT_APPLICABLE and not own:
            reasons.append("all its values are modelled, not measured")
        return {
            "kind": "verdict",
            "test": item.nodeid,
            "requirement": ids,
            "verdict": verdict.value,
            "reason": "; ".join(reasons),
            "remedy": next((finding.remedy for finding in own if finding.remedy), ""),
            "reproduce": self._board.reproduce(item.nodeid)
            if self._board.is_chosen
            else f"pytest {item.nodeid}",
        }

    # Lines and reports

    def _record(self, line: Line) -> None:
        self._take(line)

    def _note_identity(self, said: dict[str, Any]) -> None:
        if self._is_suite:
            self._take(lines.board(said))

    def _size_lines(self) -> list[Line]:
        """The sizes of each image that was on a board: read last, since it takes seconds, and once for all workers."""
        try:
            boards = read_results(self._folder).boards()
        except HilError:
            return []  # making the reports says why
        images = dict.fromkeys(
            (board["image"], board["elf_sha256"])
            for board in boards
            if board.keys() >= {"image", "elf_sha256"}
        )
        return [lines.sizes(asdict(self._sizes(*image))) for image in images]

    def _sizes(self, image: str, elf_sha256: str) -> ImageSizes:
        """The sizes of an image that a board runs."""
        try:
            build = self._board.build_of(image)
            if build.elf_sha256 != elf_sha256:
                raise BuildError(f"the board does not run the build in {build.folder}", "flash it")
        except BuildError as error:
            return unknown_sizes(image, elf_sha256, str(error))
        return read_sizes(build, image, self._board.profile_of_own())

    def _note_known_noise(self, noise: Noise, test: str, count: int) -> None:
        if self._is_suite:
            self._take(
                lines.known_noise(test, f"{noise.level} {noise.tag}: {noise.text}", count, noise.reason)
            )

    def _take(self, line: Line) -> None:
        """Writes a line; from any thread."""
        if self._results is not None:
            self._results.append(line)
        if self.on_line is not None:
            self.on_line(line)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Counts verdicts, in the process that reports to the user."""
        if self._writer is None:
            return
        for verdict in getattr(report, _REPORT_VERDICTS, ()):
            self._verdicts[Verdict(verdict)] += 1
        if report.failed and not hasattr(report, _REPORT_VERDICT):
            self._count_failure(report)

    def _count_failure(self, report: pytest.TestReport) -> None:
        """Of a test that is none of the suite's, or of one whose worker has crashed."""
        ids = read_results(self._folder).unfinished().get(report.nodeid)
        if ids is None:
            self._verdicts[Verdict.FAIL] += 1
            return
        finding = Finding(Verdict.BLOCKED, f"not finished: {report.longrepr}", _CRASH_REMEDY)
        setattr(report, _REPORT_VERDICT, finding.verdict.value)
        report.longrepr = printable(str(finding))
        self._verdicts[finding.verdict] += 1
        self._take(
            {
                "kind": "verdict",
                "test": report.nodeid,
                "requirement": ids,
                "verdict": finding.verdict.value,
                "reason": finding.reason,
                "remedy": finding.remedy,
                "reproduce": self._board.reproduce(report.nodeid),
            }
        )

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: Any) -> tuple[str, str, Any] | None:
        """Pytest's own words tell in which phase something went wrong, not whom it blames."""
        verdict = getattr(report, _REPORT_VERDICT, "")
        if report.passed or not verdict:
            return None
        if verdict == Verdict.BLOCKED.value:
            return "blocked", "B", ("BLOCKED", {"yellow": True})
        if verdict == Verdict.NOT_APPLICABLE.value:
            return "not applicable", "n", (verdict, {"yellow": True})
        return ("failed", "F", "FAILED") if verdict == Verdict.FAIL.value else None


def _shown_verdict(findings: list[Finding]) -> Verdict:
    """The verdict that findings come to. One left out on this kind of board is skipped, not BLOCKED."""
    if any(finding.verdict is Verdict.NOT_APPLICABLE for finding in findings):
        return Verdict.NOT_APPLICABLE
    return findings[-1].verdict


def _combine(measured: Verdict, ended: Verdict | None) -> Verdict:
    """A requirement's verdict from its measurements and from what ended the test, if something did.

    What was not measured because the test ended early is not UNSET.
    """
    if ended is None:
        return measured
    return Verdict.FAIL if measured is Verdict.FAIL else ended


def _runs_suite(config: pytest.Config, requirements: Path) -> bool:
    """Whether the paths on the command line reach into the suite's folder."""
    if not requirements.is_file():
        return False
    suite = requirements.parent.resolve()
    return any(suite in path.parents or _covers(path, suite) for path in _paths(config))


def _what_is_left_out(config: pytest.Config, requirements: Path) -> str:
    """Why the command line leaves tests of the suite uncollected; empty if it collects them all."""
    if not any(_covers(path, requirements.parent.resolve()) for path in _paths(config)):
        return f"only a part of the suite was asked for: {' '.join(map(str, config.args))}"
    ignored = [*(config.option.ignore or ()), *(config.option.ignore_glob or ())]
    return f"not collected: {' '.join(map(str, ignored))}" if ignored else ""


def _paths(config: pytest.Config) -> list[Path]:
    """What the command line asks for; a single test is a path below its file."""
    return [(config.invocation_params.dir / str(one).replace("::", "/")).resolve() for one in config.args]


def _covers(path: Path, folder: Path) -> bool:
    return path == folder or path in folder.parents


def _forget_reports(folder: Path) -> None:
    """Removes what was made of an older run, so that it can't be taken for this run's."""
    for name in (QUALIFICATION_FILE, REPORT_FILE):
        (folder / name).unlink(missing_ok=True)


def _source(measurement: Measurement) -> str:
    return f" ({measurement.limit.source})" if measurement.limit.source else ""


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


def _shown_path(path: Path) -> str:
    with suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def _markup(verdict: str | None) -> dict[str, bool]:
    return {_COLOURS.get(Verdict(verdict), "yellow"): True} if verdict else {}


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
