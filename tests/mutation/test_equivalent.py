"""Checks that equivalent.toml matches the current firmware."""

from __future__ import annotations

import pytest

from hotpin_hil.paths import PROJECT_ROOT
from tests.mutation.equivalent import Equivalent, argued, load
from tests.mutation.mutants import Mutant, mutants_of

ENTRIES = load()


@pytest.mark.parametrize(
    "entry", ENTRIES, ids=lambda entry: f"{entry.file.rsplit('/', 1)[-1]}: {entry.after}"
)
def test_entry_is_a_mutant_of_the_current_source_and_has_a_reason(entry: Equivalent) -> None:
    assert argued(mutants_of(PROJECT_ROOT, entry.file), [entry]), (
        f"{entry.file} has no line {entry.before!r} that becomes {entry.after!r}: remove the entry from equivalent.toml"
    )
    assert entry.reason


def test_entry_covers_its_change_on_any_line_and_no_other() -> None:
    entry = Equivalent("a.c", "return a + b;", "return a - b;", "b is 0")
    covered = Mutant("cups", "a.c", 9, "    return a + b;", "    return a  - b;")
    others = [
        Mutant("cups", "b.c", 9, "    return a + b;", "    return a - b;"),
        Mutant("cups", "a.c", 9, "    return a + c;", "    return a - b;"),
        Mutant("cups", "a.c", 9, "    return a + b;", "    return a * b;"),
    ]
    assert argued([covered, *others], [entry]) == {covered}
