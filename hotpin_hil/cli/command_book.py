"""The command line of the monitor: history, and completion with the commands that the board's `help` lists."""

from __future__ import annotations

import re

HISTORY_MAX = 500
_COMMAND = re.compile(r"([A-Za-z_][\w.-]{0,40})((?: {1,2}[\[<\w].{0,400})?)\s*")
"""A command and its arguments in the list of `help`; the next line, indented, describes it."""
_DESCRIPTION = re.compile(r" {2,8}\S")
_ARGUMENT = re.compile(r"\[?([A-Za-z_]\w{0,40})=([^\s\]]{0,400})\]?")


class CommandBook:
    """The history of typed commands, and the board's commands."""

    def __init__(self) -> None:
        self._history: list[str] = []
        self._at = 0
        """Position in the history; its length is the line being typed."""
        self._draft = ""
        self._usages: dict[str, str] = {}
        """Arguments by command."""
        self._is_listing = False
        self._candidate: tuple[str, str] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the board's commands are not yet known."""
        return not self._usages

    # --- History ---

    def send(self, line: str) -> None:
        """Remember a line that was sent."""
        if line.strip() and (not self._history or self._history[-1] != line):
            self._history = [*self._history[-HISTORY_MAX + 1 :], line]
        self._at, self._draft = len(self._history), ""
        self._is_listing, self._candidate = line.split()[:1] == ["help"], None

    def earlier(self, typed: str) -> str:
        """The previous line of the history; the first line again if there is none before it."""
        if self._at == len(self._history):
            self._draft = typed
        self._at = max(0, self._at - 1)
        return self._history[self._at] if self._history else typed

    def later(self, typed: str) -> str:
        """The next line of the history; after its last line, the text that was being typed."""
        if self._at >= len(self._history) - 1:
            is_last = self._at == len(self._history)
            self._at = len(self._history)
            return typed if is_last else self._draft
        self._at += 1
        return self._history[self._at]

    # --- Completion ---

    def learn(self, line: str) -> None:
        """Learn the board's commands from a console line, if `help` was the last line sent."""
        if not self._is_listing:
            return
        if self._candidate is not None and _DESCRIPTION.match(line):
            self._usages[self._candidate[0]] = self._candidate[1]
        found = _COMMAND.fullmatch(line)
        self._candidate = (found[1], found[2].strip()) if found is not None else None

    def complete(self, typed: str) -> tuple[str, list[str]]:
        """Complete the last word of a line.

        Returns:
            The line, completed up to the first ambiguity, and the possible words.
        """
        head, _, word = typed.rpartition(" ")
        words = [word_ for word_ in self._words(head) if word_.startswith(word)]
        if not words:
            return typed, []
        common = _common_start(words)
        end = " " if len(words) == 1 and not common.endswith("=") else ""
        return f"{head} {common}{end}" if head else f"{common}{end}", words

    def _words(self, head: str) -> list[str]:
        if not head.strip():
            return sorted({*self._usages, "help"})
        command, *given = head.split()
        if command == "help":
            return sorted(self._usages)
        names = {argument.partition("=")[0] for argument in given}
        words = []
        for name, values in _ARGUMENT.findall(self._usages.get(command, "")):
            if name not in names:
                words += (
                    [f"{name}={value}" for value in values.split("|")] if _is_choice(values) else [f"{name}="]
                )
        return words


def _common_start(words: list[str]) -> str:
    first, last = min(words), max(words)
    return first[: next((at for at, char in enumerate(first) if not last.startswith(char, at)), len(first))]


def _is_choice(values: str) -> bool:
    """Whether an argument takes one of several words. (Other arguments have a type, in capitals.)"""
    return not values.isupper()
