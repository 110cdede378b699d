"""A board's power switch: the user's commands that turn its supply off and on.

A reset over EN resets neither the camera sensor nor a chip that has latched up.
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
"""A serial bridge that loses its power with the board takes 1 to 2 s to be listed again; behind a hub, longer."""
_POLL_S = 0.1


@dataclass(frozen=True)
class PowerSwitch:
    """Commands as bench.toml gives them, with {name}, {mac} and {port} filled in: `cycle`, or `off` and `on`."""

    board: str
    off_command: str = ""
    on_command: str = ""
    cycle_command: str = ""
    off_s: float = 1.0
    """How long the power stays off: the board's capacitors must discharge."""
    timeout_s: float = 30.0
    """Time limit of one command, on the host's clock."""

    def off(self) -> None:
        """Turns the power off.

        Raises:
            PowerError: the switch can only cycle, or its command failed.
        """
        self._run(self._command("off", self.off_command))

    def on(self) -> None:
        """Turns the power on.

        Raises:
            PowerError: the switch can only cycle, or its command failed.
        """
        self._run(self._command("on", self.on_command))

    def cycle(self) -> None:
        """Turns the power off and on again. It is on afterwards even after Ctrl-C.

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
                f"the power switch of {self.board} can only cycle", f"give power.{what} in bench.toml"
            )
        return command

    def _run(self, command: str) -> None:
        """Runs a command. Raises PowerError, with the last line of its output, unless it ends with 0 in time."""
        remedy = f"run it by hand: {command}"
        try:
            # Not a pipe: it would stay open until the last child of the command ends.
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
                f"the power switch of {self.board} does not run: {error.strerror}", remedy
            ) from error
        if result.returncode:
            said = lines[-1] if lines else "it said nothing"
            raise PowerError(
                f"the power switch of {self.board} ended with {result.returncode}: {said}", remedy
            )


def wait_for_port(port: str, timeout_s: float = PORT_BACK_S) -> None:
    """Waits until a device is listed again whose bridge has lost its power. Returns after `timeout_s` at the latest."""
    deadline = time.monotonic() + timeout_s
    while "://" not in port and not Path(port).exists() and time.monotonic() < deadline:
        time.sleep(_POLL_S)
