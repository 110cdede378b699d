"""Comparison of two readings of the firmware's resources: reported and tolerated differences."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from hotpin_hil.analysis.conservation import SLACK_BYTES, differences, memory_names
from hotpin_hil.protocol.answers import HeapCensus, Region, Resources, parse_resources
from hotpin_hil.protocol.errors import ProtocolError

DRAM, D_IRAM, PSRAM = 0x3FFB8000, 0x3FFE0440, 0x3F800000
MEMORIES = {DRAM: "internal", D_IRAM: "internal", PSRAM: "PSRAM"}

REPLY: dict[str, Any] = {
    "mode": "camera",
    "busy": False,
    "heaps": [[DRAM, 3, 300, 7], [D_IRAM, 2, 200, 0xFFFF_FFFF], [PSRAM, 1, 65536, 11]],
    "pool_blocks": 1,
    "tasks": 8,
    "queues": 10,
    "watched": 1,
    "idle_hooks": 2,
    "frames": 0,
    "i2s_channels": 0,
    "i2s_running": 0,
    "warning_calls": 0,
    "recovery_calls": 0,
    "reclaimers": 1,
    "camera": True,
    "camera_power_down": 0,
    "audio": False,
    "stt": False,
    "stream": "closed",
    "drivers_free": True,
    "interval_ms": 15000,
    "thresholds": [1, 2, 3, 4, 5, 6, 7, 8],
    "settle_down_ms": 50,
    "settle_up_ms": 50,
    "holds": 0,
    "held": 0,
    "armed": 0,
}
BEFORE = parse_resources(REPLY, "sys.resources")


def with_heaps(*heaps: tuple[int, int, int, int]) -> Resources:
    return dataclasses.replace(BEFORE, heaps=tuple(HeapCensus(*heap) for heap in heaps))


def test_equal_readings_differ_in_nothing() -> None:
    assert differences(BEFORE, parse_resources(REPLY, "sys.resources"), {}) == {}


@pytest.mark.parametrize("name", [name for name, value in REPLY.items() if type(value) in (int, str, bool)])
def test_each_resource_is_compared(name: str) -> None:
    """A leak would stay hidden in a field that is not compared."""
    value = getattr(BEFORE, name)
    other = not value if isinstance(value, bool) else value + (1 if isinstance(value, int) else "x")
    after = dataclasses.replace(BEFORE, **{name: other})
    assert differences(BEFORE, after, {}) == {name: f"{value} before, {other} after"}


def test_one_level_of_the_thresholds_is_seen() -> None:
    after = dataclasses.replace(BEFORE, thresholds=(1, 2, 3, 4, 5, 6, 7, 9))
    assert set(differences(BEFORE, after, {})) == {"thresholds"}


def test_block_that_moved_to_another_heap_of_its_memory_is_no_difference() -> None:
    after = with_heaps((DRAM, 2, 200, 2), (D_IRAM, 3, 300, 4), (PSRAM, 1, 65536, 11))
    assert differences(BEFORE, after, MEMORIES) == {}


def test_block_that_moved_to_another_memory_is_one() -> None:
    after = with_heaps((DRAM, 2, 200, 2), (D_IRAM, 2, 200, 0xFFFF_FFFF), (PSRAM, 2, 65636, 16))
    (text,) = differences(BEFORE, after, MEMORIES).values()
    assert text == (
        "PSRAM: 1 blocks of 65536 bytes before, 2 of 65636 after (+1 blocks, +100 bytes); "
        "internal: 5 blocks of 500 bytes before, 4 of 400 after (-1 blocks, -100 bytes)"
    )


@pytest.mark.parametrize(("bytes_", "is_seen"), [(SLACK_BYTES, False), (SLACK_BYTES + 4, True)])
def test_slack_of_the_allocator_is_tolerated(bytes_: int, is_seen: bool) -> None:
    after = with_heaps((DRAM, 3, 300 + bytes_, 9), (D_IRAM, 2, 200, 0xFFFF_FFFF), (PSRAM, 1, 65536, 11))
    assert bool(differences(BEFORE, after, MEMORIES)) is is_seen


def test_one_block_more_is_seen_however_small() -> None:
    after = with_heaps((DRAM, 4, 312, 9), (D_IRAM, 2, 200, 0xFFFF_FFFF), (PSRAM, 1, 65536, 11))
    assert "+1 blocks" in differences(BEFORE, after, MEMORIES)["heaps"]


def test_memory_is_named_by_its_capabilities() -> None:
    def region(start: int, caps: str) -> Region:
        return Region(start=start, length=1, caps=caps, free=0, largest=0, blocks=0)

    names = memory_names(
        [region(1, "INTERNAL,8BIT,DMA"), region(2, "SPIRAM,8BIT"), region(3, "INTERNAL,EXEC")]
    )
    assert names == {1: "internal", 2: "PSRAM", 3: "IRAM"}


def test_reply_without_rows_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError, match="heaps or thresholds are missing"):
        parse_resources({**REPLY, "heaps": [1]}, "sys.resources")
