"""Replays scripts of the model: all in `scripts/`, and the script of `--script FILE`."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotpin_hil.paths import NATIVE_BUILD_DIR
from tests.model import machine  # noqa: F401 - registers the operations
from tests.model.board import Board
from tests.model.game import Game
from tests.support.virtual_board import native_flash_image

SCRIPTS = Path(__file__).parent / "scripts"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    given = metafunc.config.getoption("--script")
    scripts = [Path(given)] if given else sorted(SCRIPTS.glob("*.txt"))
    metafunc.parametrize("script", scripts, ids=lambda script: script.stem)


def test_replay(script: Path, tmp_path: Path) -> None:
    game = Game(Board(tmp_path, NATIVE_BUILD_DIR / "hotpin.elf", native_flash_image()))
    try:
        for line in script.read_text(encoding="utf-8").splitlines():
            if line.strip() and not line.startswith("#"):
                game.play_line(line)
    finally:
        game.board.cut_power()
