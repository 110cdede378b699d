"""Transitions between camera and voice mode: their effects, their log, and the state after a failure.

Memory readings come from a heap walk (`fixtures.modes`), or from `heap_caps_get_free_size()`, which the statistics also
use. Times come from the board's clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest

from fixtures.audio import RATE_HZ, tone
from fixtures.cycles import measure_losses
from fixtures.device import boot_start
from fixtures.measure import Measure, Series
from fixtures.memory import DMA, KB, MEMORIES, PSRAM, Heaps, Memory, Monitor, only
from fixtures.modes import CAMERA, MODES, VOICE, WARM_UP_CYCLES, Modes, Reading, other
from fixtures.panics import CAUSES, panics_of_the_boot
from hotpin_hil.device import BoardReset, Device, DeviceError, Event, Snapshot
from hotpin_hil.link.channel import Cursor
from hotpin_hil.protocol.box import Box
from hotpin_hil.protocol.fields import MemoryStats
from hotpin_hil.protocol.panic import Panic
from hotpin_hil.pytest_plugin.plugin import BoardInUse

BEFORE = {CAMERA: "Before Camera Transition", VOICE: "Before Voice Transition"}
AFTER = {CAMERA: "After Camera Transition", VOICE: "After Voice Transition"}
RECOVERY = "After Error Recovery"

STEPS = {
    VOICE: ["lock", "admission", "camera.stop", "settle.down", "audio.start", "stt.start", "settle.up"],
    CAMERA: [
        "lock",
        "admission",
        "tts.stop",
        "stt.stop",
        "audio.stop",
        "settle.down",
        "camera.start",
        "settle.up",
    ],
}
"""Steps of the transition to each mode. Another test checks that the firmware has exactly these steps."""

RECOVERY_ATTEMPTS = 3
"""CONFIG_HOTPIN_STATE_RECOVERY_ATTEMPTS: number of attempts to restart the former mode. After that, the board waits for
a request."""

UNTOUCHED = ["lock", "admission"]
"""Steps that have no effect and thus need no rollback."""
NOT_UNDONE = {"tts.stop"}
"""Step that a rollback does not undo: a playing stream that was ended cannot be restarted."""

FLAT_B = 8
"""Maximum difference in bytes: after warm-up, free memory in the same state differs by at most 8 B in the recorded logs
(facts: Warm-up)."""
FLAT_BLOCKS = 2
WARM_UP_B = 1 * KB
"""Maximum number of bytes that drivers permanently allocate at their first start; it is 0.6 to 0.85 KB in the recorded
logs."""


AGAINST_BASELINE = re.compile(
    r"(?P<mode>\w+) mode against its baseline: internal (?P<internal>[+-]\d+), PSRAM (?P<psram>[+-]\d+) bytes"
)


@dataclass(frozen=True)
class Flat:
    """Allowed difference between two readings in the same state. It is 0 on the virtual board, whose heap is exact."""

    free: int
    blocks: int
    source: str
    warm_up: int
    """Number of warm-up cycles; drivers make their permanent allocations in these cycles."""

    def measure(self, measure: Measure, what: str, now: Reading, then: Reading) -> None:
        """Measure the difference between two readings in the same state."""
        for name, value in vars(now).items():
            limit = {"blocks": self.blocks, "tasks": 0}.get(name, self.free)
            unit = "" if name in ("blocks", "tasks") else "B"
            change = value - getattr(then, name)
            measure(f"{what}: {name}", change, unit, low=-limit, high=limit, source=self.source)


@pytest.fixture
def flat(board: BoardInUse) -> Flat:
    """The allowed differences on this board."""
    if board.memory_is_exact:
        return Flat(0, 0, "the same state; the virtual board's heap is exact", 1)
    source = "the same state; real_boards.md: flat within 8 B after warm-up"
    return Flat(FLAT_B, FLAT_BLOCKS, source, WARM_UP_CYCLES)


def measure_mode_works(device: Device, modes: Modes, measure: Measure, when: str) -> None:
    """Check that the mode works: camera mode must return a complete picture, voice mode must record sound."""
    if device.mode().mode == CAMERA:
        frame = device.capture()
        measure(f"{when}: picture begins", frame.soi, exact=True, source="JPEG: SOI")
        measure(f"{when}: picture ends", frame.eoi, exact=True, source="JPEG: EOI")
    else:
        samples = modes.record(0.1)
        measure(f"{when}: samples", samples, min=RATE_HZ // 10, source="0.1 s at 16 kHz")


def direct(device: Device) -> dict[str, int]:
    """Free bytes of each memory type, read from the allocator; the keys are the field names of the statistics."""
    return {memory.free_field: device.probe(memory.caps).free for memory in MEMORIES}


def free_of(stats: MemoryStats) -> dict[str, int]:
    """Free bytes of each memory type in a statistics record."""
    return {memory.free_field: getattr(stats, memory.free_field) for memory in MEMORIES}


def sample(device: Device, context: str, since: Cursor) -> Event:
    """The record of the statistics logged under this context."""
    return device.wait_event("mem.sample", since=since, where=lambda event: event.data["context"] == context)


LAST = "Nothing older is left"


def flush_log(device: Device) -> None:
    """Wait until all earlier statistics are written. Boxes are written in order, so it waits for the box of a new
    log."""
    start = device.mark()
    device.log(LAST)
    device.wait_box(LAST, since=start)


def measure_free(measure: Measure, what: str, said: dict[str, int], read: dict[str, int]) -> None:
    """Compare the free memory in statistics with a direct reading at the same time."""
    for name, value in read.items():
        difference = said[name] - value
        measure(
            f"{what}: {name} - direct read",
            difference,
            "B",
            exact=0,
            source="heap.probe; no allocation in between",
        )


def measure_written(measure: Measure, samples: list[Event], boxes: list[Box], contexts: list[str]) -> None:
    """Check that records and boxes have these contexts, each once and in this order, with the same figures."""
    written = {
        "records": [event.data["context"] for event in samples],
        "boxes": [box.context for box in boxes],
    }
    for what, found in written.items():
        own = ", ".join(context for context in found if context not in ("Periodic", LAST))
        measure(f"{what} of {contexts[0]} …", own, exact=", ".join(contexts), source="PROTOCOL.md §2")
    figures = {event.data["context"]: event.data for event in samples}
    for box in boxes:
        for name, value in free_of(box.stats).items():
            said = figures.get(box.context, {}).get(name, "no record")
            measure(f"{box.context}: {name} in the box", value, "B", exact=said, source="the box's record")


def measure_logged(
    device: Device, measure: Measure, contexts: list[str], action: Callable[[], object]
) -> None:
    """Run an action that must log statistics with these contexts.

    Compares the figures of "Before …" with a direct reading just before, and the others with a reading just after.
    """
    flush_log(device)
    before = direct(device)
    start = device.mark()
    action()
    after = direct(device)
    flush_log(device)
    samples = device.events("mem.sample", since=start)
    measure_written(measure, samples, device.boxes(start), contexts)
    for event in samples:
        context = str(event.data["context"])
        if context in contexts:
            measure_free(measure, context, event.data, before if context.startswith("Before") else after)


# --- What is logged -----------------------------------------------------------------------------------------


@pytest.mark.requirement("LOG-01")
def test_statistics_are_logged_at_boot(device: Device, measure: Measure) -> None:
    start = boot_start(device)
    flush_log(device)
    contexts = ["System Boot", BEFORE[CAMERA], AFTER[CAMERA]]
    measure_written(measure, device.events("mem.sample", since=start), device.boxes(start), contexts)


@pytest.mark.requirement("LOG-01")
def test_statistics_are_logged_at_every_occasion(
    device: Device, modes: Modes, monitor: Monitor, measure: Measure
) -> None:
    """Triggers every event at which the firmware logs statistics: changes to both modes, a TTS allocation, a failed
    transition, a warning, and a log with a component's own context."""

    def fail() -> None:
        device.fail(step="audio.start")
        modes.refused(VOICE)

    def warn() -> None:
        start = device.mark()
        device.thresholds(**only(psram_warning=4 * KB * KB))
        monitor.start()
        monitor.warning(start, "PSRAM_LOW")

    tts = ["Before TTS Allocation", "After TTS Allocation"]
    measure_logged(device, measure, [BEFORE[VOICE], AFTER[VOICE]], lambda: modes.to(VOICE))
    measure_logged(device, measure, tts, device.tts_open)
    device.tts_close()
    measure_logged(device, measure, [BEFORE[CAMERA], AFTER[CAMERA]], lambda: modes.to(CAMERA))
    measure_logged(device, measure, [BEFORE[VOICE], RECOVERY], fail)
    measure_logged(device, measure, ["Memory Warning"], warn)
    device.thresholds(default=True)
    measure_logged(device, measure, ["Motor started"], lambda: device.log("Motor started"))


