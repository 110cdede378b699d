"""The command line at the bottom of the monitor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input

from hotpin_hil.cli.command_book import CommandBook


class CommandLine(Input):
    """A line to type commands in, with history and completion."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "complete", "Complete", show=False),
        Binding("up", "earlier", "Earlier", show=False),
        Binding("down", "later", "Later", show=False),
    ]

    @dataclass
    class Entered(Message):
        """A line to send to the board."""

        line: str
        hint: str = ""

    @dataclass
    class Hinted(Message):
        """A text to show next to the line; empty to remove it."""

        text: str

    def __init__(self) -> None:
        super().__init__(
            id="command", placeholder="command for the board; Tab completes, Up recalls", compact=True
        )
        self.book = CommandBook()

    def action_complete(self) -> None:
        """Complete the command. If the board's commands are not yet known, send `help` instead."""
        if self.book.is_empty:
            self._enter("help", "asking the board for its commands; press Tab again")
            return
        line, words = self.book.complete(self.value)
        self._show(line)
        self.post_message(self.Hinted("  ".join(words) if len(words) > 1 else ""))

    def action_earlier(self) -> None:
        """Recall an earlier command."""
        self._show(self.book.earlier(self.value))

    def action_later(self) -> None:
        """Recall a later command."""
        self._show(self.book.later(self.value))

    async def action_submit(self) -> None:
        """Send the command."""
        line, self.value = self.value, ""
        self._enter(line, "")

    def _enter(self, line: str, hint: str) -> None:
        self.book.send(line)
        self.post_message(self.Entered(line, hint))

    def _show(self, line: str) -> None:
        self.value = line
        self.cursor_position = len(line)
