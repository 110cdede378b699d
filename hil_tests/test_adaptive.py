"""Warning thresholds are learned per mode, and using 10 KB more than usual raises a warning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fixtures.measure import Measure
from fixtures.memory import INTERNAL, KB, MEMORIES, PSRAM, SMALLEST_STEP, Heaps, Memory, Monitor
from fixtures.modes import CAMERA, VOICE, Modes
from fixtures.variables import static_bytes
from hotpin_hil.device import Device, LearnedState

INTERVAL_MS = 200
WINDOWS = 40
"""CONFIG_HOTPIN_MEM_ADAPT_WINDOWS."""
SOURCE = "requirement FUT-06"
MORE = 10 * KB
MARGIN_MAX = MORE - KB
UNUSUAL = {"internal": 24 * KB, "dma": 24 * KB, "psram": 200 * KB}
"""Bytes used in addition, by memory type."""
ABOVE, DIP = 64, 128
"""Bytes between free memory and the threshold before the test allocates a block, and size of that block. It is larger,
so free memory crosses the threshold."""
CROSSINGS = 2
CRC_SIZE = 4
"""Size in bytes of the CRC at the end of adapt_store_t, with padding."""
SAME_CRC = (0, 4, 11, 16)
"""Distances in bytes: if the same bit flips in bytes at these distances, the CRC-16 stays the same.

(x^16 + x^12 + x^5 + 1)^8 = x^128 + x^96 + x^40 + 1
"""
COST_STATIC, COST_RTC = 64, 96
"""Limits in bytes of static and of RTC memory. The chip needs less (firmware/README.md, Memory budget), because its
pointers are shorter."""


def learn(device: Device, monitor: Monitor, mode: str) -> LearnedState:
    """Wait until the thresholds of the board's current mode are learned."""
    for _ in range(3 * WINDOWS):
        found = [row for row in device.adapt().states if row.state == mode]
        if found and found[0].learned:
            return found[0]
        monitor.samples(5)
    raise AssertionError(f"the thresholds of {mode} mode are not learned after many samples: {found}")


def start_learning(device: Device, monitor: Monitor) -> None:
    device.adapt(on=True, forget=True)
    monitor.start(INTERVAL_MS)
    monitor.samples(2)


def check_warning(
    heaps: Heaps, monitor: Monitor, measure: Measure, device: Device, learned: LearnedState
) -> None:
    """Check that holding 10 KB more than usual raises a warning at the learned threshold, and that releasing them ends
    the warning."""
    start = device.mark()
    held = heaps.hold(INTERNAL, MORE)
    threshold = monitor.warning(start, "INTERNAL_LOW").data["threshold"]
    measure("threshold of the warning", threshold, "B", exact=learned.internal, source="mem.adapt")
    heaps.release(held)
    value = monitor.recovery(start, "INTERNAL_LOW").data["value"]
    measure("free when the warning ends - threshold", value - threshold, "B", min=1, source="hysteresis")


@pytest.mark.requirement("FUT-06")
def test_more_memory_than_usual_is_warned_of_though_the_default_thresholds_hold(
    device: Device, heaps: Heaps, monitor: Monitor, modes: Modes, measure: Measure
) -> None:
    start_learning(device, monitor)
    modes.to(VOICE)
    start = device.mark()
    learned = learn(device, monitor, VOICE)
    lows = {
        memory.name: min(event.data[f"{memory.name}_watermark"] for event in monitor.samples(2))
        for memory in MEMORIES
    }
    for memory in MEMORIES:
        margin = lows[memory.name] - getattr(learned, memory.name)
        limit = MARGIN_MAX if memory is not PSRAM else 80 * KB
        measure(f"{memory.name}: usual - learned threshold", margin, "B", low=KB, high=limit, source=SOURCE)
    measure("warnings while learning", len(monitor.warnings(start)), exact=0, source=SOURCE)

    check_warning(heaps, monitor, measure, device, learned)


