"""Draws all readings of memory in a log: one panel for each memory type, one line for each source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hotpin_hil.analysis.model import NAMES
from hotpin_hil.analysis.series import LARGEST, MemorySeries, Point
from hotpin_hil.report.chart import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    ORANGE,
    RED,
    Chart,
    drawing,
    finish,
    label,
    plain,
)
from hotpin_hil.report.text import shorten

KB = 1024
LINES_MAX = 6
"""Maximum number of series per panel: those with the most readings."""
BOOTS_DRAWN = 40
_COLOURS = (BLUE, ORANGE, GREEN, INK, RED, FAINT)
_HEAD_PT, _PANEL_PT = 45, 120
HEADROOM = 1.08
"""Top of the axis, as a share of the highest reading."""


def memory_chart(every: Sequence[MemorySeries], name: str, title: str) -> Chart | None:
    """Draw the series of a log; None if no memory type has two readings."""
    panels = {
        memory: sorted(
            (series for series in every if series.memory == memory), key=lambda series: -series.count
        )
        for memory in dict.fromkeys((*NAMES, *(series.memory for series in every)))
    }
    panels = {memory: shown for memory, shown in panels.items() if any(series.count > 1 for series in shown)}
    if not panels:
        return None
    drawn = [series for shown in panels.values() for series in shown[:LINES_MAX]]
    places = _places(drawn)
    with drawing(_HEAD_PT + _PANEL_PT * len(panels), rows=(1,) * len(panels)) as (figure, axes):
        for (memory, shown), panel in zip(panels.items(), axes, strict=True):
            _draw(panel, memory, shown[:LINES_MAX], places)
        is_timed = _is_timed(drawn)
        axis = "time, s, boots one after the other" if len(places) > 1 else "time, s"
        axes[-1].set_xlabel(axis if is_timed else "line of the log")
        figure.align_ylabels(axes)
        return finish(figure, name, title, _in_words(panels, len(places)))


def _is_timed(every: Sequence[MemorySeries]) -> bool:
    return all(point.t_ms is not None for series in every for point in series.points)


def _places(every: Sequence[MemorySeries]) -> Mapping[int, float]:
    """Start of each boot on the time axis (s); empty if the axis has line numbers."""
    if not _is_timed(every):
        return {}
    ends: dict[int, int] = {}
    for series in every:
        for point in series.points:
            ends[point.boot] = max(ends.get(point.boot, 0), point.t_ms or 0)
    starts, at = {}, 0.0
    for boot in sorted(ends):
        starts[boot] = at
        at += ends[boot] / 1000
    return starts


def _x(point: Point, places: Mapping[int, float]) -> float:
    return places[point.boot] + (point.t_ms or 0) / 1000 if places else float(point.line)


def _draw(axes: Any, memory: str, shown: Sequence[MemorySeries], places: Mapping[int, float]) -> None:
    plain(axes)
    sources = list(dict.fromkeys(series.source for series in shown))
    for series in shown:
        points = sorted(series.points, key=lambda point: _x(point, places))
        axes.plot(
            [_x(point, places) for point in points],
            [point.bytes / KB for point in points],
            color=_COLOURS[sources.index(series.source)],
            linestyle="--" if series.quantity == LARGEST else "-",
            marker="." if len(points) < 60 else "",
            markersize=4,
            label=label(f"{series.quantity}, {series.source}"),
        )
    for start in list(places.values())[1:BOOTS_DRAWN]:
        axes.axvline(start, color=FAINT, linestyle=":", linewidth=0.7)
    axes.set_ylim(0, HEADROOM * max(series.highest.bytes for series in shown) / KB or 1)
    axes.set_ylabel(f"{NAMES.get(memory, memory)}, KB".replace(" memory", "\nmemory"))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0, fontsize=7, frameon=False)


def _in_words(panels: Mapping[str, Sequence[MemorySeries]], boots: int) -> str:
    """Caption: the readings in the drawing. `boots` is 0 if the axis has line numbers."""
    parts = []
    for memory, shown in panels.items():
        which = ", ".join(
            f"{series.count:,} readings ({series.quantity}) from {shorten(series.source, 40)}"
            for series in shown[:LINES_MAX]
        )
        more = len(shown) - LINES_MAX
        parts.append(
            f"{NAMES.get(memory, memory)}: {which}{f', and {more} series not drawn' if more > 0 else ''}."
        )
    if boots > 1:
        parts.append("A dotted line is the start of a boot.")
    elif not boots:
        parts.append("Some readings have no time, so the axis shows line numbers of the log.")
    return " ".join(part[:1].upper() + part[1:] for part in parts)
