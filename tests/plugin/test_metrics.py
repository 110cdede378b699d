"""Tests pytest-embedded's `--metric-path`: in its file, the run's figures must come after the lines that tests log."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotpin_hil.errors import UsageError
from hotpin_hil.pytest_plugin.metrics import add_metrics, begin_metrics
from tests.support.plugin_suite import CONFTEST, Suite

pytest_plugins = ["pytester", "tests.support.plugin_suite"]

OPTION = """
def pytest_addoption(parser):
    parser.addoption("--metric-path")
"""
LOGGING = """
@requirement("AAA-01")
def test_it(measure, request):
    measure("answer", 42, exact=42)
    with open(request.config.option.metric_path, "a") as file:  # as log_metric does
        file.write('boot_seconds{board="a"} 0.5\\n')
"""


def test_file_has_the_tests_lines_and_the_figures(suite: Suite, tmp_path: Path) -> None:
    suite.write("conftest.py", CONFTEST.replace("def pytest_addoption(parser):", f"{OPTION.strip()}"))
    path = tmp_path / "metrics.txt"
    path.write_text("line_of_an_earlier_run 1\n")
    result = suite.run(LOGGING, f"--metric-path={path}", "hil_tests")
    assert result.ret == 0
    text = (suite.folder / "openmetrics.txt").read_text()
    assert path.read_text() == 'boot_seconds{board="a"} 0.5\n' + text
    assert text.endswith("# EOF\n")


@pytest.mark.parametrize("write", [begin_metrics, lambda path: add_metrics(path, "")])
def test_file_that_cannot_be_written_is_named(tmp_path: Path, write: object) -> None:
    assert callable(write)
    with pytest.raises(UsageError, match="--metric-path"):
        write(tmp_path)
