"""Checks that a session of the suite leaves no process running, no matter how it ends."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hotpin_hil.paths import PROJECT_ROOT

pytest_plugins = ["pytester"]


def test_suite_starts_no_manager_process(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manager process of pytest-embedded would outlive a killed session."""
    monkeypatch.setenv("PYTHONPATH", str(PROJECT_ROOT))
    pytester.makeini("[pytest]\n")
    pytester.makeconftest("pytest_plugins = ['fixtures.console']")  # loaded in the same way as in the suite
    pytester.makepyfile(
        """
        import multiprocessing
        import pytest_embedded.plugin

        def test_it():
            assert pytest_embedded.plugin._MP_MANAGER is None
            assert multiprocessing.active_children() == []
        """
    )
    result = pytester.runpytest_subprocess("--embedded-services", "esp,idf")
    result.assert_outcomes(passed=1)


def test_pytest_of_another_python_is_a_one_line_error() -> None:
    """Users see this error before `make setup`, or if ESP-IDF's own Python is first on the path."""
    process = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:hotpin_hil", "--target", "esp32"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert process.stderr == (
        f"error: hotpin-hil is not installed for {sys.executable} (make setup && . .venv/bin/activate)\n"
    )
    assert (process.returncode, process.stdout) == (4, "")