@pytest.mark.requirement("TRN-02")
def test_each_change_is_logged_before_and_after_with_fresh_figures(
    device: Device, modes: Modes, heaps: Heaps, measure: Measure
) -> None:
    """Allocates memory between the transitions, so that all figures of an earlier log would be wrong.

    In the original firmware, both logs had the same old sample in 103 of 116 recorded pairs.
    """
    for round_number in range(2):
        for mode in (VOICE, CAMERA):
            heaps.hold(DMA, 1 * KB)
            heaps.hold(PSRAM, (1 + round_number) * KB)
            measure_logged(device, measure, [BEFORE[mode], AFTER[mode]], partial(modes.to, mode))


# --- There and back -----------------------------------------------------------------------------------------


FRAGMENTATION_MAX = 20


@pytest.mark.requirement("TRN-01")
def test_camera_to_voice_to_camera(device: Device, modes: Modes, measure: Measure) -> None:
    """Changes from camera to voice mode and back, and checks each mode after each change."""

    def measure_picture(when: str) -> None:
        frame = device.capture()
        measure(f"{when}: width", frame.width, "px", exact=640, source="VGA")
        measure(f"{when}: height", frame.height, "px", exact=480, source="VGA")
        measure(f"{when}: begins with SOI", frame.soi, exact=True, source="JPEG")
        measure(f"{when}: ends with EOI", frame.eoi, exact=True, source="JPEG")
        measure(
            f"{when}: size", frame.bytes, "B", low=1_000, high=61_440, source="real_boards.md: frame buffer"
        )

    measure("mode at boot", device.mode().mode, exact=CAMERA, source="guide, main.c")
    measure_picture("first picture")

    voice = modes.to(VOICE)
    measure("mode", voice.mode, exact=VOICE, source="TRN-01")
    measure("previous mode", voice.previous, exact=CAMERA, source="TRN-01")
    measure(
        "fragmentation of internal memory in voice mode",
        device.stats().internal_fragmentation,
        "%",
        max=FRAGMENTATION_MAX,
        source="half of the default warning level: a healthy mode is far from it",
    )
    modes.record(0.2)
    first = device.recording()
    modes.record(2.2)
    second = device.recording()
    rate = (second.samples - first.samples) * 1000 / (second.time_ms - first.time_ms)
    measure(
        "samples of the microphone",
        round(rate),
        "Hz",
        low=RATE_HZ * 0.9,
        high=RATE_HZ * 1.1,
        source="16 kHz over 2 s, in DMA buffers of 64 ms",
    )
    measure("failed reads", second.read_errors, exact=0, source="TRN-01")
    frames = RATE_HZ // 10
    end = modes.play(tone(frames))
    measure("frames played", end.data["samples"], "frames", exact=frames, source="frames in the stream")
    measure("result of the playback", end.data["err"], exact="ESP_OK", source="TRN-01")
    device.tts_close()

    camera = modes.to(CAMERA)
    measure("mode at the end", camera.mode, exact=CAMERA, source="TRN-01")
    measure("changes", camera.transitions, exact=3, source="one from init, and two by the test")
    measure_picture("second picture")


