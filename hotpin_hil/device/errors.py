"""Errors between a test and the firmware's console."""

from __future__ import annotations

from typing import Any

from hotpin_hil.errors import BenchError, FirmwareError, HilError
from hotpin_hil.link.channel import LineNoise
from hotpin_hil.protocol.errors import ProtocolError

__all__ = [
    "NOISE_REMEDY",
    "BoardReset",
    "DeviceError",
    "LostRecord",
    "MissingEvent",
    "NoReply",
    "NoisyLine",
    "ProtocolError",
    "SupplyFailed",
    "UnexpectedEvent",
]

NOISE_REMEDY = "check cable, ground and baud rate"


class DeviceError(FirmwareError):
    """The firmware replied `"ok": false`. `err` is the name of its error, `reply` the whole reply."""

    def __init__(self, command: str, reply: dict[str, Any]) -> None:
        self.command = command
        self.reply = reply
        self.err = str(reply.get("err", "?"))
        self.msg = str(reply.get("msg", ""))
        super().__init__(f"'{command}' failed: {self.err}{': ' + self.msg if self.msg else ''}")


class UnexpectedEvent(FirmwareError):
    """A forbidden event arrived."""


class MissingEvent(FirmwareError):
    """An expected event, log line or box did not arrive although the board was alive."""


class BoardReset(FirmwareError):
    """The board was reset without a request from the harness, so the current measurement is invalid."""


class SupplyFailed(BoardReset, BenchError):
    """The board was reset because its power failed or dipped.

    The bench's supply is at fault, not the firmware, unless the test caused it.
    """


class NoReply(HilError):
    """No reply: a dead serial line, or hung firmware.

    `heard` is the number of bytes received during the wait, `noise` the errors of the serial line in that time. The
    class is neither a BenchError nor a FirmwareError, because only a reset can tell: if the board answers afterwards,
    the firmware hung.
    """

    def __init__(self, message: str, heard: int, remedy: str = "", noise: LineNoise | None = None) -> None:
        super().__init__(message, remedy)
        self.heard = heard
        self.noise = noise


class LostRecord(BenchError):
    """A record of unknown content is missing, or a damaged request made the firmware execute a command twice."""


class NoisyLine(BenchError):
    """An expected record or text is missing or damaged, and the serial line corrupts bytes."""
