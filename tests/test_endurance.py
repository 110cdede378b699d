"""The endurance run, short: `make endurance` plays it on 50 boards."""

from __future__ import annotations

import pytest

from hotpin_hil.paths import NATIVE_BUILD_DIR

from .endurance.run import endure


def test_boards_of_one_server_leave_nothing_behind() -> None:
    if not (NATIVE_BUILD_DIR / "flasher_args.json").is_file():
        pytest.skip("the firmware's host build is missing: make native")
    totals = endure(3, 6, seed=3, workers=2)
    assert totals.problems == []
    assert totals.rounds == 6
