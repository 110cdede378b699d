"""The statistics box has the guide's layout, is not interrupted, has current figures, and agrees with its record."""

from __future__ import annotations

import math
from typing import Any

import pytest

from fixtures.agreement import RECORD_MAX
from fixtures.device import boot_start
from fixtures.measure import Measure
from fixtures.memory import INTERNAL, KB, MEMORIES, PSRAM, TOTAL_CAPS, Heaps, Memory, Monitor
from fixtures.modes import MODES, Modes
from hotpin_hil.analysis.heap_layout import BLOCK_OVERHEAD
from hotpin_hil.device import Device, DeviceError, Event, budgets
from hotpin_hil.errors import FirmwareError
from hotpin_hil.link.channel import Cursor
from hotpin_hil.protocol.box import Box
from hotpin_hil.protocol.fields import BOX_FIELDS, DELTA_LABELS
from hotpin_hil.protocol.request import HARNESS_ID_MAX, encode_request

BOX_LINES = 28
"""Number of lines in the guide's Log Format, borders included."""

LOAD_TASKS = 3
LOAD_PERIOD_MS = 2
"""Log period of each task. It is short enough to keep the transmit ring full. A box written without the lock would have
to wait for room between its lines, and another task's line would split it."""
PAUSE_MAX_MS = 300
"""Maximum time in which a load task cannot log while a box is written; the 1.7 KB of a box take 150 ms at 115200
baud."""
ROUNDS = 5
BOXES_IN_A_ROW = 3
STATES_MAX = 4
"""MEMORY_STATES_MAX in memory_manager.h."""
VOLATILE = {"t", "n", "b", "id"}
"""Members that every reply has; they are not figures of a baseline."""
JUST_TAKEN = 3 * KB
CONTEXT_MAX = 31
"""Maximum length of a context in characters (MEMORY_CONTEXT_SIZE in memory_manager.h)."""
LONG_MS = 600_000
ALL_CALLS = 100
FIRST_REQUEST = HARNESS_ID_MAX + 1
"""First id of the requests that the test encodes itself."""

EVERYTHING = {**{memory.name: memory.caps for memory in MEMORIES}, "total": TOTAL_CAPS}
"""Memory types with a delta in the box, and their capabilities."""


def sample_of(device: Device, context: str, since: Cursor) -> Event:
    """The record of the statistics logged under this context."""
    return device.wait_event("mem.sample", since=since, where=lambda event: event.data["context"] == context)


def deviations(device: Device, since: Cursor) -> str:
    """Deviations from the guide's layout in the boxes since the mark, as text; empty if there are none."""
    return "; ".join(box.reason for box in device.broken_boxes(since))


# --- Layout -------------------------------------------------------------------------------------------------


@pytest.mark.requirement("LOG-02")
def test_box_is_the_guides_line_by_line(device: Device, heaps: Heaps, measure: Measure) -> None:
    """Logs figures of different widths and signs: after boot, with little free memory, and with more free memory than
    at the baseline.

    The test renders the same figures in the guide's layout and compares each line.
    """
    start = boot_start(device)
    logged = device.mark()
    longest = "31 characters are the longest".ljust(31, ".")
    contexts = ["As booted", "Little left", "More than at the baseline", longest]
    device.log(contexts[0])
    internal = heaps.leave(INTERNAL, 9_999)
    psram = heaps.leave(PSRAM, 99_996)
    device.log(contexts[1])
    device.baseline(set=True)
    heaps.release(psram)
    heaps.release(internal)
    device.log(contexts[2])
    device.log(contexts[3])
    sample_of(device, contexts[3], logged)

    for context in ["System Boot", *contexts]:
        box = first_box(device, context, start)
        measure(
            f"lines of {context!r}", len(box.lines) if box else 0, exact=BOX_LINES, source="guide, Log Format"
        )
        levels = {f"{line.level} {line.tag}" for line in box.lines} if box else set()
        measure(
            f"level and tag of {context!r}", ", ".join(levels), exact="I MEM_MGR", source="PROTOCOL.md §2"
        )
    measure("lines unlike the guide's", deviations(device, start), exact="", source="guide, Log Format")


# --- Wholeness ----------------------------------------------------------------------------------------------


