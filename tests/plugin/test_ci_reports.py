"""Tests the outputs for a pipeline: exit status 8, JUnit's properties and locations, the summary of a GitHub step."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from hotpin_hil.pytest_plugin.environment import environment
from hotpin_hil.pytest_plugin.step_summary import summary
from tests.support.plugin_suite import Suite

pytest_plugins = ["pytester", "tests.support.plugin_suite"]

PASSES = "@requirement('AAA-01')\ndef test_it(measure): measure('x', 1, 'B', exact=1)\n"


@pytest.mark.parametrize(
    ("tests", "options", "status"),
    [
        (PASSES, ("--require-complete",), 8),  # AAA-02 has no test
        (PASSES, (), 0),
        (PASSES + PASSES.replace("01", "02").replace("test_it", "test_two"), ("--require-complete",), 0),
        (PASSES.replace("exact=1", "exact=2"), ("--require-complete",), 1),
        (PASSES.replace("measure('", "raise BenchError('noise'); measure('"), ("--require-complete",), 7),
    ],
)
def test_incomplete_run_has_its_own_status_on_request(
    suite: Suite, tests: str, options: tuple[str, ...], status: int
) -> None:
    assert suite.run(tests, *options, "hil_tests").ret == status
    if status == 8:
        assert suite.qualification["overall"] == "INCOMPLETE"
        # The file keeps pytest's own status; hotpin-hil report derives INCOMPLETE again.
        assert suite.lines[-1]["exit"] == 0


def properties(element: ElementTree.Element | None) -> list[tuple[str, str]]:
    assert element is not None
    return [(item.attrib["name"], item.attrib["value"]) for item in element.iterfind("properties/property")]


def test_junit_has_the_run_the_values_the_place_and_the_keys(suite: Suite) -> None:
    suite.run(
        "@pytest.mark.test_key('HOT-7')\n"
        "@requirement('AAA-01', 'AAA-02')\n"
        "def test_it(measure):\n"
        "    measure('free', 1, 'B', exact=1)\n"
        "    measure('held', 3, 'B', max=2)\n",
        *("--junitxml=junit.xml", "hil_tests"),
    )
    root = ElementTree.parse("junit.xml").getroot()
    of_suite = dict(properties(root.find("testsuite")))
    assert of_suite["verdict"] == "NOT QUALIFIED"
    assert of_suite["evidence"] == "virtual"
    assert of_suite["firmware.elf_sha256"] == suite.qualification["firmware"]["elf_sha256"]
    case = root.find("testsuite/testcase")
    assert case is not None
    own = properties(case)
    assert ("measured.held", "held = 3 B, limit <= 2 B (FAIL)") in own
    assert ("measured.free", "free = 1 B, limit = 1 B (PASS)") in own
    assert {("requirement", "AAA-01,AAA-02"), ("requirements", "AAA-01,AAA-02")} <= set(own)
    assert {("test_key", "HOT-7"), ("test_id", "HOT-7")} <= set(own)
    source = Path("hil_tests/test_it.py").read_text().splitlines()
    line = next(number for number, text in enumerate(source, start=1) if "'held'" in text)
    failure = case.find("failure")
    assert failure is not None
    assert f"at hil_tests/test_it.py:{line}" in failure.attrib["message"]
    assert case.attrib["file"] == "hil_tests/test_it.py"
    assert 0 < int(case.attrib["line"]) < line


def test_nested_facts_are_listed_by_their_path() -> None:
    qualification = {
        "overall": "REHEARSED",
        "evidence": "virtual",
        "run": "1",
        "board": {"kind": "virtual", "mac": "m"},
        "firmware": {"source": {"commit": "abc"}},
        "harness": {"packages": {"pytest": "9"}},
    }
    facts = dict(environment(qualification))
    assert (facts["firmware.source.commit"], facts["harness.packages.pytest"]) == ("abc", "9")


def test_summary_of_a_github_step_names_what_did_not_pass(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "summary.md"
    file.write_text("# earlier step\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(file))
    suite.run(PASSES + "@requirement('AAA-02')\ndef test_two(measure): assert not 'a|b'\n")
    text = file.read_text()
    assert text == "# earlier step\n" + summary(suite.qualification)
    assert "## NOT QUALIFIED (virtual)" in text
    assert r"| AAA-02 | FAIL | assert not 'a\|b'" in text
    assert "AAA-01 |" not in text
