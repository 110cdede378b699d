"""Known noise: error lines that a healthy board logs. A test that expects no errors ignores them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from hotpin_hil.compat import tomllib
from hotpin_hil.protocol.log import LogLine

FILE_NAME = "known_noise.toml"


@dataclass(frozen=True)
class Noise:
    """One row of known_noise.toml."""

    level: str
    tag: str
    text: str
    """Regular expression for the whole text of the line."""
    reason: str
    source: str

    def covers(self, line: LogLine) -> bool:
        """Whether this row covers a line."""
        return (line.level, line.tag) == (self.level, self.tag) and bool(re.fullmatch(self.text, line.text))

    def count(self, log: str) -> int:
        """Count the occurrences in a console log, including those after a fragment of another line."""
        line = rf"{re.escape(self.level)} \(\d+\) {re.escape(self.tag)}: {self.text}"
        return len(re.findall(line, log))


@cache
def known_noise() -> tuple[Noise, ...]:
    """The rows of known_noise.toml."""
    rows = tomllib.loads((files(__package__) / FILE_NAME).read_text(encoding="utf-8"))["noise"]
    return tuple(Noise(**row) for row in rows)


def complaints(lines: Iterable[LogLine]) -> list[LogLine]:
    """The lines of level E or W, without known noise."""
    noise = known_noise()
    return [line for line in lines if line.level in "EW" and not any(row.covers(line) for row in noise)]


def errors(lines: Iterable[LogLine]) -> list[LogLine]:
    """The lines of level E, without known noise."""
    return [line for line in complaints(lines) if line.level == "E"]
