"""Warnings are raised exactly below their thresholds, once, with the right values, and end with hysteresis.

The tests allocate real memory on the board. Free memory can equal a threshold only if both have the same remainder
modulo 4; the next lower possible value is 4 bytes less. The guide's round numbers are between two possible values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from fixtures.measure import Measure
from fixtures.memory import (
    DEFAULT_THRESHOLDS,
    DMA,
    INTERNAL,
    KB,
    PSRAM,
    SMALLEST_STEP,
    Heaps,
    Memory,
    Monitor,
    only,
)
from hotpin_hil.analysis.heap_layout import BLOCK_OVERHEAD, class_floor
from hotpin_hil.device import Device, Event

CHECKS = 3
"""Number of complete checks after which a missing warning counts as absent. To detect a repeated warning, at least two
checks are needed."""

LONG_MS = 600_000
"""Interval long enough that no sample is taken while a test prepares memory."""
RULE = "PROTOCOL.md §1: raised when value < threshold"
HYSTERESIS_RULE = "PROTOCOL.md §1: left at threshold + max(threshold/10, 1,024 B)"
FRAGMENTATION_RULE = "PROTOCOL.md §1: raised when value >= threshold"
FRAGMENTATION_HYSTERESIS = "PROTOCOL.md §1: left at threshold - 5 points"


@dataclass(frozen=True)
class Level:
    """One of the guide's six levels of free memory."""

    memory: Memory
    severity: str

    @property
    def type(self) -> str:
        suffix = {"warning": "LOW", "critical": "CRITICAL"}[self.severity]
        return f"{self.memory.warning}_{suffix}"

    @property
    def key(self) -> str:
        return f"{self.memory.thresholds}_{self.severity}"

    def alone_at(self, threshold: int) -> dict[str, Any]:
        """Thresholds at which only this level can be reached.

        A critical threshold must not exceed the warning threshold, so for a critical level both are equal, and the
        critical warning supersedes the low warning.
        """
        if self.severity == "critical":
            return only(**{self.key: threshold, f"{self.memory.thresholds}_warning": threshold})
        return only(**{self.key: threshold})


LEVELS = [
    pytest.param(Level(INTERNAL, "warning"), marks=pytest.mark.requirement("THR-01"), id="internal_low"),
    pytest.param(
        Level(INTERNAL, "critical"), marks=pytest.mark.requirement("THR-02"), id="internal_critical"
    ),
    pytest.param(Level(DMA, "warning"), marks=pytest.mark.requirement("THR-03"), id="dma_low"),
    pytest.param(Level(DMA, "critical"), marks=pytest.mark.requirement("THR-04"), id="dma_critical"),
    pytest.param(Level(PSRAM, "warning"), marks=pytest.mark.requirement("THR-05"), id="psram_low"),
    pytest.param(Level(PSRAM, "critical"), marks=pytest.mark.requirement("THR-06"), id="psram_critical"),
]


@pytest.mark.parametrize("level", LEVELS)
def test_warns_below_its_threshold_and_not_at_it(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure, level: Level
) -> None:
    """Sets free memory to the threshold, which must raise nothing, and 4 bytes below it, which must raise exactly one
    warning."""
    memory = level.memory
    threshold = memory.reachable(DEFAULT_THRESHOLDS[level.key])
    device.thresholds(**level.alone_at(threshold))
    monitor.start()
    start = device.mark()

    held = heaps.leave(memory, threshold)
    samples = monitor.complete_checks(CHECKS)
    seen = {event.data[memory.free_field] for event in samples}
    assert seen == {threshold}, f"the monitor saw {seen}, a direct read {threshold}"
    measure(f"{level.type} warnings at the threshold", len(monitor.warnings(start)), exact=0, source=RULE)

    heaps.release(held)
    below = threshold - SMALLEST_STEP
    start = device.mark()
    heaps.leave(memory, below)
    warning = monitor.warning(start)
    monitor.complete_checks(CHECKS)
    measure(f"{level.type} warnings 4 B below", len(monitor.warnings(start)), exact=1, source=RULE)
    measure("type", warning.data["type"], exact=level.type, source="guide, Warning Types")
    measure(
        "value", warning.data["value"], "B", exact=heaps.free(memory.caps), source="direct read (heap.probe)"
    )
    measure("threshold", warning.data["threshold"], "B", exact=threshold, source="set by the test")


