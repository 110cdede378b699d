"""memory_manager_optimize() gives advice that matches the state of memory, and reports the reclaimed bytes
correctly."""

from __future__ import annotations

import pytest

from fixtures.audio import tone
from fixtures.measure import Measure
from fixtures.memory import DMA, INTERNAL, KB, PSRAM, TOTAL_CAPS, Heaps, Monitor
from fixtures.modes import VOICE, Modes
from hotpin_hil.analysis.heap_layout import BLOCK_OVERHEAD, largest_request
from hotpin_hil.device import Device

RESTART_AUDIO = "restart the audio driver"
ADVICE = {
    "internal pressure": "internal RAM is low",
    "DMA pressure": "DMA-capable RAM is low",
    "PSRAM pressure": "PSRAM is low",
    "internal fragmentation": "internal RAM is fragmented",
    "audio": RESTART_AUDIO,
    "PSRAM fragmentation": "PSRAM is fragmented",
}
"""Text of each piece of advice."""

ALL_MEMORY = 16 * KB * KB
"""A warning threshold above the board's total memory."""
RESTART_PERCENT = 40
WARNING_PERCENT = 30
HOLE = 512
HOLES_MAX = 48
STEP = 0.004
"""Increment of the fragmentation as a fraction (0.01 = 1 %), small enough not to skip a percent."""
SOURCE = "requirement API-10"


def check_advice(device: Device, measure: Measure, when: str, expected: set[str]) -> None:
    """Check that the reply has the expected advice, and that the board logs it as warnings."""
    start = device.mark()
    advice = device.optimize().advice
    given = {name for name, text in ADVICE.items() if any(text in line for line in advice)}
    measure(f"{when}: advice", ", ".join(sorted(given)), exact=", ".join(sorted(expected)), source=SOURCE)
    measure(f"{when}: pieces of advice", len(advice), exact=len(expected), source="no further advice")
    device.wait_line(r"optimisation reclaimed -?\d+ bytes", since=start)
    logged = [line.text for line in device.log_lines(start) if line.tag == "MEM_MGR" and line.level == "W"]
    measure(
        f"{when}: advice in the log",
        "; ".join(logged),
        exact="; ".join(advice),
        source="the log repeats the reply",
    )


