"""Checks the report's section about a burn-in, and its lines for the terminal."""

from __future__ import annotations

from hotpin_hil.analysis.burn_in import compare_boards
from hotpin_hil.analysis.leak import BUDGET_PER_CYCLE
from hotpin_hil.evidence.burn_in import SERIES
from hotpin_hil.evidence.lines import SeriesNote
from hotpin_hil.report.burn_in import burn_in_lines, burn_in_table, drift_lines
from tests.report.test_report import HOSTILE, Tags, page_of, results_with


def part(case: str, values: list[float]) -> SeriesNote:
    return SeriesNote(
        f"t::burn_in[{case}]", "24:0a:c4:00:00:01", f"{SERIES}internal", "B", tuple(values), None
    )


def test_section_lists_each_board_all_boards_and_the_drift() -> None:
    readings = {f"board-{board}": [9_000.0] * 50 for board in (1, 2)}
    readings["board-3"] = [9_000.0 - 4 * number for number in range(50)]
    page = page_of(results_with("x", "y", more=[part(case, values) for case, values in readings.items()]))
    assert '<a href="#burn-in">Burn-in</a>' in page
    text = " ".join(Tags(page).text.split())
    assert "board-1 24:0a:c4:00:00:01 50 within budget 0.0 0.0 " in text
    assert "board-3 24:0a:c4:00:00:01 50 leak 4,000.0 4,000.0 " in text
    assert "all 3 boards 50 leak 4,000.0 " in text
    assert (
        "drift between the boards 140 B; furthest from the others: board-3 24:0a:c4:00:00:01 (-140 B)" in text
    )


def test_one_board_has_no_row_of_all_boards_and_no_drift() -> None:
    found = compare_boards("psram", {"board-1": [5.0] * 50}, BUDGET_PER_CYCLE)
    assert found is not None
    table = burn_in_table([found])
    assert table is not None
    assert [row[1] for row in table.rows] == ["board-1"]
    assert drift_lines([found]) == []


def test_too_few_rounds_have_an_unknown_bound() -> None:
    found = compare_boards("psram", {"a": [5.0] * 3, "b": [5.0] * 3}, BUDGET_PER_CYCLE)
    assert found is not None
    head, *rows = burn_in_lines([found])
    assert head.split()[:4] == ["memory", "board", "rounds", "verdict"]
    assert " ".join(rows[2].split()) == "psram all 2 boards 3 undecided 0.0 unknown unknown 0 +0"


def test_text_of_a_board_cannot_become_markup_or_an_escape() -> None:
    assert HOSTILE not in page_of(results_with("x", "y", more=[part(HOSTILE, [5.0] * 50)]))
    found = compare_boards("psram", {HOSTILE: [5.0] * 50}, BUDGET_PER_CYCLE)
    assert found is not None
    assert "\x1b" not in "".join(burn_in_lines([found]))


def test_no_burn_in_gives_no_section() -> None:
    assert burn_in_table([]) is None
    assert burn_in_lines([]) == []
    assert 'id="burn-in"' not in page_of(results_with("x", "y"))
