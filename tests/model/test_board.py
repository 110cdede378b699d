"""Tests the clock of the host-built firmware: it must advance only on request, by exactly the requested time."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotpin_hil.paths import NATIVE_BUILD_DIR
from tests.model.board import POWER_ON, START_US, Board, Item
from tests.support.virtual_board import native_flash_image

BOOT_US = 5_000_000


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path, NATIVE_BUILD_DIR / "hotpin.elf", native_flash_image())


def stamp(board: Board) -> int:
    assert board.run_until_answered([board.send("mem.stats")])
    return int(board.items[-1].data["t"])


def test_clock_stands_until_it_runs(board: Board) -> None:
    board.start(POWER_ON)
    try:
        start_us = board.now_us
        assert start_us >= START_US
        assert board.run(BOOT_US)
        assert board.now_us == start_us + BOOT_US
    finally:
        board.cut_power()


def test_same_requests_give_the_same_output(board: Board, tmp_path: Path) -> None:
    outputs: list[list[Item]] = []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        again = Board(tmp_path / str(number), NATIVE_BUILD_DIR / "hotpin.elf", native_flash_image())
        again.start(POWER_ON)
        try:
            assert again.run(BOOT_US)
            stamp(again)
            assert again.run(20_000_000)
            outputs.append(list(again.items))
        finally:
            again.cut_power()
    assert outputs[0] == outputs[1]


def test_jump_moves_time_and_everything_that_is_due(board: Board) -> None:
    board.start(POWER_ON)
    try:
        assert board.run(BOOT_US)
        before = stamp(board)
        board.items.clear()
        board.jump(3_600_000_000)
        assert 3_600_000 <= stamp(board) - before <= 3_600_100
        assert not [item for item in board.items if item.data.get("context") == "Periodic"]
    finally:
        board.cut_power()


def test_board_starts_near_a_wrap(board: Board) -> None:
    board.start(POWER_ON, uptime_us=((1 << 32) - 8_000) * 1000)
    try:
        assert board.run(BOOT_US)
        assert stamp(board) > (1 << 32) - 8_000
        assert board.run(BOOT_US)
        assert stamp(board) < 8_000
    finally:
        board.cut_power()
