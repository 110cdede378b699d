"""A lock is held too long: requests must end with their errors, and the board must recover afterwards.

Monitoring continues while the drivers' lock is held. It pauses while the lock of the output is held, and must then
return to its rhythm.
"""

from __future__ import annotations

import base64
from itertools import pairwise
from typing import Any

import pytest

from fixtures.measure import Measure
from fixtures.memory import Monitor
from fixtures.modes import CAMERA, VOICE, Modes
from fixtures.pace import HostPace
from fixtures.poll import poll
from hotpin_hil.device import Device, DeviceError, budgets

HOLD_MS = 12_000
STATE_TIMEOUT_MS = 10_000
"""CONFIG_HOTPIN_STATE_LOCK_TIMEOUT_MS."""
OUTPUT_WAIT_MS = 500
"""Tolerance in ms: the event may have to wait for output that is already being written."""
IN_PROGRESS = "a mode change is in progress"
"""Reason that commands report while the drivers are locked."""
INTERVAL_MS = 500
TOLERANCE_MS = 5
"""1 % of the interval (requirement MON-01)."""
OUTPUT_MS = 1_730
"""Time for which the output's lock is held: three intervals and part of a fourth."""


@pytest.mark.requirement("TRN-06", "ROB-02")
def test_requests_end_with_an_error_while_the_drivers_are_held(
    device: Device, modes: Modes, monitor: Monitor, measure: Measure
) -> None:
    monitor.start(INTERVAL_MS)
    start = device.mark()
    device.hold_lock("drivers", HOLD_MS)
    poll(device.resources, lambda state: not state.drivers_free, "the held lock")
    began = device.monitor()
    device.set_mode(VOICE, wait=False)
    with pytest.raises(DeviceError) as refused:
        device.capture()
    measure("camera.capture", refused.value.err, exact="ESP_ERR_TIMEOUT", source="waits at most 5 s")
    measure("camera.capture: reason", refused.value.msg, exact=IN_PROGRESS, source="PROTOCOL.md §3")
    event = device.wait_event("mode", HOLD_MS / 1000, since=start)
    told = f"{event.data['ok']} {event.data.get('err')} {event.data['step']} {event.data.get('mode')}"
    measure("mode event", told, exact="False ESP_ERR_TIMEOUT lock camera", source="TRN-06")
    measure(
        "duration of the request",
        event.data["duration_ms"],
        "ms",
        low=STATE_TIMEOUT_MS - 10,  # minus one tick of 10 ms
        high=STATE_TIMEOUT_MS + 100,
        source="CONFIG_HOTPIN_STATE_LOCK_TIMEOUT_MS",
    )
    samples = device.monitor().samples - began.samples
    measure(
        "samples meanwhile",
        samples,
        min=STATE_TIMEOUT_MS // INTERVAL_MS - 1,
        source="the monitor needs no lock",
    )
    poll(device.resources, lambda state: state.drivers_free, "the free lock")
    measure("mode", device.mode().mode, exact=CAMERA, source="the former mode")
    frame = device.capture()
    measure("picture afterwards", frame.soi and frame.eoi, exact=True, source="TRN-06")
    measure("mode after the next request", modes.to(VOICE).mode, exact=VOICE, source="TRN-06")


BRIEF_MS = 2_000


