"""The guide's troubleshooting section as tests: the board's reports must lead from a symptom to its cause.

Each test plants a cause and then identifies it from the board's output alone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import pytest

from fixtures.measure import Measure, Series
from fixtures.memory import DMA, INTERNAL, KB, PSRAM, Heaps, Memory, Monitor, fill_small_holes
from fixtures.modes import CAMERA, VOICE, Modes
from hotpin_hil.analysis.heap_layout import BLOCK_OVERHEAD, HeapState, fits_one, largest_request
from hotpin_hil.analysis.leak import BUDGET_PER_CYCLE, Leak, LeakVerdict, find_leak
from hotpin_hil.device import Device, Event
from hotpin_hil.link.channel import Cursor

# --- ESP_ERR_NO_MEM -----------------------------------------------------------------------------------------

I2S_BLOCK = 4_080
"""Size of one TX buffer: 1,020 stereo frames of 16 bits."""
CAMERA_BLOCK = 32_768
RECORDED_FREE = 27_267
"""Free DMA memory in the recorded logs when I2S failed."""
PIECE = 3 * KB
"""Size of free blocks too small for an I2S buffer."""


def sample_before(device: Device, moment_ms: int) -> Event:
    """The last statistics before this time on the board's clock. Call this function after all pending log output has
    been written."""
    samples = device.events("mem.sample", since=Cursor())
    earlier = [event for event in samples if event.data["timestamp_ms"] <= moment_ms]
    assert earlier, f"no statistics were recorded before {moment_ms} ms"
    return max(earlier, key=lambda event: int(event.data["snapshot"]))


@pytest.mark.requirement("DIAG-01")
def test_no_mem_names_the_missing_block_the_memory_before_it_and_who_holds_it(
    device: Device, heaps: Heaps, monitor: Monitor, modes: Modes, measure: Measure
) -> None:
    """Fills and splits DMA memory so that I2S fails as in the recorded logs, where the board had 27,267 B free for
    25,980 B but no block large enough.

    The board must report the missing block and the memory before the failure. A comparison with a healthy state
    identifies the user of the memory: the mode's drivers use as much as before, so another part of the firmware uses
    the missing bytes.
    """
    modes.warm_up()
    monitor.stop()
    device.baseline(set=True, state="healthy")
    healthy = heaps.free(DMA.caps)
    heaps.leave(DMA, DMA.reachable(80 * KB))
    heaps.split(DMA, block=PIECE)
    while heaps.can_hold(DMA, I2S_BLOCK):  # the free end of a heap may have merged with the last free piece
        heaps.hold(DMA, I2S_BLOCK)
    while heaps.free(DMA.caps) > RECORDED_FREE + 2 * PIECE and heaps.can_hold(DMA, PIECE):
        heaps.hold(DMA, PIECE)  # the number of free pieces must not depend on the board's heaps
    taken = healthy - heaps.free(DMA.caps)
    regions = heaps.regions(DMA)
    assert heaps.free(DMA.caps) > RECORDED_FREE
    assert not fits_one(regions, I2S_BLOCK)

    start = device.mark()
    error = modes.refused(VOICE)
    failed = device.mode().failed
    assert failed is not None
    (change,) = device.events("mode", since=start)
    largest = largest_request(regions)
    measure("error", error.err, exact="ESP_ERR_NO_MEM", source="guide: ESP_ERR_NO_MEM errors")
    measure(
        "name of the missing block", failed.block, exact="I2S DMA", source="the first driver of voice mode"
    )
    measure("missing block", failed.missing, "B", exact=I2S_BLOCK, source="facts: TX buffers of 4,080 B")
    measure("largest free block", failed.largest, "B", exact=largest, source="arithmetic on heap.regions")
    measure("missing block in the event", change.data["missing"], "B", exact=I2S_BLOCK, source="mode.get")

    monitor.stop()  # waits until all records of the log are written
    before = sample_before(device, change.t_ms)
    context = before.data["context"]
    measure(
        "last statistics before the failure",
        context,
        exact="Before Voice Transition",
        source="guide: review memory logs",
    )
    measure(
        "DMA free before the failure",
        before.data["dma_free"],
        "B",
        exact=heaps.free(DMA.caps),
        source="heap.probe",
    )
    history = device.history(1)[0]
    measure(
        "newest snapshot kept",
        history.context,
        exact="Before Voice Transition",
        source="snapshots survive a reset",
    )

    baseline = device.baseline(state="healthy")
    holder = baseline["dma"] - before.data["dma_free"]
    measure(
        "DMA memory not held by the mode's drivers",
        holder,
        "B",
        exact=taken,
        source="memory allocated by the test",
    )


@pytest.mark.requirement("DIAG-01")
def test_no_mem_of_a_driver_shows_in_ledger_and_failed_allocation(
    device: Device, heaps: Heaps, modes: Modes, measure: Measure
) -> None:
    """Makes an allocation inside a driver fail, although the admission found enough memory: the board must report its
    size, the step, and the memory."""
    modes.warm_up()
    before = heaps.free(INTERNAL.caps)
    device.fail("DMA", nth=3)
    modes.refused(VOICE)
    device.fail(off=True)
    (failure,) = [event for event in device.mem_events() if event.kind == "alloc_failed"]
    failed = device.mode().failed
    assert failed is not None
    entries = device.ledger()
    step = next(entry for entry in entries if entry.err != "ESP_OK")
    measure("step that failed", failed.step, exact=step.step, source="the ledger's entry with an error")
    measure(
        "step of the audio driver",
        step.step,
        exact="audio.start",
        source="the first step that allocates DMA memory",
    )
    measure("size of the missing block", failed.missing, "B", exact=failure.size, source="mem.events")
    measure(
        "function", str(failure.function).startswith("heap_caps_"), exact=True, source=str(failure.function)
    )
    given_back = next(entry for entry in entries if entry.step == "camera.stop" and not entry.undo)
    measure(
        "internal free before the first step",
        given_back.internal_before,
        "B",
        exact=before,
        source="heap.probe",
    )
    measure(
        "memory freed by the first step",
        given_back.internal_after - given_back.internal_before,
        "B",
        min=CAMERA_BLOCK,
        source="real_boards.md: the camera holds a DMA block of this size, among others",
    )
    measure(
        "memory kept by the failed step",
        step.internal_before - step.internal_after,
        "B",
        exact=0,
        source="no leak",
    )
    undone = [entry.step for entry in entries if entry.undo]
    measure("steps undone", ", ".join(undone), exact="settle.down, camera.stop", source="reverse order")


@pytest.mark.needs("camera")
@pytest.mark.requirement("DIAG-01")
def test_no_mem_of_the_camera_is_reported_as_such(device: Device, modes: Modes, measure: Measure) -> None:
    """Makes the camera driver's first allocation of each memory type fail, for which the driver returns different
    errors."""
    modes.warm_up()
    for caps in ("SPIRAM", "DMA"):
        modes.to(VOICE)
        device.fail(caps, nth=1)
        error = modes.refused(CAMERA)
        device.fail(off=True)
        failed = device.mode().failed
        assert failed is not None
        measure(f"{caps}: error", error.err, exact="ESP_ERR_NO_MEM", source="camera_controller.h")
        measure(f"{caps}: bytes are missing", bool(failed.missing), exact=True, source="heap.fail")


# --- High fragmentation -------------------------------------------------------------------------------------


def scattered(regions: list[HeapState]) -> dict[int, int]:
    """Start address of each heap with free bytes outside its largest free block -> number of these bytes."""
    return {region.start: region.free - region.largest for region in regions if region.free > region.largest}


def total(regions: list[HeapState]) -> int:
    """Sum of `scattered` over all heaps."""
    return sum(scattered(regions).values())


def most_scattered(before: list[HeapState], after: list[HeapState]) -> int:
    """Start address of the heap in which free memory outside the largest block grew most."""
    known = scattered(before)
    grown = {start: lost - known.get(start, 0) for start, lost in scattered(after).items()}
    return max(grown, key=lambda start: grown[start])


@dataclass(frozen=True)
class Split:
    """A way to split memory in one mode. `leave`: bytes left free before the split, so that the split is visible."""

    mode: str
    memory: Memory
    leave: int | None
    block: int
    count: int


SPLITS = [
    pytest.param(Split(mode, *how), id=f"{how[0].name}_in_{mode}")
    for mode in (CAMERA, VOICE)
    for how in ((DMA, None, KB, 40), (PSRAM, 600 * KB, 4 * KB, 60))
]


@pytest.mark.requirement("DIAG-02")
@pytest.mark.parametrize("split", SPLITS)
def test_fragmentation_is_traced_to_its_region_and_its_mode(
    device: Device, heaps: Heaps, modes: Modes, measure: Measure, split: Split
) -> None:
    """Splits memory in one mode of a cycle.

    The statistics logged on entering and leaving each mode must identify the mode; the heap maps read at the same times
    must identify the mode and the heap.
    """
    modes.warm_up()
    modes.to(VOICE)
    if split.leave is not None:
        heaps.leave(split.memory, split.leave)
    start = device.mark()
    maps: dict[str, list[list[HeapState]]] = {}
    for mode in (VOICE, CAMERA):
        if device.mode().mode != mode:
            modes.to(mode)
        device.log(f"Entering {mode}")
        maps[mode] = [heaps.regions(split.memory)]
        if mode == split.mode:
            heaps.split(split.memory, block=split.block, count=split.count)
        maps[mode].append(heaps.regions(split.memory))
        device.log(f"Leaving {mode}")

    grown = {mode: total(later) - total(first) for mode, (first, later) in maps.items()}
    found = max(grown, key=lambda mode: grown[mode])
    measure(
        "mode in which memory was split, by the maps", found, exact=split.mode, source="planted by the test"
    )
    percent = {context: logged_percent(device, split.memory, context, start) for context in contexts(maps)}
    rises = {mode: percent[f"Leaving {mode}"] - percent[f"Entering {mode}"] for mode in maps}
    found = max(rises, key=lambda mode: rises[mode])
    measure(
        "mode in which memory was split, by the log", found, exact=split.mode, source="planted by the test"
    )
    measure(
        "rise of fragmentation in that mode",
        rises[split.mode],
        "%",
        min=5,
        source="the statistics show the split",
    )
    before, after = maps[split.mode]
    region = most_scattered(before, after)
    (heap,) = (heap for heap in after if heap.start == region)
    measure(
        f"free bytes outside the largest block of the heap at 0x{region:08x}",
        heap.free - heap.largest,
        "B",
        min=split.block * split.count // 8,
        source="the heap with most of the split blocks",
    )


def contexts(maps: dict[str, list[list[HeapState]]]) -> list[str]:
    return [f"{moment} {mode}" for mode in maps for moment in ("Entering", "Leaving")]


def logged_percent(device: Device, memory: Memory, context: str, since: Cursor) -> int:
    """Fragmentation in the statistics logged under this context."""
    event = device.wait_event("mem.sample", since=since, where=lambda event: event.data["context"] == context)
    return int(event.data[f"{memory.name}_fragmentation"])


BLOCKS = 4
BLOCK = 6 * KB


def hold_row(heaps: Heaps, memory: Memory) -> tuple[list[int], list[int]]:
    """Hold a row of adjacent blocks in one heap, followed by a free block larger than half of the row.

    Returns: The row, and the blocks that had to be held before the allocator reached such a place.
    """
    passed: list[int] = []
    row: list[int] = []
    place = None
    before = {region.start: region for region in heaps.regions(memory)}
    while True:
        block = heaps.hold(memory, BLOCK)
        after = {region.start: region for region in heaps.regions(memory)}
        (start,) = (start for start, region in after.items() if region.free != before[start].free)
        # The block was cut from the start of the heap's largest block, like the previous block.
        follows = before[start].largest - after[start].largest == before[start].free - after[start].free
        if start != place or not follows:
            passed, row, place = passed + row, [], start
        row.append(block)
        if len(row) > BLOCKS:
            passed.append(row.pop(0))
        if len(row) == BLOCKS and after[start].largest > BLOCKS // 2 * (BLOCK + 4 * BLOCK_OVERHEAD):
            return row, passed
        before = after


@pytest.mark.requirement("DIAG-02")
@pytest.mark.parametrize("memory", [DMA, PSRAM], ids=["dma", "psram"])
def test_reverse_order_release_leaves_less_fragmentation(
    device: Device, heaps: Heaps, measure: Measure, memory: Memory
) -> None:
    """Allocates a row of adjacent blocks and frees half of it, in reverse order or in the order of allocation. Compares
    the free bytes outside the largest block."""
    left = {}
    for order in ("reverse", "same"):
        held, passed = hold_row(heaps, memory)
        before = total(heaps.regions(memory))
        given_back = (held[::-1] if order == "reverse" else held)[: BLOCKS // 2]
        for block in given_back:
            heaps.release(block)
        left[order] = total(heaps.regions(memory)) - before
        percent = device.stats().memory(memory.name)[2]
        measure(
            f"fragmentation after {order} order",
            percent,
            "%",
            exact=heaps.fragmentation(memory),
            source="arithmetic on heap.regions",
        )
        for block in (set(held) - set(given_back)) | set(passed):
            heaps.release(block)
    measure(
        "freed in reverse order: free bytes outside the largest block",
        left["reverse"],
        "B",
        exact=0,
        source="guide: release in reverse order",
    )
    measure(
        "freed in allocation order: free bytes outside the largest block",
        left["same"],
        "B",
        low=BLOCKS // 2 * BLOCK,
        high=BLOCKS // 2 * (BLOCK + 4 * BLOCK_OVERHEAD),
        source="guide, High Fragmentation: the blocks that were allocated first",
    )


# --- Memory slowly decreasing -------------------------------------------------------------------------------

CYCLES = 36
QUIET_MS = 600_000
"""Monitoring interval. While the monitor is running, the manager needs no short-lived task to write statistics."""
PLANTED = 16
SETTLING = 20
"""Cycles before the first reading. Until the leaked blocks have filled the holes between the drivers' blocks, a
driver's block may also use the remainder of its hole, which appears as noise in the readings."""