@pytest.mark.requirement("LOG-03")
def test_box_is_whole_while_three_tasks_log(device: Device, measure: Measure) -> None:
    """Lets three tasks of higher priority log continuously while several boxes in a row are written.

    The test also verifies the load: every task must keep logging just before and after each box.
    """
    start = device.mark()  # before the load, so that its first lines count for the first box
    device.command("log.load", tasks=LOAD_TASKS, every=LOAD_PERIOD_MS)
    contexts = [f"Under load {number}" for number in range(ROUNDS * BOXES_IN_A_ROW)]
    boxes: list[Box | None] = []
    for first in range(0, len(contexts), BOXES_IN_A_ROW):
        for context in contexts[first : first + BOXES_IN_A_ROW]:
            device.log(context)
        boxes += [first_box(device, context, start) for context in contexts[first : first + BOXES_IN_A_ROW]]
    last = max((box.lines[0].t_ms for box in boxes if box), default=0)
    device.channel.wait(lambda: len(loaders(device, start, last)) >= LOAD_TASKS or None, budgets.EVENT_S)
    device.log_load(stop=True)
    device.barrier()

    measure(
        "whole boxes",
        len([box for box in boxes if box]),
        exact=len(contexts),
        source="requirement LOG-03",
    )
    measure("broken boxes", deviations(device, start), exact="", source="requirement LOG-03")
    for context, box in zip(contexts, boxes, strict=True):
        foreign = " | ".join(box.foreign) if box else "no box"
        measure(f"foreign lines in {context!r}", foreign, exact="", source="requirement LOG-03")
    stamps = loaders(device, start)
    measure("tasks that logged", len(stamps), exact=LOAD_TASKS, source="requirement LOG-03")
    for tag, times in stamps.items():
        pauses = [longest_pause(times, box.lines[0].t_ms) for box in boxes if box]
        measure(
            f"longest pause of {tag} around a box",
            max(pauses),
            "ms",
            low=0,
            high=PAUSE_MAX_MS,
            source="the load",
        )


def loaders(device: Device, since: Cursor, from_ms: int = 0) -> dict[str, list[int]]:
    """Log times of each load task since the mark, on the board's clock."""
    stamps: dict[str, list[int]] = {}
    for line in device.log_lines(since):
        if line.tag.startswith("LOAD") and line.t_ms >= from_ms:
            stamps.setdefault(line.tag, []).append(line.t_ms)
    return stamps


def longest_pause(times: list[int], moment: int) -> float:
    """Milliseconds between the last of `times` before `moment` and the first after it; infinite if either is
    missing."""
    before = max((time for time in times if time <= moment), default=-math.inf)
    return min((time for time in times if time >= moment), default=math.inf) - before


def first_box(device: Device, context: str, since: Cursor) -> Box | None:
    """Wait for a box with this context; None if it is broken."""
    try:
        return device.wait_box(context, since=since)
    except FirmwareError:
        return None


@pytest.mark.requirement("LOG-01")
@pytest.mark.leaves("the line editor keeps the typed lines, and ESP-IDF a tag's level", "heaps")
def test_hidden_boxes_stay_hidden_and_later_ones_are_written(
    device: Device, monitor: Monitor, measure: Measure
) -> None:
    """Hides the boxes with a typed command, twice. Boxes logged before the harness's next request must stay hidden, and
    boxes logged later must be written. Monitoring must continue, and it must be possible to stop it."""
    monitor.start()
    start = device.mark()
    for line in (b"log.quiet what=boxes", b"log.quiet what=boxes", b"mem.log context=Hidden"):
        device.channel.send(line + b"\n")
    sample_of(device, "Hidden", start)
    monitor.samples(2)  # the fixture waits here without sending a request
    device.log("Shown")
    measure("box after the silence", device.wait_box("Shown", since=start).context, exact="Shown")
    monitor.complete_checks(2)
    measure("hidden boxes", len(device.boxes(start, "Hidden")), exact=0, source="log.quiet")
    measure("monitoring can be stopped", device.monitor(stop=True).running, exact=False, source="API-05")


@pytest.mark.requirement("LOG-06")
@pytest.mark.leaves("the line editor keeps the typed line, and ESP-IDF a tag's level", "heaps")
def test_request_shows_the_records_that_a_person_hid(device: Device, measure: Measure) -> None:
    start = device.mark()
    device.channel.send(b"log.quiet\n")
    device.log("Shown")
    record = sample_of(device, "Shown", start)
    measure("context of the record", record.data["context"], exact="Shown", source="firmware/README.md")


# --- The moment ---------------------------------------------------------------------------------------------


@pytest.mark.requirement("LOG-04")
@pytest.mark.parametrize("memory", MEMORIES, ids=lambda memory: memory.name)
def test_logged_figures_are_of_the_moment_they_name(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure, memory: Memory
) -> None:
    """Logs, allocates and logs again, and compares each log with direct reads. The original firmware printed the
    monitor's last sample both times in 103 of 116 recorded pairs."""
    start = device.mark()
    steps = {"Before": 0, "After": 12 * KB, "After more": 40 * KB}
    for context, size in steps.items():
        if size:
            heaps.hold(memory, size)
        before = device.probe(memory.caps)
        device.log(context)
        after = device.probe(memory.caps)
        assert before == after, "memory changed around the log, so its figures cannot be judged"
        box = device.wait_box(context, since=start)
        free, largest, _ = box.stats.memory(memory.name)
        record = sample_of(device, context, start)
        source = "direct reads just before and after (heap.probe)"
        measure(
            f"{context}: {memory.name} free - direct read", free - before.free, "B", exact=0, source=source
        )
        measure(
            f"{context}: {memory.name} largest - direct read",
            largest - before.largest,
            "B",
            exact=0,
            source=source,
        )
        measure(
            f"{context}: {memory.name} free in the record - direct read",
            record.data[f"{memory.name}_free"] - before.free,
            "B",
            exact=0,
            source=source,
        )