@pytest.mark.requirement("TRN-07")
def test_duration_of_a_change_includes_the_wait_for_the_drivers(
    device: Device, modes: Modes, measure: Measure
) -> None:
    """Requests a mode while another task uses the drivers."""
    modes.cycle()
    start = device.mark()
    device.hold_lock("drivers", BRIEF_MS)
    poll(device.resources, lambda state: not state.drivers_free, "the held lock")
    asked_ms = int(device.command("mode.set", to=VOICE)["t"])
    event = device.wait_event("mode", BRIEF_MS / 1000 + budgets.MODE_S, since=start)
    waited_ms = event.t_ms - asked_ms
    measure(
        "from the reply to the event - reported duration",
        waited_ms - event.data["duration_ms"],
        "ms",
        max=OUTPUT_WAIT_MS,
        source="the request comes before its reply",
    )
    measure("duration", event.data["duration_ms"], "ms", min=BRIEF_MS // 2, source="most of the hold")


LONGEST_MS = 20_000
"""Time for which the drivers' lock is held. The harness has 15 s of board time to send a command, which then waits 5 s
for the lock."""
PIECE = bytes(8)
USERS_OF_DRIVERS: dict[str, dict[str, Any]] = {
    "tts.open": {},
    "tts.write": {"data": base64.b64encode(PIECE).decode()},
    "tts.play": {},
    "tts.close": {},
    "stt.read": {"bytes": 2},
}
"""Commands with their arguments, sent in voice mode. If the drivers' lock were free, each would succeed or fail with
another error."""


@pytest.mark.requirement("TRN-06")
def test_commands_wait_for_the_drivers_and_then_do_nothing(
    device: Device, modes: Modes, measure: Measure
) -> None:
    modes.to(VOICE)
    device.tts_open()
    before = device.tts_write(PIECE)
    for command, arguments in USERS_OF_DRIVERS.items():
        device.hold_lock("drivers", LONGEST_MS)
        with pytest.raises(DeviceError) as refused:
            device.command(command, timeout_s=LONGEST_MS / 1000, **arguments)
        measure(command, refused.value.err, exact="ESP_ERR_TIMEOUT", source="waits at most 5 s")
        measure(f"{command}: reason", refused.value.msg, exact=IN_PROGRESS, source="PROTOCOL.md §3")
        poll(device.resources, lambda state: state.drivers_free, "the free lock")
    after = device.tts_write(PIECE)
    measure("state of the stream", after.state, exact=before.state, source="nothing was opened or played")
    grown = (after.written or 0) - (before.written or 0)
    measure("bytes written", grown, "B", exact=len(PIECE), source="only the last tts.write was executed")
    device.tts_close()


ANSWER_MS = 500
"""Time for which the output's lock is held: long enough for a request to be sent and executed."""


@pytest.mark.requirement("LOG-06")
def test_records_are_numbered_in_the_order_in_which_they_are_sent(
    device: Device, host_pace: HostPace, measure: Measure
) -> None:
    """Sends a request while a task holds the lock of the output. Before this task releases the lock it sends an event,
    so the reply, which waits for the lock, must have a later number and time."""
    start = device.mark()
    with host_pace():
        device.hold_lock("output", ANSWER_MS)
        device.mode()
    event = device.wait_event("lock", since=start)
    reply = device.channel.records(start)[-1]
    measure("the reply has a later number", reply.n > event.n, exact=True, source="PROTOCOL.md §2")
    measure("and no earlier time", reply.t_ms >= event.t_ms, exact=True, source="PROTOCOL.md §2")


@pytest.mark.requirement("MON-01")
def test_monitor_keeps_its_interval_after_the_output_was_held(
    device: Device, monitor: Monitor, measure: Measure
) -> None:
    """Holds the lock of the output for more than three intervals, during which no sample is taken. The first sample
    afterwards may be late; the others must be on time."""
    monitor.start(INTERVAL_MS)
    (before,) = monitor.samples(1)
    device.hold_lock("output", OUTPUT_MS)
    after = monitor.samples(6)
    stamps = [event.data["timestamp_ms"] for event in (before, *after)]
    gaps = [later - earlier for earlier, later in pairwise(stamps)]
    print(f"time between samples: {gaps}")
    late = [(stamp - stamps[0] + TOLERANCE_MS) % INTERVAL_MS - TOLERANCE_MS for stamp in stamps]
    off = [delay for delay in late if delay > TOLERANCE_MS]
    measure("samples that are late", len(off), low=0, high=1, source="the first one after the hold")
    measure(
        "last sample, behind the rhythm",
        late[-1],
        "ms",
        low=-TOLERANCE_MS,
        high=TOLERANCE_MS,
        source="requirement MON-01",
    )
    measure(
        "samples left out",
        max(gaps),
        "ms",
        low=2 * INTERVAL_MS,
        high=OUTPUT_MS + INTERVAL_MS,
        source="the hold",
    )
    in_hold = stamps[-1] - stamps[0] - max(gaps)
    measure(
        "time of the other five",
        in_hold,
        "ms",
        low=4 * INTERVAL_MS - TOLERANCE_MS,
        high=5 * INTERVAL_MS + TOLERANCE_MS,
        source="no burst",
    )
