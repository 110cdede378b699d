"""Additions to Allure's results: measurements, charts, the board's log, and facts about the whole run.

Registered only with `--alluredir`. The board's identity is never a test parameter, because parameters are part of the
key of a test's history.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import allure
import allure_commons
import pytest
from allure_commons.logger import AllureFileLogger

from hotpin_hil.errors import host_remedy
from hotpin_hil.evidence.blame import TEARDOWN
from hotpin_hil.evidence.lines import MeasurementLine, PanicLog, RawLog, ResultsLine, VerdictLine
from hotpin_hil.evidence.model import limit_text, with_unit
from hotpin_hil.printable import printable
from hotpin_hil.pytest_plugin.board import worker_id
from hotpin_hil.pytest_plugin.environment import environment
from hotpin_hil.pytest_plugin.evidence import EvidencePlugin
from hotpin_hil.report.chart import stand_alone
from hotpin_hil.report.content import NOT_SHOWN, charts_of_test

TOOLS = ("pytest_embedded", "_pytest", "xdist", "allure", "fixtures.console")
"""Modules whose fixtures are omitted from the results; pytest-embedded alone adds about 70 per test."""

CATEGORIES = [
    {
        "name": "Harness: the test itself is broken",
        "messageRegex": r"(?s)(UNSET.*|BLOCKED: the test's (setup|call|teardown) raised.*)",
    },
    {
        "name": "Bench: it prevented the test",
        "messageRegex": r"(?s)BLOCKED: (?!the test's (setup|call|teardown) raised).*",
    },
    {"name": "Firmware: a requirement is not met", "messageRegex": r"(?s)FAIL.*"},
    {"name": "Not applicable to this kind of board", "matchedStatuses": ["skipped"]},
]
"""categories.json: classifies results as firmware, bench or harness by the verdict at the start of the message
(reporters.py)."""

_FIELDS = ("name", "value", "limit", "margin", "verdict", "class", "requirement", "source")


class AllurePlugin:
    """Extends each test's results in the process that runs the test, and the run's results in the reporting process."""

    def __init__(self, config: pytest.Config, evidence: EvidencePlugin, folder: Path) -> None:
        """Create the plugin.

        Args:
            config: Configuration of the run.
            evidence: Source of the lines and of the qualification.
            folder: Folder of results.jsonl; file names in its lines are relative to it.
        """
        self._config = config
        self._evidence = evidence
        self._folder = folder
        self._results = Path(config.option.allure_report_dir).absolute()
        self._lines: list[ResultsLine] = []
        self._of_tools: set[str] = set()
        """Names of fixtures that tools define."""
        evidence.on_line = self._lines.append
        if worker_id(config):
            config.option.clean_alluredir = False  # other workers may have written results already

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Replace Allure's file logger, which is already registered."""
        for logger in allure_commons.plugin_manager.get_plugins():
            if type(logger) is AllureFileLogger:
                self._config.add_cleanup(_filter_containers(self._results, logger, self._of_tools))

    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        """Record whether a tool or the suite defines the fixture, because the suite may override a tool's fixture."""
        is_tools = fixturedef.func.__module__.startswith(TOOLS)
        (self._of_tools.add if is_tools else self._of_tools.discard)(fixturedef.argname)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self) -> None:
        """Drop the lines of the previous test, which are already attached."""
        self._lines.clear()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Attach the evidence after a test has ended."""
        report = yield  # at this point the verdict plugin has written its last line about the test
        if call.when == TEARDOWN:
            self._attach([line for line in self._lines if line.test_id == item.nodeid])
        return report

    def _attach(self, lines: list[ResultsLine]) -> None:
        """Attach a test's evidence. Charts are slow, so a passed test gets only those of its leak series."""
        measured = [line for line in lines if isinstance(line, MeasurementLine)]
        if measured:
            allure.attach(_csv(measured), "measurements", allure.attachment_type.CSV)
        failed = any(line.verdict.value in NOT_SHOWN for line in lines if isinstance(line, VerdictLine))
        for chart in charts_of_test(lines, everything=failed):
            allure.attach(stand_alone(chart), chart.title, allure.attachment_type.SVG)
        for line in lines:
            if isinstance(line, PanicLog):
                allure.attach(printable(line.text), "panic", allure.attachment_type.TEXT)
            elif isinstance(line, RawLog) and (self._folder / line.file).is_file():
                content = (self._folder / line.file).read_text(encoding="utf-8", errors="replace")
                allure.attach(content, "the board's console", allure.attachment_type.TEXT)

    def pytest_sessionfinish(self) -> None:
        """Write the files about the run, after allure-pytest has removed an older run's results."""
        if not worker_id(self._config) and self._results.is_dir():
            write_run_files(self._results, self._evidence.qualification, os.environ)


