"""The monitor samples when it should, and every figure it gives is what the allocator says at that moment."""

from __future__ import annotations

from itertools import pairwise

import pytest

from fixtures.device import boot_start
from fixtures.measure import Measure
from fixtures.memory import INTERNAL, KB, MEMORIES, PSRAM, TOTAL_CAPS, Heaps, Memory, Monitor
from hotpin_hil.analysis.heap_layout import fragmentation_percent, largest_request
from hotpin_hil.device import Device

INTERVAL_MS = 15_000
INTERVAL_TOLERANCE = 0.01
"""REQUIREMENTS.md MON-01: within 1 % of the board's own clock."""

INTERVALS = 3
INTERVAL_BUDGET_S = 20.0
"""A host waits this long for a sample that a board on real time takes every 15 s."""

IN_ONE_COMMAND = "heap_caps, read before and after in the same command"

UNTOUCHED_PERCENT = 3
DIRECT = "direct read (heap.probe)"

UNTOUCHED = "REQUIREMENTS.md MON-05: 0-3 %; facts: 1 - largest/free over all heaps would read about 50 %"


@pytest.mark.requirement("MON-01", "BOOT-03")
def test_samples_every_fifteen_seconds_of_board_time(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    """The interval as app_main started it. Each sample is of its own moment: it shows what was taken since
    the last."""
    start = device.mark()
    samples = []
    for number in range(INTERVALS + 1):
        free = heaps.free(INTERNAL.caps)
        (sample,) = monitor.samples(1, budget_s=INTERVAL_BUDGET_S)
        samples.append(sample)
        measure(
            "internal free in the periodic sample - direct read before it",
            sample.data["internal_free"] - free,
            "B",
            exact=0,
            source=DIRECT,
            requirement="MON-01",
        )
        heaps.hold(INTERNAL, KB * (number + 1))
    for earlier, later in pairwise(samples):
        measure(
            "interval between periodic samples",
            later.data["timestamp_ms"] - earlier.data["timestamp_ms"],
            "ms",
            low=INTERVAL_MS * (1 - INTERVAL_TOLERANCE),
            high=INTERVAL_MS * (1 + INTERVAL_TOLERANCE),
            source="REQUIREMENTS.md MON-01, by the board's clock",
            requirement="MON-01",
        )
    device.wait_box("Periodic", since=start)
    monitor.samples(1, budget_s=INTERVAL_BUDGET_S)  # by then the last of the boxes before it is out
    boxed = [box.stats.internal_free for box in device.boxes(start, "Periodic")]
    for sample in samples:
        measure(
            "boxes 'Periodic' with the sample's figure",
            boxed.count(sample.data["internal_free"]),
            exact=1,
            source="guide: logs detailed statistics at each sample",
            requirement="MON-01",
        )
    measure(
        "warnings in the first minute",
        len(monitor.warnings(boot_start(device))),
        exact=0,
        source="REQUIREMENTS.md BOOT-03",
        requirement="BOOT-03",
    )


@pytest.mark.requirement("MON-02")
@pytest.mark.parametrize("loaded", [False, True], ids=["as_booted", "with_memory_held_and_split"])
def test_every_figure_equals_a_direct_read(
    device: Device, heaps: Heaps, measure: Measure, loaded: bool
) -> None:
    """read - claim - read in one command; the reads must agree, so that nothing moved in between."""
    if loaded:
        for memory in MEMORIES:
            heaps.hold(memory, 10 * KB)
            heaps.split(memory, block=KB, count=8)
    sandwich = device.sandwich([*(memory.caps for memory in MEMORIES), TOTAL_CAPS], claim="mem.stats")
    assert sandwich.stable, "memory moved during the command, so the claim can't be judged"
    claim = sandwich.stats
    for memory in MEMORIES:
        read = sandwich.before[memory.caps]
        free, largest, fragmentation = claim.memory(memory.name)
        measure(f"{memory.name} free - direct read", free - read.free, "B", exact=0, source=IN_ONE_COMMAND)
        measure(
            f"{memory.name} largest - direct read",
            largest - read.largest,
            "B",
            exact=0,
            source=IN_ONE_COMMAND,
        )
        regions = heaps.regions(memory)
        measure(
            f"{memory.name} largest",
            largest,
            "B",
            exact=largest_request(regions),
            source="arithmetic on heap.regions",
        )
        measure(
            f"{memory.name} fragmentation",
            fragmentation,
            "%",
            exact=fragmentation_percent(regions),
            source="arithmetic on heap.regions",
        )
    total = sandwich.before[TOTAL_CAPS].free
    measure("total free - direct read", claim.total_free - total, "B", exact=0, source=IN_ONE_COMMAND)


@pytest.mark.requirement("MON-02")
def test_minimum_ever_is_the_lowest_there_was(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    """A low that is gone again stays in the minimum, also when the allocator's own minimum starts anew.

    The allocator keeps the minimum of each heap and adds them up, so it may lie below the lowest sum.
    """
    untouched = device.stats().total_minimum_free
    held = heaps.hold(PSRAM, 1_000 * KB)
    lowest = heaps.free(TOTAL_CAPS)
    heaps.release(held)
    stats = device.stats()
    assert lowest < untouched, "the block makes a new low"
    minimum = stats.total_minimum_free
    measure(
        "minimum ever - allocator's", minimum - device.probe(TOTAL_CAPS).minimum, "B", exact=0, source=DIRECT
    )
    measure("lowest read - minimum ever", lowest - minimum, "B", low=0, high=16 * KB, source=DIRECT)
    measure(
        "minimum ever below free",
        stats.total_free - minimum,
        "B",
        low=999 * KB,
        high=1_100 * KB,
        source=DIRECT,
    )

    monitor.start()
    monitor.complete_checks(2)
    assert device.probe(TOTAL_CAPS).minimum > minimum, (
        "each sample lets the allocator's own minimum start anew"
    )
    later = device.stats().total_minimum_free
    measure(
        "minimum ever after the low is out of the window", later, "B", exact=minimum, source="it never rises"
    )


@pytest.mark.requirement("MON-05")
@pytest.mark.parametrize("memory", MEMORIES, ids=lambda memory: memory.name)
def test_fragmentation_follows_the_layout(
    device: Device, heaps: Heaps, measure: Measure, memory: Memory
) -> None:
    """The first firmware read 46-51 % on an idle healthy board, and 7-11 % when memory had really run out."""

    def claimed() -> int:
        return device.stats().memory(memory.name)[2]

    untouched = claimed()
    assert memory is PSRAM or len(heaps.regions(memory)) > 1, "internal memory is several heaps"
    measure("untouched", untouched, "%", low=0, high=UNTOUCHED_PERCENT, source=UNTOUCHED)

    if memory is PSRAM:
        heaps.leave(memory, 400 * KB)
    first = heaps.split(memory, block=2 * KB, count=16)
    little = claimed()
    measure("split once", little, "%", exact=heaps.fragmentation(memory), source="arithmetic on heap.regions")
    measure("rise when split", little - untouched, "%", low=3, high=100, source="REQUIREMENTS.md MON-05")
    second = heaps.split(memory, block=3 * KB, count=14)
    more = claimed()
    measure("split twice", more, "%", exact=heaps.fragmentation(memory), source="arithmetic on heap.regions")
    measure(
        "further rise when split more", more - little, "%", low=3, high=100, source="REQUIREMENTS.md MON-05"
    )

    heaps.release(second)
    heaps.release(first)
    measure("merged again", claimed(), "%", low=0, high=UNTOUCHED_PERCENT, source=UNTOUCHED)
