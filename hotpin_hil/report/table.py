"""The requirement table for the terminal: plain lines of at most 100 columns, from qualification.json."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from hotpin_hil.evidence.lines import MeasurementLine
from hotpin_hil.evidence.model import Verdict, limit_text, with_unit
from hotpin_hil.evidence.results import FLAKY
from hotpin_hil.printable import printable
from hotpin_hil.report.margin import nearest
from hotpin_hil.report.text import shorten

WIDTH = 100
_ID, _VERDICT, _VALUE, _LIMIT, _TESTS = 8, 14, 44, 22, 5
_GAP = "  "

Qualification = Mapping[str, Any]


def table_lines(qualification: Qualification, *, is_selection: bool = False) -> list[tuple[str, str | None]]:
    """One line per requirement, each with its verdict; then the untested requirements, whose lines have None.

    Args:
        qualification: Content of qualification.json.
        is_selection: Whether only a part of the suite was selected. Requirements without a selected test are then only
            counted.
    """
    entries, untested = qualification["requirements"], qualification["not_tested"]
    others = 0
    if is_selection:
        selected = {id_ for test in qualification["unfinished"] for id_ in test["requirement"]}
        selected |= {id_ for id_, entry in entries.items() if entry["tests"]}
        others = len(entries) + len(untested)
        entries = {id_: entry for id_, entry in entries.items() if id_ in selected}
        untested = [row for row in untested if row["id"] in selected]
        others -= len(entries) + len(untested)
    lines: list[tuple[str, str | None]] = [
        (_row("id", "verdict", "closest to its limit (+ further values)", "limit", "tests"), None)
    ]
    for id_, entry in entries.items():
        value, limit = _nearest([MeasurementLine.from_json(row) for row in entry["measurements"]])
        lines.append((_row(id_, entry["verdict"], value, limit, str(len(entry["tests"]))), entry["verdict"]))
    for title, pending in (("not run:", False), ("not built yet:", True)):
        rows = [row for row in untested if row["pending"] is pending]
        if rows:
            lines.append((title, None))
            lines += [(line, None) for line in _grouped(rows)]
    if others:
        lines.append((f"other requirements: {others} not selected", None))
    return lines


def failed_lines(qualification: Qualification) -> list[str]:
    """Lines for each failed test: ids, reason, and the command that reproduces it."""
    wrong = (Verdict.FAIL.value, Verdict.UNSET.value)
    lines = []
    for ids, test in _tests(qualification):
        if test["verdict"] in wrong:
            lines += textwrap.wrap(
                printable(f"{', '.join(ids) or 'no requirement'}: {test['verdict']}: {test['reason']}"),
                WIDTH,
                subsequent_indent="  ",
            )
            lines.append(f"  reproduce: {test['reproduce']}")
    return lines


def blocked_lines(qualification: Qualification) -> list[str]:
    """Lines for each reason for BLOCKED, with its remedy and the affected ids."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for ids, test in _tests(qualification):
        if test["verdict"] == Verdict.BLOCKED.value:
            key = (test["reason"], test["remedy"])
            reasons.setdefault(key, []).extend(ids or [test["test"]])
    lines = []
    for (reason, remedy), ids in reasons.items():
        lines += textwrap.wrap(printable(reason), WIDTH)
        if remedy:
            lines += textwrap.wrap(
                printable(f"remedy: {remedy}"), WIDTH, initial_indent="  ", subsequent_indent="    "
            )
        concerned = ", ".join(dict.fromkeys(ids))
        lines += textwrap.wrap(f"affects: {concerned}", WIDTH, initial_indent="  ", subsequent_indent="    ")
    return lines


def flaky_lines(qualification: Qualification) -> list[str]:
    """A line for each verdict of a repeated test, with the verdicts of its earlier attempts."""
    lines = {
        f"{test['test']}: {test['verdict']}; {test['reason'].removeprefix(FLAKY)}": None
        for _, test in _tests(qualification)
        if test["reason"].startswith(FLAKY)
    }
    return [line for text in lines for line in textwrap.wrap(printable(text), WIDTH, subsequent_indent="  ")]


def _tests(qualification: Qualification) -> list[tuple[list[str], Mapping[str, Any]]]:
    """Every completed test with the ids that share its verdict, in order of requirements."""
    found: dict[tuple[str, str], tuple[list[str], Mapping[str, Any]]] = {}
    for id_, entry in qualification["requirements"].items():
        for test in entry["tests"]:
            found.setdefault((test["test"], test["verdict"]), ([], test))[0].append(id_)
    for test in qualification["other_tests"]:
        found.setdefault((test["test"], test["verdict"]), ([], test))
    return list(found.values())


def _nearest(measurements: list[MeasurementLine]) -> tuple[str, str]:
    """Value and limit of the measurement to show, then `(+n)`, the number of other values.

    If all values match exactly, returns only their number.
    """
    if not measurements:
        return "", ""
    shown = nearest(measurements)
    if shown is None:
        return f"all {len(measurements)} values match", "exact"
    more = f" (+{len(measurements) - 1})" if len(measurements) > 1 else ""
    value = with_unit(shown.value, shown.unit)
    name = shorten(shown.name, max(8, _VALUE - len(f" {value}{more}")))
    return f"{name} {value}{more}", limit_text(shown.limit, shown.unit)


def _row(id_: str, verdict: str, value: str, limit: str, tests: str) -> str:
    cells = (
        f"{shorten(id_, _ID):{_ID}}",
        f"{verdict:{_VERDICT}}",
        f"{shorten(value, _VALUE):{_VALUE}}",
        f"{shorten(limit, _LIMIT):{_LIMIT}}",
    )
    return (_GAP.join(cells) + f"{tests:>{_TESTS}}").rstrip()


def _grouped(rows: list[Mapping[str, Any]]) -> list[str]:
    """Lines with one entry per reason, which lists all ids with that reason."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        reasons.setdefault(row["reason"], []).append(
            row["id"] if row["priority"] == "must" else f"{row['id']} (later)"
        )
    lines = []
    for reason, ids in reasons.items():
        text = printable(f"{', '.join(ids)}: {reason}")
        lines += textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ")
    return lines
