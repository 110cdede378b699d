"""Chosen figures over many runs: charts and a page, to see which release changed a figure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from hotpin_hil.evidence.releases import Release
from hotpin_hil.evidence.run_figures import FigureKey, RunFigure, Topic
from hotpin_hil.printable import printable
from hotpin_hil.report.chart import BLUE, FAINT, Chart, Table, drawing, finish, label, plain
from hotpin_hil.report.compare_page import TITLES
from hotpin_hil.report.page import render_page

USUAL_FIGURES = (
    "memory: *: internal free",
    "memory: *: psram free",
    "memory: *: internal largest block",
    "transition: camera to voice: *",
    "transition: voice to camera: *",
    "leak: *",
    "size: *: static dram",
    "size: *: image size",
)
"""Patterns of the figures that are drawn unless the user chooses others."""

_ROW_PT = 78
"""Height of a figure in a chart."""


@dataclass(frozen=True)
class FigureTrend:
    """One figure over the runs."""

    topic: Topic
    name: str
    """Place and name."""
    unit: str
    values: tuple[float | None, ...]
    """One per run; None if the run does not have the figure."""


def trends_of(runs: Sequence[Release], patterns: Sequence[str]) -> list[FigureTrend]:
    """The figures that match one of the patterns.

    Args:
        runs: The runs, in the order of the chart.
        patterns: Patterns as for file names, which are matched with "TOPIC: PLACE: NAME".
    """
    found: dict[FigureKey, RunFigure] = {}
    for run in runs:
        for key, figure in run.figures.items():
            if any(fnmatchcase(figure_name(figure), pattern) for pattern in patterns):
                found.setdefault(key, figure)
    trends = []
    for key, figure in found.items():
        values = tuple(run.figures[key].value if key in run.figures else None for run in runs)
        name = f"{figure.place.rpartition('::')[2]}: {figure.name}"
        trends.append(FigureTrend(figure.topic, name, figure.unit, values))
    return sorted(trends, key=lambda trend: list(Topic).index(trend.topic))


def figure_name(figure: RunFigure) -> str:
    """The name that a pattern matches: "TOPIC: PLACE: NAME"."""
    return f"{figure.topic}: {figure.place}: {figure.name}"


def trend_lines(runs: Sequence[Release], trends: Iterable[FigureTrend]) -> list[str]:
    """One line per figure: its first, lowest, highest and newest value."""
    lines = [f"{len(runs)} runs on {runs[0].run.kind} boards, {_day(runs[0])} to {_day(runs[-1])}"]
    for trend in trends:
        values = [value for value in trend.values if value is not None]
        lines.append(
            f"{trend.topic}: {trend.name}: {_number(values[0])} to {_number(values[-1])} {trend.unit}, "
            f"range {_number(min(values))}..{_number(max(values))}, {len(values)} runs"
        )
    return [printable(line) for line in lines]


def trend_page(runs: Sequence[Release], trends: Sequence[FigureTrend]) -> str:
    """The charts as one HTML page: no network access, no scripts, all texts escaped."""
    topics = [(topic, [trend for trend in trends if trend.topic is topic]) for topic in Topic]
    return render_page(
        "trend.html",
        count=len(runs),
        charts=[trend_chart(runs, topic, found) for topic, found in topics if found],
        runs=Table(
            ("number", "run", "started", "overall", "ESP-IDF", "version", "build"),
            tuple(_row(number, run) for number, run in enumerate(runs, start=1)),
        ),
    )


def trend_chart(runs: Sequence[Release], topic: Topic, trends: Sequence[FigureTrend]) -> Chart:
    """Draw the figures of one topic below each other, over the same runs. A run is one step on the x axis."""
    title = TITLES[topic.value]
    with drawing(50 + _ROW_PT * len(trends), rows=[1] * len(trends)) as (figure, panels):
        for trend, axes in zip(trends, panels, strict=True):
            _draw(axes, trend)
        panels[-1].set_xlabel("run, numbered as in the table of runs")
        panels[-1].set_xlim(0.5, len(runs) + 0.5)
        columns = ("figure", "unit", *(str(number) for number in range(1, len(runs) + 1)))
        rows = tuple((trend.name, trend.unit, *map(_number, trend.values)) for trend in trends)
        words = f"{len(trends)} figures over {len(runs)} runs, each with its own scale; gaps: runs without the figure."
        return finish(figure, f"trend-{topic}", title, words, Table(columns, rows))


def _draw(axes: Any, trend: FigureTrend) -> None:
    plain(axes)
    numbers = range(1, len(trend.values) + 1)
    values = [float("nan") if value is None else value for value in trend.values]
    axes.plot(numbers, values, color=BLUE, marker="o", markersize=3)
    axes.set_title(label(f"{trend.name}, {trend.unit}"), loc="left", fontsize=9, color=FAINT)
    axes.ticklabel_format(useOffset=False, style="plain")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.margins(y=0.25)


def _row(number: int, run: Release) -> tuple[str, ...]:
    firmware = run.results.run.firmware
    return (
        str(number),
        run.results.run.run[:8],
        run.results.run.started,
        str(run.qualification["overall"]),
        run.run.idf,
        str(firmware.get("version", "")),
        run.build[:9],
    )


def _day(run: Release) -> str:
    return run.results.run.started[:10]


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.6g}"
