"""Derives the verdict lines and pytest's reports from a test's measurements and outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hotpin_hil.errors import BenchError, EmulatorError
from hotpin_hil.evidence.blame import TEARDOWN, Finding, blame
from hotpin_hil.evidence.lines import ResultsLine, StartedNote, VerdictLine
from hotpin_hil.evidence.model import Measurement, Verdict, worst
from hotpin_hil.evidence.recorder import Recorder
from hotpin_hil.evidence.results import FLAKY, read_results
from hotpin_hil.evidence.waivers import Waivers
from hotpin_hil.printable import printable
from hotpin_hil.pytest_plugin.board import BoardInUse, BoardPlugin, first_dut, wants_board, worker_id
from hotpin_hil.pytest_plugin.marks import SuiteMarks
from hotpin_hil.pytest_plugin.note_keeper import NoteKeeper
from hotpin_hil.pytest_plugin.reporters import ReporterPlugin
from hotpin_hil.pytest_plugin.selection import requirement_ids
from hotpin_hil.report.text import shorten_log

RECORDER_KEY = pytest.StashKey[Recorder]()
_FINDINGS_KEY = pytest.StashKey[list[Finding]]()

REPORT_VERDICT = "hotpin_verdict"
"""Attribute of pytest's report on a phase of a test: the verdict of that phase."""
REPORT_TRACEBACK = "hotpin_traceback"
"""Attribute of a report that is BLOCKED by an unexpected exception."""
_REPORT_VERDICTS = "hotpin_verdicts"
"""Attribute of pytest's last report on a test: the verdicts of the test's requirements."""

_CRASH_REMEDY = "run it again; if it happens again, run it alone and without -n to see the crash"


class _NotMet(AssertionError):
    """Raised at the end of a test with measurements that are missing or outside their limits.

    `Recorder.verdicts` has the verdict of each requirement.
    """


