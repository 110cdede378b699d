"""Active faults on one board, and their effects."""

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
"""Faults that end when the chip stops, by itself or by a reset."""


class Subject(Protocol):
    """Board operations that faults use."""

    @property
    def runs(self) -> str:
        """Current activity: "off", "in reset", "firmware" or another value of `Board.runs`."""

    @property
    def flash_bytes(self) -> int:
        """Flash size in bytes."""

    def cut_power(self, off_s: float) -> None:
        """Cut power now and restore it after `off_s` seconds (0: not by itself)."""

    def reset_by_brown_out(self) -> None:
        """Reset the chip as the brown-out detector does (rst:0xf)."""

    def freeze(self) -> None:
        """Stop the chip until it is reset."""

    def tell_firmware(self, line: str) -> None:
        """Send a line to the host runtime of the running firmware, if any."""

    def type_in(self, text: str) -> None:
        """Write text to the chip's UART as if its client had sent it."""

    def drop_client(self) -> None:
        """Drop the client's connection."""

    def refuse_clients(self, refusing: bool) -> None:
        """Refuse new clients, or accept them again."""

    def hang_bridge(self, hung: bool) -> None:
        """Stop all traffic between chip and client, or let it pass again."""


@dataclass(frozen=True, eq=False)
class InForce:
    """A requested fault, with all arguments and the seed of its random choices."""

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
    """The faults of one board; `report` is called with the text of each fault that starts or is cleared."""

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
        """Seconds without power after a power cut that replaces a panic."""

    @property
    def in_force(self) -> list[InForce]:
        """Requested faults that are still active, as far as the board can tell."""
        return list(self._in_force)

    def is_in_force(self, name: str) -> bool:
        return any(fault.name == name for fault in self._in_force)

    def inject(self, name: str, given: Mapping[str, object], seed: int | None = None) -> InForce:
        """Start a fault; the same seed gives the same random choices.

        Raises:
            UsageError: The fault or an argument is unknown or invalid, or would have no effect in the board's state.
        """
        arguments = find(name).parse(given)
        self._check(name, arguments)
        fault = InForce(name, arguments, self._dice.getrandbits(32) if seed is None else seed)
        self._in_force.append(fault)
        self._begin(fault)
        self._report(f"fault {fault}")
        return fault

    def clear(self) -> None:
        """End all faults. Their lasting effects (a chip that hangs, power that is off) remain."""
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
            self._request("heap.fail off=1")  # also disarms the step
        self._report(f"faults cleared: {', '.join(sorted(names))}")

    def close(self) -> None:
        """Cancel all timers; no fault ends by itself after this."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _check(self, name: str, arguments: Arguments) -> None:
        """Raise UsageError if the fault has no effect in the board's current state."""
        runs, size = self._board.runs, self._board.flash_bytes
        if name == "bad-flash" and int(arguments["at"]) >= size:
            raise UsageError(
                f"fault bad-flash: `at` {arguments['at']} is outside the flash", f"the flash has {size} bytes"
            )
        if name == "power-cut-step":
            step = str(arguments["step"])
            if not step.replace(":", "").replace(".", "").replace("_", "").isalnum():
                raise UsageError(
                    f"fault {name}: {step!r} is not a step name", "mode.steps on the console lists them"
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
        """Arm a crash at the step through the console. When the firmware panics, power is cut instead."""
        self.panic_off_s = off_s
        self._board.tell_firmware("power_cut_at_panic=1")
        self._request(f"sys.panic kind=abort step={fault.arguments['step']}")

    def _request(self, command: str) -> None:
        """Send a console command with a new id, because the firmware ignores an id that it has seen."""
        self._requests += 1
        self._board.type_in(f"@{60000 + self._requests % 5000} {command}\n")

    def _end(self, fault: InForce) -> None:
        """Handle a fault that ended by itself."""
        self._timers.pop(fault)
        self._in_force.remove(fault)
        self._set_port()

    def _set_port(self) -> None:
        self._board.refuse_clients(self.is_in_force("disconnect") or self.is_in_force("port-busy"))
        self._board.hang_bridge(self.is_in_force("bridge-hang"))

    # Calls from the board

    def chip_stopped(self) -> None:
        """Handle the chip stopping, by a reset or a loss of power."""
        self._in_force = [fault for fault in self._in_force if fault.name not in _UNTIL_RESET]

    def start_lines(self, sensor_used: bool) -> list[str]:
        """Fault lines for the firmware's runtime at boot; `sensor_used`: the power has been on since the last boot."""
        lines = [line for fault in self._in_force for line in firmware.lines_at_start(fault.name)]
        return [*lines, "sensor_used=1"] if lines and sensor_used else lines

    def programmed(self, offset: int, data: bytes) -> bytes:
        """The bytes of a flash write that reach the flash, with the faults applied."""
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
    """Return `data` as stored if one bit cannot be programmed.

    The lowest 0 bit of the byte at flash offset `at` stays 1. Unchanged if `data` does not cover `at` or the
    byte is 0xFF.
    """
    index = at - offset
    if not 0 <= index < len(data) or data[index] == 0xFF:
        return data
    byte = data[index]
    lowest = ~byte & (byte + 1)
    return data[:index] + bytes([byte | lowest]) + data[index + 1 :]