@pytest.mark.requirement("FUT-06")
@pytest.mark.parametrize("memory", MEMORIES, ids=lambda memory: memory.name)
def test_nothing_is_judged_by_thresholds_that_are_still_learned(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure, memory: Memory
) -> None:
    """Uses much more memory than in the first windows, before the thresholds are learned."""
    start_learning(device, monitor)
    monitor.samples(4)
    start = device.mark()
    held = heaps.hold(memory, UNUSUAL[memory.name])
    monitor.samples(4)
    (row,) = (row for row in device.adapt().states if row.state == CAMERA)
    measure("learned", row.learned, exact=False, source=f"fewer than {WINDOWS} windows")
    measure("warnings", len(monitor.warnings(start)), exact=0, source=SOURCE)
    heaps.release(held)


@pytest.mark.requirement("FUT-06")
@pytest.mark.parametrize("memory", MEMORIES, ids=lambda memory: memory.name)
def test_unusual_use_of_each_memory_type_is_warned_of(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure, memory: Memory
) -> None:
    """Learns the thresholds of camera mode, then goes below the one of this memory type."""
    start_learning(device, monitor)
    learned = learn(device, monitor, CAMERA)
    threshold = getattr(learned, memory.name)
    free = heaps.free(memory.caps)
    distance = round(100 * (free - threshold) / free)
    measure(
        "distance of the threshold", distance, "%", low=0, high=30, source="the usual use is the free memory"
    )
    start = device.mark()
    heaps.leave(memory, memory.reachable(threshold - SMALLEST_STEP))
    warned = monitor.warning(start, f"{memory.warning}_LOW").data["threshold"]
    measure("threshold of the warning", warned, "B", exact=threshold, source="mem.adapt")