def write_run_files(
    folder: Path, qualification: Mapping[str, Any] | None, environ: Mapping[str, str]
) -> None:
    """Write environment.properties, categories.json and, in CI, executor.json."""
    (folder / "categories.json").write_text(json.dumps(CATEGORIES, indent=1) + "\n", encoding="utf-8")
    if qualification is not None:
        rows = [f"{name}={_property(value)}" for name, value in environment(qualification)]
        (folder / "environment.properties").write_text("\n".join(rows) + "\n", encoding="utf-8")
    executor = _executor(environ)
    if executor:
        (folder / "executor.json").write_text(json.dumps(executor, indent=1) + "\n", encoding="utf-8")


def _property(value: object) -> str:
    """A value in .properties syntax: on one line, with doubled backslashes."""
    return printable(str(value)).replace("\\", "\\\\").replace("\n", " ")


def _executor(environ: Mapping[str, str]) -> dict[str, Any]:
    """The CI job that produced the results; empty outside CI."""
    if environ.get("GITHUB_ACTIONS"):
        number = environ.get("GITHUB_RUN_NUMBER", "")
        url = "/".join(environ.get(name, "") for name in ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY"))
        url += f"/actions/runs/{environ.get('GITHUB_RUN_ID', '')}"
        kind, name = "github", environ.get("GITHUB_WORKFLOW", "GitHub Actions")
    elif environ.get("GITLAB_CI"):
        number, url = environ.get("CI_PIPELINE_IID", ""), environ.get("CI_JOB_URL", "")
        kind, name = "gitlab", environ.get("CI_JOB_NAME", "GitLab CI")
    else:
        return {}
    order = {"buildOrder": int(number)} if number.isdigit() else {}
    return {"type": kind, "name": name, "buildName": f"{name} #{number}", "buildUrl": url, **order}


def _csv(measured: list[MeasurementLine]) -> str:
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(_FIELDS)
    for line in measured:
        row = {
            "name": line.name,
            "value": with_unit(line.value, line.unit),
            "limit": limit_text(line.limit, line.unit),
            "margin": "" if line.margin is None else with_unit(line.margin, line.unit),
            "verdict": line.verdict.value,
            "class": line.klass.value,
            "requirement": ", ".join(line.requirement),
            "source": line.limit.source,
        }
        writer.writerow([printable(str(row[name])) for name in _FIELDS])
    return table.getvalue()


def _filter_containers(folder: Path, logger: AllureFileLogger, left_out: set[str]) -> Callable[[], None]:
    """Replace Allure's logger with a logger that omits these fixtures unless they failed.

    Returns:
        A function that undoes this.
    """

    class Logger(AllureFileLogger):  # type: ignore[misc]
        @allure_commons.hookimpl  # type: ignore[untyped-decorator]
        def report_container(self, container: Any) -> None:
            container.befores = [fixture for fixture in container.befores if _is_reported(fixture, left_out)]
            container.afters = [fixture for fixture in container.afters if _is_reported(fixture, left_out)]
            if container.befores or container.afters:
                self._report_item(container)

        def _report_item(self, item: Any) -> None:
            with _ignored_shortage():
                super()._report_item(item)

        @allure_commons.hookimpl  # type: ignore[untyped-decorator]
        def report_attached_data(self, body: Any, file_name: str) -> None:
            with _ignored_shortage():
                super().report_attached_data(body, file_name)

    manager = allure_commons.plugin_manager
    name, ours = manager.get_name(logger), Logger(folder)
    manager.unregister(logger)
    manager.register(ours)

    def restore() -> None:
        """Restore Allure's logger; allure-pytest unregisters it itself."""
        manager.unregister(ours)
        manager.register(logger, name)

    return restore


@contextmanager
def _ignored_shortage() -> Iterator[None]:
    """Skip a file of Allure if the disk is full; results.jsonl reports the full disk."""
    try:
        yield
    except OSError as error:
        if not host_remedy(error):
            raise


def _is_reported(fixture: Any, left_out: set[str]) -> bool:
    """Whether to report a fixture.

    An `after` is named `fixture::finalizer`; finalizers named `<lambda>` are pytest's own.
    """
    name, _, finalizer = fixture.name.partition("::")
    return (name not in left_out and finalizer != "<lambda>") or fixture.status in ("failed", "broken")
