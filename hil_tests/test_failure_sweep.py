"""Injects many failures into each operation. The operation must succeed, or report an error and release all resources;
then it must work again.

One test makes the n-th allocation fail, for each n from 1 to the last allocation of the operation. Others make the n-th
ESP-IDF call fail, each step of a mode change, or two allocations of one operation. Each test records its number of
cases.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count

import pytest

from fixtures.audio import tone
from fixtures.measure import Measure
from fixtures.modes import CAMERA, VOICE, WRITE_BYTES
from fixtures.sweep import CASES_MAX, Failure, Operation, Outcome, Sweep, allocation, call, step
from hotpin_hil.device import Device

SOURCE = "the error is reported, the resources are unchanged, and the operation works afterwards"

STREAM = tone(200)

PAIRS = 12
"""Number of pairs of failing allocations per direction of a mode change."""
CALLS_MAX = 4
"""Maximum number of calls of one function that the test makes fail in one operation, because the sound capture calls
some functions endlessly."""


def without_pauses(device: Device, mode: str) -> None:
    device.settle(down=0, up=0)
    if device.mode().mode != mode:
        device.set_mode(mode)


def fill(device: Device) -> None:
    device.tts_open(len(STREAM))
    for start in range(0, len(STREAM), WRITE_BYTES):
        device.tts_write(STREAM[start : start + WRITE_BYTES])


def fill_in_voice_mode(device: Device) -> None:
    without_pauses(device, VOICE)
    fill(device)


def play_a_stream(device: Device) -> None:
    """Opens, fills, plays and closes a stream. After a failure, also closes the stream, as the firmware's code
    would."""
    fill(device)
    try:
        device.tts_play(wait=True)
    finally:
        device.tts_close()


TO_VOICE = Operation(
    "camera to voice mode",
    lambda device: device.set_mode(VOICE),
    lambda device: device.set_mode(CAMERA),
    lambda device: without_pauses(device, CAMERA),
    allocates=10,
)
TO_CAMERA = Operation(
    "voice to camera mode",
    lambda device: device.set_mode(CAMERA),
    lambda device: device.set_mode(VOICE),
    lambda device: without_pauses(device, VOICE),
    allocates=10,
)
CAPTURE = Operation("camera.capture", lambda device: device.capture())
OPEN = Operation(
    "tts.open", lambda device: device.tts_open(100), lambda device: device.tts_close(), allocates=1
)
PLAY = Operation("tts.play", play_a_stream, prepare=lambda device: without_pauses(device, VOICE), allocates=3)
"""Audio chunks come from a pool, so only the stream and the playback task allocate."""
CLOSE = Operation("tts.close", lambda device: device.tts_close(), fill, fill_in_voice_mode)
START = Operation(
    "mem.monitor start",
    lambda device: device.monitor(start=15_000),
    lambda device: device.monitor(stop=True),
    lambda device: device.monitor(stop=True),
    allocates=2,
)
STOP = Operation(
    "mem.monitor stop", lambda device: device.monitor(stop=True), lambda device: device.monitor(start=15_000)
)
CALLBACKS = Operation(
    "mem.callbacks",
    lambda device: device.callbacks(add=1),
    lambda device: device.callbacks(reset=True),
)
LOAD = Operation(
    "log.load", lambda device: device.log_load(2), lambda device: device.log_load(stop=True), allocates=4
)
HOLD = Operation(
    "heap.hold", lambda device: device.hold("DMA", size=100), lambda device: device.release(), allocates=1
)
COMMANDS = [
    Operation(name, lambda device, name=name: device.command(name))  # type: ignore[misc]
    for name in (
        "mem.stats",
        "mem.thresholds",
        "mem.baseline",
        "mem.optimize",
        "mem.history",
        "mem.events",
        "mem.self",
        "sys.info",
        "sys.last",
        "heap.regions",
        "stt.get",
    )
]


def log_and_wait(device: Device) -> None:
    """Log, and wait. While monitoring is off, a log starts a short-lived task; `monitor(stop=True)` waits until the
    task has ended."""
    device.log("Sweep")
    device.monitor(stop=True)


LOG = Operation("mem.log", log_and_wait, prepare=lambda device: device.monitor(stop=True), allocates=2)

OPERATIONS = [
    pytest.param(TO_VOICE, marks=pytest.mark.requirement("TRN-05"), id="to_voice"),
    pytest.param(TO_CAMERA, marks=pytest.mark.requirement("TRN-05"), id="to_camera"),
    pytest.param(CAPTURE, marks=pytest.mark.requirement("TRN-05"), id="capture"),
    pytest.param(OPEN, marks=pytest.mark.requirement("TTS-03"), id="tts_open"),
    pytest.param(PLAY, marks=pytest.mark.requirement("TTS-03"), id="tts_play"),
    pytest.param(CLOSE, marks=pytest.mark.requirement("TTS-03"), id="tts_close"),
    pytest.param(START, marks=pytest.mark.requirement("API-05"), id="monitor_start"),
    pytest.param(STOP, marks=pytest.mark.requirement("API-05"), id="monitor_stop"),
    pytest.param(CALLBACKS, marks=pytest.mark.requirement("API-09"), id="callbacks"),
]


def record(measure: Measure, operation: Operation, kind: str, outcome: Outcome) -> None:
    """Prints the number of cases, and records the number of cases and the problems."""
    print(
        f"{operation.name}: {outcome.cases} injected failures of {kind}; "
        f"the operation still succeeded in {outcome.survived}"
    )
    for problem in outcome.problems:
        print(problem)
    measure(
        f"{operation.name}: problems with failing {kind}",
        "; ".join(outcome.problems),
        exact="",
        source=f"{outcome.cases} injected failures; the operation still succeeded in {outcome.survived}: {SOURCE}",
    )


def sweep_allocations(device: Device, measure: Measure, operation: Operation) -> None:
    failures: Iterator[Failure] = map(allocation, count(1))
    outcome = Sweep(device, operation).all(failures)
    record(measure, operation, "allocations", outcome)
    if operation.allocates > 0:
        measure(
            f"{operation.name}: allocations that were made to fail",
            outcome.cases,
            low=operation.allocates,
            high=CASES_MAX,
            source="allocations of the operation (firmware/README.md, Memory budget)",
        )


@pytest.mark.needs("camera")
@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_allocation_fails(device: Device, measure: Measure, operation: Operation) -> None:
    sweep_allocations(device, measure, operation)


@pytest.mark.requirement("MON-04")
def test_each_allocation_of_a_console_command_fails(device: Device, measure: Measure) -> None:
    for operation in [LOAD, HOLD, LOG, *COMMANDS]:
        sweep_allocations(device, measure, operation)


def calls_of(device: Device, operation: Operation, name: str) -> int:
    """Number of calls to a function in an undisturbed run, at most CALLS_MAX."""
    device.fail_call(name, nth=1_000_000)
    operation.run(device)
    seen = int(device.fail_call()["seen"])
    device.fail_call(off=True)
    operation.undo(device)
    return min(seen, CALLS_MAX)


@pytest.mark.needs("camera")
@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_call_of_esp_idf_fails(device: Device, measure: Measure, operation: Operation) -> None:
    sweep = Sweep(device, operation)
    for name in device.fail_call()["calls"]:
        for nth in range(1, calls_of(device, operation, name) + 1):
            sweep.one(call(name, nth))
    record(measure, operation, "calls", sweep.outcome)


@pytest.mark.needs("camera")
@pytest.mark.requirement("TRN-05")
@pytest.mark.parametrize("operation", [TO_VOICE, TO_CAMERA], ids=["to_voice", "to_camera"])
def test_each_step_fails(device: Device, measure: Measure, operation: Operation) -> None:
    sweep = Sweep(device, operation)
    for name in device.mode_steps(VOICE if operation is TO_VOICE else CAMERA):
        sweep.one(step(name))
    record(measure, operation, "steps", sweep.outcome)


@pytest.mark.needs("camera")
@pytest.mark.requirement("TRN-05")
@pytest.mark.parametrize("operation", [TO_VOICE, TO_CAMERA], ids=["to_voice", "to_camera"])
def test_two_allocations_fail(
    request: pytest.FixtureRequest, device: Device, measure: Measure, operation: Operation
) -> None:
    """Makes random pairs of allocations fail in a mode change. The second failure may hit the rollback of the first."""
    seed = request.config.option.order_seed or 1
    print(f"pairs drawn with --order-seed {seed}")
    rng = random.Random(f"{seed} {operation.name}")
    sweep = Sweep(device, operation)
    for _ in range(PAIRS):
        first = rng.randint(1, 30)
        sweep.one(allocation(first, first + rng.randint(1, 30)))
    record(measure, operation, f"pairs of allocations (seed {seed})", sweep.outcome)
