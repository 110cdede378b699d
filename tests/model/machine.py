"""The Hypothesis state machine: draws operations and their arguments, and plays them in a game."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, ClassVar

from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.model import (  # noqa: F401 - registers the operations
    operations_levels,
    operations_log,
    operations_memory,
    operations_mode,
    operations_monitor,
    operations_power,
    operations_stream,
)
from tests.model.board import Board
from tests.model.game import OPERATIONS, Game
from tests.model.operations_power import UPTIMES


class FirmwareMachine(RuleBasedStateMachine):
    """Plays a game on the host-built firmware in `elf`, with the flash image `flash`."""

    elf: ClassVar[Path]
    flash: ClassVar[bytes]
    folder: ClassVar[Path]
    steps: ClassVar[int] = 0
    examples: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(dir=self.folder)
        self._board = Board(Path(self._folder.name), self.elf, self.flash)
        self.game = Game(self._board)
        self.failed = False
        type(self).examples += 1

    @initialize(uptime_us=UPTIMES)
    def start(self, uptime_us: int) -> None:
        self.play("start", uptime_us=uptime_us)

    def play(self, name: str, **args: Any) -> None:
        """Execute one operation; if firmware and model disagree, the game ends."""
        type(self).steps += 1
        try:
            self.game.play(name, **args)
        except AssertionError:
            self.failed = True
            raise

    def teardown(self) -> None:
        try:
            if not self.failed and self.game.script:
                self.play("finish")
        finally:
            self._board.cut_power()
            self._folder.cleanup()


def _add_rule(name: str, strategies: dict[str, Any]) -> None:
    def play(self: FirmwareMachine, **args: Any) -> None:
        self.play(name, **args)

    play.__name__ = name
    setattr(FirmwareMachine, f"do_{name}", rule(**strategies)(play))


for _name, (_, _strategies) in OPERATIONS.items():
    if _name not in ("start", "finish"):
        _add_rule(_name, _strategies)
