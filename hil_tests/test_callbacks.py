"""The memory manager calls its callbacks for each memory type on entering and leaving a level, with no lock held.

The tests move thresholds so that memory crosses levels. The console (`bench.run what=threshold`) or the monitor makes
the check.
"""

from __future__ import annotations

from typing import Any

import pytest

from fixtures.measure import Measure
from fixtures.memory import KB, MEMORIES, PSRAM, Heaps, Monitor, only
from fixtures.poll import poll
from hotpin_hil.device import Device

pytestmark = pytest.mark.requirement("API-09")

CALLBACKS_MAX = 8
"""Maximum length of each list of callbacks (MEMORY_CALLBACKS_MAX in memory_manager.h)."""
BYTES = ("internal_ram", "dma_capable", "psram")
KINDS = {"internal_ram": "INTERNAL", "dma_capable": "DMA", "psram": "PSRAM"}
FAST_MS, SLOW_MS = 100, 3_600_000
POLLS = 500
QUERIES = (
    "mem.stats",
    "mem.free",
    "mem.thresholds",
    "mem.history",
    "mem.events",
    "mem.baseline",
    "mem.self",
    "mem.optimize",
    "mode.get",
    "sys.info",
    "heap.regions",
)


def crossed(device: Device, level: str, distance: int) -> dict[str, int]:
    """Thresholds of this level: `distance` bytes above each memory type's free memory, plus 4 KB for the second type
    and 8 KB for the third."""
    stats = device.stats()
    found = {}
    for number, (name, memory) in enumerate(zip(BYTES, MEMORIES, strict=True)):
        found[f"{name}_{level}"] = stats.memory(memory.name)[0] + distance + 4 * KB * number
    return found


def check(device: Device) -> list[dict[str, Any]]:
    """Checks the thresholds once; returns the callback calls that this caused."""
    count = len(device.callbacks()["calls"])
    device.bench("threshold", 1)
    calls: list[dict[str, Any]] = device.callbacks()["calls"]
    return calls[count:]


def texts(calls: list[dict[str, Any]], thresholds: dict[str, int]) -> str:
    """The calls as text. It contains a threshold only if the threshold is wrong, so correct calls give the same text on
    all boards."""
    return ", ".join(
        f"{call['callback']} {call['kind']} {call['type']}"
        + (
            ""
            if call["threshold"] == thresholds.get(call["type"])
            else f" with threshold {call['threshold']}"
        )
        for call in calls
    )


def test_every_callback_is_called_for_every_level_of_one_check(device: Device, measure: Measure) -> None:
    """Makes all memory types and the fragmentation enter the warning level, then the critical level, and leave both,
    each in one check. Every check must call all callbacks, once per memory type and for the fragmentation."""
    # The monitor's task exists, but its interval is too long for a sample during the test.
    device.monitor(start=SLOW_MS)
    device.thresholds(**only())
    low = {**crossed(device, "warning", 12 * KB), "fragmentation_warning": 0}
    critical = {**crossed(device, "critical", 8 * KB), "fragmentation_critical": 0}
    steps = {
        "to the first levels": ("warning", "LOW", "warning", only(**low)),
        "to the critical levels": ("warning", "CRITICAL", "critical", only(**low, **critical)),
        "back to the first levels": ("recovered", "CRITICAL", "critical", only(**low)),
        "to none": ("recovered", "LOW", "warning", only()),
    }
    for what, (kind, suffix, level, levels) in steps.items():
        device.callbacks(reset=True)
        device.callbacks(add=CALLBACKS_MAX)
        device.thresholds(**levels)
        calls = check(device)
        thresholds = {f"{KINDS[name]}_{suffix}": levels[f"{name}_{level}"] for name in BYTES}
        thresholds["FRAGMENTATION_HIGH"] = levels[f"fragmentation_{level}"]
        expected = [
            f"{number} {kind} {type_name}" for type_name in thresholds for number in range(CALLBACKS_MAX)
        ]
        measure(
            f"{what}: calls", texts(calls, thresholds), exact=", ".join(expected), source="PROTOCOL.md §1"
        )
        stats = device.stats()
        for name, memory in zip(BYTES, MEMORIES, strict=True):
            free = stats.memory(memory.name)[0]
            off = {call["value"] - free for call in calls if call["type"] == f"{KINDS[name]}_{suffix}"}
            measure(
                f"{what}: values of {memory.name} - free memory", str(off), exact=str({0}), source="mem.stats"
            )


