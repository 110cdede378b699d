"""The faults in force on one board, and what each does to it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from hotpin_hil.errors import UsageError
from hotpin_hil.virtual.faults import firmware
from hotpin_hil.virtual.faults.line import LineFaults
from hotpin_hil.virtual.faults.table import Arguments, find
from hotpin_hil.virtual.reset import Timer

_BYTE_FAULTS = ("noise", "drop", "insert", "duplicate", "cut-utf8", "foreign-line")
_UNTIL_RESET = ("power-cut", "power-cut-step", "hang", *firmware.ONCE)
"""Over when the chip stops, by what it does or by a reset."""


class Subject(Protocol):
    """What a board lets be done to it."""

    @property
    def runs(self) -> str:
        """What it does now: "off", "in reset", "firmware" or another of `Board.runs`."""

    @property
    def flash_bytes(self) -> int:
        """Size of its flash."""

    def cut_power(self, off_s: float) -> None:
        """Power goes now, and comes back after `off_s` seconds (0: not by itself)."""

    def reset_by_brown_out(self) -> None:
        """The detector resets the chip by itself (rst:0xf)."""

    def freeze(self) -> None:
        """The chip stops until it is reset."""

    def tell_firmware(self, line: str) -> None:
        """A line to the runtime of the running firmware, if one runs."""

    def type_in(self, text: str) -> None:
        """Text into the chip's UART, as if its client had sent it."""

    def drop_client(self) -> None:
        """The connection is lost."""

    def refuse_clients(self, refusing: bool) -> None:
        """Whether the next client is refused."""

    def hang_bridge(self, hung: bool) -> None:
        """Whether nothing moves between chip and client."""


@dataclass(frozen=True, eq=False)
class InForce:
    """A fault that was asked for, with all arguments and the seed of what is random in it."""

    name: str
    arguments: Arguments
    seed: int

    def __str__(self) -> str:
        words = [
            f"{key}={value!r}" if " " in str(value) else f"{key}={value}"
            for key, value in self.arguments.items()
        ]
        return " ".join([self.name, *words, f"seed={self.seed}"])


