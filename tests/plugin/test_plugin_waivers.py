"""Tests waivers in complete sessions (exit status, terminal, results), and the tests' procedures in the results."""

from __future__ import annotations

import pytest

from tests.support.plugin_suite import CONFTEST, REGISTERED, Suite

pytest_plugins = ["pytester", "tests.support.plugin_suite"]

MEASURES = '''
from hotpin_hil.pytest_plugin.plugin import recorder_of

@requirement("AAA-01")
@pytest.mark.parametrize("case", [1])
def test_free(request, case):
    """Reads the free memory.

    In one state.
    """
    recorder_of(request.node).measure("free", VALUE, "B", min=10)

@requirement("AAA-02")
def test_other(request):
    recorder_of(request.node).measure("x", 1, exact=1)
'''

WAIVER = """
[[waiver]]
requirement = "AAA-01"
reason = "board rev 2"
approved_by = "R. Lead"
expires = 9999-12-31
bound = 5
unit = "B"
"""

NEVER_HERE = WAIVER.replace("AAA-01", "HHH-01") + 'kinds = ["hardware"]\n'


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "two workers"])
def test_waived_failure_passes_and_is_shown(suite: Suite, workers: tuple[str, ...]) -> None:
    suite.write("conftest.py", CONFTEST + REGISTERED)
    suite.write("waivers.toml", WAIVER + NEVER_HERE)
    result = suite.run(MEASURES.replace("VALUE", "7"), *workers, "hil_tests")
    assert result.ret == 0
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            "AAA-01 *WAIVED *free 7 B *",
            "AAA-01: used; bound 5 B, until 9999-12-31, by R. Lead",
            "  value: free = 7 B, limit >= 10 B",
            "REHEARSED (virtual): all 2 *; 1 waived (listed); *",
        ]
    )
    assert [(row["requirement"], row["state"]) for row in suite.qualification["waivers"]] == [
        ("AAA-01", "used")
    ]
    (line,) = [line for line in suite.lines if line["kind"] == "verdict" and "AAA-01" in line["requirement"]]
    assert (line["verdict"], line["reason"]) == ("WAIVED", "free = 7 B, limit >= 10 B")
    assert {
        "kind": "note",
        "about": "procedure",
        "tests": {"hil_tests/test_it.py::test_free": "Reads the free memory.\n\nIn one state."},
    } in suite.lines
    suite.validate()


@pytest.mark.parametrize(
    ("value", "waiver", "state"),
    [
        ("3", WAIVER, "insufficient"),
        ("50", WAIVER, "unneeded"),
        ("50", WAIVER.replace("9999", "2020"), "expired"),
    ],
)
def test_waiver_that_does_not_hold_fails_the_run(suite: Suite, value: str, waiver: str, state: str) -> None:
    suite.write("accepted.toml", waiver)
    result = suite.run(MEASURES.replace("VALUE", value), "--waivers=accepted.toml", "hil_tests")
    assert result.ret == 1
    assert suite.qualification["overall"] == "NOT QUALIFIED"
    assert suite.lines[-1]["exit"] == 1
    result.stdout.fnmatch_lines([f"AAA-01: {state}; *"])
    suite.validate()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            WAIVER.replace("bound = 5\n", ""),
            "*accepted.toml, waiver 1: `bound` must be * but is missing (give the worst value*",
        ),
        (None, "*cannot read *accepted.toml: No such file or directory (give a file *"),
    ],
)
def test_bad_waivers_are_a_usage_error(suite: Suite, text: str | None, message: str) -> None:
    if text:
        suite.write("accepted.toml", text)
    result = suite.run(MEASURES.replace("VALUE", "7"), "--waivers=accepted.toml", "hil_tests")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
    assert not suite.runs.exists()
