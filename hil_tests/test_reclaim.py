"""Reclaimers run automatically when memory is low, cheapest first, and only as many as needed.

The tests' reclaimers free real blocks, unless a test needs one without gain; direct reads of the heap verify the gain.
"""

from __future__ import annotations

import pytest

from fixtures.audio import tone
from fixtures.measure import Measure
from fixtures.memory import DMA, INTERNAL, KB, PSRAM, SMALLEST_STEP, Heaps, Memory, Monitor, only
from fixtures.modes import CAMERA, VOICE, WRITE_BYTES, Modes
from fixtures.pace import HostPace
from hotpin_hil.analysis.heap_layout import BLOCK_OVERHEAD
from hotpin_hil.device import Device, DeviceError, Event, budgets
from hotpin_hil.link.channel import Cursor

SOURCE = "requirement FUT-08"
SMALL, MEDIUM, LARGE = 8 * KB, 16 * KB, 32 * KB
TTS_REQUIRED = 96 * KB
STREAM = 64 * KB
LONG_MS = 600_000
"""Interval long enough that the monitor takes no sample; its task still exists, so its memory stays allocated."""
SLACK = 12
"""Bytes by which a block may exceed the requested size: the allocator leaves a remainder that is too small for another
block in the block before it."""
STATIC_MAX = 512
"""Limit in bytes for the component's internal memory: 260 on the chip; the host's pointers are twice as long."""


def used(device: Device, start: Cursor) -> list[tuple[str, str]]:
    """Name and trigger of each reclaimer run since the mark, from the board's events."""
    events = device.events("mem.reclaimed", since=start)
    return [(str(event.data["name"]), str(event.data["trigger"])) for event in events]


def wait_use(device: Device, start: Cursor, name: str) -> Event:
    return device.wait_event(
        "mem.reclaimed", budgets.EVENT_S, since=start, where=lambda event: event.data["name"] == name
    )


def measure_gain(measure: Measure, what: str, gain: int, size: int) -> None:
    least = size + BLOCK_OVERHEAD
    measure(f"{what}: gain", gain, "B", low=least, high=least + SLACK, source="the block that it holds")