# --- Memory over cycles -------------------------------------------------------------------------------------


@pytest.mark.requirement("TRN-03")
def test_memory_in_a_mode_is_what_it_was_one_cycle_before(
    device: Device, modes: Modes, flat: Flat, measure: Measure
) -> None:
    start = device.mark()
    modes.warm_up()
    last: dict[str, Reading] = {}
    for cycle in range(4):
        for mode in (VOICE, CAMERA):
            modes.to(mode)
            now = modes.read()
            if mode in last:
                flat.measure(measure, f"{mode}, cycle {cycle}", now, last[mode])
            last[mode] = now
    for mode in MODES:
        told = [match for line in device.log_lines(start) if (match := AGAINST_BASELINE.match(line.text))]
        latest = [match for match in told if match["mode"] == mode][-1]
        for memory in ("internal", "psram"):
            measure(
                f"{mode} mode: difference from the baseline in the log: {memory}",
                int(latest[memory]),
                "B",
                low=-WARM_UP_B,
                high=WARM_UP_B,
                source="the state manager's log; real_boards.md: warm-up takes 0.6 to 0.85 KB",
            )


def measure_cycles(device: Device, modes: Modes, measure: Measure, series: Series, cycles: int) -> None:
    """Run `cycles` cycles, read memory in camera mode after each, and measure the losses.

    Runs without settling pauses in the transitions, because the absence of leaks must not depend on pauses.
    """
    device.settle(down=0, up=0)
    readings = []
    for _ in range(cycles):
        modes.cycle()
        readings.append(modes.read())
    measure_losses(readings, measure, series)


@pytest.mark.requirement("TRN-04")
def test_nothing_leaks_over_100_cycles(
    device: Device, modes: Modes, measure: Measure, series: Series
) -> None:
    measure_cycles(device, modes, measure, series, 100)


@pytest.mark.soak
@pytest.mark.requirement("TRN-04")
def test_nothing_leaks_over_1000_cycles(
    device: Device, modes: Modes, measure: Measure, series: Series
) -> None:
    measure_cycles(device, modes, measure, series, 1_000)


# --- Failures -----------------------------------------------------------------------------------------------


@pytest.mark.requirement("TRN-05")
def test_steps_that_are_made_to_fail_are_complete(device: Device, measure: Measure) -> None:
    for mode in MODES:
        steps = device.mode_steps(mode, other(mode))
        measure(f"steps to {mode}", " ".join(steps), exact=" ".join(STEPS[mode]), source="the tests below")


def measure_undone(device: Device, measure: Measure, to: str, step: str, flat: Flat) -> None:
    """Check that the steps before the failed one were rolled back in reverse order, each freeing its memory."""
    steps = [name for name in STEPS[to] if name not in UNTOUCHED]
    done = steps[: steps.index(step)]
    undone = [name for name in reversed(done) if name not in NOT_UNDONE]
    ledger = device.ledger()
    measure(
        "steps done and undone",
        " ".join(f"undo:{entry.step}" if entry.undo else entry.step for entry in ledger),
        exact=" ".join([*done, step, *(f"undo:{name}" for name in undone)]),
        source="TRN-05: the preceding steps, in reverse order",
    )
    forth = {entry.step: entry for entry in ledger if not entry.undo}
    for entry in (entry for entry in ledger if entry.undo):
        for memory in ("internal", "psram"):
            measure(
                f"after undoing {entry.step}: {memory}",
                getattr(entry, f"{memory}_after") - getattr(forth[entry.step], f"{memory}_before"),
                "B",
                low=-flat.free,
                high=flat.free,
                source=f"free memory before {entry.step}",
            )


@pytest.mark.requirement("TRN-05")
@pytest.mark.parametrize("change", [f"{to}-{step}" for to in (VOICE, CAMERA) for step in STEPS[to]])
def test_failed_step_leads_back_to_the_former_mode(
    device: Device, modes: Modes, flat: Flat, measure: Measure, change: str
) -> None:
    to, step = change.split("-")
    origin = other(to)
    for _ in range(flat.warm_up):
        modes.cycle()
    if origin == VOICE:
        modes.to(VOICE)
    then, read_then = device.mode(), modes.read()
    start = device.mark()

    device.fail(step=step)
    error = modes.refused(to)
    measure("steps that failed", device.fail()["steps_failed"], exact=1, source="heap.fail step=…")
    measure("step that the reply names", str(error.reply.get("value")), exact=step, source="PROTOCOL.md §3")
    now = device.mode()
    measure("mode", now.mode, exact=origin, source="TRN-05: back to the former mode")
    measure("mode change in progress", now.busy, exact=False, source="TRN-05")
    measure("changes made", now.transitions - then.transitions, exact=0, source="TRN-05")
    measure("failures counted", now.failures - then.failures, exact=1, source="one step was made to fail")
    flat.measure(measure, "after the failure", modes.read(), read_then)
    device.barrier()
    events = [f"{event.data['to']} {event.data['ok']} {event.data['step']}" for event in modes.changes(start)]
    measure("events", "; ".join(events), exact=f"{to} False {step}", source="PROTOCOL.md §3: one event")
    if step not in UNTOUCHED:
        measure_undone(device, measure, to, step, flat)

    measure_mode_works(device, modes, measure, "afterwards")
    measure("mode after the next request", modes.to(to).mode, exact=to, source="TRN-05: works afterwards")
    measure_mode_works(device, modes, measure, "in the other mode")
    modes.to(origin)
    flat.measure(measure, "back again", modes.read(), read_then)


