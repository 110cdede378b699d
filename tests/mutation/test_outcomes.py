"""Tests the file of outcomes, which a later run continues, and the table."""

from __future__ import annotations

from pathlib import Path

from tests.mutation.mutants import Mutant
from tests.mutation.outcomes import (
    EQUAL_CODE,
    KILLED_BY_HOST,
    KILLED_BY_SUITE,
    SURVIVED,
    Outcome,
    OutcomesFile,
    survivor_text,
    table,
)

MUTANTS = [Mutant("cups", "firmware/components/cups/src/cups.c", line, "a + b", "a - b") for line in range(5)]
DRAWN = {"seed": 1}


def test_interrupted_file_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.jsonl"
    file = OutcomesFile(path, DRAWN)
    file.add(Outcome(MUTANTS[0], SURVIVED))
    file.add(Outcome(MUTANTS[1], KILLED_BY_HOST, "tests/test_cups.py::test_sum", 1.5))
    file.add(Outcome(MUTANTS[0], KILLED_BY_SUITE, "hil_tests/test_cups.py::test_sum"))
    with path.open("a") as incomplete:
        incomplete.write('{"mutant": {"comp')
    again = OutcomesFile(path, DRAWN)
    assert again.outcomes == file.outcomes
    assert again.outcomes[MUTANTS[0]].result == KILLED_BY_SUITE


def test_file_of_another_draw_is_begun_again(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.jsonl"
    OutcomesFile(path, DRAWN).add(Outcome(MUTANTS[0], SURVIVED))
    assert OutcomesFile(path, {"seed": 2}).outcomes == {}


def test_score_counts_killed_mutants_among_those_not_equivalent() -> None:
    results = [KILLED_BY_HOST, KILLED_BY_SUITE, SURVIVED, SURVIVED, EQUAL_CODE]
    outcomes = [Outcome(mutant, result) for mutant, result in zip(MUTANTS, results, strict=True)]
    head, cups, everything = table(outcomes, {MUTANTS[3]}).splitlines()
    columns = "not compiled  equal code  killed by host tests  killed by suite  survived  equivalent  score"
    assert head == f"component  mutants  {columns}"
    assert cups.split() == ["cups", "5", "0", "1", "1", "1", "2", "1", "67", "%"]
    assert everything.split() == ["all", *cups.split()[1:]]


def test_survivor_is_listed_with_its_place_and_change() -> None:
    assert survivor_text(Outcome(MUTANTS[3], SURVIVED), 0) == (
        "firmware/components/cups/src/cups.c:3 (no test reaches it)\n  - a + b\n  + a - b"
    )
