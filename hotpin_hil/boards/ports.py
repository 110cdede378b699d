"""Attached serial bridges."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# USB vendor and product ids of the serial bridges on ESP32-CAM bases and programmers, from the vendors' drivers.
BRIDGES = {
    (0x10C4, 0xEA60): "CP210x",
    (0x1A86, 0x7523): "CH340",
    (0x1A86, 0x5523): "CH341",
    (0x1A86, 0x55D4): "CH9102",
    (0x0403, 0x6001): "FT232R",
    (0x0403, 0x6015): "FT231X",
    (0x0403, 0x6010): "FT2232",
}

SERIAL_NAMES = Path("/dev/serial")


@dataclass(frozen=True)
class SerialBridge:
    """An attached serial bridge: device, chip, USB location, and serial number if it has one."""

    device: str
    bridge: str
    location: str
    serial_number: str
    stable: str = ""
    """Name that stays the same after replugging, if the system provides one (udev)."""


def find_ports(listed: Iterable[Any] | None = None) -> list[SerialBridge]:
    """The attached bridges, sorted by device name.

    Args:
        listed: ports as listed by pyserial; None lists them now.
    """
    if listed is None:
        from serial.tools import list_ports

        listed = list_ports.comports()
    found = [
        SerialBridge(
            device=port.device,
            bridge=BRIDGES[(port.vid, port.pid)],
            location=port.location or "",
            serial_number=port.serial_number or "",
            stable=stable_name(port.device, bool(port.serial_number)),
        )
        for port in listed
        if (port.vid, port.pid) in BRIDGES
    ]
    return sorted(found, key=lambda port: port.device)


def stable_name(device: str, is_unique: bool, folder: Path = SERIAL_NAMES) -> str:
    """The udev link to `device`: by serial number if the bridge has one, else by USB location.

    Args:
        device: the device name.
        is_unique: whether the bridge has a serial number. A CH340 has none, so two of them share one name in by-id.
        folder: folder of udev's links.
    """
    real = os.path.realpath(device)
    for kind in ("by-id", "by-path") if is_unique else ("by-path",):
        try:
            links = sorted((folder / kind).iterdir())
        except OSError:
            continue
        for link in links:
            if os.path.realpath(link) == real:
                return str(link)
    return ""
