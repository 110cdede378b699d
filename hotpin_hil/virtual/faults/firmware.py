"""Faults inside the firmware: the lines for its host runtime (firmware/native/idf/faults.c)."""

from __future__ import annotations

from collections.abc import Iterable

ONCE = {
    "brown-out": "brown_out",
    "panic": "panic",
    "task-watchdog": "task_wdt",
    "interrupt-watchdog": "int_wdt",
}
"""Faults that affect the running firmware immediately."""
_LASTING = {
    "boot-loop": "boot_loop",
    "no-sensor": "no_sensor",
    "sensor-dead": "sensor_dead",
    "i2s-no-memory": "i2s_no_memory",
}
"""Faults that are also sent at each boot."""


def lines_to_begin(name: str) -> list[str]:
    """Lines to send to the running firmware when the fault starts."""
    if name in ONCE:
        return [ONCE[name]]
    return lines_at_start(name)


def lines_at_start(name: str) -> list[str]:
    """Lines to send to firmware that boots while the fault is active."""
    return [f"{_LASTING[name]}=1"] if name in _LASTING else []


def lines_to_clear(names: Iterable[str]) -> list[str]:
    """Lines to send to the running firmware when these faults end."""
    lasting = sorted(_LASTING[name] for name in names if name in _LASTING)
    return [f"{name}=0" for name in (*lasting, "power_cut_at_panic")]
