"""Exceptions of the harness.

The message of each error names the affected object, the problem and the remedy. Its class decides the verdict: a
`BenchError` makes a test BLOCKED, a `FirmwareError` makes it FAIL.
"""

from __future__ import annotations

import errno

from hotpin_hil.printable import printable

_HOST_REMEDIES = {
    errno.ENOSPC: "free space on the disk, then run again",
    errno.EDQUOT: "free space in the user's disk quota, then run again",
    errno.EIO: "check the disk (dmesg), then run again",
    errno.EMFILE: "raise the limit of open files (ulimit -n 4096), then run again",
    errno.ENFILE: "close programs: the machine has no file handles left",
    errno.ENOMEM: "free memory on this machine, then run again",
}


def host_remedy(error: BaseException | None) -> str:
    """The remedy for an OSError that this machine causes, such as a full disk; empty for any other error."""
    return _HOST_REMEDIES.get(error.errno or 0, "") if isinstance(error, OSError) else ""


class HilError(Exception):
    """Base class of the harness's own errors.

    `str(error)` is one line: the message, then the remedy in parentheses if there is one. Control characters, such as
    terminal escapes in the name of a file, are replaced.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return printable(f"{self.message} ({self.remedy})" if self.remedy else self.message)


class UsageError(HilError):
    """An invalid option, file or name from the user. Nothing was changed."""


class BenchError(HilError):
    """Something between the test and the firmware failed, not the firmware itself (verdict BLOCKED)."""


class PortError(BenchError):
    """The serial port is missing, busy, not permitted, or was lost."""


class EmulatorError(PortError):
    """The emulator cannot be started with its arguments, so the next test would fail as well."""


class FlashError(BenchError):
    """Flashing or reading back the chip failed, or the chip does not answer."""


class PowerError(BenchError):
    """The board's power switch did not switch as requested."""


class WrongBoardError(BenchError):
    """The run requires another board, or another kind of board."""


class HostError(BenchError):
    """This machine ran short of a resource, or a process of the bench was killed or suspended on it."""


class BuildError(BenchError):
    """The firmware could not be built, or its build is missing, incomplete, damaged or for another board."""


class FirmwareError(HilError):
    """The firmware did something wrong (verdict FAIL)."""
