"""Plays a short endurance run; `make endurance` plays a long one on 50 boards."""

from __future__ import annotations

import random

import pytest

from hotpin_hil.paths import NATIVE_BUILD_DIR
from hotpin_hil.virtual.faults.table import FAULTS
from tests.system.endurance.run import CAN_ACT, CONSOLE, endure, has_acted, some_fault

BUILD = NATIVE_BUILD_DIR / "flasher_args.json"


@pytest.mark.skipif(not BUILD.is_file(), reason="the firmware's host build is missing: make native")
def test_boards_of_one_server_leave_nothing_behind() -> None:
    totals = endure(3, 6, seed=4, workers=2)
    assert totals.problems == []
    assert totals.rounds == 6
    assert sum(totals.acted.values()) == 6  # with this seed, the fault of every round acts


@pytest.mark.skipif(not BUILD.is_file(), reason="the firmware's host build is missing: make native")
def test_every_fault_is_drawn_and_only_where_it_can_act() -> None:
    dice = random.Random(1)
    drawn = [some_fault(dice) for _ in range(2_000)]
    assert {name for name, _, _ in drawn} == FAULTS.keys()
    assert {(name, point) for name, point, _ in drawn} == {
        (name, point) for name, points in CAN_ACT.items() for point in points
    }
    assert CAN_ACT["panic"] == (CONSOLE,)
    for name, _, arguments in drawn:
        FAULTS[name].parse(arguments)


@pytest.mark.parametrize(
    ("name", "led_to", "changes", "in_force", "acted"),
    [
        ("noise", "nothing", 1, ["noise rate=1"], True),
        ("noise", "NoReply", 0, ["noise rate=1"], False),
        ("power-cut-flashing", "FatalError", 0, ["power-cut-flashing bytes=9"], False),
        ("power-cut-flashing", "nothing", 0, [], True),
        ("hang", "nothing", 0, [], True),
        ("no-sensor", "nothing", 0, ["no-sensor"], False),
        ("no-sensor", "DeviceError", 0, ["no-sensor"], True),
    ],
)
def test_effect_of_a_fault_is_read_from_the_board_state(
    name: str, led_to: str, changes: int, in_force: list[str], acted: bool
) -> None:
    before, after = {"line_changes": 5}, {"line_changes": 5 + changes, "faults": in_force}
    assert has_acted(name, led_to, before, after) is acted
