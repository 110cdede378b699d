"""Decides whether an exception is the firmware's fault (FAIL) or the bench's (BLOCKED)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType

from hotpin_hil.device.errors import NOISE_REMEDY, MissingEvent, NoReply
from hotpin_hil.device.power import SUPPLY_REMEDY, power_failure
from hotpin_hil.errors import (
    BenchError,
    FirmwareError,
    FlashError,
    HilError,
    HostError,
    PortError,
    UsageError,
    WrongBoardError,
    host_remedy,
)
from hotpin_hil.evidence.model import Verdict
from hotpin_hil.link.channel import Channel, LineNoise
from hotpin_hil.protocol.panic import find_panics

SETUP = "setup"
CALL = "call"
TEARDOWN = "teardown"

_TOOLS = ("esptool", "serial", "pytest_embedded", "pytest_embedded_idf", "pytest_embedded_serial")
"""Packages between the test and the chip. An exception that they raise during set-up is the bench's fault."""

_LOST_BOARD = (PortError, FlashError, WrongBoardError)
"""Set-up errors that would also make the next test fail, after a long wait. A missing build is not in the list: it is
detected at once, and other tests may flash another build."""

_ERRORS_OF_THE_SUITE = (TypeError, NameError, AttributeError)
"""Programming errors, such as a wrong argument in a fixture. No bench causes them."""

_REMEDIES = {
    "esptool": "check cable, port and power, and that the board is reachable: hotpin-hil boards",
    "serial": "check that the port exists, that you may open it, and that nothing else has it open: hotpin-hil boards",
    "": "see the traceback in pytest's output",
}

_DEAD_REMEDY = "check cable, power and baud rate; hotpin-hil boards lists the detected boards"


REASON_MAX = 2_000
"""Maximum length of a reason in characters: an exception may quote a board's whole output."""


@dataclass(frozen=True)
class Finding:
    """The verdict on an exception, with its reason and a remedy."""

    verdict: Verdict
    reason: str
    remedy: str = ""
    board_is_dead: bool = False
    """Whether all later tests on this board would fail."""
    needs_traceback: bool = False
    """Whether the exception is unexpected, so that its traceback is more useful than its text."""

    def __str__(self) -> str:
        remedy = f" (remedy: {self.remedy})" if self.remedy else ""
        return f"{self.verdict}: {self.reason}{remedy}"


def blame(
    error: BaseException,
    phase: str,
    chip_answers: Callable[[], bool] = lambda: False,
    channel: Channel | None = None,
    host_fault: Callable[[], HostError | None] = lambda: None,
) -> Finding:
    """Judge an exception: FAIL if the firmware is wrong, BLOCKED if the bench prevented the test.

    A `BenchError` means BLOCKED wherever it was raised, even as an explicit cause or as a member of a group. In set-up,
    the tools' own errors and unexpected exceptions of fixtures also mean BLOCKED. In the test itself, an unexpected
    exception fails the test, because the test most likely could not handle the firmware's reply. A missing reply, event
    or log line is the bench's fault if the board lost power during the test, or if the serial line corrupted bytes. A
    wrong value is always the firmware's fault.

    Args:
        error: the exception.
        phase: SETUP, CALL or TEARDOWN.
        chip_answers: resets the chip and returns whether its ROM then prints a reset banner; called only after silence.
        channel: the serial line to the board, if there is one.
        host_fault: returns a host fault that affected the board during the test; None if there was none.
    """
    fault = host_fault()
    if fault is not None and not (channel is not None and find_panics(channel.text())):
        return Finding(Verdict.BLOCKED, f"{fault.message}; then {_named(error)}", fault.remedy)
    for cause in causes(error):
        if isinstance(cause, BenchError):
            dead = phase == SETUP and isinstance(cause, _LOST_BOARD)
            return Finding(Verdict.BLOCKED, _first_line(cause.message), cause.remedy, dead)
        if isinstance(cause, NoReply):
            return _excuse(cause, channel, cause.noise) or _silence(cause, chip_answers(), host_fault)
        if isinstance(cause, MissingEvent) or _package(type(cause)) == "pexpect":
            excuse = _excuse(cause, channel, channel.noise() if channel else None)
            if excuse is not None:
                return excuse
    for cause in causes(error):
        if host_remedy(cause):
            return Finding(Verdict.BLOCKED, _named(cause), host_remedy(cause))
    for cause in causes(error):
        package = _package(type(cause))
        if package == "esptool" or (package == "serial" and isinstance(cause, OSError)):
            return Finding(Verdict.BLOCKED, _first_line(cause), _REMEDIES[package], phase == SETUP)
    if isinstance(error, (AssertionError, FirmwareError)) or _is_verdict_of_a_test(error):
        return Finding(Verdict.FAIL, _first_line(error))
    if isinstance(error, UsageError) and phase == CALL:  # for example a fault's name that does not exist
        return Finding(Verdict.FAIL, _first_line(error.message), error.remedy)
    if isinstance(error, HilError):
        return Finding(Verdict.BLOCKED, _first_line(error.message), error.remedy)
    if phase == SETUP and _raised_by_a_tool(error):
        if isinstance(error, OSError):
            return Finding(Verdict.BLOCKED, _named(error), _REMEDIES["esptool"], True)
        # For example an invalid option value for pytest-embedded, or a missing package.
        return Finding(Verdict.BLOCKED, _named(error), _REMEDIES[""], True, needs_traceback=True)
    if phase == CALL:
        return Finding(Verdict.FAIL, _named(error))
    if isinstance(error, _ERRORS_OF_THE_SUITE):
        return Finding(
            Verdict.FAIL,
            f"the test's {phase} raised {_named(error)}",
            "correct the test or its fixture",
            needs_traceback=True,
        )
    return Finding(
        Verdict.BLOCKED, f"the test's {phase} raised {_named(error)}", _REMEDIES[""], needs_traceback=True
    )


