"""A bad frame of the camera is refused with an error, is given back, and the next picture is good."""

from __future__ import annotations

import pytest

from fixtures.measure import Measure
from hotpin_hil.device import Device, DeviceError

INVALID, TIMEOUT = "ESP_ERR_INVALID_RESPONSE", "ESP_ERR_TIMEOUT"
FAULTS = {"cut": INVALID, "start": INVALID, "end": INVALID, "size": INVALID, "stale": TIMEOUT}
ALL = 100_000
"""Number of bad frames: the firmware drops frames that are older than the request."""
TIMEOUT_MS = 4_000


@pytest.mark.needs("camera")
@pytest.mark.requirement("TRN-01")
def test_bad_frames_are_refused(device: Device, measure: Measure) -> None:
    if "esp_camera_fb_get" not in device.fail_call()["calls"]:
        pytest.skip("the simulated camera of this build has no driver")
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
