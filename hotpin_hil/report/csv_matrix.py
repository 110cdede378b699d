"""The requirement matrix both ways as CSV: requirement -> tests -> values, and test -> requirements.

The texts come from boards and logs, and a spreadsheet would execute a cell that starts like a formula. Such a text gets
an apostrophe in front, so that a spreadsheet shows it as text.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from hotpin_hil.evidence.lines import MeasurementLine, VerdictLine
from hotpin_hil.evidence.model import Verdict, worst
from hotpin_hil.evidence.results import Results
from hotpin_hil.printable import printable
from hotpin_hil.report.proofs import procedure_of, procedures_of

REQUIREMENT_COLUMNS = (
    *("requirement", "priority", "text", "requirement_verdict", "test", "test_verdict", "reason"),
    *("measurement", "value", "unit", "limit_kind", "limit", "limit_low", "limit_high", "margin"),
    *("verdict", "class", "limit_source", "board", "boot", "t_ms"),
)
TEST_COLUMNS = (
    *("test", "procedure", "test_verdict", "requirement", "text"),
    *("verdict", "values", "reason", "reproduce"),
)

_Line = TypeVar("_Line", MeasurementLine, VerdictLine)
_FORMULA = ("=", "+", "-", "@")


def csv_by_requirement(qualification: Mapping[str, Any], results: Results) -> str:
    """One row per value of each test of each requirement.

    A test without a value has one row, and so has a requirement without a test.
    """
    rows = []
    values = _by_test(results.measurements)
    untested = {row["id"]: row for row in qualification["not_tested"]}
    for requirement in results.run.requirements:
        entry = qualification["requirements"].get(requirement.id)
        head = {
            "requirement": requirement.id,
            "priority": requirement.priority,
            "text": requirement.text,
            "requirement_verdict": entry["verdict"] if entry else "",
        }
        lines = [line for line in results.verdicts if requirement.id in line.requirement]
        for test, own in _by_test(lines).items():
            verdict = {"test": test, "test_verdict": _worst(own), "reason": _reasons(own)}
            measured = [line for line in values.get(test, ()) if requirement.id in line.requirement]
            rows += [{**head, **verdict, **value} for value in map(_value, measured)] or [{**head, **verdict}]
        if not lines:
            reason = untested[requirement.id]["reason"] if requirement.id in untested else ""
            rows.append({**head, "reason": reason})
    return _table(REQUIREMENT_COLUMNS, rows)


def csv_by_test(results: Results) -> str:
    """One row per requirement of each test; a test without a requirement has one row."""
    texts = {requirement.id: requirement.text for requirement in results.run.requirements}
    procedures = procedures_of(results)
    values = _by_test(results.measurements)
    rows = []
    for test, lines in _by_test(results.verdicts).items():
        for id_ in dict.fromkeys(id_ for line in lines for id_ in line.requirement) or ("",):
            own = [line for line in lines if id_ in line.requirement] or lines
            rows.append(
                {
                    "test": test,
                    "procedure": procedure_of(test, procedures),
                    "test_verdict": _worst(lines),
                    "requirement": id_,
                    "text": texts.get(id_, ""),
                    "verdict": _worst(own),
                    "values": sum(not id_ or id_ in line.requirement for line in values.get(test, ())),
                    "reason": _reasons(own),
                    "reproduce": own[0].reproduce,
                }
            )
    return _table(TEST_COLUMNS, rows)


def _by_test(lines: Iterable[_Line]) -> dict[str, list[_Line]]:
    tests: dict[str, list[_Line]] = {}
    for line in lines:
        tests.setdefault(line.test, []).append(line)
    return tests


def _worst(lines: Iterable[VerdictLine]) -> Verdict | None:
    return worst(line.verdict for line in lines)


def _reasons(lines: Iterable[VerdictLine]) -> str:
    return "; ".join(dict.fromkeys(line.reason for line in lines if line.reason))


def _value(line: MeasurementLine) -> dict[str, Any]:
    return {
        "measurement": line.name,
        "value": line.value,
        "unit": line.unit,
        "limit_kind": line.limit.kind,
        "limit": line.limit.value,
        "limit_low": line.limit.low,
        "limit_high": line.limit.high,
        "margin": line.margin,
        "verdict": line.verdict,
        "class": line.klass,
        "limit_source": line.limit.source,
        "board": line.board,
        "boot": line.boot,
        "t_ms": line.t,
    }


def _table(columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> str:
    columns = list(columns)
    written = io.StringIO()
    table = csv.writer(written, lineterminator="\n")
    table.writerow(columns)
    table.writerows([_cell(row.get(column)) for column in columns] for row in rows)
    return written.getvalue()


def _cell(value: Any) -> str:
    """A value as text: true and false as in JSON, numbers unrounded, no control characters."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return str(value)
    text = printable(str(value))
    return f"'{text}" if text.startswith(_FORMULA) else text