def trigger(device: Device, monitor: Monitor) -> None:
    """Makes PSRAM enter the level PSRAM_LOW at a check of the monitor."""
    start = device.mark()
    device.thresholds(**only(psram_warning=8 * KB * KB))
    monitor.start(FAST_MS)
    monitor.warning(start, "PSRAM_LOW")


def test_no_lock_is_held_while_a_callback_runs(device: Device, monitor: Monitor, measure: Measure) -> None:
    """Blocks a callback. Meanwhile queries, logs and settings must work: only the monitor's task waits."""
    device.callbacks(reset=True)
    device.callbacks(add=2, call="block")
    trigger(device, monitor)
    blocked = poll(device.callbacks, lambda state: bool(state["blocked"]), "a blocked callback", POLLS)
    measure(
        "calls of the callbacks",
        len(blocked["calls"]),
        exact=1,
        source="the second callback waits for the first",
    )
    for command in QUERIES:
        device.command(command)
    device.log("Meanwhile")
    device.thresholds(psram_warning=8 * KB * KB - 4)
    device.baseline(set=True)
    device.monitor(start=2 * FAST_MS)
    device.bench("threshold", 1)
    measure(
        "the callback still blocks",
        device.callbacks()["blocked"],
        exact=True,
        source="no command waited for the callback",
    )
    drivers_free = device.resources().drivers_free
    measure("the drivers' lock is free", drivers_free, exact=True, source="sys.resources")
    device.callbacks(go=True)
    after = poll(device.callbacks, lambda state: not state["blocked"], "the end of the callback", POLLS)
    measure("result of the blocked call", after["called"], exact="ESP_OK", source="it did not time out")
    poll(device.callbacks, lambda state: len(state["calls"]) == 2, "the second callback", POLLS)
    samples = monitor.complete_checks(1)
    measure("samples afterwards", len(samples), exact=1, source="the monitor keeps running")


def test_a_callback_may_call_the_manager(device: Device, monitor: Monitor, measure: Measure) -> None:
    """Registers callbacks that call a function of the manager from the monitor's task, for each function in turn. The
    call must succeed, both when a level is entered and when it is left."""
    names = [name for name in device.callbacks()["can_call"] if name not in ("block", "panic")]
    assert len(names) >= 15, f"callbacks can call only {names}"
    for name in names:
        device.callbacks(reset=True)
        device.callbacks(add=2, call=name)
        for kind, levels in (("warning", only(psram_warning=8 * KB * KB)), ("recovered", only())):
            start = device.mark()
            monitor.start(FAST_MS)  # before the thresholds change, because the callback may stop monitoring
            device.thresholds(**levels)
            device.wait_event(f"mem.{kind}", since=start)
            calls = poll(
                lambda: device.callbacks()["calls"],
                lambda calls, kind=kind: (
                    [call["callback"] for call in calls if call["kind"] == kind] == [0, 1]
                ),  # type: ignore[misc]
                f"both callbacks after {name}",
                POLLS,
            )
            measure(
                f"{name}, {kind}: calls", len(calls), exact=2 if kind == "warning" else 4, source="API-09"
            )
        state = device.callbacks()
        measure(f"{name}: result of the call", state["called"], exact="ESP_OK", source="allowed from inside")
        running = device.monitor().running
        measure(f"{name}: monitoring", running, exact=name != "stop_monitoring", source="the call itself")


@pytest.mark.requirement("API-09")
@pytest.mark.parametrize("removed", [0, 1, 3])
def test_callbacks_around_a_removed_one_are_called(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure, removed: int
) -> None:
    """Unregisters the first, an inner or the last of four callbacks: each of the others must be called once for a
    warning and once for the recovery."""
    device.callbacks(reset=True, add=4)
    device.callbacks(remove=removed)
    device.thresholds(**only(psram_warning=heaps.free(PSRAM.caps) - 4 * KB))
    monitor.start()
    start = device.mark()
    held = heaps.hold(PSRAM, 16 * KB)
    monitor.warning(start, "PSRAM_LOW")
    heaps.release(held)
    device.thresholds(**only())
    monitor.recovery(start, "PSRAM_LOW")
    calls = [(call["callback"], call["kind"]) for call in device.callbacks()["calls"]]
    device.callbacks(reset=True)  # the fixture that compares callbacks with events knows no gaps
    left = [number for number in range(4) if number != removed]
    expected = [(number, kind) for kind in ("warning", "recovered") for number in left]
    measure("calls", str(calls), exact=str(expected), source="memory_manager.h: in the order of registration")
