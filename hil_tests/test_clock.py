"""Monitoring and durations stay correct when the clock crosses the 31-bit and 32-bit limits, and timeouts count from
the last data."""

from __future__ import annotations

from itertools import pairwise

import pytest

from fixtures.audio import RATE_HZ, tone
from fixtures.clock import BoardClock
from fixtures.measure import Measure
from fixtures.memory import Monitor
from fixtures.modes import CAMERA, VOICE, WRITE_BYTES, Modes
from fixtures.pace import HostPace
from fixtures.poll import poll
from hotpin_hil.device import Device, budgets

LIMITS_MS = {
    "us_31_bits": (1 << 31) // 1000,
    "us_32_bits": (1 << 32) // 1000,
    "ms_31_bits": 1 << 31,
}
"""Times since boot in ms at which a counter of microseconds or milliseconds changes its sign or wraps."""
SHORTLY_MS = 700
"""Time from the start of each step to the limit; each step ends after the limit."""
INTERVAL_MS = 500
TOLERANCE_MS = 5
"""1 % of the interval (requirement MON-01)."""
STALL_MS = 3_000
"""Jump of the clock, longer than CONFIG_HOTPIN_TTS_STALL_MS."""
SLOW = 0.5
"""Speed of the board's clock relative to real time. At this speed, the clock's jump comes during the first part of the
stream (1 s), even on a loaded host."""

each_limit = pytest.mark.parametrize("limit_ms", LIMITS_MS.values(), ids=LIMITS_MS)


@pytest.mark.requirement("MON-01")
@each_limit
def test_monitor_keeps_its_interval_past_the_limit(
    monitor: Monitor, clock: BoardClock, measure: Measure, limit_ms: int
) -> None:
    clock.jump_to(limit_ms - SHORTLY_MS)
    monitor.start(INTERVAL_MS)
    stamps = [event.data["timestamp_ms"] for event in monitor.samples(5)]
    measure(
        "last sample is after the limit", stamps[-1] > limit_ms, exact=True, source="the test's own order"
    )
    for number, (earlier, later) in enumerate(pairwise(stamps), 1):
        measure(
            f"interval {number}",
            later - earlier,
            "ms",
            low=INTERVAL_MS - TOLERANCE_MS,
            high=INTERVAL_MS + TOLERANCE_MS,
            source="requirement MON-01",
        )


@pytest.mark.requirement("TRN-07")
@each_limit
def test_duration_of_a_change_past_the_limit_is_right(
    device: Device, modes: Modes, clock: BoardClock, measure: Measure, limit_ms: int
) -> None:
    """Starts a mode change shortly before the limit; its pauses make it end after the limit. The reported duration must
    be the usual one."""
    device.settle(down=SHORTLY_MS, up=SHORTLY_MS)
    expected = modes.to(VOICE).duration_ms
    modes.to(CAMERA)
    clock.jump_to(limit_ms - SHORTLY_MS)
    start = device.mark()
    duration = modes.to(VOICE).duration_ms
    (event,) = modes.changes(start)
    measure("change ends after the limit", event.t_ms > limit_ms, exact=True, source="the test's own order")
    measure(
        "duration past the limit - before",
        duration - expected,
        "ms",
        low=-50,
        high=50,
        source="the same change at another time: ticks, and lines of the log",
    )


@pytest.mark.requirement("TTS-05")
def test_playback_may_pause_for_data_at_any_time(
    device: Device, modes: Modes, clock: BoardClock, host_pace: HostPace, measure: Measure
) -> None:
    """Plays the first part of a stream and makes the clock jump by more than the timeout for missing data. Sends the
    rest just after the first part has ended. The timeout must count from the last data, so the whole stream must be
    played."""
    modes.to(VOICE)
    frames = RATE_HZ + RATE_HZ // 8
    stream = tone(frames)
    first = 2 * RATE_HZ // WRITE_BYTES * WRITE_BYTES
    start = device.mark()
    device.tts_open(len(stream))
    for at in range(0, first, WRITE_BYTES):
        device.tts_write(stream[at : at + WRITE_BYTES])
    with host_pace(SLOW):
        device.tts_play()
        clock.jump(STALL_MS)  # while data is still buffered, so it must not count towards the timeout
        played_ms = clock.now_ms() + first * 1000 // (2 * RATE_HZ) + 100
        poll(clock.now_ms, lambda now: now > played_ms, "the end of the first part")
        with host_pace():
            for at in range(first, len(stream), WRITE_BYTES):
                device.tts_write(stream[at : at + WRITE_BYTES])
    end = device.wait_event("tts", budgets.PLAY_S, since=start)
    measure(
        "result", end.data["err"], exact="ESP_OK", source="CONFIG_HOTPIN_TTS_STALL_MS after the last data"
    )
    measure("frames played", end.data["samples"], exact=frames, source="the whole stream")
    device.tts_close()
