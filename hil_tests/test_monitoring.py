"""The monitor samples on time, and each figure matches the allocator at that moment."""

from __future__ import annotations

from itertools import pairwise

import pytest

from fixtures.device import boot_start
from fixtures.measure import Measure
from fixtures.memory import DMA, INTERNAL, KB, MEMORIES, PSRAM, TOTAL_CAPS, Heaps, Memory, Monitor
from fixtures.pace import HostPace
from hotpin_hil.analysis.heap_layout import fragmentation_percent, largest_request
from hotpin_hil.device import Device, DeviceError, MemoryEvent

INTERVAL_MS = 15_000
INTERVAL_TOLERANCE = 0.01
"""Requirement MON-01: within 1 % of the board's own clock."""

INTERVALS = 3
INTERVAL_BUDGET_S = 20.0
"""Host time to wait for a sample; a board that runs in real time takes one every 15 s."""

REPORT_INTERVAL_MS = 2_000
"""Long enough that a failure and its report have different times on every kind of board."""

IN_ONE_COMMAND = "heap_caps, read before and after in the same command"

UNTOUCHED_PERCENT = 3
DIRECT = "direct read (heap.probe)"

UNTOUCHED = "requirement MON-05: 0-3 %; facts: 1 - largest/free over all heaps would read about 50 %"


@pytest.mark.requirement("MON-01", "BOOT-03")
def test_samples_every_fifteen_seconds_of_board_time(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    """Waits for samples at the interval set in app_main, and holds a block after each. Each sample must be current: it
    must include the memory allocated since the last sample."""
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
            source="requirement MON-01, by the board's clock",
            requirement="MON-01",
        )
    device.wait_box("Periodic", since=start)
    monitor.samples(1, budget_s=INTERVAL_BUDGET_S)  # by then all earlier boxes have been written
    boxed = [box.stats.internal_free for box in device.boxes(start, "Periodic")]
    for sample in samples:
        measure(
            "boxes 'Periodic' with the sample's figure",
            boxed.count(sample.data["internal_free"]),
            exact=1,
            source="guide: detailed statistics are logged at each sample",
            requirement="MON-01",
        )
    measure(
        "warnings in the first minute",
        len(monitor.warnings(boot_start(device))),
        exact=0,
        source="requirement BOOT-03",
        requirement="BOOT-03",
    )


@pytest.mark.requirement("MON-02")
@pytest.mark.parametrize("loaded", [False, True], ids=["as_booted", "with_memory_held_and_split"])
def test_every_figure_equals_a_direct_read(
    device: Device, heaps: Heaps, measure: Measure, loaded: bool
) -> None:
    """Reads the heaps, the statistics and the heaps again in one command. If both heap readings are equal, memory did
    not change in between."""
    if loaded:
        for memory in MEMORIES:
            heaps.hold(memory, 10 * KB)
            heaps.split(memory, block=KB, count=8)
    sandwich = device.sandwich([*(memory.caps for memory in MEMORIES), TOTAL_CAPS], around="mem.stats")
    assert sandwich.stable, (
        "memory changed during the command, so mem.stats cannot be compared with the readings"
    )
    reported = sandwich.stats
    for memory in MEMORIES:
        read = sandwich.before[memory.caps]
        free, largest, fragmentation = reported.memory(memory.name)
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
    measure("total free - direct read", reported.total_free - total, "B", exact=0, source=IN_ONE_COMMAND)