class Faults:
    """The faults of one board. `report` is told of each that begins or is cleared."""

    def __init__(
        self,
        board: Subject,
        seed: str,
        report: Callable[[str], None],
        call_later: Callable[[float, Callable[[], None]], Timer],
    ) -> None:
        self.line = LineFaults()
        self._board = board
        self._dice = random.Random(f"{seed}/faults")
        self._report = report
        self._call_later = call_later
        self._in_force: list[InForce] = []
        self._timers: dict[InForce, Timer] = {}
        self._requests = 0
        self._flash_left: int | None = None
        self._flash_off_s = 0.0
        self.panic_off_s = 0.0
        """How long power stays away after a power cut that took the place of a panic."""

    @property
    def in_force(self) -> list[InForce]:
        """Faults that were asked for and are not over, as far as the board can know."""
        return list(self._in_force)

    def is_in_force(self, name: str) -> bool:
        return any(fault.name == name for fault in self._in_force)

    def inject(self, name: str, given: Mapping[str, object], seed: int | None = None) -> InForce:
        """Begins a fault; the same seed makes it the same. UsageError for what is not in the table, and for what would
        do nothing to the board as it is now."""
        arguments = find(name).parse(given)
        self._check(name, arguments)
        fault = InForce(name, arguments, self._dice.getrandbits(32) if seed is None else seed)
        self._in_force.append(fault)
        self._begin(fault)
        self._report(f"fault {fault}")
        return fault

    def clear(self) -> None:
        """Ends all faults. What they have broken meanwhile (a chip that hangs, power that is off) stays as it is."""
        if not self._in_force:
            return
        names = {fault.name for fault in self._in_force}
        self.close()
        self._in_force.clear()
        self.line.clear()
        self._flash_left = None
        self._set_port()
        for line in firmware.lines_to_clear(names):
            self._board.tell_firmware(line)
        if "power-cut-step" in names:
            self._request("heap.fail off=1")  # that disarms the step, too
        self._report(f"faults cleared: {', '.join(sorted(names))}")

    def close(self) -> None:
        """No fault ends by itself any more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _check(self, name: str, arguments: Arguments) -> None:
        """UsageError if the fault would do nothing to the board as it is now."""
        runs, size = self._board.runs, self._board.flash_bytes
        if name == "bad-flash" and int(arguments["at"]) >= size:
            raise UsageError(f"fault bad-flash: at is {arguments['at']}", f"the flash has {size} bytes")
        if name == "power-cut-step":
            step = str(arguments["step"])
            if not step.replace(":", "").replace(".", "").replace("_", "").isalnum():
                raise UsageError(
                    f"fault {name}: step is {step!r}", "the console's mode.steps lists the names"
                )
        if name == "power-cut":
            possible = runs != "off"
        elif name == "hang" or (name == "brown-out" and arguments["by"] == "hardware"):
            possible = runs not in ("off", "in reset")
        else:
            possible = runs == "firmware" or name not in ("power-cut-step", *firmware.ONCE)
        if not possible:
            raise UsageError(
                f"fault {name} would do nothing: `board list` shows {runs!r}", "let the firmware run first"
            )

    def _begin(self, fault: InForce) -> None:
        name, arguments = fault.name, fault.arguments
        seconds = float(arguments.get("seconds", 0))
        if seconds > 0:
            self._timers[fault] = self._call_later(seconds, lambda: self._end(fault))
        off_s = float(arguments.get("off_s", 0))
        if name in _BYTE_FAULTS:
            self.line.add(name, arguments, str(fault.seed))
        elif name in ("disconnect", "port-busy", "bridge-hang"):
            self._set_port()
            if name == "disconnect":
                self._board.drop_client()
        elif name == "power-cut":
            self._board.cut_power(off_s)
        elif name == "power-cut-flashing":
            self._flash_left, self._flash_off_s = int(arguments["bytes"]), off_s
        elif name == "power-cut-step":
            self._cut_at_step(fault, off_s)
        elif name == "brown-out" and arguments["by"] == "hardware":
            self._board.reset_by_brown_out()
        elif name == "hang":
            self._board.freeze()
        else:
            for line in firmware.lines_to_begin(name):
                self._board.tell_firmware(line)

    def _cut_at_step(self, fault: InForce, off_s: float) -> None:
        """The console makes the firmware crash at the step, and power goes where it would panic."""
        self.panic_off_s = off_s
        self._board.tell_firmware("power_cut_at_panic=1")
        self._request(f"sys.panic kind=abort step={fault.arguments['step']}")

    def _request(self, command: str) -> None:
        """To the firmware's console, with an id of its own: it does not carry out again what it has just answered."""
        self._requests += 1
        self._board.type_in(f"@{60000 + self._requests % 5000} {command}\n")

    def _end(self, fault: InForce) -> None:
        """It is over by itself."""
        self._timers.pop(fault)
        self._in_force.remove(fault)
        self._set_port()

    def _set_port(self) -> None:
        self._board.refuse_clients(self.is_in_force("disconnect") or self.is_in_force("port-busy"))
        self._board.hang_bridge(self.is_in_force("bridge-hang"))

    # What the board asks or tells

    def chip_stopped(self) -> None:
        """A reset, or power that is gone, has ended whatever ran."""
        self._in_force = [fault for fault in self._in_force if fault.name not in _UNTIL_RESET]

    def start_lines(self, sensor_used: bool) -> list[str]:
        """What the firmware's runtime is told at a start. `sensor_used`: power was not cut since the last one."""
        lines = [line for fault in self._in_force for line in firmware.lines_at_start(fault.name)]
        return [*lines, "sensor_used=1"] if lines and sensor_used else lines

    def programmed(self, offset: int, data: bytes) -> bytes:
        """What reaches the flash of what the loader writes to it."""
        for fault in self._in_force:
            if fault.name == "bad-flash":
                data = _with_a_bit_stuck(offset, data, int(fault.arguments["at"]))
        if self._flash_left is None:
            return data
        if self._flash_left > len(data):
            self._flash_left -= len(data)
            return data
        data = data[: self._flash_left]
        self._flash_left = None
        self._in_force = [fault for fault in self._in_force if fault.name != "power-cut-flashing"]
        self._board.cut_power(self._flash_off_s)
        return data


def _with_a_bit_stuck(offset: int, data: bytes, at: int) -> bytes:
    """The byte at `at` of the flash, if it is in `data`, does not clear the lowest bit that it should clear."""
    index = at - offset
    if not 0 <= index < len(data) or data[index] == 0xFF:
        return data
    byte = data[index]
    lowest = ~byte & (byte + 1)
    return data[:index] + bytes([byte | lowest]) + data[index + 1 :]