@pytest.mark.requirement("LOG-04")
def test_log_right_after_an_allocation_has_its_bytes(
    device: Device, monitor: Monitor, measure: Measure
) -> None:
    """Sends a log command, an allocation and another log command in one write, so that the two logs are only a few ms
    apart. They must differ by the allocated block."""
    monitor.start(LONG_MS)  # without the monitor, each log would create a task, which uses memory
    start = device.mark()
    for round_ in range(ROUNDS):
        before, after = f"Round {round_}", f"Allocated in round {round_}"
        requests: list[tuple[str, dict[str, object]]] = [
            ("mem.log", {"context": before}),
            ("heap.hold", {"caps": INTERNAL.caps, "size": JUST_TAKEN}),
            ("mem.log", {"context": after}),
            ("heap.release", {"all": 1}),
        ]
        first = FIRST_REQUEST + round_ * len(requests)
        device.channel.send(
            b"".join(encode_request(first + at, name, given) for at, (name, given) in enumerate(requests))
        )
        samples = [sample_of(device, context, start).data for context in (before, after)]
        taken = samples[0]["internal_free"] - samples[1]["internal_free"]
        least = JUST_TAKEN + BLOCK_OVERHEAD
        measure(
            f"round {round_}: taken",
            taken,
            "B",
            low=least,
            high=least + 12,
            source="the block, its header, and a remainder too small for a block",
        )
    device.barrier()


# --- Deltas -------------------------------------------------------------------------------------------------


def measure_unchanged(device: Device, measure: Measure, baselines: dict[str, dict[str, Any]]) -> None:
    """Check that the states still have the given baselines."""
    for state, expected in baselines.items():
        now = device.baseline(state=state)
        changed = [name for name, value in expected.items() if name not in VOLATILE and now[name] != value]
        measure(f"{state}: changed figures", str(changed), exact="[]", source="memory_manager.h")


@pytest.mark.needs("camera")
@pytest.mark.requirement("LOG-05")
def test_baseline_of_a_mode_is_that_of_its_first_entry(
    device: Device, modes: Modes, heaps: Heaps, measure: Measure
) -> None:
    """Holds another 1 KB in each of two cycles. The modes' baselines must not change, so that small losses add up."""
    modes.cycle()
    modes.cycle()
    first = {mode: device.baseline(state=mode) for mode in MODES}
    for _ in range(2):
        heaps.hold(INTERNAL, KB)
        modes.cycle()
    measure_unchanged(device, measure, first)


@pytest.mark.requirement("LOG-05")
def test_baseline_of_one_state_too_many_is_refused(device: Device, heaps: Heaps, measure: Measure) -> None:
    """Sets as many baselines as the manager can keep, then another one, which the manager must refuse without changing
    the others. No mode has a baseline yet, because entering camera mode at boot sets none."""
    before = {}
    for number in range(STATES_MAX):
        state = f"state {number}"
        device.baseline(set=True, state=state)
        before[state] = device.baseline(state=state)
    heaps.hold(INTERNAL, 5 * KB)
    with pytest.raises(DeviceError) as refused:
        device.baseline(set=True, state="another")
    measure("one too many", refused.value.err, exact="ESP_ERR_NO_MEM", source="memory_manager.h")
    measure_unchanged(device, measure, before)