@pytest.mark.requirement("TRN-05", "LOG-01")
def test_board_recovers_from_a_failed_rollback(
    device: Device, modes: Modes, flat: Flat, measure: Measure
) -> None:
    """Makes the transition and its rollback fail. The board must stop all drivers and restart the former mode."""
    modes.warm_up()
    then = modes.read()
    start = device.mark()

    def fail() -> None:
        device.fail(step=["stt.start", "undo:audio.start"])
        modes.refused(VOICE)
        modes.settled()

    measure_logged(device, measure, [BEFORE[VOICE], RECOVERY], fail)
    measure("steps that failed", device.fail()["steps_failed"], exact=2, source="heap.fail step=…")
    path = [f"{event.data['from']} {event.data['to']} {event.data['ok']}" for event in modes.changes(start)]
    source = "TRN-05: an error, then back by itself"
    measure("events", "; ".join(path), exact="camera voice False; error camera True", source=source)
    measure("mode", device.mode().mode, exact=CAMERA, source="TRN-05: the former mode")
    flat.measure(measure, "after recovery", modes.read(), then)
    measure_mode_works(device, modes, measure, "afterwards")
    measure(
        "mode after the next request", modes.to(VOICE).mode, exact=VOICE, source="TRN-05: works afterwards"
    )


@pytest.mark.requirement("TRN-05", "LOG-01")
@pytest.mark.parametrize("failing", range(1, RECOVERY_ATTEMPTS + 1))
def test_recovery_is_tried_a_few_times_and_then_on_request(
    device: Device, modes: Modes, flat: Flat, measure: Measure, failing: int
) -> None:
    """Makes a rollback fail, and then the first `failing` attempts to restart the former mode. If three attempts fail,
    the board must wait for a request; if fewer fail, it must be back in the former mode."""
    modes.warm_up()
    then, read_then = device.mode(), modes.read()
    start = device.mark()
    device.fail(step=["stt.start", "undo:audio.start", "camera.start"], count=failing)
    modes.refused(VOICE)
    now = modes.settled()
    device.fail(off=True)
    recovers = failing < RECOVERY_ATTEMPTS
    measure("mode", now.mode, exact=CAMERA if recovers else "error", source=f"{RECOVERY_ATTEMPTS} attempts")
    measure("failures counted", now.failures - then.failures, exact=1 + failing, source="one per attempt")
    device.barrier()
    path = [f"{event.data['from']} {event.data['to']} {event.data['ok']}" for event in modes.changes(start)]
    expected = ["camera voice False", *["error camera False"] * failing, *["error camera True"] * recovers]
    measure("events", "; ".join(path), exact="; ".join(expected), source="TRN-05: one event per attempt")

    contexts = [BEFORE[VOICE], AFTER[VOICE]] if recovers else [RECOVERY]
    measure_logged(device, measure, contexts, lambda: modes.to(VOICE))
    measure("mode after a request", device.mode().mode, exact=VOICE, source="TRN-05: works afterwards")
    measure_mode_works(device, modes, measure, "afterwards")
    modes.to(CAMERA)
    flat.measure(measure, "back again", modes.read(), read_then)


@pytest.mark.requirement("TRN-05")
@pytest.mark.parametrize("step", ["admission", "settle.down", "audio.start", "stt.start"])
def test_failed_change_keeps_the_previous_mode(
    device: Device, modes: Modes, measure: Measure, step: str
) -> None:
    start = device.mark()
    modes.cycle()
    before = device.mode()
    device.fail(step=step)
    modes.refused(VOICE)
    device.fail(off=True)
    now = modes.settled()
    *good, failed = modes.changes(start)
    named = [(change.data.get("step"), change.data.get("block")) for change in (*good, failed)]
    expected = [(None, None), (None, None), (step, None)]
    measure("step and block of the changes", str(named), exact=str(expected), source="PROTOCOL.md §3")
    refused = [entry for entry in device.ledger() if entry.step == step and not entry.undo]
    for entry in refused:  # the ledger has no entry for the admission
        measure(
            "memory gained in the refused step",
            entry.internal_after - entry.internal_before,
            "B",
            low=0,
            high=8_552,
            source="at most a deleted task's stack, which the idle task frees",
        )
    measure("steps refused", len(refused), exact=int(step != "admission"), source="mode.ledger")
    measure("mode", now.mode, exact=before.mode, source="TRN-05: the former mode")
    measure("previous mode", now.previous, exact=before.previous, source="the change was undone")


LONG_PAUSE_MS = 5_000
"""Leaves the harness time for a second request before the step that fails."""


@pytest.mark.requirement("TRN-05", "TRN-06")
def test_request_takes_precedence_over_recovery(device: Device, modes: Modes, measure: Measure) -> None:
    """Sends a second request, which is waiting when the rollback of the first fails. The board must serve it at once,
    without an attempt to restart the former mode."""
    start = device.mark()
    device.settle(down=LONG_PAUSE_MS)
    device.fail(step=["stt.start", "undo:audio.start"])
    device.set_mode(VOICE, wait=False)
    device.set_mode(VOICE, wait=False)
    measure("mode", modes.settled().mode, exact=VOICE, source="TRN-06: the last requested mode")
    device.settle(default=True)
    device.barrier()
    path = [f"{event.data['from']} {event.data['to']} {event.data['ok']}" for event in modes.changes(start)]
    expected = "camera voice False; error voice True"
    measure("events", "; ".join(path), exact=expected, source="TRN-06: no change to a mode not requested")
    measure_mode_works(device, modes, measure, "afterwards")


