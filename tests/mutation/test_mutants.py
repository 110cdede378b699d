"""Tests the mutants of a C file and the order in which they are drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutation.draw import in_random_order, shares
from tests.mutation.mutants import Mutant, mutants_of, planted

FILE = "firmware/components/cups/src/cups.c"
SOURCE = """\
#include "cups.h"
/* if (a < b) */
static int s_full = 3; /* a + b */

int cups(int a, int b)
{
#if A < B
    ESP_LOGI(TAG, "a %d", a + b);
#endif
    if (a < b) { // a < b
        say("a < b");
    }
    return a + s_full;
}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / FILE
    path.parent.mkdir(parents=True)
    path.write_text(SOURCE)
    return tmp_path


def test_code_is_changed_and_neither_comments_nor_text_nor_configuration(root: Path) -> None:
    mutants = mutants_of(root, FILE)
    assert {mutant.component for mutant in mutants} == {"cups"}
    assert {mutant.line for mutant in mutants} == {3, 5, 10, 11, 13}
    assert not any("\n" in mutant.after for mutant in mutants)
    after = {mutant.after.strip() for mutant in mutants}
    assert {"static int s_full = (3+1);", "if (a <= b) {", "return a - s_full;", 'say("");'} <= after
    assert not any("a <= b" in text for text in after if "say" in text)
    lines = SOURCE.splitlines()
    assert all(mutant.before == lines[mutant.line - 1] for mutant in mutants)


def test_mutant_is_planted_and_removed(root: Path) -> None:
    mutant = next(mutant for mutant in mutants_of(root, FILE) if mutant.after.strip() == "return a - s_full;")
    with planted(mutant, root):
        assert (root / FILE).read_text() == SOURCE.replace("a + s_full", "a - s_full")
    assert (root / FILE).read_text() == SOURCE


def test_mutant_of_another_text_is_refused(root: Path) -> None:
    mutant = Mutant("cups", FILE, 13, "    return a + full;", "    return a - full;")
    with (
        pytest.raises(ValueError, match=r"line 13 of .*cups\.c is not '    return a \+ full;'"),
        planted(mutant, root),
    ):
        pass
    assert (root / FILE).read_text() == SOURCE


def test_draw_is_reproducible_and_takes_each_line_before_a_second_mutant_of_one(root: Path) -> None:
    mutants = mutants_of(root, FILE)
    drawn = in_random_order(mutants, 1)
    assert drawn == in_random_order(mutants, 1)
    assert drawn != in_random_order(mutants, 2)
    assert sorted(drawn, key=mutants.index) == mutants
    lines = {mutant.line for mutant in mutants}
    assert {mutant.line for mutant in drawn[: len(lines)]} == lines


def test_shares_are_proportional_and_add_up() -> None:
    assert shares({"a": 100, "b": 100, "c": 100}, 10) == {"a": 4, "b": 3, "c": 3}
    assert shares({"a": 900, "b": 90, "c": 10}, 100) == {"a": 90, "b": 9, "c": 1}
