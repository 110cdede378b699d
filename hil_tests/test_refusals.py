"""Arguments that a command's usage allows and the command itself must refuse, with the key and value named."""

from __future__ import annotations

from typing import Any

import pytest

from fixtures.measure import Measure
from hotpin_hil.device import Device, DeviceError

SOURCE = "PROTOCOL.md §3: naming key and value"

ARGUMENTS: list[tuple[str, dict[str, Any], str, str]] = [
    ("heap.hold", {"caps": "DMA"}, "size", ""),
    ("heap.hold", {"caps": "DMA", "size": 64, "leave": 32}, "leave", "32"),
    ("heap.hold", {"caps": "DMA", "size": 64, "block": 16}, "block", "16"),
    ("heap.release", {}, "id", ""),
    ("heap.release", {"id": 1, "all": True}, "id", "1"),
    ("heap.fail", {"caps": "DMA"}, "nth", ""),
    ("heap.fail", {"caps": "DMA", "nth": 0}, "nth", "0"),
    ("heap.fail", {"step": "camera.stop,nowhere"}, "step", "camera.stop,nowhere"),
    ("heap.leak", {"bytes": 16}, "caps", ""),
    ("heap.leak", {"caps": "DMA"}, "bytes", ""),
    ("heap.probe", {"caps": "DMA;SPIRAM"}, "caps", "DMA;SPIRAM"),
    ("log.load", {}, "tasks", ""),
    ("log.load", {"tasks": 0}, "tasks", "0"),
    ("log.load", {"tasks": 5}, "tasks", "5"),
    ("log.load", {"tasks": 1, "every": 0}, "every", "0"),
    ("mem.api", {"case": "nonsense"}, "case", "nonsense"),
    ("mem.check", {}, "dma", ""),
    ("mem.check", {"dma": 64, "psram": 32}, "psram", "32"),
    ("sys.fail", {"nth": 1}, "call", ""),
    ("sys.fail", {"call": "nonsense"}, "call", "nonsense"),
    ("sys.fail", {"call": "gpio_config", "nth": 0}, "nth", "0"),
]
"""Command, arguments, and the key and value that the error names."""


@pytest.mark.requirement("ROB-01")
def test_refused_arguments_are_named_and_arm_nothing(device: Device, measure: Measure) -> None:
    """The fixture `conservation` checks that none of them changes what the firmware holds."""
    for command, arguments, key, value in ARGUMENTS:
        text = " ".join([command, *(f"{name}={given}" for name, given in arguments.items())])
        with pytest.raises(DeviceError) as refused:
            device.command(command, **arguments)
        reply = refused.value.reply
        measure(f"{text}: error", refused.value.err, exact="BAD_ARGUMENT", source=SOURCE)
        measure(f"{text}: named", f"{reply['key']}={reply['value']}", exact=f"{key}={value}", source=SOURCE)
    faults = device.fail()
    armed = [faults["armed"], faults["steps_armed"] > 0, device.fail_call()["armed"]]
    measure("faults armed by refused requests", sum(armed), exact=0, source="a refused request does nothing")


HOLDS_MAX = 64
"""HEAP_HOLD_MAX of the firmware."""


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
    measure("id of the next hold", again.id, exact=holds[0].id, source="the one that is free")
    device.release()

    refuse("baseline of a mode that was never entered", "ESP_ERR_NOT_FOUND", "mem.baseline", state="voice")