I2S_PORT_B = 36
"""First block that audio.start allocates (facts: i2s_new_channel)."""


@pytest.mark.requirement("TRN-05")
def test_refused_change_names_its_own_step_and_block(device: Device, modes: Modes, measure: Measure) -> None:
    """Makes every allocation fail, so that the undo and all attempts to recover also fail. The error must name the step
    that failed first."""
    modes.warm_up()
    start = device.mark()
    device.fail("INTERNAL", nth=1, count=1_000)
    error = modes.refused(VOICE)
    device.fail(off=True)
    change = modes.changes(start)[0]
    measure("step", error.reply.get("value"), exact="audio.start", source="the first step that allocates")
    measure("step in the event", change.data["step"], exact="audio.start", source="the same")
    measure("missing block in the event", change.data["missing"], "B", exact=I2S_PORT_B, source="facts: I2S")
    said = f"{I2S_PORT_B} bytes are missing" in error.msg
    measure("the message names the missing bytes", said, exact=True, source=error.msg)
    measure("mode", device.mode().mode, exact="error", source="nothing could be started")
    measure("mode after the next request", modes.to(CAMERA).mode, exact=CAMERA, source="TRN-05")


# --- Requests -----------------------------------------------------------------------------------------------


@pytest.mark.requirement("TRN-06")
@pytest.mark.parametrize(
    ("asked", "changes"),
    [
        ([VOICE] * 5, 1),
        ([VOICE, CAMERA], 2),
        ([VOICE, CAMERA] * 4, 8),
        ([CAMERA] * 3, 0),
    ],
    ids=["duplicate", "reversed", "rapid", "where_it_is"],
)
def test_requests_end_in_the_last_requested_mode(
    device: Device, modes: Modes, measure: Measure, asked: list[str], changes: int
) -> None:
    """Sends requests without a pause, so that they can arrive during a transition. The board must end in the mode
    requested last."""
    then = device.mode()
    start = device.mark()
    for mode in asked:
        device.set_mode(mode, wait=False)
    now = modes.settled()
    measure("mode", now.mode, exact=asked[-1], source="TRN-06: the last requested mode")
    measure("failures", now.failures - then.failures, exact=0, source="TRN-06")
    made = now.transitions - then.transitions
    measure(
        "changes",
        made,
        low=int(changes > 0),
        high=changes,
        source="each request is carried out once or skipped",
    )
    device.barrier()
    events = modes.changes(start)
    measure("events", len(events), exact=made, source="one event for each change")
    path = [CAMERA, *(str(event.data["to"]) for event in events)]
    measure(
        "each change starts in the mode in which the previous one ended",
        " ".join(str(event.data["from"]) for event in events),
        exact=" ".join(path[:-1]),
        source="TRN-06",
    )
    measure("mode at the end of the last change", path[-1], exact=asked[-1], source="TRN-06")
    measure_mode_works(device, modes, measure, "afterwards")


# --- Duration -----------------------------------------------------------------------------------------------

SETTLE_MS = 50 + 50
POWER_DOWN_MS = 100 + 100
"""PWDN is held high, then low, before each camera start (100 ms each).

The recorded logs come from the original firmware, which did not power-cycle the camera.
"""
TICK_MS = 10
LINES = 10
LINE_WAIT_MS = 30
"""Maximum wait of a driver's log line for a piece of a box, in a transition."""
DURATION_MAX_MS = {
    VOICE: 890 + SETTLE_MS + LINES * LINE_WAIT_MS,
    CAMERA: 379 + SETTLE_MS + POWER_DOWN_MS + LINES * LINE_WAIT_MS,
}
DURATION_SOURCE = "real_boards.md: median without boxes (890, 379 ms) + pauses + waits for the UART"


@pytest.mark.requirement("TRN-07")
@pytest.mark.parametrize("mode", [VOICE, CAMERA])
def test_duration_is_within_its_limit(device: Device, modes: Modes, measure: Measure, mode: str) -> None:
    """Measures a transition as reported by the board, and by the board's clock at the samples before and after it."""
    if mode == CAMERA:
        modes.to(VOICE)
    for round_number in range(3):
        if round_number:
            modes.to(other(mode))
        start = device.mark()
        reported = modes.to(mode).duration_ms
        stamps = [sample(device, contexts[mode], start).data["timestamp_ms"] for contexts in (BEFORE, AFTER)]
        between = stamps[1] - stamps[0]
        limit = DURATION_MAX_MS[mode]
        measure(f"to {mode}, claimed", reported, "ms", max=limit, source=DURATION_SOURCE)
        measure(f"to {mode}, between the samples", between, "ms", max=limit, source=DURATION_SOURCE)
        measure(
            f"to {mode}, claimed - between the samples",
            reported - between,
            "ms",
            low=-TICK_MS - 1,
            high=2 * 15 + LINE_WAIT_MS + TICK_MS,
            source="two logs of at most 15 ms, the wait for one line, and clock ticks",
        )
    device.ledger()  # for the report's chart of the transition


