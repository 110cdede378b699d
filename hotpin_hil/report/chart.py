"""Static SVG charts for the reports, drawn with matplotlib, which is imported for the first chart.

A chart takes its colours from the page (CSS variables of templates/page.css), so that it suits a dark screen and is
black on paper. Text in a chart is escaped in the SVG, and is never interpreted as math or markup.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from hotpin_hil.printable import printable
from hotpin_hil.report.text import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINTS_PER_INCH = 72
WIDTH_PT = 760
"""Width of a laptop screen within the margins; A4 paper scales it to about two thirds."""

LABEL_MAX = 48
"""Maximum number of characters of a text within a drawing."""

TITLE_MAX = 160

# Colours for the drawing code: unique placeholders, each replaced by a CSS variable.
INK = "#010101"
FAINT = "#020202"
LINE = "#030303"
PAPER = "#040404"
BLUE = "#050505"
ORANGE = "#060606"
GREEN = "#070707"
RED = "#080808"
BAND = "#090909"
_VARIABLES = {
    INK: "--ink",
    FAINT: "--faint",
    LINE: "--line",
    PAPER: "--paper",
    BLUE: "--blue",
    ORANGE: "--orange",
    GREEN: "--good",
    RED: "--bad",
    BAND: "--band",
}

_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",  # used only to measure text; the page has its own font
    "font.size": 9,
    "axes.edgecolor": LINE,
    "axes.facecolor": "none",
    "axes.labelcolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "grid.color": LINE,
    "grid.linewidth": 0.5,
    "hatch.linewidth": 0.7,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "patch.edgecolor": LINE,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
}


@dataclass(frozen=True)
class Table:
    """The figures of a chart as an accessible table."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @cached_property
    def are_numbers(self) -> tuple[bool, ...]:
        """For each column, whether its cells are numbers, which are aligned right."""
        return tuple(
            all(re.fullmatch(r"[-+\d,.]*( s)?", row[column]) for row in self.rows)
            for column in range(len(self.columns))
        )


@dataclass(frozen=True)
class Chart:
    """A drawing with its description. `name` is its anchor on the page: letters, digits and hyphens."""

    name: str
    svg: Markup
    title: str
    description: str
    table: Table | None = None


@contextmanager
def drawing(
    height_pt: float, rows: Sequence[float] = (1,), columns: Sequence[float] = (1,)
) -> Iterator[tuple[Figure, list[Axes]]]:
    """Create an empty figure with axes for each row and column (relative heights and widths), row by row.

    The axes of a column share their x axis. Call `finish` within the context, where the style applies.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH_PT / POINTS_PER_INCH, height_pt / POINTS_PER_INCH))
        axes = figure.subplots(
            len(rows),
            len(columns),
            sharex="col",
            squeeze=False,
            gridspec_kw={"height_ratios": list(rows), "width_ratios": list(columns)},
        )
        yield figure, list(axes.flat)


def finish(figure: Figure, name: str, title: str, description: str, table: Table | None = None) -> Chart:
    """Convert the figure to SVG for a page with other charts: without styles, and with unique ids."""
    import matplotlib as mpl

    title, description = shorten(title, TITLE_MAX), printable(description)
    drawn = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with mpl.rc_context({"svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # this font only measures text
        _lay_out(figure)
        figure.savefig(drawn, format="svg", metadata=nothing)
    return Chart(name, _for_page(drawn.getvalue(), name, title, description), title, description, table)


def _lay_out(figure: Figure) -> None:
    """Place the axes. Done here and not by the figure's layout engine, for which `savefig` draws everything twice."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    ConstrainedLayoutEngine().execute(figure)


def label(text: str) -> str:
    """Make a board's text drawable: remove characters that break a font, and shorten the text for the layout."""
    return shorten(text, LABEL_MAX)


def stand_alone(chart: Chart, colours: dict[str, str] | None = None) -> str:
    """The chart as a separate SVG file on white, for any viewer."""
    shown = {**_ON_WHITE, **(colours or {})}
    svg = re.sub(r"var\((--[a-z]+)\)", lambda match: shown[match[1]], str(chart.svg))
    return svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)


