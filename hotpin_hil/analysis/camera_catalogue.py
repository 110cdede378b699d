"""Catalogue of the camera's failures: name, cause and remedy of each."""

from __future__ import annotations

import re

from hotpin_hil.analysis.catalogue import Known
from hotpin_hil.protocol import events as ev

_CAMERA_ABSENT = re.compile(r"0x105\b|NOT_FOUND|0x20001\b|NOT_DETECTED")
_CAMERA_UNKNOWN = re.compile(r"not supported|NOT_SUPPORTED|0x20004\b")


def of_camera(event: ev.CameraFailed, *, is_power_on: bool) -> Known | None:
    """The entry for a camera that did not start; None if its text does not tell why.

    Args:
        event: the driver's line.
        is_power_on: whether the camera was started for the first time since power-on.
    """
    if _CAMERA_UNKNOWN.search(event.text):
        return CAMERA_UNKNOWN if is_power_on else CAMERA_NOT_SUPPORTED
    return CAMERA_NOT_FOUND if _CAMERA_ABSENT.search(event.text) else None


CAMERA_NOT_FOUND = Known(
    "camera-not-found",
    "Camera sensor not found",
    "No camera sensor answered on its I2C bus (SCCB).",
    "a loose ribbon cable, the pins of another board, or a sensor without supply or clock, in reset or powered down",
    "reseat the cable; check the board's camera pins (SDA, SCL, XCLK, PWDN, RESET) and the supply",
    is_fact=True,
)
CAMERA_UNKNOWN = Known(
    "camera-not-supported",
    "Camera sensor not supported",
    "A sensor answered, but the driver does not know its model.",
    "the driver has no support for this sensor in its configuration, or its I2C bus is disturbed",
    "enable the sensor in the configuration of esp32-camera; check cable and supply",
    is_fact=True,
)
CAMERA_NO_FRAME = Known(
    "camera-no-frame",
    "Camera delivers no frame",
    "The camera driver got no complete frame in time.",
    "the sensor sends no data or damaged data (cable, pins, clock, supply), or no frame buffer was free",
    "reseat the cable, check the camera pins, use an XCLK of 10 MHz; return every frame buffer (esp_camera_fb_return), "
    "and check the result of esp_camera_fb_get() for NULL",
    is_fact=False,
)
CAMERA_NOT_SUPPORTED = Known(
    "camera-reinit",
    "Camera not supported after re-init",
    "When the driver was restarted, it did not recognise the sensor as a supported model.",
    "the sensor was in an undefined state, because a reset of the chip does not power-cycle it",
    "drive PWDN high for 100 ms and low for 100 ms before every init (worked in 6 of 6 cases; without it in 0 of 4)",
    is_fact=False,
)