@pytest.mark.requirement("TRN-05", "TRN-07")
def test_failed_change_is_reported_with_its_own_figures(
    device: Device, modes: Modes, measure: Measure
) -> None:
    """Makes changes fail, first for lack of memory and then for another reason. The second report must have no figure
    of the first, and mode.get must report the failed change, not the last successful one."""
    modes.warm_up()
    for cause in ("memory", "step"):
        start = device.mark()
        if cause == "memory":
            device.fail("DMA", nth=3)
        else:
            device.fail(step="stt.start")
        error = modes.refused(VOICE)
        device.fail(off=True)
        (event,) = modes.changes(start)
        now = device.mode()
        assert now.failed is not None
        is_missing = bool(now.failed.missing)
        measure(f"{cause}: bytes are missing", is_missing, exact=cause == "memory", source="the cause")
        measure(
            f"{cause}: missing in the event", bool(event.data["missing"]), exact=is_missing, source="mode.get"
        )
        name = "ESP_ERR_NO_MEM" if cause == "memory" else "ESP_FAIL"
        measure(f"{cause}: error", error.err, exact=name, source="the cause")
        late = now.duration_ms - event.data["duration_ms"]
        measure(
            f"{cause}: duration in mode.get - in the event", late, "ms", exact=0, source="the same change"
        )


# --- Admission ----------------------------------------------------------------------------------------------

SAME_BLOCKS = 4
"""Number of playback buffers, which are the first blocks of voice mode."""
REFUSED_MAX_MS = 150
"""A camera start alone holds PWDN for 200 ms; the limit allows two logs of 15 ms and three lines of 30 ms."""


@dataclass(frozen=True)
class Shortage:
    """A state of memory that must make the board refuse a transition."""

    to: str
    block: str
    missing: int
    leave: int
    """Free bytes left in the scarce memory."""
    split: int = 0
    """Size of each free piece."""


SHORTAGES = {
    "voice_sum": Shortage(VOICE, "I2S DMA", 4_080, leave=15_000),
    "voice_buffers": Shortage(VOICE, "I2S DMA", 4_080, leave=90_000, split=3_000),
    "voice_task": Shortage(VOICE, "STT task", 8_192, leave=90_000, split=6_000),
    "camera_sum": Shortage(CAMERA, "camera DMA", 32_768, leave=30_000),
    "camera_block": Shortage(CAMERA, "camera DMA", 32_768, leave=90_000, split=8_000),
    "camera_frame": Shortage(CAMERA, "camera frame", 61_440 + 32, leave=60_000),
}


AMPLE = 256 * KB
"""Bytes of any memory that are enough for each mode."""
NARROW = 512
"""Bytes between the largest free memory that is refused and the smallest that is enough, when the search ends."""


