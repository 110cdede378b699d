"""Verdicts in JUnit's XML and in Allure's results.

Both formats derive the result from the phase and the class of an exception, which do not show whether firmware or bench
is at fault. These reporters use the verdict instead: FAIL and UNSET become JUnit's `failure` and Allure's `failed`;
BLOCKED becomes `error` and `broken`, in any phase.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from hotpin_hil.evidence.lines import VerdictLine
from hotpin_hil.evidence.model import Measurement, Verdict, worst
from hotpin_hil.printable import printable
from hotpin_hil.pytest_plugin.environment import environment
from hotpin_hil.pytest_plugin.selection import requirement_ids

_VERDICT = "verdict"
_REQUIREMENT = "requirement"
"""JUnit: a property `requirement.ID` per requirement, with its verdict in this test."""

_MEASURED = "measured."
"""JUnit: a property `measured.NAME` per measurement, with value, limit and verdict."""
_FILE, _LINE = "file", "line"
"""JUnit: properties, and attributes of the test case, that GitLab and others link to the source."""
_REQUIREMENT_KEYS = ("requirement", "requirements")
"""JUnit: properties with all ids of the test, separated by commas; Xray reads the second."""
_TEST_KEYS = ("test_key", "test_id")
"""JUnit: properties with the key of the mark `test_key`; Xray reads the first, TestRail the second."""

_FAILED = (Verdict.FAIL, Verdict.UNSET)
_JUNIT_RESULTS = {"failure": "failures", "error": "errors", "skipped": "skipped"}
"""Element of a test case, and the attribute of the test suite that counts it."""


class ReporterPlugin:
    """Passes the verdicts of each finished test to JUnit and Allure."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._verdict: Verdict | None = None
        """Verdict of the running test; None until it is known."""
        self._message = ""
        if getattr(config.option, "allure_report_dir", None):
            self._hook_into_allure()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self) -> None:
        """Forget the verdict of the previous test."""
        self._verdict = None

    def report_verdicts(
        self, report: pytest.TestReport, lines: Sequence[VerdictLine], measurements: Sequence[Measurement]
    ) -> None:
        """Add the verdicts of a test to its last report.

        Args:
            report: Report of the teardown.
            lines: The verdict lines of the test.
            measurements: The test's measurements.
        """
        self._verdict = worst(line.verdict for line in lines)
        self._message = printable(_message(self._verdict, lines))
        report.user_properties += [(_VERDICT, str(self._verdict)), ("reason", self._message)]
        report.user_properties += [
            (f"{_REQUIREMENT}.{name}", line.verdict.value) for line in lines for name in line.requirement
        ]

        report.user_properties += [
            (f"{_MEASURED}{value.name}", printable(f"{value} ({value.verdict})")) for value in measurements
        ]

    def report_keys(self, report: pytest.TestReport, item: pytest.Item) -> None:
        """Add the file and line of a test, and the keys for test management tools.

        Args:
            report: Report of the teardown.
            item: The test.
        """
        file, line, _ = report.location
        report.user_properties += [(_FILE, file), (_LINE, str((line or 0) + 1))]
        ids = ",".join(requirement_ids(item))
        if ids:
            report.user_properties += [(name, ids) for name in _REQUIREMENT_KEYS]
        mark = item.get_closest_marker("test_key")
        if mark is not None and mark.args:
            report.user_properties += [(name, str(mark.args[0])) for name in _TEST_KEYS]

    def _hook_into_allure(self) -> None:
        """Register with Allure, to see each result before it is written."""
        import allure_commons

        class Verdicts:
            @allure_commons.hookimpl(tryfirst=True)  # type: ignore[untyped-decorator]
            def report_result(_, result: Any) -> None:
                self._mend_allure(result)

        verdicts = Verdicts()
        allure_commons.plugin_manager.register(verdicts)
        self._config.add_cleanup(lambda: allure_commons.plugin_manager.unregister(verdicts))

    def _mend_allure(self, result: Any) -> None:
        """Put the verdict into Allure's result for the running test."""
        from allure_commons.model2 import Status, StatusDetails

        if self._verdict in (*_FAILED, Verdict.BLOCKED):
            result.status = Status.BROKEN if self._verdict is Verdict.BLOCKED else Status.FAILED
            trace = result.statusDetails.trace if result.statusDetails else None
            result.statusDetails = StatusDetails(message=self._message, trace=trace)

    def mend_junit(self, qualification: Mapping[str, Any] | None) -> None:
        """Put the verdicts, and facts about the whole run, into the JUnit file that pytest has written.

        Args:
            qualification: Content of qualification.json; None if the run has none.
        """
        path = getattr(self._config.option, "xmlpath", None)
        if path and Path(path).is_file():
            _mend_junit(Path(path), environment(qualification) if qualification is not None else [])


def _message(verdict: Verdict | None, lines: Sequence[VerdictLine]) -> str:
    """`BLOCKED: reason (remedy: what to do)` for the deciding verdict."""
    own = next((line for line in lines if line.verdict is verdict), None)
    if own is None or not own.reason:
        return ""
    remedy = f" (remedy: {own.remedy})" if own.remedy else ""
    return f"{verdict}: {own.reason}{remedy}"


def _mend_junit(path: Path, facts: Sequence[tuple[str, object]]) -> None:
    tree = ElementTree.parse(path)
    for suite in tree.iter("testsuite"):
        _add_facts(suite, facts)
        cases = suite.findall("testcase")
        verdicts = {_name(case): found for case in cases if (found := _properties(case)).get(_VERDICT)}
        for case in cases:
            # A test that failed both in its call and in teardown has two cases; only one has the verdict.
            _mend_case(case, verdicts.get(_name(case), {}))
        for element, attribute in _JUNIT_RESULTS.items():
            suite.set(attribute, str(sum(case.find(element) is not None for case in cases)))
    new = path.with_suffix(".new")
    tree.write(new, encoding="utf-8", xml_declaration=True)
    os.replace(new, path)


def _name(case: ElementTree.Element) -> tuple[str | None, str | None]:
    return case.get("classname"), case.get("name")


def _properties(case: ElementTree.Element) -> dict[str, str]:
    return {item.get("name", ""): item.get("value", "") for item in case.iterfind("properties/property")}


def _add_facts(suite: ElementTree.Element, facts: Sequence[tuple[str, object]]) -> None:
    properties = suite.find("properties")
    if properties is None:
        properties = ElementTree.Element("properties")
        suite.insert(0, properties)
    for name, value in facts:
        ElementTree.SubElement(properties, "property", name=name, value=printable(str(value)))


def _mend_case(case: ElementTree.Element, properties: dict[str, str]) -> None:
    for name in (_FILE, _LINE):
        if name in properties:
            case.set(name, properties[name])
    verdict = properties.get(_VERDICT, "")
    if verdict not in (Verdict.BLOCKED.value, *(failed.value for failed in _FAILED)):
        return
    found = [case.find(element) for element in _JUNIT_RESULTS]
    for element in found:
        if element is not None:
            element.tag = "error" if verdict == Verdict.BLOCKED.value else "failure"
            element.set("message", properties["reason"])
