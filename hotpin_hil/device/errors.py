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
    """An event came that must not come."""


class MissingEvent(FirmwareError):
    """An expected event, line or box did not come, while the board was alive."""


class BoardReset(FirmwareError):
    """The board was reset, and the harness did not ask for it: the measurement around it is void."""


class SupplyFailed(BoardReset, BenchError):
    """The board was reset because its power failed or dipped.

    The bench's supply is to blame, not the firmware, unless the test has caused it.
    """


class NoReply(HilError):
    """Silence: a dead line or a hung firmware.

    `heard` is the number of bytes that came meanwhile, `noise` the line's errors in that time. Neither a BenchError nor
    a FirmwareError: whether a reset brings the board back decides who is to blame.
    """

    def __init__(self, message: str, heard: int, remedy: str = "", noise: LineNoise | None = None) -> None:
        super().__init__(message, remedy)
        self.heard = heard
        self.noise = noise


class LostRecord(BenchError):
    """A record is missing in the sequence; its content is unknown."""


class NoisyLine(BenchError):
    """An expected record or text did not come or came damaged, and the line changes bytes."""
