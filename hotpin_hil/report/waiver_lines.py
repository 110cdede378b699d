"""The waivers of a run for the terminal, from qualification.json."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from hotpin_hil.evidence.lines import MeasurementLine
from hotpin_hil.evidence.model import limit_text, with_unit
from hotpin_hil.evidence.waivers import name_of
from hotpin_hil.printable import printable
from hotpin_hil.report.table import WIDTH


def waiver_lines(qualification: Mapping[str, Any]) -> list[str]:
    """Lines for each waiver: subject, last day, approver, values, and problems."""
    lines = []
    for row in qualification["waivers"]:
        bound = with_unit(row["bound"], row["unit"])
        head = f"{waiver_name(row)}: {row['state']}; bound {bound}, until {row['expires']}, by {row['approved_by']}"
        lines += _wrapped(head, "")
        lines += _wrapped(f"reason: {row['reason']}", "  ")
        for value in waived_values(row):
            lines += _wrapped(f"value: {value}", "  ")
        if row["problem"]:
            lines += _wrapped(row["problem"], "  ")
    return lines


def waiver_name(row: Mapping[str, Any]) -> str:
    """Subject of an entry's waiver."""
    return name_of(row["requirement"], row["measurement"])


def waived_values(row: Mapping[str, Any]) -> list[str]:
    """The values that a waiver covers, with their limits, each text once."""
    values = [MeasurementLine.from_json(value) for value in row["values"]]
    texts = (
        f"{line.name} = {with_unit(line.value, line.unit)}, limit {limit_text(line.limit, line.unit)}"
        for line in values
    )
    return list(dict.fromkeys(texts))


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(printable(text), WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ")
