"""Views of a comparison of runs: text lines, JSON, the table of docs/virtual-board.md, an HTML page."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hotpin_hil.errors import UsageError
from hotpin_hil.evidence.fidelity import Comparison, RunDifference
from hotpin_hil.evidence.fidelity_reasons import Reason
from hotpin_hil.evidence.model import Value, with_unit
from hotpin_hil.printable import printable
from hotpin_hil.report.chart import Table
from hotpin_hil.report.page import render_page
from hotpin_hil.report.table import WIDTH
from hotpin_hil.report.text import shorten
from hotpin_hil.report.whole_file import write_whole

BEGIN = "<!-- hotpin-hil fidelity: begin -->"
END = "<!-- hotpin-hil fidelity: end -->"
"""Lines around the generated part of a document."""

_SHOWN_MAX = 40
"""Maximum number of characters of a value in a table."""
FOLLOWS = "follows"
"""Class name of differences that follow from other explained differences."""


def text_lines(comparison: Comparison) -> list[str]:
    """The runs, each unexplained difference, and the explained differences by reason."""
    lines = [f"{run.label}: {run.describe()}" for run in comparison.runs]
    lines += [summary(comparison), ""]
    if comparison.unexplained:
        lines.append("not explained")
        test = ""
        for difference in comparison.unexplained:
            if difference.test != test:
                test = difference.test
                lines.append(f"  {test}")
            lines += _wrapped(f"{difference.name}: {_side_by_side(difference)}: {difference.because}", "    ")
        lines.append("")
    if comparison.explained:
        lines.append("explained")
        for title, text, bound, found in _groups(comparison.explained):
            lines += _wrapped(
                f"{title}, {len(found)} times: {text}{f' (bound: {bound})' if bound else ''}", "  "
            )
            lines += _wrapped(f"for example {found[0].name}: {_side_by_side(found[0])}", "    ")
    return [printable(line) for line in lines]


def summary(comparison: Comparison) -> str:
    """One line: the number of measurements, and of explained and unexplained differences in values and verdicts."""
    return (
        f"{len(comparison.rows)} measurements: {comparison.equal} equal in all runs; differing values and verdicts: "
        f"{len(comparison.explained)} explained, {len(comparison.unexplained)} not explained"
    )


def as_json(comparison: Comparison) -> dict[str, Any]:
    """All data: each measurement with a value per run, and each difference with its reason."""
    return {
        "runs": [
            {
                "label": run.label,
                "run": run.results.run.run,
                "kind": run.kind,
                "idf": run.idf,
                "profile": run.profile or None,
                "first_heap": run.memory_map[0] if run.memory_map else None,
                "free_at_main": run.free_at_main,
            }
            for run in comparison.runs
        ],
        "equal": comparison.equal,
        "explained": len(comparison.explained),
        "not_explained": len(comparison.unexplained),
        "measurements": [
            {
                "test": row.test,
                "requirement": list(row.requirement),
                "name": row.name,
                "unit": row.unit,
                "values": dict(zip((run.label for run in comparison.runs), row.values, strict=True)),
            }
            for row in comparison.rows
        ],
        "differences": [_difference(difference) for difference in comparison.differences],
    }


def _difference(difference: RunDifference) -> dict[str, Any]:
    return {
        "of": difference.of,
        "test": difference.test,
        "requirement": list(difference.requirement),
        "name": difference.name,
        "unit": difference.unit,
        "values": dict(zip(difference.runs, (difference.left, difference.right), strict=True)),
        "explained": difference.explained,
        "class": difference.reason.klass if difference.reason else None,
        "reason": difference.reason.id if difference.reason else None,
        "text": difference.reason.text if difference.reason else difference.because,
    }


def markdown(comparison: Comparison, command: str) -> str:
    """The generated part of docs/virtual-board.md; `command` reproduces it."""
    lines = [f"Made by `{command}`.", ""]
    lines += [f"- {run.label}: {run.describe()}" for run in comparison.runs]
    lines += ["", f"{summary(comparison)}.", ""]
    if comparison.explained:
        lines += ["| class | differences | explained by | bound | example |", "|---|---|---|---|---|"]
        lines += [
            _cells(title, str(len(found)), text, bound, f"{found[0].name}: {_side_by_side(found[0])}")
            for title, text, bound, found in _groups(comparison.explained)
        ]
    if comparison.unexplained:
        lines += ["", "| not explained | measurement | values | why not |", "|---|---|---|---|"]
        lines += [
            _cells(
                ", ".join(difference.requirement),
                difference.name,
                _side_by_side(difference),
                difference.because,
            )
            for difference in comparison.unexplained
        ]
    return "\n".join(lines).rstrip() + "\n"


def _cells(*texts: str) -> str:
    return "| " + " | ".join(printable(text).replace("|", "\\|") for text in texts) + " |"


def put_into(path: Path, text: str) -> None:
    """Replace the text between BEGIN and END in a document. Raises UsageError unless both occur exactly once, in this
    order."""
    try:
        document = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", "name a text file") from error
    if document.count(BEGIN) != 1 or document.count(END) != 1 or document.index(BEGIN) > document.index(END):
        raise UsageError(
            f"{path} has no place for the table", f"put the lines {BEGIN} and {END} into it, each once"
        )
    before, rest = document.split(BEGIN)
    after = rest.split(END)[1]
    write_whole(path, f"{before}{BEGIN}\n{text}{END}{after}")


def page(comparison: Comparison) -> str:
    """The comparison as one HTML page: no network access, no scripts, all texts escaped."""
    labels = [run.label for run in comparison.runs]
    return render_page(
        "fidelity.html",
        runs={run.label: run.describe() for run in comparison.runs},
        summary=summary(comparison),
        unexplained=Table(
            ("requirement", "measurement", *_columns(comparison), "why"),
            tuple(
                (
                    ", ".join(difference.requirement),
                    difference.name,
                    *_across(comparison, difference),
                    f"{difference.because} ({difference.test})",
                )
                for difference in comparison.unexplained
            ),
        ),
        groups=[
            (
                f"{title}: {text}",
                bound,
                Table(
                    ("requirement", "measurement", *_columns(comparison)),
                    tuple(
                        (", ".join(each.requirement), each.name, *_across(comparison, each)) for each in found
                    ),
                ),
            )
            for title, text, bound, found in _groups(comparison.explained)
        ],
        everything=Table(
            ("requirement", "measurement", *labels),
            tuple(
                (", ".join(row.requirement), row.name, *(_shown(value, row.unit) for value in row.values))
                for row in comparison.rows
            ),
        ),
    )


def _columns(comparison: Comparison) -> list[str]:
    return [run.label for run in comparison.runs]


def _across(comparison: Comparison, difference: RunDifference) -> list[str]:
    """One cell per run: the two values of a difference in the columns of their runs, the others empty."""
    values: Mapping[str, str] = dict(zip(difference.runs, difference.shown(), strict=True))
    return [shorten(values.get(run.label, ""), _SHOWN_MAX) for run in comparison.runs]


def _groups(found: Iterable[RunDifference]) -> list[tuple[str, str, str, list[RunDifference]]]:
    """(class, reason with its id, bound, differences) for each reason, the largest group first."""
    groups: dict[tuple[Reason | None, str], list[RunDifference]] = {}
    for difference in found:
        groups.setdefault((difference.reason, "" if difference.reason else difference.because), []).append(
            difference
        )
    ordered: Sequence[tuple[tuple[Reason | None, str], list[RunDifference]]] = sorted(
        groups.items(), key=lambda group: -len(group[1])
    )
    return [
        (reason.klass, f"{reason.id}: {reason.text}", reason.bound, members)
        if reason
        else (FOLLOWS, because, "", members)
        for (reason, because), members in ordered
    ]


def _side_by_side(difference: RunDifference) -> str:
    pairs = zip(difference.runs, difference.shown(), strict=True)
    return ", ".join(f"{label} {shorten(value, _SHOWN_MAX)}" for label, value in pairs)


def _shown(value: Value | None, unit: str) -> str:
    return "" if value is None else shorten(with_unit(value, unit), _SHOWN_MAX)


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ")
