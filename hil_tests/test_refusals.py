"""The firmware must refuse these requests without any effect: wrong arguments, and requests in the wrong state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fixtures.measure import Measure
from fixtures.modes import VOICE, Modes
from hotpin_hil.analysis.conservation import differences, memory_names
from hotpin_hil.device import Device, DeviceError, budgets

REFUSED = {
    # command line: the key and value that the error message must name, or the error code
    "audio.tap reset=1 sample=65536": "sample=65536",
    "bench.run what=log n=129": "n=129",
    "heap.fail caps=DMA": "nth=",
    "heap.fail caps=DMA nth=0": "nth=0",
    "heap.fail step=camera.stop,nowhere": "step=camera.stop,nowhere",
    "heap.fail step=audio.start,nosuch": "step=audio.start,nosuch",
    "heap.hold caps=DMA": "size=",
    "heap.hold caps=DMA size=64 leave=32": "leave=32",
    "heap.hold caps=DMA size=64 block=16": "block=16",
    "heap.hold caps=DMA size=100 block=4": "block=4",
    "heap.hold caps=DMA size=100 leave=100": "leave=100",
    "heap.hold size=16 caps=EXEC": "caps=EXEC",
    "heap.hold leave=0 caps=INTERNAL,EXEC": "caps=INTERNAL,EXEC",
    "heap.leak bytes=16": "caps=",
    "heap.leak bytes=16 caps=32BIT,EXEC": "caps=32BIT,EXEC",
    "heap.leak caps=DMA": "bytes=",
    "heap.leak caps=DMA every=sample": "bytes=",
    "heap.probe caps=DMA;SPIRAM": "caps=DMA;SPIRAM",
    "heap.release": "id=",
    "heap.release id=1 all=1": "id=1",
    "heap.release all=1 id=1": "id=1",
    "heap.split caps=DMA block=16 count=4501": "count=4501",
    "heap.split block=16 count=4 caps=EXEC": "caps=EXEC",
    "log.load": "tasks=",
    "log.load tasks=0": "tasks=0",
    "log.load tasks=5": "tasks=5",
    "log.load tasks=1 every=0": "every=0",
    "log.load tasks=2 every=0": "every=0",
    "log.load tasks=2 every=1001": "every=1001",
    "log.load tasks=4 every=4294968": "every=4294968",
    "mem.api case=nonsense": "case=nonsense",
    "mem.baseline set=1 state=a_name_longer_than_any_state_has": "ESP_ERR_INVALID_ARG",
    "mem.callbacks reset=1 add=9": "add=9",
    "mem.callbacks log=1 add=7": "ESP_ERR_NO_MEM",
    "mem.check": "dma=",
    "mem.check dma=64 psram=32": "psram=32",
    "mem.monitor start=1000 stop=1": "stop=1",
    "mem.monitor start=1": "ESP_ERR_INVALID_ARG",
    "mem.thresholds default=1 fragmentation_critical=101": "ESP_ERR_INVALID_ARG",
    "mem.thresholds psram_warning=700000 fragmentation_critical=101": "ESP_ERR_INVALID_ARG",
    "mode.set to=voice wait=2": "wait=2",
    "mode.settle default=1 down=10001": "ESP_ERR_INVALID_ARG",
    "mode.settle down=3 up=10001": "ESP_ERR_INVALID_ARG",
    "sys.fail nth=1": "call=",
    "sys.fail call=nonsense": "call=nonsense",
    "sys.fail call=gpio_config nth=0": "nth=0",
    "sys.fail call=xQueueCreateMutex nth=0": "nth=0",
    "sys.fail nth=1 call=nosuch": "call=nosuch",
    "sys.panic kind=abort step=nosuch": "step=nosuch",
    "sys.panic kind=heap step=nosuch": "step=nosuch",
    "sys.panic kind=iram step=nosuch": "step=nosuch",
    "tts.open bytes=x": "bytes=x",
    "tts.play wait=2": "wait=2",
    "tts.write data=AAA": "data=AAA",
}
"""Command lines with valid syntax. The last argument is missing, invalid, or contradicts the others; the arguments
before it would have an effect."""


@pytest.mark.requirement("ROB-01")
def test_refused_command_names_its_argument_and_changes_nothing(device: Device, measure: Measure) -> None:
    """Changes each setting from its default, so that a command that restores a default is detected; then sends commands
    with a missing or wrong argument."""
    device.settle(down=1, up=2)
    device.thresholds(psram_warning=600_000)
    device.callbacks(add=2)
    device.hold("DMA", size=100)
    device.tts_open()
    device.fail(step="stt.start")
    before = device.resources()
    memory_of = memory_names(device.regions())
    calls = device.callbacks()["registered"]
    for line, named in REFUSED.items():
        name, *words = line.split(" ")
        with pytest.raises(DeviceError) as refused:
            device.command(name, **dict(word.split("=", 1) for word in words))
        error = refused.value.err
        if error == "BAD_ARGUMENT":
            error = f"{refused.value.reply['key']}={refused.value.reply['value']}"
        measure(f"{line}: refused", error, exact=named, source="PROTOCOL.md §3")
        changed = differences(before, device.resources(), memory_of)
        measure(
            f"{line}: changed", ", ".join(sorted(changed)), exact="", source="a refused command has no effect"
        )
    measure("callbacks that record", device.callbacks()["registered"], exact=calls, source="mem.callbacks")


HOLDS_MAX = 64
"""The firmware's HEAP_HOLD_MAX."""


