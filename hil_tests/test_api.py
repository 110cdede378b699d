"""The memory manager's API on the board, including its edge cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pytest

from fixtures.api_cases import (
    BEFORE_INIT,
    COMPONENTS,
    INVALID_ARG,
    INVALID_STATE,
    MANAGER,
    NO_MEM,
    NOT_FOUND,
    OK,
    component_of,
    listed_cases,
    measure_cases,
)
from fixtures.measure import Measure
from fixtures.memory import (
    DEFAULT_THRESHOLDS,
    DMA,
    FAST_INTERVAL_MS,
    INTERNAL,
    KB,
    MEMORIES,
    PSRAM,
    SMALLEST_STEP,
    Heaps,
    Memory,
    Monitor,
    only,
)
from hotpin_hil.analysis.heap_layout import fits_one, largest_request
from hotpin_hil.device import Device, DeviceError
from hotpin_hil.pytest_plugin.plugin import BoardInUse

SMALL = 3_000
"""Size of a block that fits into every heap of interest."""
CALLBACKS_MAX = 8
"""Maximum length of each list of callbacks (MEMORY_CALLBACKS_MAX in memory_manager.h)."""


def error_of(device: Device, command: str, **arguments: Any) -> str:
    """Run a command; returns the name of its error, or ESP_OK."""
    try:
        device.command(command, **arguments)
    except DeviceError as error:
        return error.err
    return OK


# --- Thresholds ---------------------------------------------------------------------------------------------


@pytest.mark.requirement("API-01")
def test_init_sets_the_guides_defaults(device: Device, measure: Measure) -> None:
    for name, value in asdict(device.thresholds()).items():
        measure(name, value, exact=DEFAULT_THRESHOLDS[name], source="guide, Default Thresholds")


@pytest.mark.requirement("API-02")
def test_custom_thresholds_take_effect_and_defaults_come_back(
    device: Device, monitor: Monitor, measure: Measure
) -> None:
    """Sets a threshold above the current free memory, without allocating anything: its warning must be raised. Setting
    the default thresholds must end the warning and restore all values."""
    monitor.start()
    start = device.mark()
    monitor.complete_checks(1)
    assert not monitor.warnings(start)

    custom = only(internal_ram_warning=400 * KB, internal_ram_critical=1 * KB, psram_warning=3)
    device.thresholds(**custom)
    warning = monitor.warning(start)
    measure("type", warning.data["type"], exact="INTERNAL_LOW", source="set by the test")
    measure("threshold", warning.data["threshold"], "B", exact=400 * KB, source="set by the test")
    for name, value in asdict(device.thresholds()).items():
        measure(f"{name} as set", value, exact=custom[name], source="set by the test")

    device.thresholds(default=True)
    monitor.recovery(start, "INTERNAL_LOW")
    for name, value in asdict(device.thresholds()).items():
        measure(f"{name} put back", value, exact=DEFAULT_THRESHOLDS[name], source="guide, Default Thresholds")


NONSENSE = {
    "internal critical above warning": {
        "internal_ram_warning": 10 * KB,
        "internal_ram_critical": 10 * KB + 1,
    },
    "DMA critical above warning": {"dma_capable_critical": 35 * KB + 1},
    "PSRAM critical above warning": {"psram_critical": 500 * KB + 1},
    "fragmentation critical below warning": {"fragmentation_warning": 51},
    "fragmentation critical over 100 %": {"fragmentation_critical": 101},
    "both fragmentation levels over 100 %": {"fragmentation_warning": 101, "fragmentation_critical": 101},
}


@pytest.mark.requirement("API-03")
def test_invalid_thresholds_are_refused_and_change_nothing(device: Device, measure: Measure) -> None:
    for what, levels in NONSENSE.items():
        measure(what, error_of(device, "mem.thresholds", **levels), exact=INVALID_ARG, source="API-03")
        unchanged = asdict(device.thresholds()) == DEFAULT_THRESHOLDS
        measure(f"{what}: nothing changed", unchanged, exact=True, source="API-03")


@pytest.mark.requirement("API-03")
def test_thresholds_at_their_limits_are_accepted(device: Device, measure: Measure) -> None:
    """Sets each critical level equal to its warning level, and both fragmentation levels to 100 %."""
    edge = {"internal_ram_critical": 50 * KB, "fragmentation_critical": 100, "fragmentation_warning": 100}
    measure("error", error_of(device, "mem.thresholds", **edge), exact=OK, source="critical = warning, 100 %")
    for name, value in edge.items():
        measure(name, getattr(device.thresholds(), name), exact=value, source="set by the test")


NULL_CASES = [
    "get_stats_null",
    "get_thresholds_null",
    "get_monitoring_null",
    "get_baseline_null",
    "get_history_null",
    "get_events_null",
    "get_self_null",
    "place_null",
    "log_stats_null",
    "callback_null",
    "recovery_callback_null",
]


@pytest.mark.requirement("API-03")
def test_null_is_refused(device: Device, measure: Measure) -> None:
    for case in NULL_CASES:
        measure(case, device.api(case), exact=INVALID_ARG, source="requirement API-03")
    unchanged = asdict(device.thresholds()) == DEFAULT_THRESHOLDS
    measure("nothing changed", unchanged, exact=True, source="API-03")


def before_init_cases(device: Device) -> list[str]:
    """Calls to the manager that the console made before app_main called memory_manager_init."""
    cases = [case for case in listed_cases(device) if component_of(case) == MANAGER]
    return [case.removeprefix(BEFORE_INIT) for case in cases if case.startswith(BEFORE_INIT)]


@pytest.mark.requirement("API-03")
def test_init_refuses_invalid_thresholds(device: Device, measure: Measure) -> None:
    """Reads the results of init calls with invalid thresholds. The console made them at boot, before app_main's valid
    call, so that the error for a second init cannot hide the error for the thresholds."""
    cases = [case for case in before_init_cases(device) if case.startswith("init_")]
    assert len(cases) >= 5, f"only {cases} were tried"
    for case in cases:
        answer = device.api(BEFORE_INIT + case)
        measure(case, answer, exact=INVALID_ARG, source="requirement API-03")


@pytest.mark.requirement("API-04")
def test_calls_before_init_are_refused(device: Device, measure: Measure) -> None:
    cases = [case for case in before_init_cases(device) if not case.startswith("init_")]
    assert {"get_stats", "start_monitoring", "stop_monitoring", "log_stats", "optimize"} <= set(cases)
    for case in cases:
        answer = device.api(BEFORE_INIT + case)
        measure(f"{case} before init", answer, exact=INVALID_STATE, source="requirement API-04")


@pytest.mark.requirement("API-04")
def test_second_init_is_refused_and_changes_nothing(device: Device, measure: Measure) -> None:
    custom = only(psram_warning=64)
    device.thresholds(**custom)
    measure("second init", device.api("init_again"), exact=INVALID_STATE, source="PROTOCOL.md §1")
    measure("thresholds unchanged", asdict(device.thresholds()) == custom, exact=True, source="API-04")


# --- Edge cases of each component ---------------------------------------------------------------------------


# Not the cases of the profile: only the profile build has them (test_profile.py).
@pytest.mark.parametrize(
    "component",
    [
        pytest.param("", marks=pytest.mark.requirement("API-03", "API-04"), id="manager"),
        pytest.param("history", marks=pytest.mark.requirement("FUT-01"), id="history"),
        pytest.param("predict", marks=pytest.mark.requirement("FUT-02"), id="predict"),
        pytest.param("crash", marks=pytest.mark.requirement("FUT-03"), id="crash"),
        pytest.param("optimize", marks=pytest.mark.requirement("FUT-05"), id="optimize"),
        pytest.param("adapt", marks=pytest.mark.requirement("FUT-06"), id="adapt"),
        pytest.param("priority", marks=pytest.mark.requirement("FUT-07"), id="priority"),
        pytest.param("reclaim", marks=pytest.mark.requirement("FUT-08"), id="reclaim"),
        pytest.param("pool", marks=pytest.mark.requirement("FUT-09"), id="pool"),
    ],
)
def test_every_edge_case_gives_the_documented_error(
    device: Device, board: BoardInUse, measure: Measure, component: str
) -> None:
    """Runs every edge case of one component that the board lists. The list must have exactly the cases of the table in
    fixtures/api_cases.py."""
    unknown = sorted(case for case in listed_cases(device) if component_of(case) not in COMPONENTS)
    assert not unknown, f"cases of unknown components: {unknown}"
    before = asdict(device.thresholds())
    measure_cases(device, board.build, measure, component)
    unchanged = asdict(device.thresholds()) == before
    measure("thresholds unchanged", unchanged, exact=True, source="a case leaves the board as it was")


# --- Queries ------------------------------------------------------------------------------------------------


@pytest.mark.requirement("API-06")
@pytest.mark.parametrize("memory", MEMORIES, ids=lambda memory: memory.name)
def test_get_stats_shows_an_allocation_made_just_before(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure, memory: Memory
) -> None:
    """Holds blocks and compares each get_stats with a direct read. The monitor is stopped, so a cached sample would be
    out of date."""
    monitor.stop()
    for size in (5 * KB, 40, 12 * KB):
        before = heaps.free(memory.caps)
        heaps.hold(memory, size)
        stats = device.stats()
        direct = heaps.free(memory.caps)
        assert before - direct >= size, "the block was not allocated"
        measure(
            f"{memory.name} free - direct read after taking {size} B",
            getattr(stats, memory.free_field) - direct,
            "B",
            exact=0,
            source="direct read (heap.probe)",
        )
    first, second = device.stats(), device.stats()
    measure(
        "time stamps of two samples in order",
        first.timestamp_ms <= second.timestamp_ms,
        exact=True,
        source="each query takes a new sample",
    )


@pytest.mark.requirement("API-07")
@pytest.mark.parametrize("loaded", [False, True], ids=["as_booted", "with_memory_held"])
def test_quick_queries_agree_with_get_stats(
    device: Device, heaps: Heaps, measure: Measure, loaded: bool
) -> None:
    if loaded:
        heaps.leave(DMA, 30_003)
        heaps.hold(PSRAM, 123_456)
    answers = device.command("mem.free")
    stats = device.stats()
    for memory in MEMORIES:
        answer = answers[memory.name]
        measure(
            f"get_free_{memory.name}() - get_stats",
            answer - getattr(stats, memory.free_field),
            "B",
            exact=0,
            source="API-07",
        )
        measure(
            f"get_free_{memory.name}() - direct read",
            answer - heaps.free(memory.caps),
            "B",
            exact=0,
            source="heap.probe",
        )


@pytest.mark.requirement("API-08")
@pytest.mark.parametrize("layout", ["as_booted", "nearly_full", "fragmented"])
@pytest.mark.parametrize("memory", [DMA, PSRAM], ids=lambda memory: memory.name)
def test_check_is_true_exactly_when_the_block_fits(
    device: Device, heaps: Heaps, measure: Measure, memory: Memory, layout: str
) -> None:
    """Asks the manager whether blocks of sizes around the largest one fit, and verifies each answer immediately by
    allocating and freeing such a block."""
    if layout == "nearly_full":
        heaps.leave(memory, memory.reachable(9_000))
    if layout == "fragmented":
        heaps.leave(memory, memory.reachable(60 * KB))
        heaps.split(memory, block=4 * KB)

    regions = heaps.regions(memory)
    largest = largest_request(regions)
    free = heaps.free(memory.caps)
    sizes = {
        "1 byte": 1,
        "largest block": largest,
        "one byte above the largest block": largest + 1,
        "one step above the largest block": largest + SMALLEST_STEP,
        "the sum of free memory": free,
        "half the largest block": largest // 2,
    }
    for what, size in sizes.items():
        reported = device.check(**{memory.name: size})
        had = heaps.can_hold(memory, size)
        measure(
            f"check({what}: {size} B)",
            reported,
            exact=had,
            source="heap_caps_malloc of that size, just after",
        )
        assert had == fits_one(regions, size), "the harness's heap rules disagree with the board's allocator"
    measure("check(0 B)", device.check(**{memory.name: 0}), exact=False, source="malloc(0) is NULL")
    assert heaps.can_hold(memory, largest)
    assert not heaps.can_hold(memory, largest + 1)
    if layout == "fragmented":
        wanted = (largest + free) // 2
        assert largest < wanted < free, "the memory is not fragmented"
        measure(
            "check in fragmented memory", device.check(**{memory.name: wanted}), exact=False, source="API-08"
        )


@pytest.mark.requirement("API-08")
@pytest.mark.parametrize("memory", [INTERNAL, DMA, PSRAM], ids=lambda memory: memory.name)
def test_placement_of_several_blocks_is_the_allocators(
    device: Device, heaps: Heaps, measure: Measure, memory: Memory
) -> None:
    """Compares memory_manager_place() with the allocation of the same blocks just after it.

    In some lists a small block comes before blocks that fill the heaps: all fit only if the small block goes into the
    right heap.
    """
    fill = sorted(
        (heap.largest * 15 // 16 for heap in heaps.regions(memory) if heap.largest >= 2 * SMALL), reverse=True
    )
    lists = {"the heaps": fill, "the largest heap twice": [fill[0]] * 2}
    for number, size in enumerate(fill):
        others = [other for place, other in enumerate(fill) if place != number]
        lists[f"a small block, heap {number}, the other heaps"] = [SMALL, size, *others]
        lists[f"a small block, the rest of heap {number}, the other heaps"] = [SMALL, size - SMALL, *others]
    for what, sizes in lists.items():
        answer = device.place(memory.caps, sizes)
        held = hold_in_order(heaps, memory, sizes)
        measure(
            f"place({what}): blocks placed", answer.placed, exact=held, source="heap_caps_malloc, just after"
        )
        measure(f"place({what}): placeable", answer.placeable, exact=held == len(sizes), source="the same")


PART = 128 * KB
"""A power of two, so that the allocator uses up a free block of this size."""


@pytest.mark.requirement("API-08", "TRN-08")
@pytest.mark.parametrize(
    "freed", [(2 * PART, PART, PART), (2 * PART, 2 * PART)], ids=["exact", "four_bytes_too_small"]
)
def test_placement_takes_off_a_header_for_each_block(
    device: Device, heaps: Heaps, measure: Measure, freed: tuple[int, ...]
) -> None:
    """Frees adjacent blocks, which merge into one free block that includes the headers between them. Requests for three
    blocks fit if three blocks were freed, and need 4 bytes more than there are if two were freed."""
    held = [heaps.hold(PSRAM, size) for size in freed]
    heaps.hold(PSRAM, SMALL)
    heaps.hold(PSRAM, largest_request(heaps.regions(PSRAM)))
    for identifier in held:
        heaps.release(identifier)
    for sizes in ((2 * PART, PART, PART), (PART, PART, 2 * PART), (4 * PART,), (PART,) * 4):
        answer = device.place(PSRAM.caps, sizes)
        fit = hold_in_order(heaps, PSRAM, sizes)
        what = ", ".join(f"{size // PART}" for size in sizes)
        measure(f"place({what} parts): blocks placed", answer.placed, exact=fit, source="heap_caps_malloc")


HOLES = 30
"""Number of holes, more than the 24 free blocks that memory_manager_place() has room for."""


@pytest.mark.requirement("API-08")
@pytest.mark.parametrize("memory", [INTERNAL, PSRAM], ids=lambda memory: memory.name)
def test_placement_is_the_allocators_although_memory_has_many_holes(
    device: Device, heaps: Heaps, measure: Measure, memory: Memory
) -> None:
    """Makes many small holes before the large free blocks. memory_manager_place() must still take the large blocks into
    account."""
    heaps.split(memory, block=KB, count=2 * HOLES)
    large = max(heap.largest for heap in heaps.regions(memory)) // 5
    released = []
    for _ in range(2):
        released.append(heaps.hold(memory, large))
        heaps.hold(memory, SMALL)  # so that the large blocks cannot merge when they are freed
    for identifier in released:
        heaps.release(identifier)
    rest = max(heap.largest for heap in heaps.regions(memory)) * 15 // 16
    for sizes in (
        *([large] * count for count in range(1, 5)),
        [large // 2, large, rest],
        [KB // 2, large, large, rest],
    ):
        answer = device.place(memory.caps, sizes)
        held = hold_in_order(heaps, memory, sizes)
        what = ", ".join("rest" if size == rest else f"{size / large:.2g}" for size in sizes)
        measure(f"place({what} large): placed", answer.placed, exact=held, source="heap_caps_malloc")


def hold_in_order(heaps: Heaps, memory: Memory, sizes: Sequence[int]) -> int:
    """Allocates the blocks in order until one does not fit; returns the number that fitted, and releases them."""
    held: list[int] = []
    for size in sizes:
        try:
            held.append(heaps.hold(memory, size))
        except DeviceError as error:
            if error.err != NO_MEM:
                raise
            break
    for identifier in held:
        heaps.release(identifier)
    return len(held)


# --- Callbacks ----------------------------------------------------------------------------------------------


def calls_of(device: Device, kind: str) -> list[dict[str, Any]]:
    """Recorded calls to the callbacks of this kind: `warning` or `recovered`."""
    return [call for call in device.callbacks()["calls"] if call["kind"] == kind]


@pytest.mark.requirement("API-09")
def test_each_callback_is_called_once_on_entering_and_never_on_leaving(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    """Registers three warning callbacks, then makes memory enter a level, stay in it and leave it."""
    callbacks = 3
    threshold = 51_203
    device.callbacks(reset=True)  # removes the callback of the fixture `monitor`
    device.callbacks(add=callbacks)
    device.thresholds(**only(internal_ram_warning=threshold))
    monitor.start()
    start = device.mark()
    held = heaps.leave(INTERNAL, threshold - SMALLEST_STEP)
    monitor.warning(start)
    (sample, *_) = monitor.complete_checks(3)

    calls = calls_of(device, "warning")
    once_each = sorted(call["callback"] for call in calls) == list(range(callbacks))
    measure("every callback was called once, while the level lasted", once_each, exact=True, source="API-09")
    for call in calls:
        measure("type", call["type"], exact="INTERNAL_LOW", source="set by the test")
        measure(
            "value", call["value"], "B", exact=heaps.free(INTERNAL.caps), source="direct read (heap.probe)"
        )
        measure("threshold", call["threshold"], "B", exact=threshold, source="set by the test")
        measure(
            "time of the warning before a later sample's",
            sample.data["timestamp_ms"] - call["timestamp_ms"],
            "ms",
            low=1,
            high=4 * FAST_INTERVAL_MS,
            source="the board's clock",
        )
    measure(
        "recovery calls while the level lasts",
        len(calls_of(device, "recovered")),
        exact=0,
        source="the level still lasts",
    )

    heaps.release(held)
    monitor.recovery(start)
    monitor.complete_checks(2)
    measure(
        "warning calls after leaving the level",
        len(calls_of(device, "warning")),
        exact=callbacks,
        source="API-09",
    )
    measure("recovery calls", len(calls_of(device, "recovered")), exact=callbacks, source="PROTOCOL.md §1")


@pytest.mark.requirement("API-09")
def test_callback_that_logs_and_queries_does_not_deadlock(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    """Registers a callback that queries and logs the statistics: the logged figures must be current, and the monitor
    must keep running."""
    device.callbacks(reset=True)
    device.callbacks(add=1, log=True)
    device.thresholds(**only(internal_ram_warning=51_203))
    monitor.start()
    start = device.mark()
    heaps.leave(INTERNAL, 51_199)
    box = device.wait_box("Warning Callback", since=start)
    measure(
        "internal free in the callback's box", box.stats.internal_free, "B", exact=51_199, source="heap.probe"
    )
    samples = monitor.complete_checks(3)
    measure("samples after the callback", len(samples), exact=3, source="the monitor keeps running")


@pytest.mark.requirement("API-09")
def test_callback_list_is_limited(device: Device, measure: Measure) -> None:
    """Registers 8 callbacks, which the manager must accept. It must refuse a ninth callback, and NULL in any case."""
    registered = device.callbacks(add=CALLBACKS_MAX)["registered"]
    measure("callbacks registered", registered, exact=CALLBACKS_MAX, source="PROTOCOL.md §1")
    measure(
        "registering another warning callback",
        error_of(device, "mem.callbacks", add=1),
        exact=NO_MEM,
        source="requirement API-09",
    )
    measure(
        "registering another recovery callback",
        device.api("recovery_callbacks_full"),
        exact=NO_MEM,
        source="API-09",
    )
    measure(
        "registering a NULL warning callback",
        device.api("callback_null"),
        exact=INVALID_ARG,
        source="requirement API-09",
    )
    measure(
        "registering a NULL recovery callback",
        device.api("recovery_callback_null"),
        exact=INVALID_ARG,
        source="API-09",
    )


@pytest.mark.requirement("API-09")
def test_recorder_is_registered_for_both_lists_or_for_none(device: Device, measure: Measure) -> None:
    """Registers a recorder while only the list of recovery callbacks is full. mem.callbacks must not leave its warning
    callback registered."""
    before = device.resources().warning_calls
    measure(
        "the warning callback afterwards",
        device.api("recorder_half_registered"),
        exact=NOT_FOUND,
        source="mem.callbacks registers both callbacks or none",
    )
    measure(
        "warning callbacks", device.resources().warning_calls, exact=before, source="sys.resources, before"
    )
