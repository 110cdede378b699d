"""Tests the parser of the replies of mem.profile."""

from __future__ import annotations

from typing import Any

import pytest

from hotpin_hil.protocol.allocations import (
    AllocationCost,
    AllocationSite,
    parse_allocation_profile,
    parse_task_allocations,
)
from hotpin_hil.protocol.errors import ProtocolError

LOSS = {
    name: 0
    for name in (
        *("lost_internal", "lost_psram", "lost_blocks", "no_slot", "no_site", "no_task"),
        *("unknown_frees", "static_bytes", "marked_ms"),
    )
}
ROW = ["state", "psram", 12, 2, 20, 5, "0x400d1234", "0x800d5678"]


def test_sites_and_what_the_tables_could_not_hold() -> None:
    reply = {
        **LOSS,
        "lost_internal": 100,
        "lost_psram": 10,
        "lost_blocks": 3,
        "sites": [ROW, ["m", "internal", 1, 1, 1, 1]],
    }
    profile = parse_allocation_profile(reply, "mem.profile")
    assert profile.sites[0] == AllocationSite("state", "psram", 12, 2, 20, 5, (0x400D1234, 0x800D5678))
    assert profile.sites[1].frames == ()
    assert (profile.total, profile.blocks) == (123, 6)


@pytest.mark.parametrize(
    "row", [ROW[:5], [*ROW[:6], "x"], [*ROW[:6], None], [1, *ROW[1:]], ["state", "psram", "12", *ROW[3:]]]
)
def test_row_that_does_not_fit_is_refused(row: list[Any]) -> None:
    with pytest.raises(ProtocolError, match=r"mem\.profile"):
        parse_allocation_profile({**LOSS, "sites": [row]}, "mem.profile")


def test_tasks() -> None:
    (task,) = parse_task_allocations({"tasks": [["main", 5, 1, 9, 3]]}, "mem.profile")
    assert (task.task, task.bytes, task.blocks, task.peak, task.allocations) == ("main", 5, 1, 9, 3)
    with pytest.raises(ProtocolError, match="a task has 2 values for 5 fields"):
        parse_task_allocations({"tasks": [["main", 5]]}, "mem.profile")


def test_cost_is_the_difference() -> None:
    assert AllocationCost(with_ns=5_000, without_ns=2_000).added_ns == 3_000
