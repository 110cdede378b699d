"""Monitoring can be started, changed and stopped any number of times without leaking memory or tasks."""

from __future__ import annotations

from itertools import pairwise

import pytest

from fixtures.measure import Measure
from fixtures.memory import MEMORIES, Heaps, Monitor
from fixtures.poll import wait_for_time
from hotpin_hil.device import Device, DeviceError

ROUNDS = 100
SLOW_MS, FAST_MS = 60_000, 400
TICKS_MS = 20
MINIMUM_MS = 100
"""CONFIG_HOTPIN_MEM_MIN_INTERVAL_MS of builds with the console."""
INTERVAL_TOLERANCE = 0.01
"""Requirement MON-01."""

SOURCE = "requirement API-05"


@pytest.mark.requirement("API-05")
def test_hundred_starts_changes_and_stops_leave_nothing_behind(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    """Compares direct readings of memory, heap blocks and tasks before and after 100 rounds. Monitoring is off during
    both readings."""

    def read_all() -> dict[str, int]:
        monitor.stop()
        found = {f"{memory.name} free": heaps.free(memory.caps) for memory in MEMORIES}
        return {**found, "blocks": sum(heap.blocks for heap in device.regions()), "tasks": device.tasks()}

    before = read_all()
    wrong = 0
    for _ in range(ROUNDS):
        wrong += device.monitor(start=SLOW_MS).interval_ms != SLOW_MS
        wrong += device.monitor(start=FAST_MS).interval_ms != FAST_MS
        wrong += device.monitor(stop=True).running
        wrong += not device.monitor(start=SLOW_MS).running
    with_monitor = device.tasks()
    after = read_all()
    measure("answers that differ from the request", wrong, exact=0, source=SOURCE)
    for what, value in before.items():
        measure(f"{what} after {ROUNDS} rounds - before", after[what] - value, exact=0, source=SOURCE)
    measure("tasks used by monitoring", with_monitor - before["tasks"], exact=1, source="one monitor task")


@pytest.mark.requirement("API-05")
def test_interval_is_the_one_started_last(device: Device, monitor: Monitor, measure: Measure) -> None:
    """Starts monitoring with two intervals, one after the other. Samples must follow the current interval, and end when
    monitoring stops."""
    for interval in (FAST_MS, 2 * FAST_MS):
        monitor.start(interval)
        stamps = [event.data["timestamp_ms"] for event in monitor.samples(4)]
        for earlier, later in pairwise(stamps):
            measure(
                f"interval of {interval} ms",
                later - earlier,
                "ms",
                low=interval * (1 - INTERVAL_TOLERANCE),
                high=interval * (1 + INTERVAL_TOLERANCE),
                source="requirement MON-01, by the board's clock",
            )
    monitor.stop()
    start = device.mark()
    samples = device.monitor().samples
    wait_for_time(device, device.info().t + 3 * FAST_MS)
    measure("samples after stop", device.monitor().samples - samples, exact=0, source=SOURCE)
    measure("records after stop", len(device.events("mem.sample", since=start)), exact=0, source=SOURCE)


@pytest.mark.requirement("API-05")
@pytest.mark.parametrize(
    ("before", "interval"),
    [(SLOW_MS, FAST_MS), (FAST_MS, 2 * FAST_MS), (None, FAST_MS)],
    ids=["shorter", "longer", "started"],
)
def test_new_interval_applies_at_once(
    device: Device, monitor: Monitor, measure: Measure, before: int | None, interval: int
) -> None:
    """Changes the interval, or starts the stopped monitor. The next sample must be taken one new interval later: not at
    once, and not when the old interval ends."""
    if before is None:
        monitor.stop()
    else:
        monitor.start(before)
    changed_ms = int(device.command("mem.monitor", start=interval)["t"])
    start = device.mark()
    sample = device.wait_event(
        "mem.sample",
        since=start,
        where=lambda event: event.data["context"] == "Periodic" and event.data["timestamp_ms"] >= changed_ms,
    )
    measure(
        "time of the first sample after the change",
        sample.data["timestamp_ms"] - changed_ms,
        "ms",
        low=interval - TICKS_MS,
        high=interval + TICKS_MS,
        source=f"{interval} ms by the board's clock, and ticks",
    )


@pytest.mark.requirement("API-05")
def test_interval_below_the_minimum_is_an_error_and_changes_nothing(device: Device, measure: Measure) -> None:
    device.monitor(start=SLOW_MS)
    for interval in (0, 1, MINIMUM_MS - 1):
        with pytest.raises(DeviceError) as refused:
            device.monitor(start=interval)
        measure(f"start({interval})", refused.value.err, exact="ESP_ERR_INVALID_ARG", source=SOURCE)
    measure("start(0) by the API", device.api("start_zero"), exact="ESP_ERR_INVALID_ARG", source=SOURCE)
    measure(
        "start(minimum - 1) by the API",
        device.api("start_below_minimum"),
        exact="ESP_ERR_INVALID_ARG",
        source=SOURCE,
    )
    state = device.monitor()
    measure(
        "interval after the refusals",
        state.interval_ms,
        "ms",
        exact=SLOW_MS,
        source="a refusal changes nothing",
    )
    measure("monitor still runs", state.running, exact=True, source="a refusal changes nothing")
    measure(
        "start(minimum)", device.monitor(start=MINIMUM_MS).interval_ms, "ms", exact=MINIMUM_MS, source=SOURCE
    )


WRAPPED_MS = 11_000
"""Board time in ms in which a sample would be taken at each of these intervals, cut to 32 bits of microseconds."""


@pytest.mark.requirement("MON-01")
@pytest.mark.parametrize("interval_ms", [4_294_968, 4_300_000, 8_589_935])
def test_long_interval_does_not_wrap(
    device: Device, monitor: Monitor, measure: Measure, interval_ms: int
) -> None:
    """Sets intervals whose microseconds exceed 32 bits, and waits for more than the 5 s that would be left of them."""
    monitor.stop()
    before = device.monitor().samples
    monitor.start(interval_ms)
    wait_for_time(device, device.info().t + WRAPPED_MS)
    measure("samples", device.monitor().samples - before, exact=0, source="the first comes after an interval")
