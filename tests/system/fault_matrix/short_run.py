"""Short suite of the fault matrix: one test per case of FAULT_CASES, which must detect its fault, and a last test.

tests/system/test_fault_matrix.py copies this file into a suite; it is not collected here.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from fixtures.faults import Faults
from fixtures.measure import Measure
from fixtures.modes import CAMERA, VOICE, Modes
from hotpin_hil.device import Device
from hotpin_hil.pytest_plugin.plugin import BoardInUse

CASES: list[dict[str, Any]] = json.loads(os.environ["FAULT_CASES"])
APP_OFFSET, APP_BYTES = 0x10000, 0x100000
PSRAM_BYTES = 4 << 20


@pytest.fixture(params=CASES, ids=lambda case: str(case["id"]))
def case(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = request.param
    return found


def cause(faults: Faults, case: dict[str, Any], when: str) -> None:
    if case["when"] == when and case["fault"]:
        faults.inject(case["fault"], seed=case["seed"], **case["arguments"])


@pytest.fixture
def broken(case: dict[str, Any], board: BoardInUse, faults: Faults) -> dict[str, Any]:
    """The test's case. If its fault must act before the set-up, starts the fault; `dut` opens the port only later."""
    if case["empty_flash"]:
        assert board.control is not None
        faults.power(False)
        with (board.control.directory / "flash.bin").open("r+b") as flash:
            flash.seek(APP_OFFSET)
            flash.write(b"\xff" * APP_BYTES)
        faults.power(True)
    cause(faults, case, "set-up")
    return case


@pytest.mark.requirement("ROB-02")
def test_short(
    broken: dict[str, Any], device: Device, modes: Modes, faults: Faults, measure: Measure
) -> None:
    case = broken
    start = device.mark()
    cause(faults, case, "running")
    device.log("Short Run")
    device.wait_box("Short Run", since=start)
    modes.to(VOICE)
    modes.to(CAMERA)
    device.wait_event("mode", since=start, where=lambda event: event.data["to"] == CAMERA)
    if case["when"] == "event":
        device.wait_event("mem.warning", 0.1, since=start)
    psram_bytes = PSRAM_BYTES + (case["when"] == "value")
    measure("mode", device.mode().mode, exact=CAMERA)
    measure("PSRAM", device.info().psram, "B", exact=psram_bytes)


@pytest.mark.requirement("ROB-02")
def test_after(device: Device, measure: Measure) -> None:
    measure("mode", device.mode().mode, exact=CAMERA)