@pytest.mark.parametrize("level", LEVELS)
def test_warns_around_the_guides_threshold(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure, level: Level
) -> None:
    """Uses the default thresholds of memory_manager_init(NULL), and sets free memory to the nearest reachable values on
    either side."""
    memory = level.memory
    threshold = DEFAULT_THRESHOLDS[level.key]
    above = memory.reachable(threshold)
    below = above - SMALLEST_STEP if above > threshold else threshold - SMALLEST_STEP
    monitor.start()
    start = device.mark()

    held = heaps.leave(memory, above)
    monitor.complete_checks(CHECKS)
    measure(
        f"{level.type} warnings at {above} B",
        len(monitor.warnings(start, level.type)),
        exact=0,
        source=f"guide, Default Thresholds: {threshold} B",
    )

    heaps.release(held)
    start = device.mark()
    heaps.leave(memory, below)
    warning = monitor.warning(start, level.type)
    measure("value", warning.data["value"], "B", exact=below, source="direct read (heap.probe)")
    measure("threshold", warning.data["threshold"], "B", exact=threshold, source="guide, Default Thresholds")


# --- Fragmentation ------------------------------------------------------------------------------------------

HOLE = 2 * KB
HOLES = 64


def punch_holes(heaps: Heaps) -> None:
    """Make 64 holes of 2 KB in PSRAM before its large free block."""
    heaps.split(PSRAM, block=HOLE, count=2 * HOLES)


def fragment_to(heaps: Heaps, percent: int) -> list[int]:
    """Raise PSRAM's fragmentation to `percent` by allocating from its large block; returns the ids to release.

    Every piece is larger than a hole, so it comes from the large block and the holes remain.
    """
    (region,) = heaps.regions(PSRAM)
    in_holes = region.free - region.largest
    surplus = region.free - 100 * in_holes // percent
    held = []
    while surplus > HOLE + KB:
        want = surplus if surplus < 8 * HOLE else surplus - 4 * HOLE
        size = class_floor(want - BLOCK_OVERHEAD, region.length)
        held.append(heaps.hold(PSRAM, size))
        surplus -= size + BLOCK_OVERHEAD
    reached = heaps.fragmentation(PSRAM)
    assert reached == percent, f"the test fragmented PSRAM to {reached} % instead of {percent} %"
    return held


@pytest.mark.requirement("THR-07")
@pytest.mark.parametrize(
    "levels",
    [
        pytest.param({"fragmentation_warning": 30}, id="warning_level"),
        pytest.param({"fragmentation_warning": 50, "fragmentation_critical": 50}, id="critical_level"),
    ],
)
def test_fragmentation_warns_at_its_threshold_and_not_under_it(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure, levels: dict[str, int]
) -> None:
    """Makes holes in PSRAM, then allocates the large block in pieces until fragmentation is one percent below the
    level, and then until it reaches the level."""
    at = levels["fragmentation_warning"]
    device.thresholds(**only(**levels))
    monitor.start()
    punch_holes(heaps)

    start = device.mark()
    fragment_to(heaps, at - 1)
    samples = monitor.complete_checks(CHECKS)
    assert {event.data["psram_fragmentation"] for event in samples} == {at - 1}
    measure(f"warnings at {at - 1} %", len(monitor.warnings(start)), exact=0, source=FRAGMENTATION_RULE)

    start = device.mark()
    fragment_to(heaps, at)
    raised = monitor.warning(start)
    monitor.complete_checks(CHECKS)
    measure(f"warnings at {at} %", len(monitor.warnings(start)), exact=1, source=FRAGMENTATION_RULE)
    measure("type", raised.data["type"], exact="FRAGMENTATION_HIGH", source="guide, Warning Types")
    measure("value", raised.data["value"], "%", exact=at, source="harness's arithmetic on heap.regions")
    measure("threshold", raised.data["threshold"], "%", exact=at, source="set by the test")


