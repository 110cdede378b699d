"""The burn-in of a run: the verdict on a leak per board and over all boards, and the drift between the boards."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hotpin_hil.analysis.burn_in import BurnIn
from hotpin_hil.analysis.leak import Leak
from hotpin_hil.printable import printable
from hotpin_hil.report.chart import Table

COLUMNS = ("memory", "board", "rounds", "verdict", "loss", "at most", "detectable", "lost once", "change")
UNITS = (
    "In bytes. The loss, its upper bound and the smallest detectable loss are per 1,000 rounds. The change is from "
    "the median of the first quarter of the rounds to the median of the last."
)


def burn_in_table(found: Sequence[BurnIn]) -> Table | None:
    """One row per memory type and board, and one per memory type for the sum of all boards; None without a burn-in."""
    rows = [row for burn_in in found for row in _rows(burn_in)]
    return Table(COLUMNS, tuple(rows)) if rows else None


def drift_lines(found: Sequence[BurnIn]) -> list[str]:
    """For each memory type, the drift between the boards; empty if there is only one board."""
    return [_drift(burn_in) for burn_in in found if len(burn_in.changes) > 1]


def burn_in_lines(found: Sequence[BurnIn]) -> list[str]:
    """The table and the drift as lines for a terminal; empty without a burn-in."""
    table = burn_in_table(found)
    if table is None:
        return []
    rows = [table.columns, *table.rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = [
        "  ".join(
            f"{cell:>{width}}" if is_number else f"{cell:<{width}}"
            for cell, width, is_number in zip(row, widths, table.are_numbers, strict=True)
        ).rstrip()
        for row in rows
    ]
    return [printable(line) for line in (*lines, *drift_lines(found), UNITS)]


def _rows(burn_in: BurnIn) -> list[tuple[str, ...]]:
    boards = [
        _row(burn_in.memory, board, leak, burn_in.changes[board]) for board, leak in burn_in.leaks.items()
    ]
    if len(boards) > 1:
        boards.append(
            _row(burn_in.memory, f"all {len(boards)} boards", burn_in.total, sum(burn_in.changes.values()))
        )
    return boards


def _row(memory: str, board: str, leak: Leak, change: float) -> tuple[str, ...]:
    figures = (leak.slope * 1_000, leak.high * 1_000, leak.detectable * 1_000)
    once = leak.step.lost if leak.step else 0
    return (
        memory,
        board,
        f"{leak.cycles + leak.warm_up:,}",
        leak.verdict.value,
        *map(_figure, figures),
        f"{once:,.0f}",
        f"{change:+,.0f}",
    )


def _figure(value: float) -> str:
    return f"{value:,.1f}" if math.isfinite(value) else "unknown"


def _drift(burn_in: BurnIn) -> str:
    text = f"{burn_in.memory}: drift between the boards {burn_in.drift:,.0f} B"
    if not burn_in.furthest:
        return text
    return (
        f"{text}; furthest from the others: {burn_in.furthest} ({burn_in.changes[burn_in.furthest]:+,.0f} B)"
    )
