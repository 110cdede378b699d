"""Opens a serial port without resetting the board on it; errors carry their remedy."""

from __future__ import annotations

import errno
from typing import Any

import serial

from hotpin_hil.errors import PortError, host_remedy
from hotpin_hil.link.port_holders import holders, permission_remedy

HANDLER_PACKAGE = "hotpin_hil.link.serial_handlers"
READ_TIMEOUT_S = 0.05
"""Timeout for direct reads of the port. The reader thread has no timeout."""

_BUSY = (errno.EBUSY, errno.EAGAIN)
_FORBIDDEN = (errno.EACCES, errno.EPERM)

_REMEDY = "check the cable and the board's power, then run again"


def register_handlers() -> None:
    """Make pyserial use this package's `rfc2217://` client; pyserial's own is about a hundred times slower."""
    if HANDLER_PACKAGE not in serial.protocol_handler_packages:
        serial.protocol_handler_packages.insert(0, HANDLER_PACKAGE)


def is_network(port: str) -> bool:
    """Whether a port is a pyserial URL."""
    return "://" in port


def open_port(port: str, baud: int) -> Any:
    """Open a port exclusively, with both control lines released.

    A base board may wire DTR to IO0 and RTS to EN directly. Asserting both, as pyserial does by default, would then
    hold the chip in reset.

    Args:
        port: device name or pyserial URL.
        baud: baud rate.

    Raises:
        PortError: the port cannot be opened.
    """
    register_handlers()
    try:
        connection = serial.serial_for_url(
            port, do_not_open=True, baudrate=baud, timeout=READ_TIMEOUT_S, exclusive=True
        )
        connection.dtr = False
        connection.rts = False
        connection.open()
    except (OSError, ValueError) as error:
        raise port_error(port, error) from error
    return connection


def port_error(port: str, error: BaseException) -> PortError:
    """Convert a port's failure to a PortError, with the remedy if one is known."""
    text = str(error)
    number = getattr(error, "errno", None)
    if number is None and "exclusively lock" in text:
        number = errno.EBUSY
    return PortError(text if port in text else f"{port}: {text}", _remedy(port, number))


def _remedy(port: str, number: int | None) -> str:
    shortage = host_remedy(OSError(number, "")) if number else ""
    if shortage and number != errno.EIO:  # EIO: the device is gone
        return shortage
    if number == errno.ENOENT:
        return "plug the board in, or name its port with --port"
    if number in _FORBIDDEN:
        return permission_remedy(port)
    if number in _BUSY:
        others = ", ".join(holders(port))
        return f"close the program that uses it: {others or 'a monitor or another test run'}"
    return _REMEDY
