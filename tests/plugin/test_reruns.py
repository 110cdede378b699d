"""Tests repeated tests (pytest-rerunfailures): each attempt must have its own values, and no attempt may hide a failure
of an earlier attempt."""

from __future__ import annotations

import pytest

from tests.support.plugin_suite import Suite

pytest_plugins = ["pytester", "tests.support.plugin_suite"]

RERUNS = ("--reruns", "1", "hil_tests")
PASSES_LATER = """
attempts = []
@requirement('AAA-01')
def test_it(measure):
    attempts.append(1)
    if len(attempts) == 1:
        {first}
    measure('x', 1, exact=1)
"""


def verdicts(suite: Suite) -> list[tuple[str, str]]:
    return [(line["verdict"], line["reason"]) for line in suite.lines if line["kind"] == "verdict"]


def test_failed_attempt_stays_a_failure_and_the_test_is_shown_as_flaky(suite: Suite) -> None:
    result = suite.run(PASSES_LATER.format(first="measure('x', 2, exact=1); return"), *RERUNS)
    (first, _), second = verdicts(suite)
    assert first == "FAIL"
    assert second == ("PASS", "flaky: FAIL in the attempt before")
    assert suite.verdict("AAA-01") == "FAIL"
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        ["*= flaky =*", "hil_tests/test_it.py::test_it: PASS; FAIL in the attempt before"]
    )
    suite.validate()


def test_attempt_that_the_bench_blocked_counts_no_longer_after_a_whole_one(suite: Suite) -> None:
    result = suite.run(PASSES_LATER.format(first="raise BenchError('noise', 'other cable')"), *RERUNS)
    assert [verdict for verdict, _ in verdicts(suite)] == ["BLOCKED", "PASS"]
    assert suite.verdict("AAA-01") == "PASS"
    assert result.ret == 0
    assert suite.qualification["reruns"] == {"hil_tests/test_it.py::test_it": 2}


@pytest.mark.parametrize(
    ("first", "verdict", "status"),
    [("measure('x', 2, exact=1)", "FAIL", 1), ("raise BenchError('noise')", "BLOCKED", 7)],
)
def test_every_attempt_may_end_alike(suite: Suite, first: str, verdict: str, status: int) -> None:
    result = suite.run(f"@requirement('AAA-01')\ndef test_it(measure):\n    {first}\n", *RERUNS)
    assert [found for found, _ in verdicts(suite)] == [verdict, verdict]
    assert (suite.verdict("AAA-01"), result.ret) == (verdict, status)
