"""Tests which differences in memory between two boots the suite accepts as explained."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fixtures.modes import Reading, unexplained_between_boots

BOOTED = Reading(internal=168_999, dma=168_999, psram=3_992_368, blocks=163, tasks=7)


@pytest.mark.parametrize(
    "change",
    [
        {"blocks": 164, "internal": 168_999 - 132, "dma": 168_999 - 132},  # one more block of NVS's index
        # NVS has started a new page, so its index is smaller.
        {"blocks": 160, "internal": 168_999 + 396, "dma": 168_999 + 396},
        # A block includes the remainder of its hole, which is too small for another block.
        {"internal": 168_999 - 4, "dma": 168_999 - 4},
        {"blocks": 164, "internal": 168_999 - 136, "dma": 168_999 - 136},
    ],
)
def test_index_of_nvs_and_placement_explain_a_difference_between_boots(change: dict[str, int]) -> None:
    assert unexplained_between_boots(replace(BOOTED, **change), BOOTED) == {}


@pytest.mark.parametrize(
    "change",
    [
        {
            "internal": 168_999 - 132,
            "dma": 168_999 - 132,
        },  # the size of an index block, but no additional block
        {"blocks": 164, "internal": 168_999 - 1_028, "dma": 168_999 - 1_028},
        {"blocks": 164, "psram": 3_992_368 - 132},
        {"blocks": 170, "internal": 168_999 - 7 * 132, "dma": 168_999 - 7 * 132},
        {"tasks": 8},
    ],
)
def test_any_other_difference_between_boots_is_unexplained(change: dict[str, int]) -> None:
    after = replace(BOOTED, **change)
    assert unexplained_between_boots(after, BOOTED) == after - BOOTED
