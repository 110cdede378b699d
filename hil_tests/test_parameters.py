"""Sets each parameter separately: to both ends of its range, and to a value that no other parameter has.

The parameter is read back, and all others must keep their values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import pytest

from fixtures.measure import Measure
from fixtures.memory import DEFAULT_THRESHOLDS
from hotpin_hil.device import Device

U32_MAX = 0xFFFF_FFFF
INTERVAL_MIN_MS = 100
"""CONFIG_HOTPIN_MEM_MIN_INTERVAL_MS of builds with the console."""
SETTLE_MAX_MS = 10_000
SOURCE = "the value set by the test; the others as before"


def settings(device: Device) -> dict[str, int]:
    """The current values of all parameters, read from the board."""
    settle = device.settle()
    return {
        **asdict(device.thresholds()),
        "interval_ms": device.monitor().interval_ms,
        "settle_down_ms": settle.down_ms,
        "settle_up_ms": settle.up_ms,
    }


@dataclass(frozen=True)
class Parameter:
    """A parameter: how to set it, and the ends of its range."""

    name: str
    set: Callable[[Device, int], Any]
    low: int
    high: int


def threshold(name: str) -> Parameter:
    """A threshold parameter; its range ends at the other threshold of the same memory type."""
    memory, level = name.rsplit("_", 1)
    low, high = 0, 100 if memory == "fragmentation" else U32_MAX
    if (level == "warning") == (memory == "fragmentation"):
        high = DEFAULT_THRESHOLDS[f"{memory}_{'critical' if level == 'warning' else 'warning'}"]
    else:
        low = DEFAULT_THRESHOLDS[f"{memory}_{'critical' if level == 'warning' else 'warning'}"]
    return Parameter(name, lambda device, value: device.thresholds(**{name: value}), low, high)


PARAMETERS = [
    *(threshold(name) for name in DEFAULT_THRESHOLDS),
    Parameter("interval_ms", lambda device, value: device.monitor(start=value), INTERVAL_MIN_MS, U32_MAX),
    Parameter("settle_down_ms", lambda device, value: device.settle(down=value), 0, SETTLE_MAX_MS),
    Parameter("settle_up_ms", lambda device, value: device.settle(up=value), 0, SETTLE_MAX_MS),
]


@pytest.mark.requirement("API-02", "API-05", "TRN-10")
def test_each_parameter_is_read_back_and_changes_no_other(device: Device, measure: Measure) -> None:
    for number, parameter in enumerate(PARAMETERS):
        before = settings(device)
        distinct = min(parameter.low + 3 + 2 * number, parameter.high)
        for value in (parameter.low, parameter.high, distinct, before[parameter.name]):
            parameter.set(device, value)
            after = settings(device)
            changed = {name: read for name, read in after.items() if read != before[name]}
            expected = {parameter.name: value} if value != before[parameter.name] else {}
            measure(
                f"changes after {parameter.name} = {value}", str(changed), exact=str(expected), source=SOURCE
            )


@pytest.mark.requirement("API-02", "TRN-10")
def test_parameters_set_together_do_not_mix(device: Device, measure: Measure) -> None:
    """Sets all parameters at once, each to a different value."""
    levels = {
        "internal_ram_warning": 50_001,
        "internal_ram_critical": 20_002,
        "dma_capable_warning": 35_003,
        "dma_capable_critical": 20_004,
        "psram_warning": 500_005,
        "psram_critical": 200_006,
        "fragmentation_warning": 37,
        "fragmentation_critical": 58,
    }
    device.thresholds(**levels)
    device.settle(down=9, up=10)
    device.monitor(start=11_000)
    expected = {**levels, "interval_ms": 11_000, "settle_down_ms": 9, "settle_up_ms": 10}
    for name, value in settings(device).items():
        measure(name, value, exact=expected[name], source="set by the test")
    device.thresholds(default=True)
    restored = {**expected, **DEFAULT_THRESHOLDS}
    measure(
        "after default=1", str(settings(device)), exact=str(restored), source="only the thresholds change"
    )
