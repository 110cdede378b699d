"""Checks that an error in the suite itself is FAIL and is never blamed on the bench."""

from __future__ import annotations

import pytest

from tests.support.plugin_suite import Suite

pytest_plugins = ["pytester", "tests.support.plugin_suite"]


def test_misspelt_fixture_fails_with_the_list_of_fixtures(suite: Suite) -> None:
    result = suite.run("@requirement('AAA-01')\ndef test_it(mesure): pass\n", "-v", "hil_tests")
    assert result.ret == 1
    assert suite.verdict("AAA-01") == "FAIL"
    result.stdout.fnmatch_lines(
        [
            "*::test_it FAILED*",
            "E       fixture 'mesure' not found",
            ">       available fixtures: *dut*measure*",
            "AAA-01: FAIL: fixture 'mesure' not found",
        ]
    )


@pytest.mark.parametrize(
    "mistake",
    ["measure('x', 1, maximum=3)", "mesure('x', 1, max=3)", "request.confg"],
    ids=["argument", "name", "attribute"],
)
@pytest.mark.parametrize("phase", ["setup", "call", "teardown"])
def test_wrong_argument_or_name_fails_in_any_phase(suite: Suite, mistake: str, phase: str) -> None:
    lines = {name: mistake if name == phase else "pass" for name in ("setup", "call", "teardown")}
    result = suite.run(
        "@pytest.fixture\ndef thing(request, measure):\n"
        f"    {lines['setup']}\n    yield\n    {lines['teardown']}\n"
        "@requirement('AAA-01')\ndef test_it(request, thing, measure):\n"
        f"    measure('x', 1, max=3)\n    {lines['call']}\n",
    )
    assert result.ret == 1
    assert suite.verdict("AAA-01") == "FAIL"
    assert mistake in result.stdout.str()  # this line must be in the traceback


def test_other_exception_in_set_up_stays_blocked(suite: Suite) -> None:
    suite.run(
        "@pytest.fixture\ndef thing(): raise KeyError('x')\n"
        "@requirement('AAA-01')\ndef test_it(thing): pass\n"
    )
    assert suite.verdict("AAA-01") == "BLOCKED"