@pytest.mark.requirement("LOG-05")
def test_states_whose_names_begin_alike_have_their_own_baselines(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    monitor.stop()
    before = {}
    for state in ("cam", "camera", "came", "camera2"):
        device.baseline(set=True, state=state)
        before[state] = device.baseline(state=state)
        heaps.hold(INTERNAL, KB)
    different = len({baseline["internal"] for baseline in before.values()})
    measure("different baselines", different, exact=len(before), source="1 KB was held after each")
    measure_unchanged(device, measure, before)


@pytest.mark.requirement("LOG-05")
def test_deltas_are_current_minus_baseline_with_sign(device: Device, heaps: Heaps, measure: Measure) -> None:
    start = device.mark()
    internal = heaps.hold(INTERNAL, 20 * KB)
    psram = heaps.hold(PSRAM, 300 * KB)
    device.baseline(set=True)
    baseline = {name: heaps.free(caps) for name, caps in EVERYTHING.items()}

    def check(context: str, sign: int) -> None:
        reads = {name: heaps.free(caps) for name, caps in EVERYTHING.items()}
        device.log(context)
        box = device.wait_box(context, since=start)
        for name, read in reads.items():
            expected = read - baseline[name]
            assert expected * sign > 0 or expected == sign == 0, f"the test's own steps: {name} {expected:+d}"
            measure(
                f"{context}: delta of {name}",
                box.delta[name],
                "B",
                exact=expected,
                source="current - baseline, both by direct reads (heap.probe)",
            )

    check("At the baseline", 0)
    heaps.hold(INTERNAL, 3 * KB)
    heaps.hold(PSRAM, 2_000)
    check("Below the baseline", -1)
    heaps.release(internal)
    heaps.release(psram)
    check("Above the baseline", +1)


@pytest.mark.requirement("LOG-05")
def test_first_baseline_is_that_of_init(device: Device, measure: Measure) -> None:
    """Compares the deltas of 'System Boot' with the baseline. 'System Boot' is logged after monitoring has started, so
    the deltas must include the allocations since init."""
    box = device.wait_box("System Boot", since=boot_start(device))
    baseline = device.baseline()
    for name in DELTA_LABELS:
        measure(
            f"delta of {name} at 'System Boot'",
            box.delta[name],
            "B",
            exact=getattr(box.stats, f"{name}_free") - baseline[name],
            source="the box's own figure - mem.baseline",
        )
    measure(
        "the monitor task shows in the delta",
        box.delta["internal"],
        "B",
        low=-8 * KB,
        high=-2 * KB,
        source="2 KB stack",
    )


# --- Records ------------------------------------------------------------------------------------------------


@pytest.mark.requirement("LOG-06")
@pytest.mark.parametrize("letter", ["a", '"', "\\"], ids=["letter", "quote", "backslash"])
def test_longest_records_have_no_more_than_480_bytes(
    device: Device, heaps: Heaps, measure: Measure, letter: str
) -> None:
    """Logs contexts of full length, with deltas of many digits. The record must have the context as it was given."""
    start = device.mark()
    heaps.hold(PSRAM, 2 * KB * KB)
    for what in ("first", "second"):
        since = device.mark()
        device.log(letter * CONTEXT_MAX)
        context = device.wait_event("mem.sample", since=since).data["context"]
        measure(f"context of the {what} record", context, exact=letter * CONTEXT_MAX, source="mem.log")
        device.release()
    longest = max(len(record.raw.rstrip()) for record in device.channel.records(start))
    measure("longest record", longest, "B", low=RECORD_MAX * 3 // 4, high=RECORD_MAX, source="telemetry.h")


@pytest.mark.requirement("LOG-01", "LOG-06")
def test_statistics_are_logged_although_no_task_can_be_created(
    device: Device, monitor: Monitor, measure: Measure
) -> None:
    """Stops monitoring and makes each creation of a task fail, as if memory were missing: then the caller must write
    the record and the box."""
    monitor.stop()
    device.fail_call("xTaskCreatePinnedToCore", count=ALL_CALLS)
    start = device.mark()
    for context in ("First", "Second"):
        device.log(context)
        written = [box.context for box in device.boxes(start)]
        measure(
            f"{context}: box, before the reply", context in written, exact=True, source="memory_manager.h"
        )
    failed = device.fail_call()["failed"]
    device.fail_call(off=True)
    measure("tasks that were not created", failed, min=1, source="sys.fail")
    records = [event.data["context"] for event in device.events("mem.sample", since=start)]
    measure("records", str(records), exact=str(["First", "Second"]), source="LOG-06")


@pytest.mark.requirement("LOG-06")
def test_record_has_the_boxs_numbers_and_a_checksum(device: Device, heaps: Heaps, measure: Measure) -> None:
    start = device.mark()
    contexts = ["First", "Second"]
    device.log(contexts[0])
    heaps.hold(INTERNAL, 5 * KB)
    heaps.split(PSRAM, block=KB, count=16)
    device.log(contexts[1])
    for context in contexts:
        box = device.wait_box(context, since=start)
        record = sample_of(device, context, start).data
        for field in BOX_FIELDS:
            measure(
                f"{context}: {field.name} in the record",
                record[field.name],
                field.unit,
                exact=getattr(box.stats, field.name),
                source="the box",
            )
        for name, delta in box.delta.items():
            measure(
                f"{context}: delta of {name} in the record",
                record[f"delta_{name}"],
                "B",
                exact=delta,
                source="the box",
            )
    damaged = [item.reason for item in device.channel.corrupt(start)]
    measure("records without a right checksum", "; ".join(damaged), exact="", source="PROTOCOL.md §3, CRC-16")
