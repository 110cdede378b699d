"""Tests power switches: a user's command may fail, hang or not exist, but the board must never remain switched off."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from hotpin_hil.boards.power import PowerSwitch, wait_for_port
from hotpin_hil.errors import PowerError


def writes(word: str, path: Path) -> str:
    return f"sh -c 'echo {word} >> {path}'"


def test_off_and_on_make_a_cycle(tmp_path: Path) -> None:
    log = tmp_path / "log"
    switch = PowerSwitch("a", off_command=writes("off", log), on_command=writes("on", log), off_s=0.01)
    switch.cycle()
    switch.off()
    assert log.read_text().split() == ["off", "on", "off"]


def test_cycle_command_overrides_off_and_on(tmp_path: Path) -> None:
    log = tmp_path / "log"
    PowerSwitch("a", "false", "false", writes("cycle", log)).cycle()
    assert log.read_text() == "cycle\n"


@pytest.mark.parametrize("off", ["false", "sh -c 'kill -INT $PPID; sleep 5'"])
def test_a_board_is_not_left_off(tmp_path: Path, off: str) -> None:
    """The board must be switched on again even after a failing command or Ctrl-C."""
    log = tmp_path / "log"
    switch = PowerSwitch("a", off_command=off, on_command=writes("on", log), off_s=0.01)
    with pytest.raises((PowerError, KeyboardInterrupt)):
        switch.cycle()
    assert log.read_text() == "on\n"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("sh -c 'echo usb; echo no such hub >&2; exit 3'", "cam-1 exited with status 3: no such hub"),
        ("false", "cam-1 exited with status 1: no output"),
        (
            "not-installed -a off",
            "cam-1 cannot be run: No such file or directory (run the command by hand: not-installed",
        ),
        ("sleep 60", "cam-1 did not finish within 0.1 s"),
    ],
)
def test_failed_power_command_is_a_one_line_error(command: str, message: str) -> None:
    with pytest.raises(PowerError) as caught:
        PowerSwitch("cam-1", cycle_command=command, timeout_s=0.1 if "sleep" in command else 20).cycle()
    assert f"the power switch of {message}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_power_command_may_leave_a_process_running(tmp_path: Path) -> None:
    """A process that the command leaves running may keep the command's output open, as a relay's daemon does."""
    os.mkfifo(tmp_path / "gate")
    # The daemon ends when the test closes the gate.
    gate = os.open(tmp_path / "gate", os.O_RDWR)
    try:
        leaves = f"sh -c 'exec 3< {tmp_path / 'gate'}; cat <&3 & echo on'"
        PowerSwitch("cam-1", cycle_command=leaves, timeout_s=20).cycle()
    finally:
        os.close(gate)


def test_switch_without_off_refuses_to_switch_off() -> None:
    with pytest.raises(PowerError, match=r"can only cycle \(set power.off in bench.toml\)"):
        PowerSwitch("a", cycle_command="true").off()


def test_port_that_vanished_with_its_bridge_is_waited_for(tmp_path: Path) -> None:
    port = tmp_path / "ttyUSB0"
    timer = threading.Timer(0.05, port.touch)
    timer.start()
    wait_for_port(str(port), 20)
    assert port.exists()
    timer.join()
    wait_for_port("rfc2217://bench:4000", 0)
    wait_for_port(str(tmp_path / "gone"), 0.01)  # does not raise: opening the port reports the error later
