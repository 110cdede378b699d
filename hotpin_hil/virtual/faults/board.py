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

_BYTE_FAULTS = ("noise", "drop", "insert", "duplicate", "cut-utf8", "foreign-line")


class Subject(Protocol):
    """What a board lets be done to it."""

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

    def lose_client(self, seconds: float | None) -> None:
        """The connection is lost, and refused for so long (None: until `release_port`)."""

    def refuse_clients(self, seconds: float | None) -> None:
        """The next client is refused."""

    def hang_bridge(self, seconds: float | None) -> None:
        """Nothing moves between chip and client."""

    def release_port(self) -> None:
        """The port is as it should be."""


@dataclass(frozen=True)
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

    def __init__(self, board: Subject, seed: str, report: Callable[[str], None]) -> None:
        self.line = LineFaults()
        self._board = board
        self._dice = random.Random(f"{seed}/faults")
        self._report = report
        self._in_force: list[InForce] = []
        self._flash_left: int | None = None
        self._flash_off_s = 0.0
        self.panic_off_s = 0.0
        """How long power stays away after a power cut that took the place of a panic."""

    @property
    def in_force(self) -> list[InForce]:
        """Faults that were asked for and not cleared since; some may be over."""
        return list(self._in_force)

    def is_in_force(self, name: str) -> bool:
        return any(fault.name == name for fault in self._in_force)

    def inject(self, name: str, given: Mapping[str, object], seed: int | None = None) -> InForce:
        """Begins a fault; the same seed makes it the same. UsageError for what is not in the table."""
        arguments = find(name).parse(given)
        fault = InForce(name, arguments, self._dice.getrandbits(32) if seed is None else seed)
        self._begin(fault)
        self._in_force.append(fault)
        self._report(f"fault {fault}")
        return fault

    def clear(self) -> None:
        """Ends all faults. What they have broken meanwhile (a chip that hangs, power that is off) stays as it is."""
        if not self._in_force:
            return
        names = {fault.name for fault in self._in_force}
        self._in_force.clear()
        self.line.clear()
        self._flash_left = None
        self._board.release_port()
        for line in firmware.lines_to_clear(names):
            self._board.tell_firmware(line)
        self._report(f"faults cleared: {', '.join(sorted(names))}")

    def _begin(self, fault: InForce) -> None:
        name, arguments = fault.name, fault.arguments
        seconds = float(arguments.get("seconds", 0)) or None
        off_s = float(arguments.get("off_s", 0))
        if name in _BYTE_FAULTS:
            self.line.add(name, arguments, str(fault.seed))
        elif name == "disconnect":
            self._board.lose_client(seconds)
        elif name == "port-busy":
            self._board.refuse_clients(seconds)
        elif name == "bridge-hang":
            self._board.hang_bridge(seconds)
        elif name == "power-cut":
            self._board.cut_power(off_s)
        elif name == "power-cut-flashing":
            self._flash_left, self._flash_off_s = int(arguments["bytes"]), off_s
        elif name == "power-cut-step":
            self._cut_at_step(str(arguments["step"]), off_s, fault.seed)
        elif name == "brown-out" and arguments["by"] == "hardware":
            self._board.reset_by_brown_out()
        elif name == "hang":
            self._board.freeze()
        else:
            for line in firmware.lines_to_begin(name):
                self._board.tell_firmware(line)

    def _cut_at_step(self, step: str, off_s: float, seed: int) -> None:
        """The console makes the firmware crash at the step, and power goes where it would panic."""
        if not step.replace(":", "").replace(".", "").replace("_", "").isalnum():
            raise UsageError(
                f"fault power-cut-step: step is {step!r}", "the console's mode.steps lists the names"
            )
        self.panic_off_s = off_s
        self._board.tell_firmware("power_cut_at_panic=1")
        # An id of its own: the console does not carry out a request again that it has just answered.
        self._board.type_in(f"@{60000 + seed % 5000} sys.panic kind=abort step={step}\n")

    # What the board asks

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
        self._board.cut_power(self._flash_off_s)
        return data


def _with_a_bit_stuck(offset: int, data: bytes, at: int) -> bytes:
    """The first byte from `at` on that clears a bit does not clear its lowest one."""
    for index in range(max(at - offset, 0), len(data)):
        byte = data[index]
        if byte != 0xFF:
            lowest = ~byte & (byte + 1)
            return data[:index] + bytes([byte | lowest]) + data[index + 1 :]
    return data