@pytest.mark.requirement("FUT-06")
def test_learned_thresholds_do_not_follow_memory_that_falls_later(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    """Learns the thresholds, then holds another 500 B four times. This stays within the margin, so it raises no
    warning. The learned threshold must not change."""
    start_learning(device, monitor)
    learned = learn(device, monitor, CAMERA)
    for _ in range(4):
        heaps.hold(INTERNAL, 500)
        monitor.samples(3)
    (now,) = (row for row in device.adapt().states if row.state == CAMERA)
    measure("learned threshold afterwards", now.internal - learned.internal, "B", exact=0, source=SOURCE)


@pytest.mark.requirement("FUT-06")
def test_nothing_is_learned_while_it_is_switched_off(
    device: Device, monitor: Monitor, measure: Measure
) -> None:
    start_learning(device, monitor)
    monitor.samples(4)
    before = device.adapt(on=False).states
    monitor.samples(4)
    windows = [sum(row.windows for row in rows) for rows in (before, device.adapt().states)]
    measure("windows learned before", windows[0], min=1, source="it was switched on")
    measure("windows learned meanwhile", windows[1] - windows[0], exact=0, source=SOURCE)


@pytest.mark.requirement("FUT-06")
def test_learned_thresholds_are_kept_over_a_reset(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    """Learns the thresholds of camera mode, which the board also enters after a reset, and resets. The thresholds must
    be the same, and holding 10 KB more than usual must raise a warning."""
    start_learning(device, monitor)
    learned = learn(device, monitor, CAMERA)
    device.reboot()
    kept = [row for row in device.adapt(on=True).states if row.state == CAMERA]
    measure("the state is the one learned before the reset", kept == [learned], exact=True, source=SOURCE)
    monitor.start(INTERVAL_MS)
    monitor.samples(2)
    check_warning(heaps, monitor, measure, device, learned)


@pytest.mark.requirement("FUT-06")
def test_learned_thresholds_of_another_firmware_are_dropped(
    device: Device, monitor: Monitor, measure: Measure
) -> None:
    """Flips bits of the RTC store so that its CRC stays valid, and resets. Flips in an unused entry must change
    nothing; flips in the firmware's hash must discard the thresholds."""
    start_learning(device, monitor)
    learned = learn(device, monitor, CAMERA)
    size = device.adapt().bytes_rtc
    own = int.from_bytes(bytes.fromhex(device.info().elf_sha256)[:4], "little")
    stores = device.find_in_rtc(own)
    assert stores, "the firmware's hash is not in RTC memory"
    for place, at, expected in (
        ("an unused entry", size - CRC_SIZE - SAME_CRC[-1] - 1, [learned]),
        ("the firmware's hash", 0, []),
    ):
        for store in stores:
            for distance in SAME_CRC:
                device.flip_rtc(store + at + distance)
        device.reboot()
        kept = device.adapt().states
        is_expected = list(kept) == expected
        measure(f"states after a change of {place}", is_expected, exact=True, source=f"{SOURCE}: {kept}")


@pytest.mark.requirement("FUT-06")
def test_ordinary_mode_changes_raise_no_warning(
    device: Device, monitor: Monitor, modes: Modes, measure: Measure
) -> None:
    start_learning(device, monitor)
    start = device.mark()
    for mode in (CAMERA, VOICE):
        modes.to(mode)
        learn(device, monitor, mode)
    for _ in range(5):
        for mode in (CAMERA, VOICE):
            modes.to(mode)
            monitor.samples(3)
    measure("warnings", len(monitor.warnings(start)), exact=0, source=SOURCE)
    learned = {row.state for row in device.adapt().states if row.learned}
    measure("learned modes", ", ".join(sorted(learned)), exact="camera, voice", source="both were learned")


@pytest.mark.requirement("FUT-06")
def test_nothing_is_learned_while_a_warning_stands(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    start_learning(device, monitor)
    start = device.mark()
    device.thresholds(internal_ram_warning=heaps.free(INTERNAL.caps) + 20 * KB)
    monitor.warning(start, "INTERNAL_LOW")
    before = sum(row.windows for row in device.adapt().states)
    monitor.samples(10)
    after = sum(row.windows for row in device.adapt().states)
    measure("windows learned while a warning stands", after - before, exact=0, source=SOURCE)
    device.thresholds(default=True)
    monitor.samples(5)
    more = sum(row.windows for row in device.adapt().states)
    measure("windows learned after it", more - after, min=1, source="learning continues")


@pytest.mark.requirement("THR-08")
def test_hovering_around_a_learned_threshold_raises_one_warning(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    start_learning(device, monitor)
    learned = learn(device, monitor, CAMERA)
    for memory in MEMORIES:
        kind = f"{memory.warning}_LOW"
        above = memory.reachable(getattr(learned, memory.name))
        monitor.complete_checks(1)  # internal and DMA memory recover in one check, one event after the other
        start = device.mark()
        outer = heaps.leave(memory, above + ABOVE)
        for _ in range(CROSSINGS):
            below = heaps.hold(memory, DIP)
            monitor.complete_checks(1)
            heaps.release(below)
            monitor.complete_checks(1)
        measure(f"{kind} warnings", len(monitor.warnings(start, kind)), exact=1, source="hysteresis")
        measure(f"{kind} recoveries", len(monitor.recoveries(start, kind)), exact=0, source="hysteresis")
        heaps.release(outer)
        monitor.recovery(start, kind)


@pytest.mark.requirement("FUT-06")
def test_adaptive_thresholds_stay_within_their_cost(dut: Any, device: Device, measure: Measure) -> None:
    cost = device.adapt()
    variables = static_bytes(Path(dut.app.elf_file), "memory_adapt.c", "adapt_logic.c")
    measure("static bytes, as reported", cost.bytes_static, "B", exact=variables, source="the ELF's symbols")
    measure("static bytes", variables, "B", max=COST_STATIC, source="firmware/README.md, Memory budget")
    measure("RTC bytes", cost.bytes_rtc, "B", max=COST_RTC, source="firmware/README.md, Memory budget")
