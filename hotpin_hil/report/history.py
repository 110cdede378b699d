"""The memory history of a board as text, chart and page."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from hotpin_hil.printable import printable
from hotpin_hil.protocol.fields import MEMORIES
from hotpin_hil.protocol.memory_history import HistoryRow
from hotpin_hil.report.chart import (
    BLUE,
    FAINT,
    ORANGE,
    RED,
    Chart,
    Table,
    drawing,
    finish,
    label,
    plain,
)
from hotpin_hil.report.page import render_page

KB = 1024
_COLUMNS = ("row", "boot", "uptime", "reason", "state", *MEMORIES, "warnings", "failed")
_UNITS = ((3600, "hours"), (60, "minutes"), (1, "seconds"))
"""Units of the time axis, in seconds; the first one that is not longer than the history is used."""


def history_lines(rows: Sequence[HistoryRow]) -> list[str]:
    """A table as text, oldest row first, with a line at each reset."""
    table = history_table(rows)
    cells = [table.columns, *table.rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(table.columns))]
    lines = ["  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in cells]
    shown = [lines[0]]
    for number, (row, line) in enumerate(zip(rows, lines[1:], strict=True)):
        if number and row.boot_count != rows[number - 1].boot_count:
            shown.append(f"-- reset: boot {row.boot_count} --")
        shown.append(line)
    shown.append(
        f"{_in_words(rows)} Memory types: minimum free / minimum largest block, KB, worst fragmentation."
    )
    return [printable(line) for line in shown]


def history_table(rows: Sequence[HistoryRow]) -> Table:
    """The figures, one row per row of the history."""
    return Table(_COLUMNS, tuple(_cells(row) for row in rows))


def history_page(rows: Sequence[HistoryRow], source: str) -> str:
    """Chart and table as one HTML page: no network access, no scripts, all texts escaped."""
    return render_page("history.html", drawn=history_chart(rows, "history", "Memory history"), source=source)


def history_chart(rows: Sequence[HistoryRow], name: str, title: str) -> Chart:
    """Draw the rows (at least one, oldest first) on one time axis, without the time between boots."""
    times, unit = _times(rows)
    with drawing(340, rows=[1] * len(MEMORIES)) as (figure, panels):
        for memory, axes in zip(MEMORIES, panels, strict=True):
            _draw(axes, memory, rows, times)
        panels[-1].set_xlabel(f"{unit} of operation (dotted: reset; ▲ critical warning; ✕ failed allocation)")
        panels[0].legend(
            loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0, fontsize=8, frameon=False
        )
        return finish(figure, name, title, _in_words(rows), history_table(rows))


def _times(rows: Sequence[HistoryRow]) -> tuple[list[float], str]:
    """Time of each row, with its unit: uptimes, added up over the boots."""
    found: list[int] = []
    ended = 0
    for number, row in enumerate(rows):
        if number and (
            row.boot_count != rows[number - 1].boot_count or row.uptime_s < rows[number - 1].uptime_s
        ):
            ended += rows[number - 1].uptime_s
        found.append(ended + row.uptime_s)
    unit_s, unit = next((unit for unit in _UNITS if found[-1] >= unit[0]), _UNITS[-1])
    return [time_s / unit_s for time_s in found], unit


def _draw(axes: Any, memory: str, rows: Sequence[HistoryRow], times: Sequence[float]) -> None:
    plain(axes)
    free = [getattr(row, f"{memory}_free") / KB for row in rows]
    largest = [getattr(row, f"{memory}_largest") / KB for row in rows]
    axes.plot(times, free, color=BLUE, marker="o", markersize=3, label="minimum free")
    axes.plot(times, largest, color=ORANGE, linestyle="--", label="minimum largest block")
    for number, row in enumerate(rows):
        if number and row.boot_count != rows[number - 1].boot_count:
            axes.axvline((times[number - 1] + times[number]) / 2, color=FAINT, linestyle=":")
        for sign, is_marked in (("▲", row.reason == "critical"), ("✕", row.failed_allocations > 0)):
            if is_marked:
                axes.annotate(
                    sign, (times[number], free[number]), xytext=(0, 4), textcoords="offset points",
                    ha="center", color=RED, fontsize=8,
                )  # fmt: skip
    axes.set_ylim(bottom=0)
    axes.set_ylabel(label(f"{memory}, KB"))


def _in_words(rows: Sequence[HistoryRow]) -> str:
    boots = 1 + sum(row.boot_count != before.boot_count for before, row in pairwise(rows))
    worst = ", ".join(
        f"{memory} {min(getattr(row, f'{memory}_free') for row in rows):,} B" for memory in MEMORIES
    )
    warnings = sum(row.warnings for row in rows)
    failed = sum(row.failed_allocations for row in rows)
    return (
        f"{len(rows)} rows from {boots} boot{'s' if boots > 1 else ''}; minimum free: {worst}; "
        f"{warnings} warnings, {failed} failed allocations."
    )


def _cells(row: HistoryRow) -> tuple[str, ...]:
    hours, seconds = divmod(row.uptime_s, 3600)
    memories = (
        f"{getattr(row, f'{memory}_free') // KB:,} / {getattr(row, f'{memory}_largest') // KB:,}, "
        f"{getattr(row, f'{memory}_fragmentation')} %"
        for memory in MEMORIES
    )
    uptime = f"{hours}:{seconds // 60:02}:{seconds % 60:02}"
    counts = (str(row.warnings), str(row.failed_allocations))
    return (str(row.sequence), str(row.boot_count), uptime, row.reason, row.state or "-", *memories, *counts)