_ON_WHITE = {
    "--ink": "#1a1a1a",
    "--faint": "#5a5a5a",
    "--line": "#c9c9c9",
    "--paper": "#ffffff",
    "--blue": "#0b5cad",
    "--orange": "#b34700",
    "--good": "#14612a",
    "--bad": "#a3161c",
    "--band": "#eef1f4",
}


def _for_page(svg: str, name: str, title: str, description: str) -> Markup:
    body = svg[svg.index(">", svg.index("<svg")) + 1 : svg.rindex("</svg>")]
    for number, clip in enumerate(re.findall(r'<clipPath id="([^"]*)"', body)):
        body = body.replace(clip, f"{name}-clip-{number}")  # matplotlib's ids differ from run to run
    box = re.search(r'viewBox="([^"]*)"', svg)
    assert box is not None  # matplotlib always writes one
    body = printable(body)
    body = re.sub(r"<style.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r"<[^>]*>", _tag_for_page, body)
    body = re.sub(r">\s*\n\s*<", "><", body)
    head = (
        f'<svg role="img" viewBox="{box[1]}" font-family="system-ui, sans-serif" stroke-linejoin="round">'
        f"<title>{escape(title)}</title><desc>{escape(description)}</desc>"
    )
    return Markup(head + body + "</svg>")  # matplotlib has escaped the drawn text


def _tag_for_page(match: re.Match[str]) -> str:
    """Adapt a tag to the page; the text between tags is unchanged."""
    tag = re.sub(r"\s*\n\s*", " ", match[0])
    if tag.startswith("<g "):
        tag = re.sub(r' id="[^"]*"', "", tag)  # only elements in <defs> are referenced
    tag = tag.replace("xlink:href", "href")
    tag = re.sub(r"font(-family)?: [^;\"]*;? ?", _size_and_weight, tag)
    tag = re.sub(r"-?\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}".removesuffix(".0"), tag)
    return re.sub(r"#0[0-9]0[0-9]0[0-9]", lambda colour: f"var({_VARIABLES[colour[0]]})", tag)


def _size_and_weight(match: re.Match[str]) -> str:
    """Size and weight of a CSS declaration such as `font: 700 9px 'DejaVu Sans', …;`, without the font family."""
    size = re.search(r"[\d.]+px", match[0])
    weight = "; font-weight: 700" if re.search(r"\b(bold|700)\b", match[0]) else ""
    return f"font-size: {size[0]}{weight}; " if size else ""


Box = tuple[float, float, float, float]
"""Left edge, right edge, and the two vertical limits."""


def boxes_patch(boxes: Sequence[Box], **style: Any) -> Any:
    """Draw all boxes with the same style as one path, so that thousands of boxes stay small and fast."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    points: list[tuple[float, float]] = []
    for left, right, bottom, top in boxes:
        points += [(left, bottom), (right, bottom), (right, top), (left, top), (left, bottom)]
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * len(boxes)
    return PathPatch(Path(points or [(0.0, 0.0)], codes or [Path.MOVETO]), **style)


def plain(axes: Any, *, grid: str = "y") -> None:
    """Remove decoration: tick marks, and the frame except for its base line."""
    axes.tick_params(length=0)
    axes.grid(axis=grid)
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)


def thinned(values: Sequence[float], buckets: int) -> list[int]:
    """Indices of a series, thinned out for a drawing.

    Keeps the first, last, lowest and highest value of each of `buckets` equal parts, so that no extreme is hidden. A
    short series is kept completely.
    """
    count = len(values)
    if count <= 4 * buckets:
        return list(range(count))
    kept: set[int] = set()
    for bucket in range(buckets):
        part = range(bucket * count // buckets, (bucket + 1) * count // buckets)
        kept |= {part[0], part[-1], min(part, key=values.__getitem__), max(part, key=values.__getitem__)}
    return sorted(kept)
