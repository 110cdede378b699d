"""Tests `--baseline`: the run is compared with the last release's run, and the report lists the changes."""

from __future__ import annotations

import pytest

from hotpin_hil.cli.main import main
from tests.support.plugin_suite import Suite

pytest_plugins = ["pytester", "tests.support.plugin_suite"]

VALUE = """
@requirement("AAA-01")
def test_free(measure):
    measure("internal free", {free}, "B", min=1_000)

@requirement("AAA-02")
def test_second(measure):
    measure("answer", 42, exact=42)
"""


def release(suite: Suite, free: int, *options: str) -> pytest.RunResult:
    """Function that runs a small suite that measures this number of free bytes."""
    return suite.run(VALUE.format(free=free), *options, "hil_tests")


def test_regression_is_listed_and_passes(suite: Suite) -> None:
    assert release(suite, 9_000, "--qualification-dir", "release").ret == 0
    result = release(suite, 6_952, "--baseline=release")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "*since the last release*",
            "1 regression; *",
            "*measurement, AAA-01: *::test_free",
            "*-2,048 B (-22.8 %)",
        ]
    )
    since = suite.qualification["since_last_release"]
    assert since["verdicts"]["measurement"] == {"verdict": "MARGINAL", "compared": 2, "within": 0}
    assert suite.qualification["overall"] == "REHEARSED"
    html = (suite.folder / "report.html").read_text(encoding="utf-8")
    assert '<a href="#since-last-release">' in html
    assert "-2,048 B (-22.8 %)" in html


def test_regression_fails_the_run_on_request(suite: Suite, capsys: pytest.CaptureFixture[str]) -> None:
    release(suite, 9_000, "--qualification-dir", "release")
    assert release(suite, 6_952, "--baseline=release", "--fail-on-regression").ret == 1
    assert suite.qualification["overall"] == "NOT QUALIFIED"
    assert main(["report", str(suite.folder)]) == 0  # the report made again from results.jsonl alone
    assert "NOT QUALIFIED (virtual): 1 regression since run " in capsys.readouterr().out
    assert release(suite, 9_000, "--baseline=release", "--fail-on-regression").ret == 0


def test_report_without_a_baseline_has_no_such_section(suite: Suite) -> None:
    release(suite, 9_000)
    assert "since_last_release" not in suite.qualification
    assert "since-last-release" not in (suite.folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--baseline=gone",), "*gone/results.jsonl*"),
        (("--fail-on-regression",), "*--fail-on-regression needs a run to compare with*"),
    ],
)
def test_wrong_baseline_is_an_error_before_the_first_test(
    suite: Suite, options: tuple[str, ...], message: str
) -> None:
    result = release(suite, 9_000, *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
    assert not suite.runs.exists()