@pytest.mark.requirement("ROB-01")
def test_request_in_the_wrong_state_is_refused_and_the_state_stays(device: Device, measure: Measure) -> None:
    def refuse(text: str, err: str, command: str, **arguments: Any) -> None:
        with pytest.raises(DeviceError) as refused:
            device.command(command, **arguments)
        measure(f"{text}: error", refused.value.err, exact=err, source="PROTOCOL.md §3")

    opened = device.tts_open()
    refuse("a second stream", "ESP_ERR_INVALID_STATE", "tts.open", bytes=1)
    written = device.tts_write(bytes(8))
    measure("state of the stream", written.state, exact=opened.state, source="the first tts.open")
    measure("bytes in the stream", written.written or 0, exact=8, source="tts.write")
    device.tts_close()

    device.log_load(tasks=1, every_ms=1000)
    refuse("a second load", "ESP_ERR_INVALID_STATE", "log.load", tasks=1)
    measure("tasks that log", device.log_load(stop=True)["running"], exact=0, source="log.load stop=1")

    holds = [device.hold("SPIRAM", size=16) for _ in range(HOLDS_MAX)]
    refuse("one hold too many", "ESP_ERR_INVALID_STATE", "heap.hold", caps="SPIRAM", size=16)
    refuse("one split too many", "ESP_ERR_INVALID_STATE", "heap.split", caps="SPIRAM", block=16, count=1)
    device.release(holds[0].id)
    refuse("a released hold", "ESP_ERR_NOT_FOUND", "heap.release", id=holds[0].id)
    again = device.hold("SPIRAM", size=16)
    measure("id of the next hold", again.id, exact=holds[0].id, source="the only free id")
    device.release()

    refuse("baseline of a mode that was never entered", "ESP_ERR_NOT_FOUND", "mem.baseline", state="voice")
    device.baseline(set=True, state="motor")
    for state in ("moto", "motors", "m", "Motor"):
        refuse(f"baseline of {state}, not motor", "ESP_ERR_NOT_FOUND", "mem.baseline", state=state)


def without_stream(_device: Device, _modes: Modes) -> None:
    """The board after boot: in camera mode, without a stream."""


def with_stream(device: Device, _modes: Modes) -> None:
    device.tts_open(100)


def in_voice_mode(_device: Device, modes: Modes) -> None:
    modes.to(VOICE)


def with_everything_taken(device: Device, _modes: Modes) -> None:
    """The board with every slot of the console's own objects in use."""
    device.pools(create="chunks", block=16, count=2, caps="SPIRAM")
    device.task_priorities(work=3, under=4)
    device.log_load(tasks=1, every_ms=1000)
    for number in range(RECLAIMERS_MAX):
        device.reclaimers("SPIRAM", add=f"cache {number}")
    for size in range(1, WATCHED_MAX + 1):
        device.reclaimers("SPIRAM", watch=size)


