"""Checks the memory budget in firmware/README.md: its figures match a virtual board."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hotpin_hil.paths import FIRMWARE_DIR, NATIVE_BUILD_DIR
from tests.support.running_board import running_board

HOLE = 12
"""Tolerance in bytes: a block may include the remainder of its hole, so a figure depends on the order of earlier
allocations."""


def budget() -> dict[str, tuple[int, int]]:
    """Free internal and PSRAM bytes in the rows of the table that begin with "free"."""
    rows = re.findall(
        r"^\| \**(free [^|*]+?)\** \| ([\d,]+) \| ([\d,]+) \|",
        (FIRMWARE_DIR / "README.md").read_text(),
        re.M,
    )
    return {
        name: (int(internal.replace(",", "")), int(psram.replace(",", ""))) for name, internal, psram in rows
    }


def test_free_memory_in_the_budget_is_that_of_a_board(tmp_path: Path) -> None:
    if not (NATIVE_BUILD_DIR / "flasher_args.json").is_file():
        pytest.skip("the firmware is not built for the virtual board: make native")
    found: dict[str, tuple[int, int]] = {}
    with running_board(tmp_path) as (line, device, _):
        line.hard_reset()
        device.wait_ready()
        for mode in ("voice", "camera", "voice", "camera"):
            device.set_mode(mode)
            stats = device.stats()
            found[f"free in {mode} mode"] = stats.internal_free, stats.psram_free
        first = next(row for row in device.history() if row.context == "System Boot").stats
        found['free at "System Boot"'] = first.internal_free, first.psram_free
        steps = [
            (step.internal_after, step.psram_after) for step in device.ledger() if step.step == "settle.down"
        ]
        found["free without a mode's drivers"] = steps[-1]
    expected = budget()
    assert expected.keys() == found.keys()
    for name, figures in found.items():
        assert figures == pytest.approx(expected[name], abs=HOLE), name
