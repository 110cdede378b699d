"""Tests the check after each test, which undoes the changes of the test's commands and reports resources that are still
allocated (fixtures/conservation.py)."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

from fixtures.conservation import Conservation
from hotpin_hil.device import BoardReset, Device, NoReply, Resources
from tests.analysis.test_conservation import BEFORE


class Board:
    """A fake device whose resources are `now`. It records the commands that undo something in `calls`."""

    def __init__(self) -> None:
        self.now: Resources | Exception = BEFORE
        self.calls: list[str] = []

    def set(self, **changes: Any) -> None:
        assert isinstance(self.now, Resources)
        self.now = dataclasses.replace(self.now, **changes)

    def resources(self) -> Resources:
        if isinstance(self.now, Exception):
            raise self.now
        return self.now

    def regions(self) -> list[Any]:
        return []

    def set_mode(self, to: str) -> None:
        self.calls.append(f"mode {to}")
        self.set(mode=to)

    def thresholds(self, **levels: int) -> None:
        self.calls.append("thresholds")
        self.set(thresholds=tuple(levels.values()))


def begun() -> tuple[Board, Conservation]:
    board = Board()
    conservation = Conservation(cast(Device, board))
    conservation.begin()
    return board, conservation


def test_setting_of_the_test_is_put_back() -> None:
    board, conservation = begun()
    board.set(mode="voice", thresholds=(8, 7, 6, 5, 4, 3, 2, 1))
    for command in ("mode.set", "mem.thresholds"):
        conservation.note(command, {})
    assert conservation.differences() == {}
    assert board.calls == ["mode camera", "thresholds"]


def test_setting_that_the_firmware_changed_itself_is_a_difference() -> None:
    board, conservation = begun()
    board.set(thresholds=(8, 7, 6, 5, 4, 3, 2, 1))
    conservation.note("mode.set", {})
    assert set(conservation.differences()) == {"thresholds"}
    assert board.calls == []


def test_what_is_still_held_after_the_setting_was_put_back_is_a_difference() -> None:
    board, conservation = begun()
    board.set(mode="voice", i2s_channels=1)
    conservation.note("mode.set", {})
    assert conservation.differences() == {"i2s_channels": "0 before, 1 after"}


def test_restart_begins_again() -> None:
    board, conservation = begun()
    conservation.note("mode.set", {})
    board.set(mode="voice")
    conservation.begin()
    assert conservation.differences() == {}
    assert board.calls == []
    board.set(mode="camera")
    assert set(conservation.differences()) == {"mode"}, "a command before the restart must no longer count"


def test_without_an_answer_at_the_start_or_after_a_reset_nothing_is_compared() -> None:
    board, conservation = begun()
    board.now = BoardReset("the board was reset", "")
    assert conservation.differences() == {}
    board.now = NoReply("silent", 0, "")
    conservation.begin()
    board.now = dataclasses.replace(BEFORE, frames=1)
    assert conservation.differences() == {}
