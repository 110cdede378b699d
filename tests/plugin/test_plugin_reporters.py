"""Checks that terminal, JUnit, Allure, results and qualification show the same verdict, in one process and in xdist
workers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.support.plugin_suite import CONFTEST, REGISTERED, REQUIREMENTS, Suite

pytest_plugins = ["pytester", "tests.support.plugin_suite"]

# These tests use no board, because xdist workers are separate processes without the fake board.
WITHOUT_BOARD = """
from hotpin_hil.pytest_plugin.plugin import recorder_of

@pytest.fixture
def measure(request):
    return recorder_of(request.node).measure

@pytest.fixture
def set_up(request):
    if "setup" in request.node.name:
        raise ERRORS[request.node.name.split("setup_")[1]]

@pytest.fixture
def taken_down(request, set_up):
    yield
    if "teardown" in request.node.name:
        raise ERRORS[request.node.name.split("teardown_")[1]]

ERRORS = {"firmware": FirmwareError("no READY"), "bench": BenchError("noise", "other cable")}
"""

# Name of a test, its body, its verdict, and the first letter that the terminal shows.
TESTS = [
    ("pass", "measure('x', 1, exact=1)", "PASS", "."),
    ("marginal", "measure('x', 95, max=100)", "MARGINAL", "."),
    ("value", "measure('x', 2, exact=1)", "FAIL", "F"),
    ("unset", "pass", "UNSET", "F"),
    ("assert", "measure('x', 1, exact=1); assert 1 == 2", "FAIL", "F"),
    ("firmware", "raise FirmwareError('no READY')", "FAIL", "F"),
    ("timeout", "import pexpect; raise pexpect.TIMEOUT('no READY')", "FAIL", "F"),
    ("key", "{}['free']", "FAIL", "F"),
    ("bench", "raise BenchError('noise <&> \\x1b[2J', 'other cable')", "BLOCKED", "B"),
    ("esptool", "import esptool; raise esptool.FatalError('no sync')", "BLOCKED", "B"),
    ("skip", "measure('x', 1, exact=1); pytest.skip('not today')", "BLOCKED", "B"),
    ("xfail", "pytest.xfail('known')", "FAIL", "F"),
    ("setup_firmware", "measure('x', 1, exact=1)", "FAIL", "F"),
    ("setup_bench", "measure('x', 1, exact=1)", "BLOCKED", "B"),
    ("teardown_firmware", "measure('x', 1, exact=1)", "FAIL", ".F"),
    ("teardown_bench", "measure('x', 1, exact=1)", "BLOCKED", ".B"),
    ("both_teardown_bench", "assert 1 == 2", "FAIL", "FB"),
]
WORDS = {".": "PASSED", "F": "FAILED", "B": "BLOCKED"}
JUNIT = {"PASS": None, "MARGINAL": None, "FAIL": "failure", "UNSET": "failure", "BLOCKED": "error"}
ALLURE = {"PASS": "passed", "MARGINAL": "passed", "FAIL": "failed", "UNSET": "failed", "BLOCKED": "broken"}


def rows() -> str:
    row = REQUIREMENTS.split("[[requirement]]")[1]
    ids = [row.replace("AAA-01", f"OUT-{name}") for name, *_ in TESTS]
    return "[[requirement]]".join([REQUIREMENTS, *ids])


def junit(path: Path) -> tuple[ElementTree.Element, dict[str, list[ElementTree.Element]]]:
    suite = ElementTree.parse(path).getroot().find("testsuite")
    assert suite is not None
    cases: dict[str, list[ElementTree.Element]] = {}
    for case in suite.findall("testcase"):
        cases.setdefault(case.attrib["name"].removeprefix("test_"), []).append(case)
    return suite, cases


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "two workers"])
def test_verdict_is_the_same_in_every_report(suite: Suite, workers: tuple[str, ...]) -> None:
    suite.write("conftest.py", CONFTEST + REGISTERED)
    suite.write("hil_tests/requirements.toml", rows())
    tests = "".join(
        f"@requirement('OUT-{name}')\ndef test_{name}(measure, taken_down):\n    {body}\n"
        for name, body, *_ in TESTS
    )
    options = ("--junitxml=junit.xml", "--alluredir=allure", "-v")
    result = suite.run(WITHOUT_BOARD + tests, *workers, *options, "hil_tests")
    assert result.ret == 1

    recorded = {line["requirement"][0]: line["verdict"] for line in suite.lines if line["kind"] == "verdict"}
    all_of_it, cases = junit(Path("junit.xml"))
    allure = {
        item["name"].removeprefix("test_"): item
        for item in (json.loads(path.read_text()) for path in Path("allure").glob("*-result.json"))
    }
    for name, _, verdict, _ in TESTS:
        assert recorded[f"OUT-{name}"] == verdict == suite.verdict(f"OUT-{name}"), name
        found = [
            child.tag
            for case in cases[name]
            for child in case
            if child.tag in {"failure", "error", "skipped"}
        ]
        assert set(found) == ({JUNIT[verdict]} if JUNIT[verdict] else set()), name
        properties = {
            item.attrib["name"]: item.attrib["value"]
            for case in cases[name]
            for item in case.iterfind("properties/property")
        }
        assert properties["verdict"] == properties[f"requirement.OUT-{name}"] == verdict, name
        assert allure[name]["status"] == ALLURE[verdict], name
    counts = {name: int(all_of_it.attrib[name]) for name in ("failures", "errors", "skipped")}
    words = [verdict for _, _, verdict, _ in TESTS]
    # A test with two outcomes is counted twice, as in pytest.
    assert counts == {
        "failures": words.count("FAIL") + words.count("UNSET") + 1,
        "errors": words.count("BLOCKED"),
        "skipped": 0,
    }
    (error,) = cases["bench"][0].iterfind("error")
    assert error.attrib["message"] == r"BLOCKED: noise <&> \x1b[2J (remedy: other cable)"
    assert allure["bench"]["statusDetails"]["message"] == error.attrib["message"]

    word = "|".join(WORDS.values())
    for name, _, _, letters in TESTS:
        # The verdict comes after the test name, but before it with `-n`.
        shown = re.findall(
            rf"test_{name} ({word}|ERROR|SKIPPED|XFAIL)|({word}|ERROR|SKIPPED|XFAIL) \S+::test_{name}\b",
            result.stdout.str().split("= FAILURES =")[0],
        )
        assert ["".join(item) for item in shown] == [WORDS[letter] for letter in letters], name
    suite.validate()


def test_test_outside_the_suite_is_reported_as_by_pytest(suite: Suite) -> None:
    suite.run(
        "def test_own(): assert 1 == 2\n@pytest.fixture\ndef broken(): raise ValueError('x')\n"
        "def test_set_up(broken): pass\n",
        *("--junitxml=junit.xml", "--alluredir=allure", "hil_tests"),
    )
    _, cases = junit(Path("junit.xml"))
    assert [case[0].find("failure") is not None for case in cases.values()] == [True, False]
    assert cases["set_up"][0].find("error") is not None
