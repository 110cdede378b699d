"""The table of all faults. The fixture, the command line and docs/faults.md are derived from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hotpin_hil.errors import UsageError

TIME = "{ms}"
"""Placeholder for the time of the interrupted line."""

Value = int | float | str
Arguments = dict[str, Value]


@dataclass(frozen=True)
class Argument:
    """One argument of a fault, of the type of `default`: a number from `low` to `high`, or one of `choices`."""

    name: str
    default: Value
    help: str
    low: float = 0
    high: float = 1e9
    choices: tuple[str, ...] = ()

    def parse(self, fault: str, value: object) -> Value:
        """Check the value, which may also be given as text. Raises UsageError if it is invalid."""
        if isinstance(self.default, str):
            text = str(value)
            if self.choices and text not in self.choices:
                raise self._wrong(fault, value, f"one of {', '.join(self.choices)}")
            if not text.isprintable() or len(text) > 200:
                raise self._wrong(fault, value, "a line of at most 200 printable characters")
            return text
        kind = "a whole number" if isinstance(self.default, int) else "a number"
        wanted = f"{kind} from {self.low:g} to {self.high:g}"
        try:
            number = type(self.default)(str(value))
        except ValueError:
            raise self._wrong(fault, value, wanted) from None
        if not self.low <= number <= self.high:
            raise self._wrong(fault, value, wanted)
        return number

    def _wrong(self, fault: str, value: object, wanted: str) -> UsageError:
        return UsageError(f"fault {fault}: `{self.name}` {value!r} is not valid", f"give {wanted}")


@dataclass(frozen=True)
class Fault:
    """One fault. `ends` says in the docs when the fault ends."""

    name: str
    group: str
    help: str
    ends: str
    arguments: tuple[Argument, ...] = ()

    def parse(self, given: Mapping[str, object]) -> Arguments:
        """Check the arguments and add missing defaults. Raises UsageError for an unknown name or a bad value."""
        known = [argument.name for argument in self.arguments]
        for name in given:
            if name not in known:
                raise UsageError(
                    f"fault {self.name} has no argument {name!r}",
                    f"it has {', '.join(known)}" if known else "it has none",
                )
        return {
            argument.name: argument.parse(self.name, given[argument.name])
            if argument.name in given
            else argument.default
            for argument in self.arguments
        }


LINE, POWER, BOARD, FIRMWARE = "line", "power", "chip", "firmware"
GROUPS = {
    LINE: "on the serial line",
    POWER: "of the supply",
    BOARD: "of the chip and its flash",
    FIRMWARE: "in the firmware's environment",
}
CLEARED = "when cleared"
RESET = "with a reset"

TO_HOST, TO_BOARD, BOTH = "to-host", "to-board", "both"

_RATE = Argument("rate", 0.001, "probability for each byte", high=1)
_COUNT = Argument("count", 0, "maximum number of times (0: no limit)")
_DIRECTION = Argument("direction", TO_HOST, "direction", choices=(TO_HOST, TO_BOARD, BOTH))
_BYTES = (_RATE, _COUNT, _DIRECTION)
_LINES = Argument("count", 1, "number of lines", low=1)
_SECONDS = Argument("seconds", 0.5, "duration on the host's clock (0: until cleared)", high=3600)
_OFF = Argument("off_s", 0.1, "seconds until power returns (0: when switched on)", high=3600)

FAULTS = {
    fault.name: fault
    for fault in (
        Fault("noise", LINE, "bytes arrive with one bit flipped", f"after count, or {CLEARED}", _BYTES),
        Fault("drop", LINE, "bytes are lost", f"after count, or {CLEARED}", _BYTES),
        Fault("insert", LINE, "bytes arrive that were never sent", f"after count, or {CLEARED}", _BYTES),
        Fault("duplicate", LINE, "bytes arrive twice", f"after count, or {CLEARED}", _BYTES),
        Fault(
            "cut-utf8",
            LINE,
            "a log line is cut off inside a UTF-8 character",
            f"after count lines, or {CLEARED}",
            (_LINES,),
        ),
        Fault(
            "foreign-line",
            LINE,
            "another task's log line interrupts a log line, whose second part follows on the next line",
            f"after count lines, or {CLEARED}",
            (
                _LINES,
                Argument("inside", "line", "the place of the interruption", choices=("line", "character")),
                Argument(
                    "text",
                    f"I ({TIME}) wifi:state: run -> run (0x0)",
                    f"the other task's log line; {TIME} is replaced by the interrupted line's time stamp",
                ),
            ),
        ),
        Fault(
            "disconnect",
            LINE,
            "the connection is lost, and can be opened again when the fault ends",
            f"after seconds, or {CLEARED}",
            (_SECONDS,),
        ),
        Fault(
            "port-busy",
            LINE,
            "the port is in use when next opened",
            f"after seconds, or {CLEARED}",
            (_SECONDS,),
        ),
        Fault(
            "bridge-hang",
            LINE,
            "the connection stays open, but no bytes pass and no request is answered",
            f"after seconds, or {CLEARED}",
            (_SECONDS,),
        ),
        Fault("power-cut", POWER, "the power fails at once", "after off_s", (_OFF,)),
        Fault(
            "power-cut-flashing",
            POWER,
            "the power fails while the flash is being written",
            "after off_s",
            (Argument("bytes", 0, "bytes of the next writes that still reach the flash"), _OFF),
        ),
        Fault(
            "power-cut-step",
            POWER,
            "the power fails when a step of a mode change is next entered (needs the test console)",
            "after off_s",
            (Argument("step", "camera.stop", "name of the step; undo:NAME for its rollback"), _OFF),
        ),
        Fault(
            "brown-out",
            POWER,
            "the supply dips, and the detector resets the chip",
            "at once",
            (
                Argument(
                    "by",
                    "interrupt",
                    "interrupt: ESP-IDF's default, prints a line and does a software reset; hardware: rst:0xf",
                    choices=("interrupt", "hardware"),
                ),
            ),
        ),
        Fault(
            "no-download",
            BOARD,
            "IO0 is not pulled low at reset, so the chip never enters download mode",
            CLEARED,
        ),
        Fault(
            "bad-flash",
            BOARD,
            "one bit of a flash byte cannot be cleared (no effect if the byte written is 0xFF)",
            CLEARED,
            (Argument("at", 0x20000, "offset of the byte", high=0xFFFFFF),),
        ),
        Fault("hang", BOARD, "the chip stops: no output, no watchdog", RESET),
        Fault(
            "boot-loop",
            FIRMWARE,
            "every boot ends in a panic before app_main",
            f"{CLEARED}, with the next boot",
        ),
        Fault("panic", FIRMWARE, "the running task writes to address 0x44", "with the panic's reset"),
        Fault(
            "task-watchdog",
            FIRMWARE,
            "the running task spins and never blocks",
            "with the watchdog's reset",
        ),
        Fault(
            "interrupt-watchdog",
            FIRMWARE,
            "the running task disables interrupts and spins",
            "with the watchdog's reset",
        ),
        Fault(
            "no-psram",
            FIRMWARE,
            "no PSRAM is found, starting with the next boot",
            f"{CLEARED}, with the next boot",
        ),
        Fault("no-sensor", FIRMWARE, "no camera sensor answers", CLEARED),
        Fault(
            "sensor-dead",
            FIRMWARE,
            "once started and stopped, the sensor does not answer again until a power cycle: "
            "the power-down line has no effect",
            CLEARED,
        ),
        Fault("i2s-no-memory", FIRMWARE, "I2S has no memory for its DMA buffers", CLEARED),
    )
}


def find(name: str) -> Fault:
    """The fault with this name. Raises UsageError, which lists all names, if there is none."""
    if name not in FAULTS:
        raise UsageError(f"unknown fault {name!r}", f"known faults: {', '.join(FAULTS)}")
    return FAULTS[name]


def describe() -> str:
    """The table as Markdown, for docs/faults.md."""
    lines = []
    for group, where in GROUPS.items():
        lines += [
            "",
            f"### Faults {where}",
            "",
            "| fault | what happens | arguments | ends |",
            "|---|---|---|---|",
        ]
        for fault in FAULTS.values():
            if fault.group == group:
                arguments = "<br>".join(
                    f"`{argument.name}={argument.default}` {argument.help}{_choices(argument)}"
                    for argument in fault.arguments
                )
                lines.append(f"| `{fault.name}` | {fault.help} | {arguments} | {fault.ends} |")
    return "\n".join(lines[1:]) + "\n"


def _choices(argument: Argument) -> str:
    return f" ({', '.join(argument.choices)})" if argument.choices else ""
