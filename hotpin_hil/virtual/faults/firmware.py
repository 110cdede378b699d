"""Faults inside the firmware's world: what its runtime (firmware/native/idf/faults.c) is told."""

from __future__ import annotations

from collections.abc import Iterable

ONCE = {
    "brown-out": "brown_out",
    "panic": "panic",
    "task-watchdog": "task_wdt",
    "interrupt-watchdog": "int_wdt",
}
"""Happens when it is told, to the firmware that runs."""
_LASTING = {
    "boot-loop": "boot_loop",
    "no-sensor": "no_sensor",
    "sensor-dead": "sensor_dead",
    "i2s-no-memory": "i2s_no_memory",
}
"""Told at each start, too."""


def lines_to_begin(name: str) -> list[str]:
    """What the running firmware is told when the fault begins."""
    if name in ONCE:
        return [ONCE[name]]
    return lines_at_start(name)


def lines_at_start(name: str) -> list[str]:
    """What firmware is told that starts while the fault is in force."""
    return [f"{_LASTING[name]}=1"] if name in _LASTING else []


def lines_to_clear(names: Iterable[str]) -> list[str]:
    """What the running firmware is told when these faults are over."""
    lasting = sorted(_LASTING[name] for name in names if name in _LASTING)
    return [f"{name}=0" for name in (*lasting, "power_cut_at_panic")]
