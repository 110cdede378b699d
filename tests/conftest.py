"""What the harness's own tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotpin_hil.paths import PROJECT_ROOT

SHARED_DIR = PROJECT_ROOT.parent / "shared"


def shared_data(name: str) -> Path:
    """Path of recorded reference data that lies beside a checkout; skips the test, visibly, when it is absent."""
    path = SHARED_DIR / name
    if not path.exists():
        pytest.skip(f"reference data {name!r} is not beside this checkout")
    return path
