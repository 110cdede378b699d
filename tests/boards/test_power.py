"""A power switch is a user's command: it may fail, hang or be missing, and must not leave a board off."""

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


def test_a_cycle_command_of_its_own_wins(tmp_path: Path) -> None:
    log = tmp_path / "log"
    PowerSwitch("a", "false", "false", writes("cycle", log)).cycle()
    assert log.read_text() == "cycle\n"


@pytest.mark.parametrize("off", ["false", "sh -c 'kill -INT $PPID; sleep 5'"])
def test_a_board_is_not_left_off(tmp_path: Path, off: str) -> None:
    """Neither by a failing command nor by Ctrl-C."""
    log = tmp_path / "log"
    switch = PowerSwitch("a", off_command=off, on_command=writes("on", log), off_s=0.01)
    with pytest.raises((PowerError, KeyboardInterrupt)):
        switch.cycle()
    assert log.read_text() == "on\n"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("sh -c 'echo usb; echo no such hub >&2; exit 3'", "cam-1 ended with 3: no such hub"),
        ("false", "cam-1 ended with 1: it said nothing"),
        (
            "not-installed -a off",
            "cam-1 does not run: No such file or directory (run it by hand: not-installed",
        ),
        ("sleep 60", "cam-1 did not finish within 0.1 s"),
    ],
)
def test_what_went_wrong_is_one_line(command: str, message: str) -> None:
    with pytest.raises(PowerError) as caught:
        PowerSwitch("cam-1", cycle_command=command, timeout_s=0.1 if "sleep" in command else 20).cycle()
    assert f"the power switch of {message}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_command_may_leave_a_process_behind(tmp_path: Path) -> None:
    """A relay's daemon keeps its output open."""
    os.mkfifo(tmp_path / "gate")
    # It ends with this test, which holds the gate open.
    gate = os.open(tmp_path / "gate", os.O_RDWR)
    try:
        leaves = f"sh -c 'exec 3< {tmp_path / 'gate'}; cat <&3 & echo on'"
        PowerSwitch("cam-1", cycle_command=leaves, timeout_s=20).cycle()
    finally:
        os.close(gate)


def test_a_switch_that_can_only_cycle_says_so() -> None:
    with pytest.raises(PowerError, match=r"can only cycle \(give power.off in bench.toml\)"):
        PowerSwitch("a", cycle_command="true").off()


def test_a_port_that_its_bridge_took_away_is_waited_for(tmp_path: Path) -> None:
    port = tmp_path / "ttyUSB0"
    timer = threading.Timer(0.05, port.touch)
    timer.start()
    wait_for_port(str(port), 20)
    assert port.exists()
    timer.join()
    wait_for_port("rfc2217://bench:4000", 0)
    wait_for_port(str(tmp_path / "gone"), 0.01)  # opening it will tell
