"""Reads equivalent.toml: mutants that no test can kill, each with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hotpin_hil.evidence.toml_tables import read_tables
from tests.mutation.mutants import Mutant

FILE = Path(__file__).with_name("equivalent.toml")


@dataclass(frozen=True)
class Equivalent:
    """A change to a line that does not affect any required behaviour."""

    file: str
    before: str
    """The line without its indentation."""
    after: str
    reason: str

    def covers(self, mutant: Mutant) -> bool:
        """Whether the mutant is this change; the line's number does not matter."""
        change = (mutant.file, mutant.before.strip(), _squeezed(mutant.after))
        return change == (self.file, self.before, _squeezed(self.after))


def load(path: Path = FILE) -> list[Equivalent]:
    """Load all entries of equivalent.toml."""
    return [Equivalent(**row) for row in read_tables(path, "equivalent")]


def argued(mutants: list[Mutant], entries: list[Equivalent]) -> set[Mutant]:
    """The mutants that equivalent.toml covers."""
    return {mutant for mutant in mutants if any(entry.covers(mutant) for entry in entries)}


def _squeezed(line: str) -> str:
    return "".join(line.split())
