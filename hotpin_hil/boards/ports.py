"""Finds the serial ports that a board may be on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hotpin_hil.errors import FlashError

# USB vendor and product id of the serial bridges on ESP32-CAM bases and programmers, from the makers'
# drivers.
BRIDGES = {
    (0x10C4, 0xEA60): "CP210x",
    (0x1A86, 0x7523): "CH340",
    (0x1A86, 0x5523): "CH341",
    (0x1A86, 0x55D4): "CH9102",
    (0x0403, 0x6001): "FT232R",
    (0x0403, 0x6015): "FT231X",
    (0x0403, 0x6010): "FT2232",
}


@dataclass(frozen=True)
class SerialPort:
    """An attached serial bridge: device name, the chip on it, where it is plugged in, its serial number if
    any."""

    device: str
    bridge: str
    location: str
    serial_number: str


def find_ports(listed: Iterable[Any] | None = None) -> list[SerialPort]:
    """The attached bridges, sorted by device name. listed: pyserial's list of ports (default: ask it)."""
    if listed is None:
        from serial.tools import list_ports

        listed = list_ports.comports()
    found = [
        SerialPort(port.device, BRIDGES[(port.vid, port.pid)], port.location or "", port.serial_number or "")
        for port in listed
        if (port.vid, port.pid) in BRIDGES
    ]
    return sorted(found, key=lambda port: port.device)


def read_mac(port: str) -> str:
    """The MAC of the chip on `port`, as `24:0a:c4:00:00:01`; FlashError if none answers. Leaves the chip
    reset."""
    import contextlib
    import io

    import esptool
    from serial import SerialException

    try:
        with contextlib.redirect_stdout(io.StringIO()):
            chip = esptool.detect_chip(port, connect_attempts=2)
            try:
                mac: tuple[int, ...] = chip.read_mac()
                chip.hard_reset()
            finally:
                chip._port.close()
    except (esptool.FatalError, SerialException, OSError) as error:
        raise FlashError(
            f"no chip answers on {port}: {str(error).splitlines()[0]}", "check cable and power"
        ) from error
    return ":".join(f"{byte:02x}" for byte in mac)
