"""What can go wrong between a test and the firmware's console."""

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
    """The firmware answered `"ok": false`. `err` is its error name, `reply` the whole answer."""

    def __init__(self, command: str, reply: dict[str, Any]) -> None:
        self.command = command
        self.reply = reply
        self.err = str(reply.get("err", "?"))
        self.msg = str(reply.get("msg", ""))
        super().__init__(f"'{command}' failed: {self.err}{': ' + self.msg if self.msg else ''}")


class UnexpectedEvent(FirmwareError):
    """An event came that must not."""


class MissingEvent(FirmwareError):
    """An event, line or box that must come did not, while the board was alive."""


class BoardReset(FirmwareError):
    """The board has started anew, unasked: the measurement around it is void."""


class SupplyFailed(BoardReset, BenchError):
    """The board has started anew because its power failed or dipped: the bench's supply is to blame, not the firmware,
    unless the test has caused it."""


class NoReply(HilError):
    """Silence: a dead line or a hung firmware. `heard` is the number of bytes that came meanwhile, `noise` the
    line's errors in that time.

    Neither a BenchError nor a FirmwareError: who is to blame is decided by whether a reset brings the board
    back.
    """

    def __init__(self, message: str, heard: int, remedy: str = "", noise: LineNoise | None = None) -> None:
        super().__init__(message, remedy)
        self.heard = heard
        self.noise = noise


class LostRecord(BenchError):
    """A record is missing in the sequence, so nothing can be said about what it would have held."""


class NoisyLine(BenchError):
    """What was awaited did not come or came damaged, and so did other things: the line changes bytes."""
