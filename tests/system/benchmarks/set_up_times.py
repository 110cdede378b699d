"""pytest plugin for a benchmark: writes when each worker had set up its first test, in seconds after the start.

The board of a worker is started, flashed and booted in the set-up of its first test.
"""

from __future__ import annotations

import os
import time

import pytest

FILE = "HOTPIN_BENCH_SET_UP"
"""Environment variable with the path of the file."""
_began = time.monotonic()
_ready: set[str] = set()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    worker = getattr(report, "worker_id", "main")
    if report.when == "setup" and worker not in _ready and "PYTEST_XDIST_WORKER" not in os.environ:
        _ready.add(worker)
        with open(os.environ[FILE], "a", encoding="utf-8") as file:
            file.write(f"{time.monotonic() - _began:.2f}\n")
