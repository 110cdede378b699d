"""Verdicts on the terminal: the first and the last line, the requirement table, the result of each test."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from hotpin_hil.evidence.lines import EVIDENCE
from hotpin_hil.evidence.model import Verdict
from hotpin_hil.evidence.qualification import BEST, headline
from hotpin_hil.evidence.results import FILE_NAME
from hotpin_hil.printable import printable
from hotpin_hil.pytest_plugin.board import BoardInUse
from hotpin_hil.pytest_plugin.verdicts import REPORT_TRACEBACK, REPORT_VERDICT
from hotpin_hil.report.compare_page import baseline_lines
from hotpin_hil.report.table import blocked_lines, failed_lines, flaky_lines, table_lines
from hotpin_hil.report.waiver_lines import waiver_lines
from hotpin_hil.report.write import QUALIFICATION_FILE, REPORT_FILE

_COLOURS = {Verdict.PASS: "green", Verdict.FAIL: "red", Verdict.UNSET: "red"}


class TerminalPlugin:
    """Adds the verdicts to pytest's terminal output."""

    def __init__(self, config: pytest.Config, folder: Path) -> None:
        """Create the plugin.

        Args:
            config: Configuration of the run.
            folder: Folder of results.jsonl.
        """
        self._config = config
        self._folder = folder
        self.qualification: Mapping[str, Any] | None = None
        """The qualification to summarise; None prints no summary."""
        self.is_selection = False
        """Whether only a part of the suite was selected."""
        self.burn_in: list[str] = []
        """Lines about a burn-in; empty without a burn-in."""

    def write_line(self, text: str, **markup: bool) -> None:
        """Write a line, if this process owns the terminal."""
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.ensure_newline()
            reporter.write_line(text, **markup)

    def write_first_line(self, board: BoardInUse) -> None:
        """Write the best verdict that the run can reach on this kind of board."""
        evidence = EVIDENCE[board.kind.value]
        about = board.as_json().get("emulator") or board.why
        why = f" ({about})" if about else ""
        self.write_line(
            f"evidence: {board.kind} board{why}, at best {BEST[evidence]} ({evidence})", bold=True
        )

    def write_headline(self, qualification: Mapping[str, Any]) -> None:
        """Write the overall verdict, as the last line of the output."""
        self.write_line(headline(qualification), bold=True)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Show unexpected tracebacks, the requirement table, failures with their reasons, and the files."""
        if self.qualification is None:
            return
        for report in terminalreporter.getreports("blocked"):
            if getattr(report, REPORT_TRACEBACK, False) and self._config.option.tbstyle != "no":
                terminalreporter.section(f"{report.nodeid}, {report.when}", sep="_")
                terminalreporter.write_line(printable(report.longreprtext))
        terminalreporter.section("requirements")
        for text, verdict in table_lines(self.qualification, is_selection=self.is_selection):
            terminalreporter.write_line(text, **_markup(verdict))
        for title, texts in (
            ("failed", failed_lines(self.qualification)),
            ("blocked", blocked_lines(self.qualification)),
            ("flaky", flaky_lines(self.qualification)),
            ("waivers", waiver_lines(self.qualification)),
        ):
            if texts:
                terminalreporter.section(title)
                for text in texts:
                    terminalreporter.write_line(text)
        if self.burn_in:
            terminalreporter.section("burn-in")
            for text in self.burn_in:
                terminalreporter.write_line(text)
        compared = self.qualification.get("since_last_release")
        if compared:
            terminalreporter.section("since the last release")
            for text in baseline_lines(compared):
                terminalreporter.write_line(text)
        terminalreporter.section("evidence")
        for name in (FILE_NAME, QUALIFICATION_FILE, REPORT_FILE):
            terminalreporter.write_line(_shown_path(self._folder / name))

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: Any) -> tuple[str, str, Any] | None:
        """Show the verdict instead of pytest's word, which only names the failed phase."""
        verdict = getattr(report, REPORT_VERDICT, "")
        if report.passed or not verdict:
            return None
        if verdict == Verdict.BLOCKED.value:
            return "blocked", "B", ("BLOCKED", {"yellow": True})
        if verdict == Verdict.NOT_APPLICABLE.value:
            return "not applicable", "n", (verdict, {"yellow": True})
        return ("failed", "F", "FAILED") if verdict == Verdict.FAIL.value else None


def _shown_path(path: Path) -> str:
    with suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def _markup(verdict: str | None) -> dict[str, bool]:
    return {_COLOURS.get(Verdict(verdict), "yellow"): True} if verdict else {}
