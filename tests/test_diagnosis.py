"""Diagnoses, by name: from recordings of real boards and of the real panic handler, and from the shapes of failures
that recorded boards have shown."""

from __future__ import annotations

import pytest

from hotpin_hil.analysis.diagnosis import Confidence, Diagnosis, diagnose
from hotpin_hil.telemetry.reader import read_events

from .conftest import shared_data


def diagnosed(log: bytes | str) -> dict[str, Diagnosis]:
    """By name."""
    found = diagnose(read_events(log.encode() if isinstance(log, str) else log))
    assert len({one.name for one in found}) == len(found)
    return {one.name: one for one in found}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "SerialMonitor_Logs_17cac49.txt",
            {
                "Fragmentation figure counts separate heaps": 12,
                "Stale statistics": 4,
                "Task watchdog: a task was leaked": 12,
            },
        ),
        (
            "SerialMonitor_Logs_e2a27ac.txt",
            {"Fragmentation figure counts separate heaps": 1, "Stale statistics": 4},
        ),
        ("serial_monitor_2a9fccf.txt", {"LoadStoreError on the IRAM heap": 1}),
        ("serial_monitor_a794485.txt", {"ESP_ERR_NO_MEM: TTS out of DMA memory": 5}),
        (
            "serialmonitorlogs_a67f01a.txt",
            {"Fragmentation figure counts separate heaps": 1, "Stale statistics": 3},
        ),
    ],
)
def test_recorded_boards_get_their_diagnoses_and_no_others(name: str, expected: dict[str, int]) -> None:
    found = diagnosed(shared_data(f"real_logs/{name}").read_bytes())
    assert {name: one.count for name, one in found.items()} == expected


def test_load_store_error_is_placed_in_the_iram_heap_by_the_memory_map() -> None:
    found = diagnosed(shared_data("real_logs/serial_monitor_2a9fccf.txt").read_bytes())
    one = found["LoadStoreError on the IRAM heap"]
    assert one.confidence is Confidence.FACT
    assert "0x4009b398" in one.finding
    assert "0x4009B0B4" in one.finding
    assert [evidence.line for evidence in one.evidence] == [358]
