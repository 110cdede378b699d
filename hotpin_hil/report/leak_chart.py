"""Draws the series of a leak test with its slope, confidence band, budget and smallest detectable leak."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hotpin_hil.analysis.leak import Leak
from hotpin_hil.report.chart import (
    BAND,
    BLUE,
    FAINT,
    GREEN,
    INK,
    ORANGE,
    Chart,
    Table,
    drawing,
    finish,
    label,
    plain,
    thinned,
)

BUCKETS = 250


def leak_chart(readings: Sequence[float], leak: Leak, name: str, title: str, unit: str = "B") -> Chart:
    """Draw free memory (`unit`, at least one reading, one per cycle) and the result of `find_leak`.

    The y axis shows the loss from the first reading after warm-up.
    """
    with drawing(250) as (figure, (axes,)):
        plain(axes)
        lost = [readings[min(leak.warm_up, len(readings) - 1)] - value for value in readings]
        shown = thinned(lost, BUCKETS)
        axes.axvspan(-0.5, leak.warm_up - 0.5, color=BAND, linewidth=0)
        axes.plot(
            shown,
            [lost[index] for index in shown],
            linestyle="",
            marker=".",
            markersize=4,
            color=BLUE,
            label="reading",
        )
        if leak.cycles:
            _draw_trend(axes, lost, leak)
        axes.set_xlim(-0.5, len(readings) - 0.5)
        axes.set_xlabel(f"cycle (shaded: {leak.warm_up} warm-up cycles, ignored)")
        axes.set_ylabel(f"lost, {label(unit)}")
        axes.legend(
            loc="lower left", bbox_to_anchor=(0, 1), ncols=5, borderaxespad=0, fontsize=8, frameon=False
        )
        return finish(figure, name, title, in_words(leak, unit), _table(readings, unit))


def _draw_trend(axes: Any, lost: Sequence[float], leak: Leak) -> None:
    first, last = leak.warm_up, len(lost) - 1
    middle = (first + last) / 2
    settled = [
        value - (leak.step.lost if leak.step and cycle >= leak.step.cycle else 0)
        for cycle, value in enumerate(lost)
    ][first:]
    level = sorted(value - leak.slope * (cycle - middle) for cycle, value in enumerate(settled, first))[
        len(settled) // 2
    ]
    ends = [first, last]
    if math.isfinite(leak.low) and math.isfinite(leak.high):
        edges = [[level + slope * (at - middle) for at in ends] for slope in (leak.low, leak.high)]
        corners = [*zip(ends, edges[0], strict=True), *zip(ends[::-1], edges[1][::-1], strict=True)]
        axes.fill(
            *zip(*_bow_tie(corners, (middle, level)), strict=True),
            facecolor="none",
            edgecolor=ORANGE,
            hatch="////",
            linewidth=0.5,
            label="confidence band",
        )
    axes.plot(ends, [level + leak.slope * (at - middle) for at in ends], color=ORANGE, label="slope")
    if math.isfinite(leak.detectable):
        axes.plot(
            ends,
            [leak.detectable * (at - first) for at in ends],
            color=FAINT,
            linestyle=":",
            label="smallest detectable leak",
        )
    if leak.budget:
        axes.plot(
            ends,
            [leak.budget * (at - first) for at in ends],
            color=GREEN,
            linestyle="--",
            label="budget",
        )
    if leak.step:
        axes.axvline(leak.step.cycle - 0.5, color=FAINT, linestyle=":")
        axes.annotate(
            f"one step: {leak.step.lost:+,.0f}",
            (leak.step.cycle, max(lost) / 2),
            xytext=(4, 0),
            textcoords="offset points",
            fontsize=8,
            color=INK,
        )


def _bow_tie(
    corners: Sequence[tuple[float, float]], centre: tuple[float, float]
) -> list[tuple[float, float]]:
    """The two triangles between the lines with the lowest and the highest slope, which cross in the middle."""
    low_first, low_last, high_last, high_first = corners
    return [centre, low_last, high_last, centre, high_first, low_first, centre]


def in_words(leak: Leak, unit: str = "B") -> str:
    """The basis of the verdict, one sentence per figure."""
    parts = [f"Verdict: {leak.verdict}."]
    if not leak.cycles or not math.isfinite(leak.high):
        parts.append(
            f"{leak.cycles} readings after {leak.warm_up} warm-up cycles are too few, or scatter too much."
        )
        return " ".join(parts)
    parts += [
        f"Slope {leak.slope:+.3f} {unit} per cycle, with 99.9 % confidence between {leak.low:+.3f} and "
        f"{leak.high:+.3f}, over {leak.cycles} cycles ({leak.warm_up} warm-up cycles ignored).",
        f"Allowed: {leak.budget:.3f} per cycle.",
        f"A steady leak of {leak.detectable:.3f} {unit} per cycle is found in 99 of 100 such runs.",
    ]
    if leak.step:
        parts.append(f"A single permanent loss of {leak.step.lost:+,.0f} {unit} at cycle {leak.step.cycle}.")
    return " ".join(parts)


def _table(readings: Sequence[float], unit: str) -> Table:
    """Table with one row for each sequence of equal readings, so that a flat series is one row."""
    rows = []
    start = 0
    for index in range(1, len(readings) + 1):
        if index == len(readings) or readings[index] != readings[start]:
            cycles = f"{start}" if index - start == 1 else f"{start} to {index - 1}"
            rows.append((cycles, f"{readings[start]:,.0f}"))
            start = index
    if len(rows) > ROWS_MAX:
        rows = [
            *rows[: ROWS_MAX // 2],
            ("…", f"{len(rows) - ROWS_MAX} rows omitted"),
            *rows[-ROWS_MAX // 2 :],
        ]
    return Table(("cycles", f"free, {unit}"), tuple(rows))


ROWS_MAX = 60
