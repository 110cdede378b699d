"""Plugin for a burn-in (`-p tests.system.burn_in_trouble`): plants the trouble that HOTPIN_TROUBLE names.

`leak` lets board-2 leak a block per round, while board-1 is clean. `crash` crashes each board in its first mode change.
"""

from __future__ import annotations

import os

import pytest

from hotpin_hil.device import Device

VARIABLE = "HOTPIN_TROUBLE"
LEAK, CRASH = "leak", "crash"
LEAK_BYTES = 64


@pytest.fixture(autouse=True)
def trouble(device: Device, number: int) -> None:
    planted = os.environ[VARIABLE]
    if planted == LEAK and number == 2:
        device.leak("INTERNAL,8BIT", bytes=LEAK_BYTES)
    elif planted == CRASH:
        device.panic_at("abort", "settle.down")