def _excuse(error: BaseException, channel: Channel | None, noise: LineNoise | None) -> Finding | None:
    """Return BLOCKED if the bench explains why something is missing; None if it does not, or if a panic does.

    A serial line without any valid record does not count as noisy, since the firmware may use another format.
    """
    if channel is None or find_panics(channel.text()):
        return None
    reason = _first_line(error.message if isinstance(error, HilError) else error)
    if channel.error is not None:
        return Finding(Verdict.BLOCKED, f"{channel.error.message}: {reason}", channel.error.remedy)
    failure = power_failure(channel)
    if failure:
        return Finding(Verdict.BLOCKED, f"{failure}: {reason}", SUPPLY_REMEDY)
    if noise is not None and noise.corrupted_in_transit and channel.records():
        return Finding(Verdict.BLOCKED, f"{reason}; the serial line is noisy: {noise}", NOISE_REMEDY)
    return None


def _silence(error: NoReply, chip_answers: bool, host_fault: Callable[[], HostError | None]) -> Finding:
    """Return FAIL if the chip answers a reset, else BLOCKED.

    If the boot log arrives after the reset, the serial line works, so the firmware's replies would have arrived as
    well.
    """
    reason = _first_line(error.message)
    if chip_answers:
        return Finding(Verdict.FAIL, f"{reason}; the chip is alive: it answers a reset")
    fault = host_fault()  # it may have been detected only during the reset
    if fault is not None:
        return Finding(Verdict.BLOCKED, f"{fault.message}; {reason}", fault.remedy)
    return Finding(
        Verdict.BLOCKED,
        f"{reason}; the chip does not answer a reset either",
        _DEAD_REMEDY,
        board_is_dead=True,
    )


def causes(error: BaseException) -> Iterator[BaseException]:
    """The exception, its explicit causes (`raise … from …`), and the members of groups."""
    queue: list[BaseException] = [error]
    seen: set[int] = set()
    while queue:
        cause = queue.pop(0)
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        queue.extend(getattr(cause, "exceptions", ()))  # ExceptionGroup, not available in Python 3.10
        if cause.__cause__ is not None:
            queue.append(cause.__cause__)


def _package(kind: type) -> str:
    """Top-level package that defines the exception or the nearest of its bases that is not a builtin."""
    return next((base.__module__.split(".")[0] for base in kind.__mro__ if base.__module__ != "builtins"), "")


def _is_verdict_of_a_test(error: BaseException) -> bool:
    """Whether the exception is pytest.fail, or pexpect's TIMEOUT or EOF (the expected line did not arrive).

    False for pytest's own errors, such as a missing fixture.
    """
    modules = {base.__module__ for base in type(error).__mro__}
    return "_pytest.outcomes" in modules or _package(type(error)) == "pexpect"


def _raised_by_a_tool(error: BaseException) -> bool:
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", "")).split(".")[0]
        if module in _TOOLS or module.startswith("pytest_embedded_"):
            return True
        trace = trace.tb_next
    return False


def _first_line(error: object) -> str:
    """The first non-blank line, shortened. The other lines of a pexpect or assert error are in the traceback."""
    lines = [line.strip() for line in str(error).splitlines()]
    line = next((line for line in lines if line), type(error).__name__)
    left_out = len(line) - REASON_MAX
    return line if left_out <= 0 else f"{line[:REASON_MAX]} ... and {left_out:,} characters"


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {_first_line(error)}"