def run_cycles(device: Device, modes: Modes, memory: Memory, series: Series) -> Leak:
    """Run CYCLES cycles and return the leak verdict on free memory in camera mode."""
    free = []
    for _ in range(CYCLES):
        modes.cycle()
        free.append(device.probe(memory.caps).free)
    series(f"{memory.name} free in camera mode", free, "B", BUDGET_PER_CYCLE)
    return find_leak(free)


@pytest.mark.requirement("DIAG-03")
@pytest.mark.parametrize("memory", [INTERNAL, PSRAM], ids=["internal", "psram"])
def test_planted_leak_of_16_bytes_per_cycle_is_found_and_its_size_estimated(
    device: Device, modes: Modes, measure: Measure, series: Series, memory: Memory
) -> None:
    device.monitor(start=QUIET_MS)
    fill_small_holes(device, memory.caps, PLANTED)
    device.leak(memory.caps, bytes=PLANTED, every="cycle")
    for _ in range(SETTLING):
        modes.cycle()
    leak = run_cycles(device, modes, memory, series)
    leaked = device.leak(off=True)["leaked"]
    assert leaked == SETTLING + CYCLES, f"{leaked} leaks were planted, not {SETTLING + CYCLES}"
    measure("verdict", str(leak.verdict), exact=str(LeakVerdict.LEAK), source=str(leak))
    measure(
        "estimated leak",
        leak.slope,
        "B/cycle",
        low=PLANTED,
        high=PLANTED + 2 * BLOCK_OVERHEAD,
        source="16 B planted, plus the header of each block",
    )
    measure(
        "lower bound of the estimate",
        leak.low,
        "B/cycle",
        min=BUDGET_PER_CYCLE,
        source="the planted leak exceeds the budget",
    )
    measure(
        "smallest leak that this run finds",
        leak.detectable,
        "B/cycle",
        max=PLANTED,
        source="the planted leak",
    )


