"""A board's power switch: the user's commands that turn its supply off and on.

A reset through EN affects neither the camera sensor nor a latched-up chip.
"""

from __future__ import annotations

import shlex
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from hotpin_hil.errors import PowerError

PORT_BACK_S = 15.0
"""Time to wait for a serial bridge that lost power together with the board. It takes 1 to 2 s to reappear, and longer
behind a hub."""
_POLL_S = 0.1


@dataclass(frozen=True)
class PowerSwitch:
    """The commands in bench.toml, `cycle` or `off` and `on`, with `{name}`, `{mac}` and `{port}` filled in."""

    board: str
    off_command: str = ""
    on_command: str = ""
    cycle_command: str = ""
    off_s: float = 1.0
    """Time that the power stays off, so that the board's capacitors discharge."""
    timeout_s: float = 30.0
    """Time limit of one command, on the host's clock."""

    def off(self) -> None:
        """Turn the power off.

        Raises:
            PowerError: the switch can only cycle, or its command failed.
        """
        self._run(self._command("off", self.off_command))

    def on(self) -> None:
        """Turn the power on.

        Raises:
            PowerError: the switch can only cycle, or its command failed.
        """
        self._run(self._command("on", self.on_command))

    def cycle(self) -> None:
        """Turn the power off and on again. With `off` and `on` commands, it is turned on even after Ctrl-C.

        Raises:
            PowerError: a command of the switch failed.
        """
        if self.cycle_command:
            self._run(self.cycle_command)
            return
        try:
            self.off()
            time.sleep(self.off_s)
        finally:
            self.on()

    def _command(self, what: str, command: str) -> str:
        if not command:
            raise PowerError(
                f"the power switch of {self.board} can only cycle", f"set power.{what} in bench.toml"
            )
        return command

    def _run(self, command: str) -> None:
        """Run a command. Raises PowerError with the last line of its output if it fails or takes too long."""
        remedy = f"run the command by hand: {command}"
        try:
            # Not a pipe, because a pipe stays open until the last child of the command ends.
            with tempfile.TemporaryFile() as output:
                result = subprocess.run(
                    shlex.split(command),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=self.timeout_s,
                    check=False,
                )
                output.seek(0)
                lines = output.read().decode(errors="replace").strip().splitlines()
        except subprocess.TimeoutExpired as error:
            raise PowerError(
                f"the power switch of {self.board} did not finish within {self.timeout_s:g} s", remedy
            ) from error
        except OSError as error:
            raise PowerError(
                f"the power switch of {self.board} cannot be run: {error.strerror}", remedy
            ) from error
        if result.returncode:
            output_line = lines[-1] if lines else "no output"
            raise PowerError(
                f"the power switch of {self.board} exited with status {result.returncode}: {output_line}",
                remedy,
            )


def wait_for_port(port: str, timeout_s: float = PORT_BACK_S) -> None:
    """Wait, for at most `timeout_s`, until the device of a bridge that lost power reappears."""
    deadline = time.monotonic() + timeout_s
    while "://" not in port and not Path(port).exists() and time.monotonic() < deadline:
        time.sleep(_POLL_S)