class VerdictPlugin:
    """Records and judges tests and writes their verdict lines, in the process that runs them."""

    def __init__(
        self,
        config: pytest.Config,
        board: BoardPlugin,
        marks: SuiteMarks,
        notes: NoteKeeper,
        reporters: ReporterPlugin,
        *,
        write: Callable[[ResultsLine], None],
        evidence_fault: Callable[[], BenchError | None],
        waivers: Callable[[], Waivers | None],
    ) -> None:
        """Create the plugin.

        Args:
            config: Configuration of the run.
            board: Plugin that provides the board.
            marks: The suite's requirement marks.
            notes: Writes the notes about the board's output.
            reporters: Receives the verdicts for JUnit and Allure.
            write: Writes a line of results.jsonl.
            evidence_fault: Returns why the evidence cannot be written now; None if it can.
            waivers: Returns the waivers of the run.
        """
        self._evidence_fault = evidence_fault
        self._config = config
        self._waivers = waivers
        self._board_plugin = board
        self._board = board.board
        self._marks = marks
        self._notes = notes
        self._reporters = reporters
        self._write = write
        self._dead: Finding | None = None
        """The finding that made the board unreachable; None while it is reachable."""
        self._attempts: dict[str, list[str]] = {}
        """Node id -> the worst verdict of each attempt so far; a plugin may repeat a failed test."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Create a recorder for each attempt of a test; skip a test that does not apply, block one that cannot run."""
        if not self._marks.includes(item):
            return
        item.stash[RECORDER_KEY] = Recorder(item.nodeid, requirement_ids(item), self._write, self._waivers())
        item.stash[_FINDINGS_KEY] = []
        worker = worker_id(self._config) or "main"
        self._write(StartedNote(item.nodeid, requirement_ids(item), worker))
        self._notes.begin(item)
        reason = self._marks.not_applicable(item)
        if reason:
            item.stash[_FINDINGS_KEY].append(Finding(Verdict.NOT_APPLICABLE, reason))
            pytest.skip(reason)
        fault = self._evidence_fault()
        if fault is not None:
            raise fault
        if self._dead is not None and wants_board(item):
            raise BenchError(f"not tried again: {self._dead.reason}", self._dead.remedy)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: Any, request: pytest.FixtureRequest
    ) -> Generator[None, Any, Any]:
        """Observe the board as soon as its serial line is open."""
        __tracebackhide__ = True
        result = yield
        if fixturedef.argname == "dut":
            self._notes.listen(request.node, first_dut(result))
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Fail a test that ended normally with measurements that are missing or outside their limits."""
        __tracebackhide__ = True
        result = yield
        recorder = item.stash.get(RECORDER_KEY, None)
        if recorder is not None:
            verdicts = recorder.verdicts().items()
            problems = [
                f"out of limit: {recorder.described(value)}{_source(value)}" for value in recorder.failures
            ]
            problems += [
                f"UNSET: nothing was measured for {requirement}"
                for requirement, verdict in verdicts
                if verdict is Verdict.UNSET
            ]
            if problems:
                raise _NotMet(printable("\n".join(problems)))
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Put the verdict into pytest's report, and after teardown into the results."""
        report = yield
        if RECORDER_KEY not in item.stash:
            return report
        finding = _finding(report, call, self._board_plugin)
        if finding is not None:
            self._add_finding(item, report, call, finding)
        elif call.excinfo is not None:
            setattr(report, REPORT_VERDICT, Verdict.FAIL.value)
            report.longrepr = str(call.excinfo.value)
        if report.failed:
            panics = self._notes.record_failure(item, call.excinfo.value) if call.excinfo is not None else []
            report.sections = [(name, shorten_log(text)) for name, text in report.sections]
            report.sections.append(("the board's console", shorten_log(self._board_plugin.console_log())))
            report.sections += [("panic", text) for text in panics]
        if call.when == TEARDOWN:
            self._notes.end(item)
            self._block_without_evidence(item, report)
            verdicts = self._as_attempt(_verdict_lines(item, self._board), item.nodeid)
            for line in verdicts:
                self._write(line)
            setattr(report, _REPORT_VERDICTS, [line.verdict.value for line in verdicts])
            self._reporters.report_verdicts(report, verdicts, item.stash[RECORDER_KEY].measurements)
            self._reporters.report_keys(report, item)
        return report

    def _add_finding(
        self, item: pytest.Item, report: pytest.TestReport, call: pytest.CallInfo[None], finding: Finding
    ) -> None:
        findings = item.stash[_FINDINGS_KEY]
        findings.append(finding)
        setattr(report, REPORT_VERDICT, _shown_verdict(findings).value)
        if report.failed and finding.needs_traceback:
            setattr(report, REPORT_TRACEBACK, True)
        elif report.failed and finding.verdict is Verdict.BLOCKED:
            report.longrepr = printable(str(finding))  # a traceback into the harness would not help
        if finding.board_is_dead and self._is_lost(call) and not self._board_plugin.revive():
            self._dead = finding

    def _block_without_evidence(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Block a test if some of its lines are not in the results file."""
        fault = self._evidence_fault()
        if fault is None:
            return
        finding = Finding(Verdict.BLOCKED, fault.message, fault.remedy)
        item.stash[_FINDINGS_KEY].append(finding)
        if report.passed:
            report.outcome = "failed"
            report.longrepr = printable(str(finding))
            setattr(report, REPORT_VERDICT, finding.verdict.value)

    def _as_attempt(self, lines: list[VerdictLine], nodeid: str) -> list[VerdictLine]:
        """Mention the earlier attempts in the reasons of a repeated test."""
        attempts = self._attempts.setdefault(nodeid, [])
        if attempts:
            before = f"{FLAKY}{', '.join(attempts)} in {_count(len(attempts))} before"
            lines = [replace(line, reason="; ".join(filter(None, (before, line.reason)))) for line in lines]
        attempts.append(str(worst(line.verdict for line in lines)))
        return lines

    def _is_lost(self, call: pytest.CallInfo[None]) -> bool:
        """Whether the next test would use the same dead board."""
        assert call.excinfo is not None
        return self._board.outlives_a_test or isinstance(call.excinfo.value, EmulatorError)


class VerdictCounter:
    """Counts verdicts in the process that reports to the user (with pytest-xdist: the controller)."""

    def __init__(self, board: BoardInUse, folder: Path, write: Callable[[ResultsLine], None]) -> None:
        """Create the counter.

        Args:
            board: Board that the tests run on.
            folder: Folder of results.jsonl.
            write: Writes a line of results.jsonl.
        """
        self._board = board
        self._folder = folder
        self._write = write
        self.is_active = False
        """Whether this process reports to the user."""
        self.counts: Counter[Verdict] = Counter()
        self._blocked: Counter[str] = Counter()
        """Node id -> BLOCKED verdicts of the newest attempt, which another attempt replaces."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count the verdicts of a report from this process or from a worker."""
        if not self.is_active:
            return
        verdicts = [Verdict(verdict) for verdict in getattr(report, _REPORT_VERDICTS, ())]
        if verdicts:
            self.counts[Verdict.BLOCKED] -= self._blocked.pop(report.nodeid, 0)
            self._blocked[report.nodeid] = verdicts.count(Verdict.BLOCKED)
            self.counts.update(verdicts)
        if report.failed and not hasattr(report, REPORT_VERDICT):
            self._count_failure(report)

    def _count_failure(self, report: pytest.TestReport) -> None:
        """Count a failed test outside the suite, or a test in a crashed worker."""
        ids = read_results(self._folder).unfinished().get(report.nodeid)
        if ids is None:
            self.counts[Verdict.FAIL] += 1
            return
        finding = Finding(Verdict.BLOCKED, f"not finished: {report.longrepr}", _CRASH_REMEDY)
        setattr(report, REPORT_VERDICT, finding.verdict.value)
        report.longrepr = printable(str(finding))
        self.counts[finding.verdict] += 1
        reproduce = self._board.reproduce(report.nodeid)
        self._write(
            VerdictLine(report.nodeid, ids, finding.verdict, finding.reason, finding.remedy, reproduce)
        )


def _finding(report: pytest.TestReport, call: pytest.CallInfo[None], board: BoardPlugin) -> Finding | None:
    """The finding on the exception of this phase; None without an exception, or if it only reports measurements."""
    if call.excinfo is None or isinstance(call.excinfo.value, _NotMet):
        return None
    error = call.excinfo.value
    if isinstance(error, pytest.FixtureLookupError):
        what = (error.msg or f"fixture {error.argname!r} not found").splitlines()[0]
        return Finding(Verdict.FAIL, what, "correct the test, or add the fixture to its conftest.py")
    if hasattr(report, "wasxfail"):
        return Finding(Verdict.FAIL, f"known to fail: {report.wasxfail}")
    if report.skipped:
        return Finding(Verdict.BLOCKED, f"skipped: {error}", "a skipped test does not verify its requirement")
    return blame(error, call.when, board.chip_answers, board.channel, board.host_fault)


def _verdict_lines(item: pytest.Item, board: BoardInUse) -> list[VerdictLine]:
    """One line for each different verdict on the test's requirements."""
    recorder = item.stash[RECORDER_KEY]
    findings = item.stash[_FINDINGS_KEY]
    if any(finding.verdict is Verdict.NOT_APPLICABLE for finding in findings):
        findings = [finding for finding in findings if finding.verdict is Verdict.NOT_APPLICABLE]
    ended = worst(finding.verdict for finding in findings)
    groups: dict[Verdict, list[str]] = {}
    for requirement, measured in recorder.verdicts().items():
        groups.setdefault(_combine(measured, ended), []).append(requirement)
    if not recorder.requirements:
        groups[_combine(Verdict.FAIL if recorder.failures else Verdict.PASS, ended)] = []
    reproduce = board.reproduce(item.nodeid) if board.is_chosen else f"pytest {item.nodeid}"
    lines = []
    for verdict, ids in groups.items():
        own = [finding for finding in findings if finding.verdict is verdict]
        reason = "; ".join(_reasons(verdict, ids, own, recorder))
        remedy = next((finding.remedy for finding in own if finding.remedy), "")
        lines.append(VerdictLine(item.nodeid, tuple(ids), verdict, reason, remedy, reproduce))
    return lines


def _reasons(verdict: Verdict, ids: list[str], findings: list[Finding], recorder: Recorder) -> list[str]:
    reasons = [finding.reason for finding in findings]
    if verdict in (Verdict.FAIL, Verdict.WAIVED, Verdict.MARGINAL):
        concerned = [value for value in recorder.measurements if not ids or set(ids) & set(value.requirement)]
        reasons += [recorder.described(value) for value in concerned if value.verdict is verdict]
    if verdict is Verdict.UNSET:
        reasons.append("nothing was measured for it")
    if verdict is Verdict.NOT_APPLICABLE and not findings:
        reasons.append("all its values are modelled, not measured")
    return reasons


def _shown_verdict(findings: list[Finding]) -> Verdict:
    """Verdict to show after a phase: NOT_APPLICABLE if the test does not apply to this kind of board (its skip alone
    would be BLOCKED); otherwise the verdict of the newest finding."""
    if any(finding.verdict is Verdict.NOT_APPLICABLE for finding in findings):
        return Verdict.NOT_APPLICABLE
    return findings[-1].verdict


def _combine(measured: Verdict, ended: Verdict | None) -> Verdict:
    """The verdict on a requirement from its measurements and from an early end of the test, if any.

    If the test ended early, a requirement without measurements is not UNSET.
    """
    if ended is None:
        return measured
    return Verdict.FAIL if measured is Verdict.FAIL else ended


def _count(attempts: int) -> str:
    return "the attempt" if attempts == 1 else f"the {attempts} attempts"


def _source(measurement: Measurement) -> str:
    return f" ({measurement.limit.source})" if measurement.limit.source else ""
