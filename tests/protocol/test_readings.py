"""Readings of free memory in the words of several firmwares."""

from __future__ import annotations

import pytest

from hotpin_hil.analysis.analyze import analyze
from hotpin_hil.protocol.readings import Reading, find_readings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Free heap: 179788, min: 169788", [Reading("heap", 179_788, None, 169_788)]),
        ("free sram: 4187 minimal sram: 47", [Reading("internal", 4_187, None, 47)]),
        ("Free: 331, Largest Block: 272", [Reading("heap", 331, 272)]),
        ("loop(): free heap 41320, largest block 12276", [Reading("heap", 41_320, 12_276)]),
        ("GC: total: 111168, used: 5232, free: 105936", [Reading("heap", 105_936)]),
        ("Free Heap Size: 123456 bytes", [Reading("heap", 123_456)]),
        ("freeHeap=4096", [Reading("heap", 4_096)]),
        (
            "Internal free: 100 KB, PSRAM free: 4000 KB",
            [Reading("internal", 102_400), Reading("psram", 4_096_000)],
        ),
    ],
)
def test_reading_is_found(text: str, expected: list[Reading]) -> None:
    assert find_readings(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "heap size 327680",
        "three: 5",
        "free space 100000 bytes on disk",
        "free heap 55%",
        "Largest free block: 5",
        "  At 0x3ffb3210 len 183792 free 9120 allocated 173016 min_free 2048",
        "task stack free: 812 bytes",
    ],
)
def test_other_figures_are_no_readings(text: str) -> None:
    assert find_readings(text) == []


def log_of(values: list[int]) -> bytes:
    return b"".join(b"I (%d) app: Free heap: %d\n" % (time * 1_000, free) for time, free in enumerate(values))


def test_steadily_falling_readings_are_a_leak_as_an_inference() -> None:
    analysis = analyze([log_of([180_000 - 212 * number for number in range(30)])], "log")
    (leak,) = analysis.leaks
    assert leak.verdict == "leak"
    (found,) = analysis.diagnoses
    assert (found.id, found.confidence) == ("DIAG-03", "inference")
    assert "state that the log does not tell" in found.finding


def test_memory_that_comes_back_is_no_leak() -> None:
    analysis = analyze([log_of([180_000 - 3_000 * (number % 9) for number in range(40)])], "log")
    assert analysis.diagnoses == ()
    falling = [180_000 - 212 * number for number in range(58)]
    analysis = analyze([log_of([*falling, 180_000, 180_000])], "log")
    assert [str(leak.verdict) for leak in analysis.leaks] == ["undecided"]


@pytest.mark.parametrize(
    ("free", "largest", "expected"),
    [
        (4_000, 3_000, "too little memory was free"),
        (40_000, 3_000, "fragmentation"),
        (40_000, 30_000, "capability"),
    ],
)
def test_kind_of_shortage_is_judged_by_the_reading_before_it(free: int, largest: int, expected: str) -> None:
    log = f"I (900) app: Free heap: {free}, largest block: {largest}\nE (950) app: failed to allocate 9000 bytes\n"
    (found,) = analyze([log.encode()], "log").diagnoses
    assert found.id == "DIAG-01"
    assert expected in found.finding
