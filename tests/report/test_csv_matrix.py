"""Tests the requirement matrix as CSV: it must have every value once per requirement, and no cell that a spreadsheet
would evaluate as a formula."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from hotpin_hil.evidence.lines import ProcedureNote
from hotpin_hil.evidence.qualification import qualify
from hotpin_hil.evidence.recorder import Recorder
from hotpin_hil.evidence.results import Results
from hotpin_hil.report.csv_matrix import csv_by_requirement, csv_by_test
from tests.evidence.test_evidence import END, RUN, results_of, row, verdict


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def made(results: Results) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The rows of both CSV files: by requirement, and by test."""
    return rows_of(csv_by_requirement(qualify(results), results)), rows_of(csv_by_test(results))


def two_tests() -> Results:
    """Results in which test t::A measures values for A and B and fails B, test t::B measures no value for B, and C has
    no test."""
    lines: list[Any] = [ProcedureNote({"t::A": "Boots, and looks."})]
    recorder = Recorder("t::A", ("A", "B"), lines.append)
    recorder.measure("took", 950, "us", max=1_000, source="guide")
    recorder.measure("lost", 3, "B", low=0, high=2, requirement="B")
    lines += [
        {**verdict("A", "MARGINAL"), "test": "t::A"},
        {**verdict("B", "FAIL"), "test": "t::A"},
        {**verdict("B", "BLOCKED"), "test": "t::B", "reason": "no sync"},
        {**verdict("A", "PASS"), "test": "t::other", "requirement": []},
    ]
    requirements = [row("A"), row("B"), row("C", pending="not built")]
    return results_of({**RUN, "requirements": requirements}, [*lines, END])


def test_requirement_has_its_tests_and_their_values() -> None:
    rows, _ = made(two_tests())
    columns = (
        "requirement",
        "requirement_verdict",
        "test",
        "test_verdict",
        "measurement",
        "value",
        "verdict",
    )
    assert [tuple(row[column] for column in columns) for row in rows] == [
        ("A", "MARGINAL", "t::A", "MARGINAL", "took", "950", "MARGINAL"),
        ("B", "FAIL", "t::A", "FAIL", "took", "950", "MARGINAL"),
        ("B", "FAIL", "t::A", "FAIL", "lost", "3", "FAIL"),
        ("B", "FAIL", "t::B", "BLOCKED", "", "", ""),
        ("C", "", "", "", "", "", ""),
    ]
    assert (rows[3]["reason"], rows[4]["reason"]) == ("no sync", "not built")
    assert [rows[0][name] for name in ("unit", "limit_kind", "limit", "margin", "limit_source")] == [
        *("us", "max", "1000", "50", "guide")
    ]
    assert [rows[2][name] for name in ("limit_kind", "limit", "limit_low", "limit_high", "margin")] == [
        *("range", "", "0", "2", "-1")
    ]


def test_test_has_its_requirements() -> None:
    _, rows = made(two_tests())
    columns = ("test", "test_verdict", "requirement", "verdict", "values")
    assert [tuple(row[column] for column in columns) for row in rows] == [
        ("t::A", "FAIL", "A", "MARGINAL", "1"),
        ("t::A", "FAIL", "B", "FAIL", "2"),
        ("t::B", "BLOCKED", "B", "BLOCKED", "0"),
        ("t::other", "PASS", "", "PASS", "0"),
    ]
    assert [row["procedure"] for row in rows] == [*["Boots, and looks."] * 2, "B", "other"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-x", "@SUM(A1)"])
def test_formula_is_text(text: str) -> None:
    lines: list[Any] = []
    Recorder("t::A", ("A",), lines.append).measure(text, text, text, exact="ok", source=text)
    failed = {**verdict("A", "FAIL"), "reason": text}
    results = results_of({**RUN, "requirements": [row("A", text=text)]}, [*lines, failed, END])
    (found,), (test,) = made(results)
    for name in ("text", "measurement", "value", "unit", "limit_source", "reason"):
        assert found[name] == f"'{text}"
    assert (test["text"], test["reason"]) == (f"'{text}", f"'{text}")


def test_numbers_stay_numbers_and_control_characters_do_not() -> None:
    lines: list[Any] = []
    recorder = Recorder("t::A", ("A",), lines.append)
    recorder.measure("a\r\nb\x00\ud800", -7, max=-5)
    recorder.measure("said", True, exact=True)
    results = results_of({**RUN, "requirements": [row("A")]}, [*lines, verdict("A", "PASS"), END])
    rows, _ = made(results)
    assert [(row["measurement"], row["value"]) for row in rows] == [
        ("a\\r\nb\\x00\\ud800", "-7"),
        ("said", "true"),
    ]
