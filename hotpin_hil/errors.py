"""Exceptions of the harness.

Every error says what happened to which thing, and what to do about it. Whether it blames the bench or the
firmware is a matter of its class, because the verdict follows from that: a `BenchError` blocks a test, anything
a `FirmwareError` says fails it.
"""

from __future__ import annotations


class HilError(Exception):
    """Base of all errors the harness raises on purpose.

    `str(error)` is one line: the message, then the remedy in parentheses if there is one.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} ({self.remedy})" if self.remedy else self.message


class UsageError(HilError):
    """The user asked for something that can't be: an option, a file, a name. Nothing was touched."""


class BenchError(HilError):
    """Something between the test and the firmware failed; the firmware is not to blame (verdict BLOCKED)."""


class PortError(BenchError):
    """The serial port is missing, busy, not permitted, or was lost."""


class EmulatorError(PortError):
    """The emulator cannot be started with its arguments: the next test would meet the same."""


class FlashError(BenchError):
    """Flashing or reading back the chip failed, or the chip does not answer."""


class PowerError(BenchError):
    """The board's power switch did not do what it was asked."""


class WrongBoardError(BenchError):
    """The board is not the one, or not of the kind, that the run is for."""


class BuildError(BenchError):
    """The firmware build is missing, incomplete, damaged or made for another chip."""


class FirmwareError(HilError):
    """The firmware did something wrong (verdict FAIL)."""