@pytest.mark.requirement("THR-07")
@pytest.mark.parametrize("memory", [INTERNAL, DMA, PSRAM], ids=lambda memory: memory.name)
def test_fragmentation_of_each_memory_can_warn(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure, memory: Memory
) -> None:
    """Splits one memory type. The most fragmented of the three must determine the warning."""
    heaps.leave(PSRAM, 400 * KB)
    heaps.split(memory, block=2 * KB, count=40)
    percent = heaps.fragmentation(memory)
    assert percent >= 5, f"{memory.name} could only be fragmented to {percent} %"

    device.thresholds(**only(fragmentation_warning=percent + 1))
    monitor.start()
    start = device.mark()
    monitor.complete_checks(CHECKS)
    measure(
        "warnings one percent below the threshold",
        len(monitor.warnings(start)),
        exact=0,
        source=FRAGMENTATION_RULE,
    )

    start = device.mark()
    device.thresholds(**only(fragmentation_warning=percent))
    raised = monitor.warning(start)
    measure("value", raised.data["value"], "%", exact=percent, source="harness's arithmetic on heap.regions")


# --- Hysteresis and order -----------------------------------------------------------------------------------


def leave_level(threshold: int) -> int:
    """Free bytes at which memory leaves a level."""
    return threshold + max(threshold // 10, 1024)


@pytest.mark.requirement("THR-08")
@pytest.mark.parametrize(
    "entry",
    [
        pytest.param((INTERNAL, 51_203), id="internal_a_tenth"),
        pytest.param((DMA, 35_843), id="dma_a_tenth"),
        pytest.param((PSRAM, 512_000), id="psram_a_tenth"),
        pytest.param((INTERNAL, 8_191), id="internal_at_least_1_KB"),
    ],
)
def test_level_is_left_at_the_hysteresis_limit_and_not_below(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure, entry: tuple[Memory, int]
) -> None:
    """Enters the level and returns to 4 bytes below the recovery limit, then enters it again and returns to the limit.
    There must be one warning on each entry, no recovery below the limit, and one recovery at the limit."""
    memory, threshold = entry
    kind = Level(memory, "warning")
    limit = leave_level(threshold)
    assert memory.reachable(limit) == limit, "the threshold must be such that free memory can equal the limit"
    device.thresholds(**kind.alone_at(threshold))
    monitor.start()
    start = device.mark()

    # First enter the level and return to a value 4 bytes below the limit.
    outer = heaps.leave(memory, limit - SMALLEST_STEP)
    inner = heaps.leave(memory, threshold - SMALLEST_STEP)
    monitor.warning(start, kind.type)
    heaps.release(inner)
    monitor.complete_checks(CHECKS)
    measure(
        "recoveries 4 B short of the limit", len(monitor.recoveries(start)), exact=0, source=HYSTERESIS_RULE
    )
    measure("warnings on entering the level", len(monitor.warnings(start)), exact=1, source=HYSTERESIS_RULE)

    # Go far above the level, enter it again, and return to the limit itself.
    heaps.release(outer)
    monitor.recovery(start, kind.type)
    again = device.mark()
    heaps.leave(memory, limit)
    inner = heaps.leave(memory, threshold - SMALLEST_STEP)
    monitor.warning(again, kind.type)
    heaps.release(inner)
    recovered = monitor.recovery(again, kind.type)
    monitor.complete_checks(CHECKS)
    measure("recoveries at the limit", len(monitor.recoveries(again)), exact=1, source=HYSTERESIS_RULE)
    measure(
        "value on leaving the level",
        recovered.data["value"],
        "B",
        exact=limit,
        source="direct read (heap.probe)",
    )
    measure(
        "threshold on leaving the level",
        recovered.data["threshold"],
        "B",
        exact=threshold,
        source="set by the test",
    )
    measure(
        "warnings on entering the level again", len(monitor.warnings(again)), exact=1, source=HYSTERESIS_RULE
    )


@pytest.mark.requirement("THR-08")
def test_fragmentation_is_left_five_points_under_its_threshold(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    threshold = 40
    device.thresholds(**only(fragmentation_warning=threshold))
    monitor.start()
    start = device.mark()
    punch_holes(heaps)
    fragment_to(heaps, threshold - 5)
    from_left = fragment_to(heaps, threshold - 4)
    from_inside = fragment_to(heaps, threshold)
    monitor.warning(start, "FRAGMENTATION_HIGH")

    for identifier in reversed(from_inside):
        heaps.release(identifier)
    assert heaps.fragmentation(PSRAM) == threshold - 4
    monitor.complete_checks(CHECKS)
    measure(
        "recoveries 4 points below the threshold",
        len(monitor.recoveries(start)),
        exact=0,
        source=FRAGMENTATION_HYSTERESIS,
    )

    for identifier in reversed(from_left):
        heaps.release(identifier)
    assert heaps.fragmentation(PSRAM) == threshold - 5
    recovered = monitor.recovery(start, "FRAGMENTATION_HIGH")
    monitor.complete_checks(CHECKS)
    measure(
        "recoveries 5 points below the threshold",
        len(monitor.recoveries(start)),
        exact=1,
        source=FRAGMENTATION_HYSTERESIS,
    )
    measure(
        "value on leaving the level", recovered.data["value"], "%", exact=threshold - 5, source="heap.regions"
    )
    measure("warnings", len(monitor.warnings(start)), exact=1, source=FRAGMENTATION_HYSTERESIS)


@pytest.mark.requirement("THR-08")
def test_level_lasts_although_the_thresholds_are_set_again(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    """Sets the same thresholds again while a level is active. This must neither end the level nor raise its warning
    again."""
    level = Level(PSRAM, "warning")
    levels = only(**{level.key: PSRAM.reachable(DEFAULT_THRESHOLDS[level.key])})
    device.thresholds(**levels)
    monitor.start()
    start = device.mark()
    held = heaps.leave(PSRAM, levels[level.key] - SMALLEST_STEP)
    monitor.warning(start)
    device.thresholds(**levels)
    monitor.complete_checks(CHECKS)
    measure("warnings", len(monitor.warnings(start)), exact=1, source=RULE)
    heaps.release(held)
    monitor.recovery(start)
    monitor.complete_checks(CHECKS)
    measure("recoveries", len(monitor.recoveries(start)), exact=1, source=HYSTERESIS_RULE)


@pytest.mark.requirement("THR-08")
def test_staying_and_hovering_raise_one_warning(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    """Lets free memory oscillate around the threshold, then stay below it. There must be only one warning. The original
    firmware repeated the same CRITICAL warning every 15 s."""
    threshold = 51_203
    crossings = 6
    device.thresholds(**only(internal_ram_warning=threshold))
    monitor.start()
    start = device.mark()
    heaps.leave(INTERNAL, threshold + 64)
    for _ in range(crossings):
        below = heaps.leave(INTERNAL, threshold - SMALLEST_STEP)
        monitor.complete_checks(1)
        heaps.release(below)
        monitor.complete_checks(1)
    heaps.leave(INTERNAL, threshold - SMALLEST_STEP)
    monitor.complete_checks(5)
    measure("warnings", len(monitor.warnings(start)), exact=1, source=HYSTERESIS_RULE)
    measure("recoveries", len(monitor.recoveries(start)), exact=0, source=HYSTERESIS_RULE)


@pytest.mark.requirement("THR-09")
def test_warning_logs_the_statistics(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    """Raises a warning. The board must log one box and one record with current statistics, and not repeat them while
    the level is active."""
    threshold = 51_203
    device.thresholds(**only(internal_ram_warning=threshold))
    monitor.start()
    start = device.mark()
    heaps.leave(INTERNAL, threshold - SMALLEST_STEP)
    value = monitor.warning(start).data["value"]
    box = device.wait_box("Memory Warning", since=start)
    measure("internal free in the box", box.stats.internal_free, "B", exact=value, source="mem.warning")
    monitor.complete_checks(CHECKS)
    measure("boxes for one warning", len(device.boxes(start, "Memory Warning")), exact=1, source="THR-08")
    records = device.events(
        "mem.sample", since=start, where=lambda event: event.data["context"] == "Memory Warning"
    )
    measure("records for one warning", len(records), exact=1, source="THR-08")
    measure(
        "internal free in the record",
        records[0].data["internal_free"],
        "B",
        exact=value,
        source="mem.warning",
    )


@pytest.mark.requirement("THR-09")
def test_warning_of_a_check_by_the_application_is_logged_without_monitoring(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    """Calls memory_manager_check_thresholds() with monitoring off. The warning that it finds must be logged, although
    no periodic sample follows."""
    threshold = INTERNAL.reachable(DEFAULT_THRESHOLDS["internal_ram_warning"])
    device.thresholds(**only(internal_ram_warning=threshold))
    monitor.stop()
    heaps.leave(INTERNAL, threshold - SMALLEST_STEP)
    start = device.mark()
    device.bench("threshold", 1)
    warning = monitor.warning(start)
    box = device.wait_box("Memory Warning", since=start)
    value = warning.data["value"]
    measure("internal free in the box", box.stats.internal_free, "B", exact=value, source="mem.warning")


@pytest.mark.requirement("THR-09")
@pytest.mark.parametrize("entered", [INTERNAL, PSRAM], ids=lambda memory: memory.name)
def test_warning_logs_the_statistics_although_another_level_ends(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure, entered: Memory
) -> None:
    """Makes one memory type fall below its threshold and another rise above its own in the same check. The warning must
    still log the statistics."""
    left = PSRAM if entered is INTERNAL else INTERNAL
    levels = {memory: Level(memory, "warning") for memory in (entered, left)}
    thresholds = {
        level.key: memory.reachable(DEFAULT_THRESHOLDS[level.key]) for memory, level in levels.items()
    }
    device.thresholds(**only(**thresholds))
    monitor.start()
    start = device.mark()
    low = heaps.leave(left, thresholds[levels[left].key] - SMALLEST_STEP)
    monitor.warning(start, levels[left].type)
    device.wait_box("Memory Warning", since=start)
    monitor.start(LONG_MS)
    heaps.release(low)
    heaps.leave(entered, thresholds[levels[entered].key] - SMALLEST_STEP)
    start = device.mark()
    monitor.start()
    warning, recovery = monitor.warning(start), monitor.recovery(start)
    is_one_check = warning.data["timestamp_ms"] == recovery.data["timestamp_ms"]
    measure("both in one check", is_one_check, exact=True, source="time stamps")
    monitor.complete_checks(CHECKS)
    measure("boxes", len(device.boxes(start, "Memory Warning")), exact=1, source="THR-09")


def reachable_defaults(memory: Memory, *levels: Level) -> dict[str, int]:
    """The default thresholds of these levels, rounded to possible values of free memory."""
    return {level.key: memory.reachable(DEFAULT_THRESHOLDS[level.key]) for level in levels}


@pytest.mark.requirement("THR-10")
@pytest.mark.parametrize("memory", [INTERNAL, DMA, PSRAM], ids=lambda memory: memory.name)
def test_warning_critical_and_recovery_in_order(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure, memory: Memory
) -> None:
    """Lets memory fall through both levels and rise again. This must give four events in this order, each with its own
    threshold."""
    low, critical = Level(memory, "warning"), Level(memory, "critical")
    thresholds = reachable_defaults(memory, low, critical)
    device.thresholds(**only(**thresholds))
    monitor.start()
    start = device.mark()

    first = heaps.leave(memory, thresholds[low.key] - SMALLEST_STEP)
    monitor.warning(start, low.type)
    second = heaps.leave(memory, thresholds[critical.key] - SMALLEST_STEP)
    monitor.warning(start, critical.type)
    heaps.release(second)
    monitor.recovery(start, critical.type)
    heaps.release(first)
    monitor.recovery(start, low.type)
    monitor.complete_checks(1)

    events = sorted([*monitor.warnings(start), *monitor.recoveries(start)], key=lambda event: event.n)
    told = ", ".join(f"{event.name} {event.data['type']} {event.data['threshold']}" for event in events)
    expected = ", ".join(
        f"{name} {kind.type} {thresholds[kind.key]}"
        for name, kind in [
            ("mem.warning", low),
            ("mem.warning", critical),
            ("mem.recovered", critical),
            ("mem.recovered", low),
        ]
    )
    measure("events", told, exact=expected, source="requirement THR-10")


def types(events: list[Event]) -> str:
    return ", ".join(str(event.data["type"]) for event in events)


@pytest.mark.requirement("THR-10")
@pytest.mark.parametrize("memory", [INTERNAL, DMA, PSRAM], ids=lambda memory: memory.name)
def test_critical_supersedes_low_when_both_are_reached_at_once(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure, memory: Memory
) -> None:
    """Lets memory fall to the critical level between two checks. This must raise only the critical warning. The low
    warning must follow when the critical level ends."""
    low, critical = Level(memory, "warning"), Level(memory, "critical")
    thresholds = reachable_defaults(memory, low, critical)
    monitor.stop()
    device.thresholds(**only(**thresholds))
    heaps.leave(memory, thresholds[low.key] - SMALLEST_STEP)
    deep = heaps.leave(memory, thresholds[critical.key] - SMALLEST_STEP)
    start = device.mark()
    monitor.start()
    monitor.warning(start, critical.type)
    monitor.complete_checks(CHECKS)
    measure(
        "warnings",
        types(monitor.warnings(start)),
        exact=critical.type,
        source="PROTOCOL.md §1: critical supersedes low",
    )

    start = device.mark()
    heaps.release(deep)
    monitor.recovery(start, critical.type)
    monitor.complete_checks(CHECKS)
    measure(
        "warnings after leaving the critical level",
        types(monitor.warnings(start)),
        exact=low.type,
        source="the lower level still holds",
    )
    measure(
        "recoveries",
        types(monitor.recoveries(start)),
        exact=critical.type,
        source="the lower level still holds",
    )


@pytest.mark.requirement("THR-10")
@pytest.mark.parametrize("memory", [INTERNAL, DMA, PSRAM], ids=lambda memory: memory.name)
def test_superseded_low_is_raised_only_below_its_own_threshold(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure, memory: Memory
) -> None:
    """Leaves the critical level inside the hysteresis band of the low level, which was never raised. It must be raised
    only when memory falls below its own threshold."""
    low, critical = Level(memory, "warning"), Level(memory, "critical")
    threshold = reachable_defaults(memory, critical)[critical.key]
    thresholds = {critical.key: threshold, low.key: threshold + SMALLEST_STEP}
    inside = memory.reachable(leave_level(threshold))
    assert thresholds[low.key] <= inside < leave_level(thresholds[low.key])
    device.thresholds(**only())
    monitor.start()
    heaps.leave(memory, inside)
    deep = heaps.leave(memory, threshold - SMALLEST_STEP)
    start = device.mark()
    device.thresholds(**only(**thresholds))
    monitor.warning(start, critical.type)
    heaps.release(deep)
    monitor.recovery(start, critical.type)
    monitor.complete_checks(CHECKS)
    measure("warnings inside the band", types(monitor.warnings(start)), exact=critical.type, source=RULE)

    start = device.mark()
    heaps.leave(memory, thresholds[low.key] - SMALLEST_STEP)
    monitor.warning(start, low.type)
    measure("warnings below the low threshold", len(monitor.warnings(start)), exact=1, source=RULE)


@pytest.mark.requirement("THR-10")
def test_superseded_fragmentation_warning_is_raised_only_at_its_own_threshold(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    """Leaves the critical level of fragmentation at 36 %, where the first level of 40 % would still hold if it had been
    raised (down to 35 %). It must be raised only at 40 %."""
    device.thresholds(**only())
    monitor.start()
    punch_holes(heaps)
    fragment_to(heaps, 36)
    deep = fragment_to(heaps, 41)
    start = device.mark()
    device.thresholds(**only(fragmentation_warning=40, fragmentation_critical=41))
    monitor.warning(start)
    for identifier in reversed(deep):
        heaps.release(identifier)
    monitor.recovery(start)
    monitor.complete_checks(CHECKS)
    told = ", ".join(str(event.data["threshold"]) for event in monitor.warnings(start))
    measure("thresholds of the warnings inside the band", told, exact="41", source=FRAGMENTATION_RULE)

    start = device.mark()
    fragment_to(heaps, 40)
    raised = monitor.warning(start).data["threshold"]
    measure("threshold of the warning at 40 %", raised, "%", exact=40, source=FRAGMENTATION_RULE)


@pytest.mark.requirement("THR-11")
def test_internal_and_dma_are_distinguished(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    """Makes memory cross one threshold at a time; each crossing must raise only its own warning. On the ESP32, internal
    and DMA memory are the same heaps, and only their thresholds differ."""
    thresholds = {"internal_ram_warning": 80_003, "dma_capable_warning": 60_003}
    device.thresholds(**only(**thresholds))
    monitor.start()
    for memory, other in ((INTERNAL, DMA), (DMA, INTERNAL)):
        start = device.mark()
        threshold = thresholds[f"{memory.thresholds}_warning"]
        heaps.leave(memory, threshold - SMALLEST_STEP)
        warning = monitor.warning(start, f"{memory.warning}_LOW")
        monitor.complete_checks(CHECKS)
        measure(
            f"{memory.name} value",
            warning.data["value"],
            "B",
            exact=heaps.free(memory.caps),
            source="heap.probe",
        )
        measure(
            f"{memory.name} threshold",
            warning.data["threshold"],
            "B",
            exact=threshold,
            source="set by the test",
        )
        measure(
            f"{other.name} warnings meanwhile",
            len(monitor.warnings(start, other.warning)),
            exact=0,
            source="this step did not cross the threshold",
        )


@pytest.mark.requirement("THR-11")
def test_both_fragmentation_levels_are_distinguished(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    device.thresholds(**only(fragmentation_warning=20, fragmentation_critical=40))
    monitor.start()
    punch_holes(heaps)
    for level_percent in (20, 40):
        start = device.mark()
        fragment_to(heaps, level_percent)
        warning = monitor.warning(start, "FRAGMENTATION_HIGH")
        monitor.complete_checks(CHECKS)
        name = f"at level {level_percent}"
        measure(f"value {name}", warning.data["value"], "%", exact=level_percent, source="heap.regions")
        measure(
            f"threshold {name}",
            warning.data["threshold"],
            "%",
            exact=level_percent,
            source="PROTOCOL.md §1: threshold_value shows which",
        )
        measure(f"warnings {name}", len(monitor.warnings(start)), exact=1, source=FRAGMENTATION_RULE)
