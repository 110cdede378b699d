"""The firmware refuses a bad camera frame with an error and returns it to the driver; the next picture is good."""

from __future__ import annotations

import pytest

from fixtures.measure import Measure
from fixtures.modes import CAMERA, VOICE, Modes
from fixtures.poll import wait_for_time
from hotpin_hil.device import Device, DeviceError

pytestmark = [
    pytest.mark.requirement("TRN-01"),
    pytest.mark.needs("camera"),
    pytest.mark.boards("hardware", "virtual", needs="the camera's driver; QEMU builds simulate it"),
]

INVALID, TIMEOUT = "ESP_ERR_INVALID_RESPONSE", "ESP_ERR_TIMEOUT"
FAULTS = {"cut": INVALID, "start": INVALID, "end": INVALID, "size": INVALID, "stale": TIMEOUT}
ALL = 100_000
"""More bad frames than one capture can fetch: the firmware drops frames that are older than the request and fetches the
next."""
TIMEOUT_MS = 4_000
PWDN_PIN, PWDN_MS = 32, 100
"""CONFIG_HOTPIN_CAMERA_PIN_PWDN and _PWDN_MS."""
PULSE = "100 ms power-down pulse (CONFIG_HOTPIN_CAMERA_PWDN_MS), less one 10 ms tick"


def test_bad_frames_are_refused(device: Device, measure: Measure) -> None:
    for fault, expected in FAULTS.items():
        device.fail_call("esp_camera_fb_get", frame=fault, count=ALL)
        before = device.info().t
        with pytest.raises(DeviceError) as refused:
            device.capture()
        took = device.info().t - before
        measure(f"{fault}: error", refused.value.err, exact=expected, source="no valid frame")
        if fault == "stale":
            measure(
                "stale: duration", took, "ms", min=TIMEOUT_MS, source="CONFIG_HOTPIN_CAMERA_FRAME_TIMEOUT_MS"
            )
        frames = device.resources().frames
        measure(f"{fault}: frames not given back", frames, exact=0, source="the driver has only one")
        device.fail_call(off=True)
        frame = device.capture()
        measure(f"after {fault}: picture", frame.soi and frame.eoi, exact=True, source="JPEG")
        measure(f"after {fault}: height", frame.height, "px", exact=480, source="VGA")


def test_padded_frame_is_valid(device: Device, measure: Measure) -> None:
    """Adds zeros after a frame's end marker, as sensors do."""
    device.fail_call("esp_camera_fb_get", frame="padded", count=ALL)
    frame = device.capture()
    padded = device.fail_call()["failed"]
    device.fail_call(off=True)
    measure("padded frames", padded, min=1, source="sys.fail")
    measure("picture", frame.soi and frame.eoi, exact=True, source="JPEG: bytes after the end do not count")


OLD_FRAMES = 20
FRAME_MS = 20
"""A time in ms shorter than the frame period at each of the sensor's VGA frame rates."""


def test_duration_of_a_picture_counts_from_the_request(device: Device, measure: Measure) -> None:
    """Makes the driver hand out old frames, which the firmware drops one by one. The reported duration must include
    them."""
    usual = max(device.capture().duration_ms for _ in range(3))
    device.fail_call("esp_camera_fb_get", frame="stale", count=OLD_FRAMES)
    duration = device.capture().duration_ms
    measure(
        "duration with old frames - without",
        duration - usual,
        "ms",
        min=OLD_FRAMES * FRAME_MS,
        source=f"{OLD_FRAMES} more frames",
    )


PAUSES_MS = (0, 100, 300, 900, 1_500)


def test_picture_is_taken_after_the_request(device: Device, measure: Measure) -> None:
    """Takes pictures after pauses of different lengths. The driver has kept a frame since the previous picture and
    would return it at once, but the firmware must wait for a complete new frame."""
    for pause in PAUSES_MS:
        device.capture()
        wait_for_time(device, device.info().t + pause)
        duration = device.capture().duration_ms
        measure(
            f"duration of a picture {pause} ms after the previous one",
            duration,
            "ms",
            min=FRAME_MS,
            source="a complete frame after the request",
        )


def test_camera_is_powered_only_in_camera_mode(device: Device, modes: Modes, measure: Measure) -> None:
    """Reads the camera's power-down line: it must be high in voice mode, and before each camera start it must be high
    long enough to reset the sensor."""
    measure("pulse of the first start", device.pins()[PWDN_PIN].high_ms, "ms", min=PWDN_MS - 10, source=PULSE)
    for mode, is_high in ((VOICE, True), (CAMERA, False), (VOICE, True)):
        before = device.pins()[PWDN_PIN]
        modes.to(mode)
        pin = device.pins()[PWDN_PIN]
        measure(
            f"{mode}: power-down line is high",
            pin.is_high,
            exact=is_high,
            source="the camera is off while the line is high",
        )
        measure(
            f"{mode}: changes of the line",
            pin.changes - before.changes,
            exact=1,
            source="one change per mode change",
        )
        if mode == CAMERA:
            measure(
                "time without power",
                pin.high_ms,
                "ms",
                min=PWDN_MS - 10,
                source=PULSE,
            )
    others = sorted(set(device.pins()) - {PWDN_PIN})
    measure(
        "other pins that were set",
        str(others),
        exact="[]",
        source="only ESP-IDF's drivers use other pins",
    )