def with_failing_step(device: Device, _modes: Modes) -> None:
    device.fail(step="audio.start")


RECLAIMERS_MAX, WATCHED_MAX = 4, 4
"""The console's SLOTS, and MEMORY_RECLAIM_KINDS_MAX."""
REASONS = {
    without_stream: {
        "stt.read bytes=2": "ESP_ERR_INVALID_STATE: not in voice mode",
        "tts.play": "ESP_ERR_INVALID_STATE: not in voice mode",
        "tts.write data=AAAA": "ESP_ERR_INVALID_STATE: no stream is open for 3 bytes",
        "tts.close": "ESP_ERR_INVALID_STATE: no stream is open",
        "mode.settle down=10001": "ESP_ERR_INVALID_ARG: at most 10000 ms each",
        "mem.monitor start=1": "ESP_ERR_INVALID_ARG: 1 ms is below the minimum interval of 100 ms",
        "mem.thresholds fragmentation_critical=101": "ESP_ERR_INVALID_ARG: a critical level is less severe than its "
        "warning level, or above 100 %",
        "mem.baseline state=voice": "ESP_ERR_NOT_FOUND: no baseline for state voice",
        "mem.pool take=1": "ESP_ERR_INVALID_STATE: create a pool first",
        "mem.priority end=1": "ESP_ERR_INVALID_STATE: no worker is running; start one with mem.priority work=",
        "heap.release id=9": "ESP_ERR_NOT_FOUND: no hold has id 9",
        "heap.split caps=DMA block=400000 count=1": "ESP_ERR_NO_MEM: only 0 blocks of 400000 bytes could be allocated",
    },
    with_stream: {
        "tts.open bytes=1": "ESP_ERR_INVALID_STATE: a stream is already open",
        f"tts.write data={'AAAA' * 34}": "ESP_ERR_INVALID_SIZE: the stream has no room for 102 more bytes",
    },
    in_voice_mode: {
        "camera.capture": "ESP_ERR_INVALID_STATE: not in camera mode",
        "tts.play": "ESP_ERR_INVALID_STATE: no stream is open, or it has already been played",
    },
    with_everything_taken: {
        "mem.pool create=more block=16 count=2 caps=SPIRAM": "ESP_ERR_INVALID_STATE: the test's pool already exists "
        "(delete it with mem.pool off=1)",
        "mem.priority work=3 under=4": "ESP_ERR_INVALID_STATE: the worker is already running "
        "(stop it with mem.priority off=1)",
        "log.load tasks=1": "ESP_ERR_INVALID_STATE: 1 task(s) already logging (stop with log.load stop=1)",
        "mem.reclaim caps=SPIRAM add=more": f"ESP_ERR_NO_MEM: all {RECLAIMERS_MAX} slots are in use (remove the "
        "reclaimers with mem.reclaim off=1)",
        "mem.reclaim caps=SPIRAM watch=9": f"ESP_ERR_NO_MEM: {WATCHED_MAX} kinds of allocations are already watched",
    },
    with_failing_step: {
        "mode.set to=voice wait=1": "ESP_FAIL: step audio.start failed",
    },
}
"""For each state of the board: command lines, and the error and text of their refusal."""


@pytest.mark.requirement("ROB-01")
@pytest.mark.parametrize("state", REASONS, ids=lambda state: state.__name__)
def test_refused_request_says_why(
    device: Device, modes: Modes, measure: Measure, state: Callable[[Device, Modes], None]
) -> None:
    state(device, modes)
    for line, reason in REASONS[state].items():
        name, *words = line.split(" ")
        with pytest.raises(DeviceError) as refused:
            device.command(name, timeout_s=budgets.MODE_S, **dict(word.split("=", 1) for word in words))
        measure(line, f"{refused.value.err}: {refused.value.msg}", exact=reason, source="PROTOCOL.md §3")