@pytest.mark.requirement("MON-02")
def test_minimum_ever_is_the_lowest_value(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    """Holds and releases a large block. The reported minimum must remain at this low, even after the allocator's own
    minimum is reset.

    The allocator adds up the minima of the heaps, so its minimum may be below the lowest total. Each sample resets the
    allocator's minimum, so no sample may be taken between the two readings.
    """
    monitor.stop()
    untouched = device.stats().total_minimum_free
    held = heaps.hold(PSRAM, 1_000 * KB)
    lowest = heaps.free(TOTAL_CAPS)
    heaps.release(held)
    stats = device.stats()
    assert lowest < untouched, "the block must cause a new low"
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
    assert device.probe(TOTAL_CAPS).minimum > minimum, "each sample must reset the allocator's own minimum"
    later = device.stats().total_minimum_free
    measure(
        "minimum ever after the low has left the window",
        later,
        "B",
        exact=minimum,
        source="the minimum never rises",
    )


@pytest.mark.requirement("MON-05")
@pytest.mark.parametrize("memory", MEMORIES, ids=lambda memory: memory.name)
def test_fragmentation_follows_the_layout(
    device: Device, heaps: Heaps, measure: Measure, memory: Memory
) -> None:
    """Splits memory twice and lets it merge again; the reported fragmentation must follow. The original firmware showed
    46-51 % on an idle healthy board, and 7-11 % when memory had run out."""

    def reported_percent() -> int:
        return device.stats().memory(memory.name)[2]

    untouched = reported_percent()
    assert memory is PSRAM or len(heaps.regions(memory)) > 1, "internal memory must have several heaps"
    measure(
        "fragmentation, memory untouched", untouched, "%", low=0, high=UNTOUCHED_PERCENT, source=UNTOUCHED
    )

    if memory is PSRAM:
        heaps.leave(memory, 400 * KB)
    first = heaps.split(memory, block=2 * KB, count=16)
    little = reported_percent()
    measure(
        "fragmentation, memory split once",
        little,
        "%",
        exact=heaps.fragmentation(memory),
        source="arithmetic on heap.regions",
    )
    measure(
        "rise of fragmentation after the first split",
        little - untouched,
        "%",
        low=3,
        high=100,
        source="requirement MON-05",
    )
    second = heaps.split(memory, block=3 * KB, count=14)
    more = reported_percent()
    measure(
        "fragmentation, memory split twice",
        more,
        "%",
        exact=heaps.fragmentation(memory),
        source="arithmetic on heap.regions",
    )
    measure(
        "rise of fragmentation after the second split",
        more - little,
        "%",
        low=3,
        high=100,
        source="requirement MON-05",
    )

    heaps.release(second)
    heaps.release(first)
    measure(
        "fragmentation, memory merged again",
        reported_percent(),
        "%",
        low=0,
        high=UNTOUCHED_PERCENT,
        source=UNTOUCHED,
    )


# --- Between samples ----------------------------------------------------------------------------------------

WINDOW_MS = 5_000
"""Monitoring interval, long enough to allocate and free a block between two samples."""
DIP = 20 * KB
OTHERS_MAX = 1 * KB
"""Bytes that other tasks may briefly allocate while the test holds its block."""


@pytest.mark.requirement("MON-03")
@pytest.mark.parametrize("memory", MEMORIES, ids=lambda memory: memory.name)
def test_dip_between_two_samples_is_seen_in_the_windows_watermark(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure, memory: Memory
) -> None:
    """Holds and releases a block between two samples: only the watermark of that window must show the dip. The original
    firmware missed dips: a component logged 4,831 B of free DMA memory, but no sample showed it."""
    field = f"{memory.name}_watermark"
    monitor.start(WINDOW_MS)
    (quiet,) = monitor.samples(1, budget_s=INTERVAL_BUDGET_S)
    start = device.mark()
    held = heaps.hold(memory, DIP)
    low = heaps.free(memory.caps)
    heaps.release(held)
    device.stats()  # a query must not end the window
    (dip,) = monitor.samples(1, budget_s=INTERVAL_BUDGET_S)
    (after,) = monitor.samples(1, budget_s=INTERVAL_BUDGET_S)
    between = device.events("mem.sample", since=start, where=lambda event: event.n < dip.n)
    assert not between, "a sample came between allocation and release"

    free = dip.data[memory.free_field]
    measure(
        "free memory after the dip - before the dip",
        free - quiet.data[memory.free_field],
        "B",
        exact=0,
        source="the samples miss the dip",
    )
    measure(
        "lowest direct read - watermark of the window",
        low - dip.data[field],
        "B",
        low=0,
        high=OTHERS_MAX,
        source="the watermark shows this dip and no other",
    )
    measure(
        "free - watermark in the next window",
        after.data[memory.free_field] - after.data[field],
        "B",
        low=0,
        high=OTHERS_MAX,
        source="each window has a new watermark",
    )


@pytest.mark.requirement("MON-03")
def test_minimum_ever_never_rises(device: Device, heaps: Heaps, monitor: Monitor, measure: Measure) -> None:
    """Holds and releases blocks of every memory type, across samples and windows. The minimum must never rise, and
    never exceed the free memory.

    At least once, free memory falls below the minimum since boot.
    """
    monitor.start()
    first = device.stats()
    seen = [first]
    deeper = first.total_free - first.total_minimum_free + 30 * KB
    lows = [(memory, size) for memory in (*MEMORIES, *MEMORIES) for size in (30 * KB, 10 * KB)]
    lows.insert(len(lows) // 2, (PSRAM, deeper))
    for number, (memory, size) in enumerate(lows):
        held = heaps.hold(memory, size)
        seen.append(device.stats())
        heaps.release(held)
        seen.append(device.stats())
        if number % 2:
            monitor.samples(1)
    minima = [stats.total_minimum_free for stats in seen]
    rises = [later - earlier for earlier, later in pairwise(minima) if later > earlier]
    measure("rises of the minimum ever", len(rises), exact=0, source="requirement MON-03")
    measure("falls of the minimum ever", minima[0] - minima[-1], "B", min=1, source="the test's own blocks")
    above = max(stats.total_minimum_free - stats.total_free for stats in seen)
    measure(
        "minimum ever - free memory, highest of all samples",
        above,
        "B",
        max=0,
        source="the minimum never exceeds free memory",
    )


# --- Failed allocations -------------------------------------------------------------------------------------

CAP_DMA, CAP_8BIT, CAP_SPIRAM, CAP_INTERNAL = 1 << 3, 1 << 2, 1 << 10, 1 << 11
"""Values of MALLOC_CAP_… (ESP-IDF's esp_heap_caps.h)."""
TASK_STACK = 3_072
"""Stack size of the tasks that `log.load` starts."""


def failures(device: Device, since: int) -> list[MemoryEvent]:
    return [event for event in device.mem_events(since) if event.kind == "alloc_failed"]


@pytest.mark.requirement("MON-04")
def test_healthy_boot_has_no_failed_allocation(device: Device, measure: Measure) -> None:
    measure("failed allocations since boot", len(failures(device, 0)), exact=0, source="a healthy boot")
    seen = device.events("mem.alloc_failed", since=boot_start(device))
    measure("events of failed allocations since boot", len(seen), exact=0, source="a healthy boot")


@pytest.mark.requirement("MON-04")
@pytest.mark.parametrize(
    ("memory", "caps"),
    [(DMA, CAP_DMA), (INTERNAL, CAP_INTERNAL | CAP_8BIT), (PSRAM, CAP_SPIRAM)],
    ids=["dma", "internal", "psram"],
)
def test_failed_allocation_is_recorded_with_size_capabilities_and_function(
    device: Device, heaps: Heaps, measure: Measure, memory: Memory, caps: int
) -> None:
    """Requests a block larger than any free block. The failure must be recorded and reported with size, capabilities
    and function."""
    size = heaps.free(memory.caps) + 4
    start = device.mark()
    assert not heaps.can_hold(memory, size)
    kept = failures(device, 0)
    assert len(kept) == 1, f"expected 1 recorded failure, got {kept}"
    failed = kept[0]
    measure("size", failed.size, "B", exact=size, source="requested by the test")
    measure("capabilities", failed.caps, exact=caps, source="requested by the test")
    measure("function", failed.function, exact="heap_caps_malloc", source="called by heap.hold")
    event = device.wait_event("mem.alloc_failed", since=start)
    for name in ("size", "caps", "function"):
        measure(f"{name} in the event", event.data[name], exact=getattr(failed, name), source="mem.events")


@pytest.mark.requirement("MON-04")
def test_failed_allocation_has_the_time_of_its_failure(
    device: Device, heaps: Heaps, monitor: Monitor, host_pace: HostPace, measure: Measure
) -> None:
    """Makes an allocation fail just after a sample. The monitor reports it at the next sample, 2 s later, but with the
    time at which it failed."""
    monitor.start(REPORT_INTERVAL_MS)
    with host_pace():
        device.wait_event("mem.sample", since=device.mark())
        before = device.info().t
        start = device.mark()
        assert not heaps.can_hold(PSRAM, heaps.free(PSRAM.caps) + 4)
        after = device.info().t
    event = device.wait_event("mem.alloc_failed", since=start)
    reported = {
        "in the event": event.data["timestamp_ms"],
        "in the list": failures(device, 0)[-1].timestamp_ms,
    }
    assert event.t_ms > after, f"the test's own steps: reported at {event.t_ms} ms, failed before {after} ms"
    for where, time_ms in reported.items():
        is_between = before <= time_ms <= after
        print(f"time {where}: {time_ms} ms, between {before} and {after} ms")
        measure(f"time {where} matches the failure", is_between, exact=True, source="two queries around it")


@pytest.mark.requirement("MON-04")
def test_failure_is_reported_wherever_it_happens(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    """Makes two allocations fail: one of a task's stack, because of low memory, and one of a stream's buffer, by an
    injected failure.

    The monitor must report each failure at its next sample, without a request.
    """
    monitor.start()
    heaps.leave(INTERNAL, INTERNAL.reachable(TASK_STACK))
    device.callbacks(reset=True)
    start = device.mark()
    with pytest.raises(DeviceError) as refused:
        device.log_load(tasks=1)
    assert refused.value.err == "ESP_ERR_NO_MEM"
    event = device.wait_event("mem.alloc_failed", since=start)
    measure("size of a task's stack", event.data["size"], "B", exact=TASK_STACK, source="log.load")
    measure(
        "internal memory was requested", bool(event.data["caps"] & CAP_INTERNAL), exact=True, source="a stack"
    )

    device.fail("SPIRAM", nth=1)
    start = device.mark()
    with pytest.raises(DeviceError):
        device.tts_open()
    device.fail(off=True)
    event = device.wait_event("mem.alloc_failed", since=start)
    measure("size of the stream buffer", event.data["size"], "B", exact=64 * KB, source="guide: 64 KB")
    measure(
        "PSRAM was requested", bool(event.data["caps"] & CAP_SPIRAM), exact=True, source="guide: in PSRAM"
    )


@pytest.mark.requirement("MON-04")
def test_failure_inside_a_critical_section_is_only_noted(device: Device, measure: Measure) -> None:
    """Makes an allocation fail inside a critical section. The hook for failed allocations runs in that context, so the
    board would abort if the hook logged, allocated or locked."""
    boot = device.info().b
    error = device.api("fail_in_critical_section")
    measure("error", error, exact="ESP_ERR_NO_MEM", source="no chip has a block of this size")
    kept = failures(device, 0)
    assert len(kept) == 1, f"expected 1 recorded failure, got {kept}"
    failed = kept[0]
    measure("capabilities", failed.caps, exact=CAP_DMA, source="requested in the critical section")
    measure("boot id", device.info().b, exact=boot, source="no reset")
