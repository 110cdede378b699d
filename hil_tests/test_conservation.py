"""`sys.resources` counts each allocated resource. The suite compares the counts after every test
(fixtures/conservation.py).

Without these tests, "nothing is left" could mean that nothing was counted.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fixtures.measure import Measure
from fixtures.modes import VOICE
from hotpin_hil.analysis.conservation import differences, memory_names
from hotpin_hil.device import Device

pytestmark = pytest.mark.requirement("TRN-05")

SOURCE = "the resources that it takes, and no others"

Take = Callable[[Device], object]

MODE = {"mode", "heaps", "pool_blocks", "queues", "camera", "audio", "stt"}
DRIVERS = {"camera_power_down", "i2s_channels", "i2s_running"}
"""Resources that do not exist in QEMU builds, which simulate the camera and the sound."""

TAKEN: dict[str, tuple[Take, set[str]]] = {
    "a block": (lambda device: device.hold("DMA", size=100), {"heaps", "holds", "held"}),
    "a stream": (lambda device: device.tts_open(), {"heaps", "stream"}),
    "callbacks": (lambda device: device.callbacks(add=2), {"warning_calls", "recovery_calls"}),
    "thresholds": (lambda device: device.thresholds(psram_warning=600_000), {"thresholds"}),
    "an interval": (lambda device: device.monitor(start=500), {"interval_ms"}),
    "the monitor's task": (lambda device: device.monitor(stop=True), {"interval_ms", "tasks", "heaps"}),
    "pauses": (lambda device: device.settle(down=1, up=2), {"settle_down_ms", "settle_up_ms"}),
    "a failing allocation": (lambda device: device.fail("EXEC", nth=1), {"armed"}),
    "a failing step": (lambda device: device.fail(step="audio.start"), {"armed"}),
    "a crash": (lambda device: device.command("sys.panic", kind="abort", step="audio.start"), {"armed"}),
    "a pool": (
        lambda device: (device.pools(create="test", block=100, count=3, caps="DMA"), device.pools(take=2)),
        {"heaps", "pool_blocks"},
    ),
    "a failing call": (lambda device: device.fail_call("xQueueCreateMutex"), {"armed"}),
    "tasks that log": (lambda device: device.log_load(2), {"tasks", "heaps"}),
}


def changed(device: Device, take: Take) -> set[str]:
    before = device.resources()
    take(device)
    after = device.resources()
    return set(differences(before, after, memory_names(device.regions())))


@pytest.mark.parametrize("what", TAKEN)
def test_what_is_taken_shows(device: Device, measure: Measure, what: str) -> None:
    take, expected = TAKEN[what]
    found = changed(device, take)
    measure(
        "resources that changed", ", ".join(sorted(found)), exact=", ".join(sorted(expected)), source=SOURCE
    )


@pytest.mark.needs("camera")
def test_drivers_of_a_mode_show(device: Device, measure: Measure) -> None:
    """Changes from camera to voice mode: `sys.resources` must show the change in the resources of both drivers, such as
    the camera's queues and power line and the sound's channels. QEMU builds, which simulate the drivers, have fewer of
    them. The number of tasks is not compared."""
    has_line = device.resources().camera_power_down >= 0
    expected = MODE | DRIVERS if has_line else MODE
    found = changed(device, lambda device: device.set_mode(VOICE)) - {"tasks"}
    if not has_line:
        found -= {"queues"}
        expected -= {"queues"}
    measure(
        "resources that changed", ", ".join(sorted(found)), exact=", ".join(sorted(expected)), source=SOURCE
    )