@pytest.mark.requirement("FUT-08")
@pytest.mark.parametrize("memory", [INTERNAL, PSRAM], ids=lambda memory: memory.name)
def test_cheapest_reclaimers_run_when_a_level_is_entered(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure, memory: Memory
) -> None:
    """Enters the warning level twice, then the critical level. The first time the cheapest reclaimer frees enough; the
    second time only the next reclaimer may run. At the critical level the expensive reclaimer must also run."""
    monitor.start(LONG_MS)
    warning, critical = memory.reachable(40 * KB), memory.reachable(20 * KB)
    leave = {"warning": warning + warning // 10, "critical": critical + critical // 10}
    for name, size, cost, start in (
        ("dear", MEDIUM, 30, "critical"),
        ("second", MEDIUM, 20, "low"),
        ("first", SMALL, 10, "low"),
    ):
        device.reclaimers(memory.caps, add=name, size=size, cost=cost, start=start)
    names = [reclaimer.name for reclaimer in device.reclaimers().reclaimers][:3]
    measure("order", ", ".join(names), exact="first, second, dear", source="by cost")
    device.thresholds(**only(**{f"{memory.thresholds}_warning": warning}))

    heaps.leave(memory, warning - SMALLEST_STEP)
    start = device.mark()
    monitor.start()
    gain = wait_use(device, start, "first").data["gain"]
    measure_gain(measure, "first", gain, SMALL)
    monitor.complete_checks(4)
    measure("uses", str(used(device, start)), exact=str([("first", "low")]), source="8 KB were enough")
    free = heaps.free(memory.caps)
    measure(
        "free after the first",
        free,
        "B",
        exact=warning - SMALLEST_STEP + gain,
        source="the gain in the event",
    )
    measure("level is left", free, "B", min=leave["warning"], source="hysteresis of PROTOCOL.md §1")
    row = device.reclaimers()["first"]
    measure("task of the reclaimer", row.task, exact="state", source="not the monitor, whose stack is 2 KB")
    measure("bytes gained", row.gained, "B", exact=gain, source="the event")

    monitor.start(LONG_MS)
    held = heaps.leave(memory, warning - SMALLEST_STEP)
    start = device.mark()
    monitor.start()
    wait_use(device, start, "second")
    monitor.complete_checks(4)
    measure("uses", str(used(device, start)), exact=str([("first", "low"), ("second", "low")]))
    heaps.release(held)
    monitor.complete_checks(2)

    monitor.start(LONG_MS)
    device.thresholds(
        **only(**{f"{memory.thresholds}_warning": warning, f"{memory.thresholds}_critical": critical})
    )
    heaps.leave(memory, critical - SMALLEST_STEP)
    start = device.mark()
    monitor.start()
    measure_gain(measure, "dear", wait_use(device, start, "dear").data["gain"], MEDIUM)
    measure("trigger", used(device, start)[-1][1], exact="critical", source="the reclaimer's mildest trigger")
    measure("free at the end", heaps.free(memory.caps), "B", min=leave["critical"])


@pytest.mark.requirement("FUT-08")
def test_stream_is_refused_only_if_reclaimers_do_not_help(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    monitor.stop()
    device.reclaimers(PSRAM.caps, add="cache", size=LARGE, start="refusal")
    device.reclaimers(PSRAM.caps, add="last resort", size=SMALL, start="request")
    heaps.leave(PSRAM, TTS_REQUIRED - SMALLEST_STEP)
    start = device.mark()
    opened = device.tts_open()
    measure("state", opened.state, exact="open", source=SOURCE)
    measure("uses", str(used(device, start)), exact=str([("cache", "refusal")]))
    measure("used only once", device.reclaimers()["last resort"].runs, exact=0, source="only on request")
    device.tts_close()

    heaps.leave(PSRAM, TTS_REQUIRED - SMALLEST_STEP)
    start = device.mark()
    with pytest.raises(DeviceError) as refused:
        device.tts_open()
    measure("error", refused.value.err, exact="ESP_ERR_NO_MEM", source="nothing is left to reclaim")
    measure(
        "gain of the second run", device.events("mem.reclaimed", since=start)[0].data["gain"], "B", exact=0
    )
    measure("free after the refusal", heaps.free(PSRAM.caps), "B", exact=TTS_REQUIRED - SMALLEST_STEP)


@pytest.mark.needs("camera")
@pytest.mark.requirement("FUT-08")
def test_mode_is_admitted_with_the_memory_of_a_played_stream(
    device: Device, heaps: Heaps, modes: Modes, monitor: Monitor, measure: Measure
) -> None:
    """Plays a stream in voice mode; the open stream keeps its 64 KB. Leaves too little PSRAM for camera mode's frame
    buffer of 60 KB. The mode change must free the stream's memory and succeed. Without a stream, the change must be
    refused."""
    monitor.stop()
    modes.to(VOICE)
    modes.play(tone(1_600))
    heaps.leave(PSRAM, 16 * KB)
    start = device.mark()
    reached = modes.to(CAMERA)
    measure("mode", reached.mode, exact=CAMERA, source=SOURCE)
    measure("uses", str(used(device, start)), exact=str([("played stream", "refusal")]))
    gain = device.events("mem.reclaimed", since=start)[0].data["gain"]
    measure("gain", gain, "B", min=STREAM + BLOCK_OVERHEAD, source="buffer and task of the stream")

    modes.to(VOICE)
    heaps.leave(PSRAM, 16 * KB)
    start = device.mark()
    error = modes.refused(CAMERA)
    measure("step that refused", str(error.reply["value"]), exact="admission", source="no stream is left")
    measure("uses", str(used(device, start)), exact="[]", source="the reclaimer had nothing to free")


@pytest.mark.needs("camera")
@pytest.mark.requirement("FUT-08", "TRN-06")
def test_drivers_stay_locked_after_the_stream_was_closed_for_a_mode(
    device: Device,
    heaps: Heaps,
    modes: Modes,
    monitor: Monitor,
    *,
    host_pace: HostPace,
    measure: Measure,
) -> None:
    """Requests camera mode, for which a played stream must be closed first. Until the mode is reached, no other task
    may get the drivers."""
    monitor.stop()
    modes.to(VOICE)
    modes.play(tone(1_600))
    heaps.leave(PSRAM, 16 * KB)
    start = device.mark()
    free = []
    with host_pace():
        device.set_mode(CAMERA, wait=False)
        device.wait_event("mem.reclaimed", since=start)
        drivers = device.resources().drivers_free
        while (now := device.mode()).busy and now.mode != CAMERA:
            free.append(drivers)
            drivers = device.resources().drivers_free
    print(f"drivers free during the change: {free}")
    measure("read during the change", bool(free), exact=True, source="sys.resources, mode.get")
    measure("drivers free during the change", any(free), exact=False, source="state_manager.h")
    measure("mode", modes.settled().mode, exact=CAMERA, source="the request")


@pytest.mark.requirement("FUT-08")
@pytest.mark.parametrize("wanted", ["INTERNAL", "DMA", "SPIRAM"])
def test_played_stream_is_closed_for_each_memory_that_it_uses(
    device: Device, modes: Modes, monitor: Monitor, measure: Measure, wanted: str
) -> None:
    """Plays a stream, whose buffer is in PSRAM and whose task is in internal memory, and requests a block larger than
    any memory."""
    monitor.stop()
    modes.to(VOICE)
    modes.play(tone(1_600))
    start = device.mark()
    device.reclaimers(wanted, request=8 * KB * KB)
    measure("uses", str(used(device, start)), exact=str([("played stream", "refusal")]), source=SOURCE)
    measure("stream", device.resources().stream, exact="closed", source=SOURCE)


@pytest.mark.requirement("FUT-08")
def test_stream_in_use_is_not_reclaimed(
    device: Device, modes: Modes, monitor: Monitor, host_pace: HostPace, measure: Measure
) -> None:
    """Requests a block larger than any memory while a stream is open, while it plays, and after its end."""
    monitor.stop()
    modes.to(VOICE)
    stream = tone(1_600)
    device.tts_open(len(stream))
    with host_pace():
        for at in range(0, len(stream) // 2, WRITE_BYTES):
            device.tts_write(stream[at : min(at + WRITE_BYTES, len(stream) // 2)])
        start = device.mark()
        device.reclaimers(PSRAM.caps, request=8 * KB * KB)
        measure("stream, not yet played", device.resources().stream, exact="open", source=SOURCE)
        device.tts_play()
        device.optimize()
        device.reclaimers(PSRAM.caps, request=8 * KB * KB)
        measure("stream in play", device.resources().stream, exact="playing", source=SOURCE)
        for at in range(len(stream) // 2, len(stream), WRITE_BYTES):
            device.tts_write(stream[at : at + WRITE_BYTES])
    end = device.wait_event("tts", budgets.PLAY_S, since=start)
    measure("frames played", end.data["samples"], "frames", exact=1_600, source="frames in the stream")
    measure("uses", str(used(device, start)), exact="[]", source=SOURCE)
    device.tts_close()


@pytest.mark.requirement("FUT-08")
def test_failed_allocation_of_a_watched_kind_runs_reclaimers(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    device.thresholds(**only())
    monitor.start()
    device.reclaimers(DMA.caps, add="cache", size=LARGE, start="failure")
    device.reclaimers(DMA.caps, watch=LARGE // 2)
    held = heaps.leave(DMA, DMA.reachable(16 * KB))
    start = device.mark()
    measure("small allocation", heaps.can_hold(DMA, LARGE // 2 - 4), exact=False)
    monitor.complete_checks(2)
    measure(
        "uses after the small allocation",
        str(used(device, start)),
        exact="[]",
        source="the block is smaller than the watched size",
    )
    device.reclaimers(PSRAM.caps + ",8BIT", watch=LARGE // 2)
    measure("block of another kind", heaps.can_hold(INTERNAL, 400 * KB), exact=False)
    monitor.complete_checks(2)
    measure(
        "uses after it",
        str(used(device, start)),
        exact="[]",
        source="the block does not have all watched capabilities",
    )
    measure("large allocation", heaps.can_hold(DMA, LARGE), exact=False)
    wait_use(device, start, "cache")
    measure("uses", str(used(device, start)), exact=str([("cache", "failure")]), source=SOURCE)
    measure(
        "large allocation afterwards", heaps.can_hold(DMA, LARGE), exact=True, source="the cache is freed"
    )

    for turn in ("second", "third"):
        heaps.release(held)
        device.reclaimers(DMA.caps, add="cache", size=LARGE, start="failure")
        held = heaps.leave(DMA, DMA.reachable(16 * KB))
        start = device.mark()
        measure(f"{turn} failure: allocation", heaps.can_hold(DMA, LARGE // 2), exact=False)
        wait_use(device, start, "cache")
        measure(f"{turn} failure: uses", str(used(device, start)), exact=str([("cache", "failure")]))
        measure(f"{turn} failure: large allocation afterwards", heaps.can_hold(DMA, LARGE), exact=True)


@pytest.mark.requirement("FUT-08")
def test_reclaimer_without_gain_is_skipped_and_named(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    monitor.stop()
    device.reclaimers(PSRAM.caps, add="useless", cost=1)
    start = device.mark()
    for request in range(1, 5):
        answer = device.reclaimers(PSRAM.caps, request=heaps.free(PSRAM.caps))
        measure(f"request {request}: available", bool(answer.available), exact=False)
        row = answer["useless"]
        measure(
            f"request {request}: runs",
            row.runs,
            exact=min(request, 3),
            source="skipped after three runs without gain",
        )
        measure(f"request {request}: skipped", row.skipped, exact=request >= 3)
    device.wait_line("useless freed nothing in 3 runs: skipped", since=start)
    last = device.events("mem.reclaimed", since=start)[-1]
    measure("the last event says so", bool(last.data["skipped"]), exact=True)
    device.optimize()
    measure("runs on request", device.reclaimers()["useless"].runs, exact=4, source="a request skips none")


@pytest.mark.requirement("FUT-08")
def test_gain_ends_the_count_of_runs_without_gain(device: Device, monitor: Monitor, measure: Measure) -> None:
    """Alternates runs with and without gain. Only consecutive runs without gain count towards skipping. A request also
    runs a skipped reclaimer, and a gain ends the skipping."""
    monitor.stop()
    gained = 0
    for turn, idle in enumerate((2, 2, 3), 1):
        device.reclaimers(PSRAM.caps, add="cache", size=SMALL)
        gained += device.optimize().reclaimed
        for run in range(idle + 1):
            row = device.reclaimers()["cache"]
            measure(f"turn {turn}: skipped after {run} runs", row.skipped, exact=run >= 3, source=SOURCE)
            measure(f"turn {turn}: bytes gained after {run} runs", row.gained, "B", exact=gained)
            device.optimize()


@pytest.mark.requirement("FUT-08")
def test_reclaimers_never_run_in_the_monitors_callbacks(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    """Calls memory_manager_optimize() in a warning callback. The reclaimers must run afterwards, in another task."""
    device.reclaimers(PSRAM.caps, add="cache", size=LARGE, start="request")
    device.callbacks(add=1, call="optimize")
    device.thresholds(**only(psram_warning=2 * LARGE))
    monitor.start(LONG_MS)
    heaps.leave(PSRAM, 2 * LARGE - SMALLEST_STEP)
    start = device.mark()
    monitor.start()
    wait_use(device, start, "cache")
    measure("uses", str(used(device, start)), exact=str([("cache", "request")]), source=SOURCE)
    measure(
        "task of the reclaimer", device.reclaimers()["cache"].task, exact="state", source="not mem_monitor"
    )


@pytest.mark.requirement("FUT-08")
def test_reclaimers_never_run_within_a_reclaimer(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    monitor.stop()
    device.reclaimers(PSRAM.caps, add="nested", size=LARGE, cost=1, nested=True)
    device.reclaimers(PSRAM.caps, add="other", size=SMALL, cost=2)
    before = heaps.free(PSRAM.caps)
    gained = device.optimize().reclaimed
    after = heaps.free(PSRAM.caps)
    answer = device.reclaimers()
    measure(
        "request within the reclaimer",
        answer["nested"].took,
        exact=False,
        source="reclaimers never run within a reclaimer",
    )
    measure("runs of the other", answer["other"].runs, exact=1, source="once, by the outer run")
    measure("reclaimed", gained, "B", exact=after - before, source="direct reads before and after")
    measure(
        "uses",
        str([(use.name, use.trigger) for use in answer.uses[:2]]),
        exact=str([("other", "request"), ("nested", "request")]),
        source="newest first",
    )
    total = sum(use.gain for use in answer.uses[:2])
    measure("sum of the gains", total, "B", exact=after - before, source="direct reads before and after")


@pytest.mark.requirement("FUT-08")
def test_level_of_the_reclaimers_has_the_managers_hysteresis(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    """Lets free memory oscillate around a threshold, with a reclaimer that frees nothing. The level must be entered
    only once, so the reclaimer must run only once."""
    threshold = PSRAM.reachable(500 * KB)
    device.reclaimers(PSRAM.caps, add="useless", cost=1)
    device.thresholds(**only(psram_warning=threshold))
    monitor.start()
    heaps.leave(PSRAM, threshold + 2 * KB)
    start = device.mark()
    for _ in range(3):
        below = heaps.leave(PSRAM, threshold - SMALLEST_STEP)
        monitor.complete_checks(2)
        heaps.release(below)
        monitor.complete_checks(2)
    measure("warnings", len(monitor.warnings(start)), exact=1, source="PROTOCOL.md §1")
    measure("runs", device.reclaimers()["useless"].runs, exact=1, source="the level is entered once")


@pytest.mark.requirement("FUT-08")
def test_reclaimers_of_equal_cost_run_in_the_order_of_their_registration(
    device: Device, monitor: Monitor, measure: Measure
) -> None:
    monitor.stop()
    names = ["third", "first", "second"]
    for name in names:
        device.reclaimers(PSRAM.caps, add=name, size=SMALL, cost=7)
    start = device.mark()
    device.reclaimers(PSRAM.caps, request=8 * KB * KB)
    ran = [name for name, _ in used(device, start) if name in names]
    measure("order", str(ran), exact=str(names), source="memory_reclaim.h")


@pytest.mark.requirement("FUT-08")
@pytest.mark.parametrize(
    ("wanted", "runs"),
    [
        ("INTERNAL", ["internal"]),
        ("DMA", ["internal"]),
        ("SPIRAM", ["psram"]),
        ("8BIT", ["internal", "psram"]),
    ],
)
def test_only_reclaimers_of_the_wanted_memory_run(
    device: Device, monitor: Monitor, measure: Measure, wanted: str, runs: list[str]
) -> None:
    """Requests a block larger than any memory. Every reclaimer that frees memory of the requested type must run, and no
    other reclaimer."""
    monitor.stop()
    device.reclaimers(INTERNAL.caps, add="internal", size=SMALL)
    device.reclaimers(PSRAM.caps, add="psram", size=SMALL)
    device.reclaimers(wanted, request=8 * KB * KB)
    answer = device.reclaimers()
    ran = [name for name in ("internal", "psram") if answer[name].runs > 0]
    measure(f"reclaimers that ran for {wanted}", str(ran), exact=str(runs), source="memory_reclaim.h")


@pytest.mark.requirement("FUT-08")
def test_request_stops_when_the_block_fits(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    """Registers two reclaimers with adjacent blocks and requests a block: after the first has run, the block fits, so
    the second must not run."""
    monitor.stop()
    device.reclaimers(PSRAM.caps, add="b", size=LARGE, cost=2)
    device.reclaimers(PSRAM.caps, add="a", size=LARGE, cost=1)
    device.reclaimers(INTERNAL.caps, add="internal", size=SMALL, cost=0)
    heaps.leave(PSRAM, 4 * KB)
    answer = device.reclaimers(PSRAM.caps, request=LARGE)
    measure("block is available", bool(answer.available), exact=True, source=SOURCE)
    measure("runs", str([answer[name].runs for name in ("internal", "a", "b")]), exact=str([0, 1, 0]))
    measure(
        "own memory", answer.bytes_static, "B", max=STATIC_MAX, source="firmware/README.md, Memory budget"
    )