@pytest.mark.requirement("TRN-08")
@pytest.mark.parametrize(
    ("to", "memory"),
    [(VOICE, DMA), (CAMERA, DMA), (CAMERA, PSRAM)],
    ids=["voice-dma", "camera-dma", "camera-psram"],
)
def test_nothing_that_the_admission_lets_through_lacks_memory(
    device: Device, modes: Modes, heaps: Heaps, measure: Measure, *, to: str, memory: Memory
) -> None:
    """Searches for the smallest free memory with which the mode starts. With less, the admission must refuse the mode,
    not a later step."""
    modes.cycle()
    origin = modes.to(other(to)).mode
    too_little, enough = 8 * KB, min(heaps.free(memory.caps), AMPLE)
    steps = set()
    while enough - too_little > NARROW:
        middle = memory.reachable((too_little + enough) // 2)
        held = heaps.leave(memory, middle)
        try:
            device.set_mode(to)
            enough = middle
        except DeviceError as error:
            steps.add(str(error.reply["value"]))
            too_little = middle
        heaps.release(held)
        if modes.settled().mode != origin:
            modes.to(origin)
    measure("steps that refused", str(sorted(steps)), exact="['admission']", source="TRN-08: before any step")


@pytest.mark.requirement("TRN-08")
@pytest.mark.parametrize("shortage", SHORTAGES.values(), ids=SHORTAGES)
def test_memory_shortage_is_detected_before_any_step(
    device: Device, modes: Modes, heaps: Heaps, measure: Measure, shortage: Shortage
) -> None:
    """Leaves too little free memory in total, or enough in total but no block that is large enough. The admission must
    refuse the change, and nothing may change."""
    origin = other(shortage.to)
    modes.cycle()
    if origin == VOICE:
        modes.to(VOICE)
        modes.record(0.1)
    memory = PSRAM if shortage.block == "camera frame" else DMA
    held = [heaps.leave(memory, memory.reachable(shortage.leave))]
    if shortage.split:
        held.append(heaps.split(memory, block=shortage.split))
    then, regions_then, ledger_then = device.mode(), device.regions(), device.ledger()
    samples_then = device.recording().samples
    number = 1 + (device.place(memory.caps, [shortage.missing] * SAME_BLOCKS).placed or 0)

    start = device.mark()
    error = modes.refused(shortage.to)
    measure("error", error.err, exact="ESP_ERR_NO_MEM", source="guide, ESP_ERR_NO_MEM")
    measure(
        "step", str(error.reply.get("value")), exact="admission", source="TRN-08: before anything is touched"
    )
    measure("message names the block", shortage.block in error.msg, exact=True, source=error.msg)
    measure(
        "message names the size of the block",
        str(shortage.missing) in error.msg,
        exact=True,
        source=error.msg,
    )
    said = device.wait_line(f"No room for {shortage.to} mode", since=start).text
    measure(
        "log names the block by its number",
        f": {shortage.block} block {number}, {shortage.missing} bytes," in said,
        exact=True,
        source=f"mem.place finds room for {number - 1} such blocks: {said}",
    )
    now = device.mode()
    assert now.failed is not None
    measure(
        "name of the missing block",
        now.failed.block or "",
        exact=shortage.block,
        source="TRN-08: which block",
    )
    measure(
        "size of the missing block",
        now.failed.missing or 0,
        "B",
        exact=shortage.missing,
        source="real_boards.md: driver costs",
    )
    figures = f"{now.failed.missing} bytes are missing for {now.failed.block}, largest free block {now.failed.largest}"
    measure("figures in the message", figures in error.msg, exact=True, source=f"mode.get: {error.msg}")
    largest = device.probe(memory.caps).largest
    measure(
        "largest free block that the reply names",
        now.failed.largest or 0,
        "B",
        low=0,
        high=min(largest, shortage.missing - 1),
        source="heap.probe; smaller than the missing block",
    )
    if shortage.split:
        free = heaps.free(memory.caps)
        measure(
            "sum of the free blocks",
            free,
            "B",
            min=shortage.missing,
            source="the sum is enough for the block",
        )

    measure("mode", now.mode, exact=origin, source="TRN-08: the former mode")
    took = now.duration_ms
    measure("duration of the refusal", took, "ms", max=REFUSED_MAX_MS, source="no driver is restarted")
    measure("heaps are as before", device.regions() == regions_then, exact=True, source="heap.regions, twice")
    measure("no step was begun", device.ledger() == ledger_then, exact=True, source="mode.ledger, twice")
    measure("changes", now.transitions - then.transitions, exact=0, source="TRN-08")
    if origin == VOICE:
        more = modes.record(0.5) - samples_then
        measure("samples captured after the refusal", more, min=1, source="the capture continues")
    measure_mode_works(device, modes, measure, "still")

    for identifier in reversed(held):
        heaps.release(identifier)
    measure("mode once memory is back", modes.to(shortage.to).mode, exact=shortage.to, source="TRN-08")


# --- Crash --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Crash:
    """Crash during a mode transition."""

    to: str
    step: str
    kind: str
    """Argument of sys.panic."""


CRASHES = {
    "first_step": Crash(VOICE, "camera.stop", "abort"),
    "between_the_modes": Crash(VOICE, "audio.start", "null"),
    "last_step": Crash(VOICE, "settle.up", "store"),
    "last_step_back": Crash(CAMERA, "settle.up", "abort"),
}


BOX_MS = 500
"""Pause in the transition that is long enough for a box (250 ms at 115,200 baud), independent of the drivers' speed."""


def crash(device: Device, modes: Modes, plan: Crash) -> dict[str, int]:
    """Crash the board in a transition, after earlier log output is written; returns the memory just before."""
    if plan.to == CAMERA:
        modes.to(VOICE)
    flush_log(device)
    before = direct(device)
    device.settle(down=BOX_MS)
    device.panic_at(plan.kind, plan.step)
    with pytest.raises(BoardReset):
        modes.to(plan.to)
    return before


@pytest.mark.requirement("TRN-09")
@pytest.mark.parametrize("name", ["first_step", "between_the_modes", "last_step_back"])
def test_statistics_from_before_a_crash_survive_it(
    device: Device, modes: Modes, measure: Measure, name: str
) -> None:
    plan = CRASHES[name]
    first = device.info()
    before = crash(device, modes, plan)
    second = device.wait_ready()
    last = device.last()
    measure("reset reason", second.reset_reason, exact="PANIC", source="esp_reset_reason()")
    measure("reset reason in the record", last.reset_reason, exact="PANIC", source="esp_reset_reason()")
    measure("boots counted", second.boot_count - first.boot_count, exact=1, source="TRN-09")
    measure("boot of the record", last.boot_count or 0, exact=first.boot_count, source="the previous boot")
    measure("id of that boot", last.boot_id or "", exact=first.b, source="sys.info before")
    assert last.snapshots, "no statistics survived the reset"
    newest = last.snapshots[0]
    measure("last statistics before the crash", newest.context, exact=BEFORE[plan.to], source="TRN-09")
    measure_free(measure, "before the crash", free_of(newest.stats), before)
    measure(
        "mode after the reset", device.mode().mode, exact=CAMERA, source="the board starts in camera mode"
    )


@pytest.mark.requirement("TRN-09")
def test_crash_that_is_called_off_does_not_happen(device: Device, modes: Modes, measure: Measure) -> None:
    boots = device.info().boot_count
    for name, plan in CRASHES.items():
        if device.mode().mode == plan.to:
            modes.to(other(plan.to))
        device.panic_at(plan.kind, plan.step)
        device.fail(off=True)
        try:
            reached = modes.to(plan.to).mode
        except BoardReset as reset:
            device.wait_ready()
            reached = f"none: {reset}"
        measure(f"{name}: mode", reached, exact=plan.to, source="heap.fail off=1 disarms all")
    measure("resets", device.info().boot_count - boots, exact=0, source="the crashes were called off")


@dataclass(frozen=True)
class Chain:
    """A board's reports of a crash, in chronological order."""

    box: Box
    """Last statistics box before the crash."""
    panic: Panic
    """First output of the panic handler."""
    reset: str
    """Reset banner of the ROM."""
    cause: str
    """Reset reason reported by the next boot."""
    survived: Snapshot
    """Newest statistics that survived in RTC memory."""
    in_order: bool


def put_together(device: Device, since: Cursor) -> Chain:
    """Collect the reports of a crash since the mark. Call it after the board has restarted."""
    boot = device.wait_event("boot", since=since)
    panics = panics_of_the_boot(device, since)
    resets = device.channel.resets(since)
    assert panics, "the board did not panic"
    assert len(resets) == 1, f"the board was reset {len(resets)} times"
    boxes = [box for box in device.boxes(since) if box.offset < resets[0].offset]
    assert boxes, "no statistics box was written before the crash"
    survived = device.last().snapshots
    assert survived, "no statistics survived the reset"
    links = [
        boxes[-1].offset,
        since.offset + panics[0].offset,
        resets[0].offset,
        device.channel.records()[boot.index].offset,
    ]
    return Chain(
        box=boxes[-1],
        panic=panics[0],
        reset=resets[0].name,
        cause=str(boot.data["reset_reason"]),
        survived=survived[0],
        in_order=links == sorted(links),
    )


@pytest.mark.requirement("DIAG-04")
@pytest.mark.parametrize("name", ["last_step", "last_step_back"])
def test_crash_in_a_transition_is_reported_from_box_to_cause(
    device: Device, modes: Modes, measure: Measure, name: str
) -> None:
    """Crashes the board in a transition and compares the last box, the panic, the reset and its cause, which come from
    different sources.

    The crash is late enough for the box to be complete.
    """
    plan = CRASHES[name]
    start = device.mark()
    before = crash(device, modes, plan)
    device.wait_ready()
    chain = put_together(device, start)
    measure(
        "last box", chain.box.context, exact=BEFORE[plan.to], source="guide, Crash During Mode Transition"
    )
    measure_free(measure, "last box", free_of(chain.box.stats), before)
    is_it = bool(re.fullmatch(CAUSES[plan.kind], chain.panic.cause))
    measure("panic", is_it, exact=True, source=chain.panic.headline)
    measure("reset", chain.reset, exact="SW_CPU_RESET", source="ROM banner of a reset after a panic")
    measure("cause", chain.cause, exact="PANIC", source="esp_reset_reason() of the next boot")
    measure("box, panic, reset and cause arrive in this order", chain.in_order, exact=True, source="DIAG-04")
    measure("context of the surviving log", chain.survived.context, exact=BEFORE[plan.to], source="sys.last")
    measure_free(measure, "surviving log", free_of(chain.survived.stats), free_of(chain.box.stats))


# --- Pauses -------------------------------------------------------------------------------------------------

PAUSES_MS = (0, 50, 500)
PAUSE_TOLERANCE_MS = 150
"""Tolerance: two pauses end at a 10 ms tick, the capture ends after a 32 ms piece, and three lines wait 30 ms."""


@pytest.mark.requirement("TRN-10")
def test_pauses_add_to_duration_and_cost_no_memory(
    device: Device, modes: Modes, flat: Flat, measure: Measure
) -> None:
    """Makes the same transitions with pauses of three lengths, each started on a quiet UART. The pauses must add to the
    duration and use no memory."""
    modes.warm_up()
    measure("pauses as built", device.settle().down_ms, "ms", exact=50, source="Kconfig's default")
    shortest: dict[str, tuple[int, Reading]] = {}
    for pause in PAUSES_MS:
        down, up = pause, 3 * pause
        set_to = device.settle(down=down, up=up)
        measure(
            "pauses as set", str((set_to.down_ms, set_to.up_ms)), exact=str((down, up)), source="mode.settle"
        )
        for mode in (VOICE, CAMERA):
            flush_log(device)
            duration = modes.to(mode).duration_ms
            now = modes.read()
            if mode not in shortest:
                shortest[mode] = (duration, now)
            measure(
                f"to {mode} with {pause} ms: longer than without pauses",
                duration - shortest[mode][0] - down - up,
                "ms",
                low=-PAUSE_TOLERANCE_MS,
                high=PAUSE_TOLERANCE_MS,
                source="both pauses longer; ticks and lines of the log",
            )
            flat.measure(measure, f"{mode} with {pause} ms, against none", now, shortest[mode][1])
            settled = {entry.step: entry for entry in device.ledger()}
            for step in ("settle.down", "settle.up"):
                gained = settled[step].internal_after - settled[step].internal_before
                measure(
                    f"{step} of {pause} ms to {mode}: memory gained",
                    gained,
                    "B",
                    low=0,
                    high=8_552,
                    source="at most a deleted task's stack, which the idle task frees",
                )


LONGEST_MS = 10_000
TOO_LONG_MS = LONGEST_MS + 1


@pytest.mark.requirement("TRN-10", "ROB-02")
def test_longest_pauses_do_not_trip_the_watchdog(device: Device, modes: Modes, measure: Measure) -> None:
    """Changes the mode with the longest pauses. The task watchdog would reset the board if a watched task were silent
    for 5 s."""
    boots = device.info().boot_count
    device.settle(down=LONGEST_MS, up=LONGEST_MS)
    changed = device.set_mode(VOICE)
    measure("mode", changed.mode, exact=VOICE, source="TRN-10")
    measure("duration", changed.duration_ms, "ms", min=2 * LONGEST_MS, source="two pauses")
    measure("resets", device.info().boot_count - boots, exact=0, source="the state task feeds the watchdog")


@pytest.mark.requirement("TRN-10")
def test_pauses_that_are_too_long_are_refused(device: Device, measure: Measure) -> None:
    before = device.settle()
    for name, ask in (
        ("down", partial(device.settle, down=TOO_LONG_MS)),
        ("up", partial(device.settle, up=TOO_LONG_MS)),
    ):
        try:
            ask()
            error = "none"
        except DeviceError as refused:
            error = refused.err
        measure(f"{name}: too long", error, exact="ESP_ERR_INVALID_ARG", source="Kconfig's range")
    measure("pauses unchanged", device.settle() == before, exact=True, source="TRN-10")
    device.settle(down=1, up=2)
    measure("back to the default", device.settle(default=True) == before, exact=True, source="mode.settle")
