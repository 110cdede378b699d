"""The analyser tells a camera that is absent, unknown or silent from one without memory."""

from __future__ import annotations

import pytest

from hotpin_hil.analysis.analyze import analyze

POWER_ON = "rst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\n"
SOFTWARE = "rst:0xc (SW_CPU_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\n"


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (
            POWER_ON + "E (510) camera: Camera probe failed with error 0x105(ESP_ERR_NOT_FOUND)\n",
            "camera-not-found",
        ),
        (
            "[E][camera.c:1086] esp_camera_init(): Camera probe failed with error 0x20001\n",
            "camera-not-found",
        ),
        (POWER_ON + "E (510) camera: Detected camera not supported.\n", "camera-not-supported"),
        (SOFTWARE + "E (510) camera: Detected camera not supported.\n", "camera-reinit"),
        ("W (4917) cam_hal: Failed to get the frame on time!\n", "camera-no-frame"),
        ("W (4917) cam_hal: Failed to get frame: timeout\n", "camera-no-frame"),
        ("[E][camera.c:1483] esp_camera_fb_get(): Failed to get the frame on time!\n", "camera-no-frame"),
    ],
)
def test_failure_of_the_camera_has_its_diagnosis(log: str, expected: str) -> None:
    assert [found.id for found in analyze([log.encode()], "log").diagnoses] == [expected]


def test_null_frame_after_a_missed_one_is_its_result() -> None:
    log = (
        "W (4917) cam_hal: Failed to get the frame on time!\n"
        "Guru Meditation Error: Core  0 panic'ed (LoadProhibited). Exception was unhandled.\n\n"
        "PC      : 0x400d903b  EXCVADDR: 0x00000004\n\nRebooting...\n"
    )
    panic, _ = analyze([log.encode()], "log").diagnoses
    assert "failure in line 1" in panic.cause
