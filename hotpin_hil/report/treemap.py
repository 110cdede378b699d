"""Draws memory in use: one area per call site, in proportion to its bytes, next to the other areas of its task."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hotpin_hil.report.chart import BAND, BLUE, INK, LINE, PAPER, Chart, Table, boxes_patch, drawing, finish
from hotpin_hil.report.text import shorten

HEIGHT_PT = 360
ASPECT = 2.2
"""Width of the drawing, divided by its height."""
TEXT_WIDTH_MIN, TEXT_HEIGHT_MIN = 0.06, 0.045
"""Smallest area with a text, as parts of the drawing's width and height."""
CHARACTER = 0.0078
"""Width of a character, as part of the drawing's width."""
TASK_COLOURS = (BLUE, BAND)


@dataclass(frozen=True)
class Held:
    """Memory in use by one task from one call site."""

    task: str
    site: str
    bytes: int
    blocks: int
    peak: int
    allocations: int


@dataclass(frozen=True)
class Area:
    """A rectangle in the drawing's coordinates, (0, 0) to (1, 1)."""

    left: float
    top: float
    width: float
    height: float


def treemap(held: Sequence[Held], name: str, title: str) -> Chart:
    """Draw the sites with memory in use; there must be at least one."""
    by_task: dict[str, list[Held]] = defaultdict(list)
    for site in sorted(_joined(held), key=lambda site: (-site.bytes, site.site)):
        by_task[site.task].append(site)
    totals = {task: sum(site.bytes for site in sites) for task, sites in by_task.items()}
    order = sorted(totals, key=lambda task: (-totals[task], task))
    with drawing(HEIGHT_PT) as (figure, (axes,)):
        axes.set_axis_off()
        axes.set_xlim(0, 1)
        axes.set_ylim(1, 0)
        whole = Area(0, 0, 1, 1)
        for number, (task, area) in enumerate(
            zip(order, divide([totals[task] for task in order], whole), strict=True)
        ):
            sites = by_task[task]
            areas = divide([site.bytes for site in sites], area)
            colour = TASK_COLOURS[number % len(TASK_COLOURS)]
            boxes = [(part.left, part.left + part.width, part.top, part.top + part.height) for part in areas]
            axes.add_patch(boxes_patch(boxes, facecolor=colour, edgecolor=PAPER, linewidth=0.6))
            outline = [(area.left, area.left + area.width, area.top, area.top + area.height)]
            axes.add_patch(boxes_patch(outline, facecolor="none", edgecolor=LINE, linewidth=1.6))
            for site, part in zip(sites, areas, strict=True):
                _write(axes, part, site, PAPER if colour == BLUE else INK)
        return finish(figure, name, title, _in_words(order, totals), _table(held))


def _joined(held: Sequence[Held]) -> list[Held]:
    """Memory in use by source line, which may have several call sites."""
    sums: Counter[tuple[str, str]] = Counter()
    for site in held:
        sums[site.task, site.site] += site.bytes
    return [Held(task, site, size, 0, 0, 0) for (task, site), size in sums.items() if size > 0]


def divide(sizes: Sequence[int], area: Area) -> list[Area]:
    """Divide an area by sizes (positive, in descending order) into parts as square as possible.

    The squarified treemap of M. Bruls, K. Huizing and J. van Wijk (2000).
    """
    found: list[Area] = []
    rest, left = list(sizes), area
    while rest:
        scale = left.width * ASPECT * left.height / sum(rest)
        side = min(left.width * ASPECT, left.height)
        count = 1
        while count < len(rest) and _worst(rest[: count + 1], side, scale) <= _worst(
            rest[:count], side, scale
        ):
            count += 1
        row, rest = rest[:count], rest[count:]
        share = sum(row) / (sum(row) + sum(rest))
        found += _row(row, left, share)
        left = _without(left, share)
    return found


def _is_wide(area: Area) -> bool:
    return area.width * ASPECT >= area.height


def _worst(row: Sequence[int], side: float, scale: float) -> float:
    """The largest ratio of a part's sides, if `row` fills a strip along `side`."""
    depth = sum(row) * scale / side
    return max(max(depth * depth / (size * scale), size * scale / (depth * depth)) for size in row)


def _row(row: Sequence[int], area: Area, share: float) -> Iterator[Area]:
    """The parts of a strip along the shorter side."""
    at = 0.0
    for size in row:
        part = size / sum(row)
        if _is_wide(area):
            yield Area(area.left, area.top + at * area.height, share * area.width, part * area.height)
        else:
            yield Area(area.left + at * area.width, area.top, part * area.width, share * area.height)
        at += part


def _without(area: Area, share: float) -> Area:
    """The rest of the area outside the strip."""
    if _is_wide(area):
        return Area(area.left + share * area.width, area.top, (1 - share) * area.width, area.height)
    return Area(area.left, area.top + share * area.height, area.width, (1 - share) * area.height)


def _write(axes: Any, area: Area, site: Held, colour: str) -> None:
    if area.width < TEXT_WIDTH_MIN or area.height < TEXT_HEIGHT_MIN:
        return
    room = int(area.width / CHARACTER)
    lines = [site.site, site.task, f"{site.bytes:,} B"]
    shown = lines[: max(1, int(area.height / TEXT_HEIGHT_MIN))]
    axes.text(
        area.left + 0.004,
        area.top + 0.008,
        "\n".join(shorten(line, room) for line in shown),
        fontsize=7,
        color=colour,
        va="top",
        ha="left",
        clip_on=True,
    )


def _in_words(order: Sequence[str], totals: Mapping[str, int]) -> str:
    largest = ", ".join(f"{task} {totals[task]:,} B" for task in order[:4])
    more = f" and {len(order) - 4} more tasks" if len(order) > 4 else ""
    return f"{sum(totals.values()):,} B in use: {largest}{more}. A frame is a task; each area in it is a call site."


def _table(held: Sequence[Held]) -> Table:
    rows = sorted(held, key=lambda site: (-site.bytes, -site.peak, site.site, site.task))
    return Table(
        ("site", "task", "bytes", "blocks", "peak", "allocations"),
        tuple(
            (
                site.site,
                site.task,
                f"{site.bytes:,}",
                f"{site.blocks:,}",
                f"{site.peak:,}",
                f"{site.allocations:,}",
            )
            for site in rows
        ),
    )
