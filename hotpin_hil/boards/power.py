"""A board's power switch: commands of the bench's owner that turn its supply off and on.

A reset over EN does not take the power from the camera sensor, nor from a chip that has latched up.
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
"""A serial bridge that is powered with its board is listed again a second or two after; a hub may take more."""
_POLL_S = 0.1


@dataclass(frozen=True)
class PowerSwitch:
    """Commands as bench.toml gives them, with {name}, {mac} and {port} filled in: `cycle`, or `off` and `on`."""

    board: str
    off_command: str = ""
    on_command: str = ""
    cycle_command: str = ""
    off_s: float = 1.0
    """How long it stays off: what the board's capacitors need to empty."""
    timeout_s: float = 30.0
    """For one command, on the host's clock."""

    def off(self) -> None:
        self._run(self._command("off", self.off_command))

    def on(self) -> None:
        self._run(self._command("on", self.on_command))

    def cycle(self) -> None:
        """Off, and on again; also after Ctrl-C it is not left off."""
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
        """PowerError, with the last line that the command said, unless it ends with 0 in time."""
        remedy = f"run it by hand: {command}"
        try:
            # Not a pipe, which ends only with the last process that the command has left behind.
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
    """Waits until a device that its bridge's power has taken away is listed again; open it to see if it works."""
    deadline = time.monotonic() + timeout_s
    while "://" not in port and not Path(port).exists() and time.monotonic() < deadline:
        time.sleep(_POLL_S)
