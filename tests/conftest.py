"""What the harness's own tests share."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from hotpin_hil.paths import PROJECT_ROOT

SHARED_DIR = PROJECT_ROOT.parent / "shared"


def pytest_configure() -> None:
    # A shell starts a job in the background with SIGINT ignored, and its children inherit that: no test could press
    # Ctrl-C then.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def shared_data(name: str) -> Path:
    """Path of recorded reference data that lies beside a checkout; skips the test, visibly, when it is absent."""
    path = SHARED_DIR / name
    if not path.exists():
        pytest.skip(f"reference data {name!r} is not beside this checkout")
    return path