@pytest.mark.requirement("API-10")
def test_advice_matches_the_pressure(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    """Sets free memory to just above and just below the default warning levels; the advice must match."""
    monitor.stop()
    check_advice(device, measure, "as booted", set())
    for memory, free, expected in (
        (INTERNAL, INTERNAL.reachable(50 * KB), set()),
        (INTERNAL, INTERNAL.reachable(50 * KB) - 4, {"internal pressure"}),
        (DMA, DMA.reachable(35 * KB) - 4, {"internal pressure", "DMA pressure"}),
        (PSRAM, 500 * KB, set()),
        (PSRAM, 500 * KB - 4, {"PSRAM pressure"}),
    ):
        held = heaps.leave(memory, free)
        percent = max(heaps.fragmentation(memory) for memory in (DMA, PSRAM))
        assert percent < WARNING_PERCENT, (
            f"filling memory fragmented it by {percent} %; this test allows at most {WARNING_PERCENT - 1} %"
        )
        check_advice(device, measure, f"{free} B of {memory.name} free", expected)
        heaps.release(held)
    check_advice(device, measure, "all given back", set())


@pytest.mark.requirement("API-10")
def test_audio_restart_is_advised_from_40_percent_of_dma_fragmentation(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    """Makes many small holes, then allocates from the large blocks, which raises fragmentation. The first allocation
    raises it to just below the first level; the next ones raise it past both levels in steps of less than a percent.

    On the ESP32, DMA-capable and byte-accessible internal memory are the same heaps, so both have the same
    fragmentation.
    """
    monitor.stop()
    device.thresholds(internal_ram_warning=0, internal_ram_critical=0)
    device.thresholds(dma_capable_warning=0, dma_capable_critical=0)
    holes = min(HOLES_MAX, heaps.free(DMA.caps) // 5 // HOLE)
    heaps.split(DMA, block=HOLE, count=2 * holes)
    seen: set[int] = set()
    while (percent := heaps.fragmentation(DMA)) <= RESTART_PERCENT + 2:
        seen.add(percent)
        if percent >= WARNING_PERCENT - 2:
            expected = {"internal fragmentation"} if percent >= WARNING_PERCENT else set()
            expected |= {"audio"} if percent >= RESTART_PERCENT else set()
            check_advice(device, measure, f"DMA fragmented by {percent} %", expected)
        hold_towards(heaps, max((WARNING_PERCENT - 2) / 100, share_scattered(heaps) + STEP))
    assert {RESTART_PERCENT - 1, RESTART_PERCENT} <= seen, (
        f"fragmentation only took these values: {sorted(seen)} %"
    )

    # All pieces of advice together do not fit into one record of the reply.
    heaps.split(PSRAM, block=8 * KB, count=2 * HOLES_MAX)
    device.thresholds(default=True)
    device.thresholds(internal_ram_warning=ALL_MEMORY, dma_capable_warning=ALL_MEMORY)
    device.thresholds(psram_warning=ALL_MEMORY, fragmentation_warning=1)
    check_advice(device, measure, "everything at once", set(ADVICE))


def share_scattered(heaps: Heaps) -> float:
    """Fraction of free DMA memory outside the largest blocks of its heaps, from 0 to 1."""
    regions = heaps.regions(DMA)
    return 1 - sum(region.largest for region in regions) / sum(region.free for region in regions)


def hold_towards(heaps: Heaps, share: float) -> None:
    """Allocate one block. Afterwards, at most the fraction `share` of free DMA memory is outside the largest blocks.

    The allocated block is larger than any hole, so it comes from a heap's largest block.
    """
    regions = heaps.regions(DMA)
    free = sum(region.free for region in regions)
    scattered = free - sum(region.largest for region in regions)
    size = int(free - scattered / share) // 4 * 4
    heaps.hold(DMA, max(HOLE + 64, min(size, largest_request(regions))))


@pytest.mark.requirement("API-10")
def test_psram_fragmentation_has_its_own_advice(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    monitor.stop()
    heaps.leave(PSRAM, 1_200 * KB)
    heaps.split(PSRAM, block=8 * KB)
    assert heaps.fragmentation(PSRAM) >= WARNING_PERCENT
    check_advice(device, measure, "PSRAM fragmented", {"PSRAM fragmentation"})


@pytest.mark.requirement("API-10")
def test_reclaimed_bytes_match_direct_reads(
    device: Device, heaps: Heaps, modes: Modes, measure: Measure
) -> None:
    """Plays a TTS stream to its end and leaves it open. The state manager's reclaimer must close the stream, and the
    reported bytes must match direct reads.

    Monitoring stays on; without it, a short-lived task would write each log, and its stack would disturb the readings.
    """
    nothing = device.optimize().reclaimed
    measure("memory reclaimed when no stream is open", nothing, "B", exact=0, source=SOURCE)
    modes.to(VOICE)
    idle = heaps.free(TOTAL_CAPS)
    modes.play(tone(1_600))
    before = heaps.free(TOTAL_CAPS)
    assert idle - before > 64 * KB, "the stream's buffer must be allocated"
    reclaimed = device.optimize().reclaimed
    after = heaps.free(TOTAL_CAPS)
    measure("memory reclaimed", reclaimed, "B", exact=after - before, source="direct reads before and after")
    measure(
        "memory reclaimed from a played stream",
        reclaimed,
        "B",
        min=64 * KB + BLOCK_OVERHEAD,
        source="the stream's buffer",
    )
    measure("total free afterwards", after, "B", exact=idle, source="free memory before the stream")