@pytest.mark.requirement("DIAG-03")
def test_planted_leak_adds_to_no_other_hold(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    """Releases the blocks leaked so far, then holds a block, which gets the leak's former id. The leak must continue
    under another id."""
    before = device.resources().holds
    monitor.start()
    device.leak(PSRAM.caps, bytes=PLANTED, every="sample")
    monitor.samples(2)
    monitor.stop()
    device.release()
    other = heaps.hold(PSRAM, KB)
    monitor.start()
    monitor.samples(3)
    leak = device.leak(off=True)
    measure("id of the other hold", other, exact=1, source="the lowest free id, formerly the leak's")
    holds = device.resources().holds - before
    measure("blocks leaked", leak["leaked"], min=4, source="one block at each sample")
    measure("holds", holds, exact=2, source="the other hold, and a new hold of the leak")
    measure("bytes of the other hold", device.release(other), "B", low=KB, high=KB + 12, source="one block")


@pytest.mark.requirement("DIAG-03")
def test_clean_run_raises_no_false_alarm(
    device: Device, modes: Modes, measure: Measure, series: Series
) -> None:
    """Runs the same number of cycles without a planted leak, for internal memory and PSRAM."""
    device.monitor(start=QUIET_MS)
    readings: dict[str, list[int]] = {"internal": [], "psram": []}
    for _ in range(CYCLES):
        modes.cycle()
        reading = asdict(modes.read())
        for name, values in readings.items():
            values.append(reading[name])
    for name, values in readings.items():
        series(f"{name} free in camera mode", values, "B", BUDGET_PER_CYCLE)
        leak = find_leak(values)
        measure(f"{name}: verdict", str(leak.verdict), exact=str(LeakVerdict.WITHIN_BUDGET), source=str(leak))
