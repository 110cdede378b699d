"""Records the outcomes of mutants in a file of JSON lines, which a later run continues, and prints a table by
component."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.mutation.mutants import Mutant

NOT_COMPILED, EQUAL_CODE = "not compiled", "equal code"
KILLED_BY_HOST, KILLED_BY_SUITE, SURVIVED = "killed by host tests", "killed by suite", "survived"
COLUMNS = (NOT_COMPILED, EQUAL_CODE, KILLED_BY_HOST, KILLED_BY_SUITE, SURVIVED)


@dataclass(frozen=True)
class Outcome:
    """Result of testing a mutant."""

    mutant: Mutant
    result: str
    """One of COLUMNS."""
    killer: str = ""
    seconds: float = 0.0


class OutcomesFile:
    """A file of JSON lines: the first line describes the draw, each other line an outcome. A mutant's last outcome
    counts."""

    def __init__(self, path: Path, drawn: dict[str, Any]) -> None:
        """Continue the file if it belongs to the same draw; otherwise start a new file.

        Args:
            path: the file.
            drawn: the parameters that determine the draw.
        """
        self._path = path
        self.outcomes: dict[Mutant, Outcome] = {}
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        if lines and _read(lines[0]) == drawn:
            for entry in filter(None, map(_read, lines[1:])):
                outcome = Outcome(**{**entry, "mutant": Mutant(**entry["mutant"])})
                self.outcomes[outcome.mutant] = outcome
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(drawn) + "\n", encoding="utf-8")

    def add(self, outcome: Outcome) -> None:
        """Appends an outcome at once, so that an interrupted run keeps it."""
        self.outcomes[outcome.mutant] = outcome
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(outcome)) + "\n")


def _read(line: str) -> Any:
    """Parse a line; None if it is incomplete, as a killed run may leave the last one."""
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None


def table(outcomes: Iterable[Outcome], equivalent: set[Mutant]) -> str:
    """Table of the numbers of outcomes by component. The score is the percentage of killed mutants among the mutants
    that equivalent.toml does not list."""
    counts: dict[str, Counter[str]] = {}
    for outcome in outcomes:
        for name in (outcome.mutant.component, "all"):
            count = counts.setdefault(name, Counter())
            count[outcome.result] += 1
            count["equivalent"] += outcome.result == SURVIVED and outcome.mutant in equivalent
    rows = [["component", "mutants", *COLUMNS, "equivalent", "score"]]
    for name in sorted(counts, key=lambda name: (name == "all", name)):
        count = counts[name]
        killed = count[KILLED_BY_HOST] + count[KILLED_BY_SUITE]
        killable = killed + count[SURVIVED] - count["equivalent"]
        numbers = [sum(count[column] for column in COLUMNS), *(count[column] for column in COLUMNS)]
        score = f"{100 * killed / killable:.0f} %" if killable else "-"
        rows.append([name, *map(str, numbers), str(count["equivalent"]), score])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width) for place, (cell, width) in enumerate(cells)
        )
        for cells in (zip(row, widths, strict=True) for row in rows)
    )


def survivor_text(outcome: Outcome, reached_by: int) -> str:
    """A survivor as text: file, line and change."""
    mutant = outcome.mutant
    reached = f"{reached_by} tests reach it" if reached_by else "no test reaches it"
    return f"{mutant.file}:{mutant.line} ({reached})\n  - {mutant.before.strip()}\n  + {mutant.after.strip()}"
