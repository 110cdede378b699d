"""Fixtures shared by the harness's own tests."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from hotpin_hil.paths import PROJECT_ROOT

SHARED_DIR = PROJECT_ROOT.parent / "shared"


def pytest_configure() -> None:
    # A shell's background jobs and their children ignore SIGINT, which would break the tests of Ctrl-C.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def shared_data(name: str) -> Path:
    """Path of recorded reference data next to a checkout; skips the test if the data is missing."""
    path = SHARED_DIR / name
    if not path.exists():
        pytest.skip(f"reference data {name!r} is not next to this checkout")
    return path
