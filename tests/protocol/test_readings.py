"""Tests the recognition of free-memory figures in the log formats of different firmware projects."""

from __future__ import annotations

import pytest

from hotpin_hil.analysis.analyze import analyze
from hotpin_hil.logs.reader import read_events
from hotpin_hil.protocol import events as ev
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
        ("Largest free block: 5", [Reading("heap", None, 5)]),
        # formats from the sources of Tasmota, WLED, MicroPython and ESPHome
        (
            'MQT: tele/x/STATE = {"Time":"2026-03-01T10:15:00","Heap":138,"SleepMode":"Dynamic","Sleep":50}',
            [Reading("heap", 138 * 1024)],
        ),
        (
            '{"StatusMEM":{"ProgramSize":1743,"Free":1136,"Heap":155,"StackLowMark":3,"PsrMax":2048,"PsrFree":1950,',
            [Reading("heap", 155 * 1024), Reading("psram", 1950 * 1024)],
        ),
        ("Free heap/contiguous: 120000/50000", [Reading("heap", 120_000, 50_000)]),
        ("PSRAM: 4080kB/8192kB", [Reading("psram", 4_080 * 1024)]),
        (
            "DRAM 8-bit:   Free:  120000 bytes | Largest block:   50000 bytes",
            [Reading("internal", 120_000, 50_000)],
        ),
        ("GC: total: 64000, used: 5232, free: 58768, max new split: 111168", [Reading("heap", 58_768)]),
        (
            " No. of 1-blocks: 33, 2-blocks: 8, max blk sz: 72, max free sz: 6478",
            [Reading("heap", None, 6_478 * 16)],
        ),
        ("'Heap Free': Sending state 123456.00000 B with 0 decimals of accuracy", [Reading("heap", 123_456)]),
        ("'Heap Max Block' >> 40948 B", [Reading("heap", None, 40_948)]),
        ("'Free PSRAM' >> 4096.0 kB", [Reading("psram", 4_096 * 1024)]),
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
        "'Free Space' >> 4096 B",
        "'WiFi Signal': Sending state -60.00000 dBm with 0 decimals of accuracy",
        "DRAM 32-bit:  Free:   41240 bytes | Largest block: N/A",
        "RTC RAM:      Free:    7000 bytes | Largest block:    6900 bytes",
        "    largest_free_block 7936 alloc_blocks 4 free_blocks 2 total_blocks 6",
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
    assert "state that the log does not show" in found.finding


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


def test_falling_largest_block_with_steady_memory_is_fragmentation() -> None:
    def log(free: int, largest: int) -> bytes:
        return "".join(
            f"I ({t * 1000}) app: Free heap: {90_000 - free * t}\n"
            f"I ({t * 1000}) app: Largest free block: {60_000 - largest * t}\n"
            for t in range(40)
        ).encode()

    (found,) = analyze([log(0, 900)], "log").diagnoses
    assert (found.id, found.confidence, found.name) == ("DIAG-02", "inference", "Fragmentation grows")
    assert "falls from 5" in found.finding
    assert "stays at about 90,000 bytes" in found.finding
    assert [found.id for found in analyze([log(900, 900)], "log").diagnoses] == ["DIAG-03"]
    assert analyze([log(0, 0)], "log").diagnoses == ()


DUMP = """Heap summary for capabilities 0x00000008:
  At 0x3ffae6e0 len 6432 free 100 allocated 6332 min_free 4
    largest_free_block 0 alloc_blocks 25 free_blocks 0 total_blocks 25
  At 0x3ffb3210 len 183792 free 9120 allocated 173016 min_free 2048
    largest_free_block 7936 alloc_blocks 412 free_blocks 3 total_blocks 415
  Totals:
    free 9220 allocated 179348 min_free 2052 largest_free_block 7936
"""


def test_heap_info_gives_its_totals_once_and_its_heaps() -> None:
    events = read_events(DUMP.encode() + b"  At 0x3ffb3210 len 1 free 1 allocated 1 min_free 1\n")
    printed = [event for event in events if isinstance(event, ev.HeapPrint | ev.LargestPrint)]
    assert [(event.memory, event.free, event.largest, event.minimum) for event in printed] == [
        ("dma", 9_220, 7_936, 2_052)
    ]
    (reported,) = (event for event in events if isinstance(event, ev.HeapsReported))
    assert [(heap.start, heap.length, heap.caps, heap.free, heap.largest) for heap in reported.heaps] == [
        (0x3FFAE6E0, 6_432, "DMA", 100, 0),
        (0x3FFB3210, 183_792, "DMA", 9_120, 7_936),
    ]


TASKS = """┌────────────────────┬─────────┬──────────────────────┬───────────────────┬─────────────────┐
│ TASK               │ STATUS  │ CURRENT MEMORY USAGE │ PEAK MEMORY USAGE │ TOTAL HEAP USED │
├────────────────────┼─────────┼──────────────────────┼───────────────────┼─────────────────┤
│               wifi │ ALIVE   │                34720 │             41236 │               1 │
│     Pre-scheduler  │ DELETED │                12000 │             12004 │               2 │
└────────────────────┴─────────┴──────────────────────┴───────────────────┴─────────────────┘
└ ALIVE: main, CURRENT MEMORY USAGE 512, PEAK MEMORY USAGE 2048, TOTAL HEAP USED 1:
     └ HEAP: DRAM, CAPS: 0x00000008, SIZE: 183792, USAGE: CURRENT 512 (0%), PEAK 2048 (1%), ALLOC COUNT: 1
"""


def test_heap_task_tracking_gives_the_memory_of_each_task() -> None:
    log = b"I (5) app: x\n" + TASKS.encode() + TASKS.replace("34720", "99999").encode()
    used = [event for event in read_events(log) if isinstance(event, ev.TaskMemory)]
    assert [(event.task, event.used, event.peak) for event in used[:3]] == [
        ("wifi", 34_720, 41_236),
        ("Pre-scheduler", 12_000, 12_004),
        ("main", 512, 2_048),
    ]
    series = {one.source: one for one in analyze([log], "log").series}
    assert (series["task wifi"].quantity, series["task wifi"].last.bytes) == ("used", 99_999)


TRACE = """====== Heap Trace: 3 records (100 capacity) ======
    16 bytes (@ 0x3ffb1234, Internal) allocated CPU 0 ccount 0x0018c2a4 caller 0x400d1111:0x400d2222
    24 bytes (@ 0x3ffb1250, Internal) allocated CPU 0 ccount 0x0018c2b4 caller 0x400d1111:0x400d2222 freed
    32 bytes (@ 0x3ffb1270,    PSRAM) allocated CPU 1 ccount 0x0018c2c4 caller 0x400d3333:0x400d2222
freed by 0x400d4444:0x400d5555
====== Heap Trace Summary ======
Mode: Heap Trace All
16 bytes alive in trace (1/3 allocations)
"""


def test_freed_rows_of_a_heap_trace_are_not_alive() -> None:
    (trace,) = (event for event in read_events(TRACE.encode()) if isinstance(event, ev.HeapTrace))
    assert (trace.bytes, trace.callers) == (16, (("0x400d1111", 1, 16),))
