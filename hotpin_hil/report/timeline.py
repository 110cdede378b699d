"""Memory over time: free and largest block of the three memory types, with modes, events and thresholds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from hotpin_hil.protocol.fields import DELTA_LABELS, MEMORIES, MemoryStats
from hotpin_hil.report.chart import (
    BAND,
    BLUE,
    FAINT,
    INK,
    ORANGE,
    RED,
    Box,
    Chart,
    Table,
    boxes_patch,
    drawing,
    finish,
    label,
    plain,
    thinned,
)

KB = 1024

BUCKETS = 200
"""Buckets per line, each with up to four points: more than a screen or a page can resolve."""
MARKS_MAX = 40
"""Maximum number of marks per kind, in the drawing and in its table; the caption gives the total."""

LEVELS = {
    "internal": ("internal_ram_warning", "internal_ram_critical"),
    "dma": ("dma_capable_warning", "dma_capable_critical"),
    "psram": ("psram_warning", "psram_critical"),
}
"""The thresholds of each memory type (`memory_thresholds_t` in memory_manager.h)."""


class MarkKind(Enum):
    """Kinds of events: symbol in the drawing, and name."""

    WARNING = ("▲", "warning")
    RECOVERED = ("▽", "recovered")
    ALLOC_FAILED = ("✕", "allocation failed")
    MODE_FAILED = ("◆", "mode transition failed")
    RESET = ("↺", "reset")

    @property
    def sign(self) -> str:
        return self.value[0]

    @property
    def label(self) -> str:
        return self.value[1]


@dataclass(frozen=True)
class TimelineSample:
    """One reading of all memory types. Time in ms since the boot, or since the first of several boots."""

    t_ms: float
    context: str
    stats: MemoryStats


@dataclass(frozen=True)
class Mark:
    t_ms: float
    kind: MarkKind
    text: str


@dataclass(frozen=True)
class Span:
    """A period in which the firmware was in one mode."""

    mode: str
    start_ms: float
    end_ms: float


@dataclass(frozen=True)
class Timeline:
    """All data of one drawing. `thresholds`: when they took effect (ms), and the levels by name."""

    samples: Sequence[TimelineSample]
    marks: Sequence[Mark] = ()
    spans: Sequence[Span] = ()
    thresholds: Sequence[tuple[float, Mapping[str, int]]] = field(default=())


def timeline_chart(timeline: Timeline, name: str, title: str) -> Chart:
    """Draw a timeline of at least one sample."""
    with drawing(360, rows=(0.32, 2, 2, 2)) as (figure, (modes, *panels)):
        times = [sample.t_ms / 1000 for sample in timeline.samples]
        everything = [*times, *(mark.t_ms / 1000 for mark in timeline.marks)]
        everything += [at / 1000 for span in timeline.spans for at in (span.start_ms, span.end_ms)]
        start, end = min(everything), max(everything)
        _draw_modes(modes, timeline, end - start)
        for memory, axes in zip(MEMORIES, panels, strict=True):
            _draw_memory(axes, memory, timeline, times, end)
        panels[-1].set_xlabel("time, s")
        panels[-1].set_xlim(start, end if end > start else start + 1)
        figure.align_ylabels(panels)
        return finish(figure, name, title, _in_words(timeline), _table(timeline))


def _draw_modes(axes: Any, timeline: Timeline, length_s: float) -> None:
    """Draw a lane with the modes, and the symbols of events above it."""
    for voice in (False, True):
        style = {"facecolor": BAND if voice else "none", "edgecolor": FAINT, "linewidth": 0.5}
        axes.add_artist(boxes_patch(_extents(timeline, voice), **style))
    for span in timeline.spans:
        left, width = span.start_ms / 1000, (span.end_ms - span.start_ms) / 1000
        if width > length_s * (len(span.mode) + 2) / 110:  # wide enough for the mode's name
            axes.text(
                left + width / 2, 0.45, label(span.mode), ha="center", va="center", fontsize=8, color=INK
            )
    for kind in MarkKind:
        for mark in [mark for mark in timeline.marks if mark.kind is kind][:MARKS_MAX]:
            axes.text(mark.t_ms / 1000, 1.2, kind.sign, ha="center", va="bottom", fontsize=9, color=RED)
    axes.set_ylim(0, 2.4)
    axes.set_yticks([])
    axes.set_ylabel("mode\n(voice: shaded)", rotation=0, ha="right", va="center", fontsize=7)
    axes.tick_params(length=0, labelbottom=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _extents(timeline: Timeline, voice: bool) -> list[Box]:
    """Boxes for the time (s) in voice mode, or in all other modes."""
    return [
        (span.start_ms / 1000, span.end_ms / 1000, 0, 1)
        for span in timeline.spans
        if (span.mode == "voice") is voice
    ]


_ACROSS = (MarkKind.RESET, MarkKind.MODE_FAILED, MarkKind.ALLOC_FAILED)
"""Kinds of marks with a vertical line through all panels."""


def _draw_memory(axes: Any, memory: str, timeline: Timeline, times: list[float], end: float) -> None:
    plain(axes)
    shaded = boxes_patch(_extents(timeline, voice=True), facecolor=BAND, edgecolor="none")
    shaded.set_transform(axes.get_xaxis_transform())
    axes.add_artist(shaded)
    for what, style, colour in (("free", "-", BLUE), ("largest", (0, (3, 2)), ORANGE)):
        values = [getattr(sample.stats, f"{memory}_{what}") / KB for sample in timeline.samples]
        shown = thinned(values, BUCKETS)
        axes.plot(
            [times[index] for index in shown],
            [values[index] for index in shown],
            linestyle=style,
            color=colour,
            drawstyle="steps-post",
            marker="." if len(values) <= 60 else "",
            markersize=4,
            label=what if what == "free" else "largest block",
        )
    axes.vlines(
        [mark.t_ms / 1000 for mark in timeline.marks if mark.kind in _ACROSS],
        *(0, 1),
        transform=axes.get_xaxis_transform(),
        color=RED,
        linewidth=0.6,
        linestyle=(0, (1, 2)),
    )
    _draw_thresholds(axes, memory, timeline, end)
    axes.set_ylabel(f"{DELTA_LABELS[memory]}, KB")
    if memory == MEMORIES[0]:
        axes.legend(
            loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0, fontsize=8, frameon=False
        )


def _draw_thresholds(axes: Any, memory: str, timeline: Timeline, end: float) -> None:
    """Draw the thresholds that are not far above the axis, and label the last value of each."""
    top = axes.get_ylim()[1]
    labels: dict[str, float] = {}
    for level, what, style in zip(LEVELS[memory], ("warning", "critical"), ("--", "-"), strict=True):
        for at, until, value in _in_force(timeline, level, end):
            if value / KB <= top * 1.2:
                axes.plot([at, until], [value / KB] * 2, color=RED, linewidth=0.8, linestyle=style)
                labels[what] = value / KB
    axes.set_ylim(0, axes.get_ylim()[1] * 1.02)
    if len(labels) == 2 and abs(labels["warning"] - labels["critical"]) < axes.get_ylim()[1] / 10:
        labels = {f"{what} {value:.4g} KB\n": value for what, value in labels.items()}
        labels = {"".join(labels).rstrip(): sum(labels.values()) / 2}
    else:
        labels = {f"{what} {value:.4g} KB": value for what, value in labels.items()}
    for text, height in labels.items():
        axes.annotate(
            text,
            (1, height),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
            color=RED,
        )


def _in_force(timeline: Timeline, level: str, end: float) -> Iterator[tuple[float, float, int]]:
    """Start (s), end (s) and value for each period in which a threshold was constant; 0 means disabled."""
    changes: list[tuple[float, int]] = []
    for at, levels in timeline.thresholds:
        if level in levels and (not changes or changes[-1][1] != levels[level]):
            changes.append((at / 1000, levels[level]))
    for number, (at, value) in enumerate(changes):
        until = changes[number + 1][0] if number + 1 < len(changes) else end
        if value:
            yield at, until, value


def _lowest(timeline: Timeline, memory: str) -> tuple[int, TimelineSample]:
    """The minimum of the free memory, and the first sample with it."""
    sample = min(timeline.samples, key=lambda sample: int(getattr(sample.stats, f"{memory}_free")))
    return getattr(sample.stats, f"{memory}_free"), sample


def _in_words(timeline: Timeline) -> str:
    parts = [f"{len(timeline.samples)} samples of free memory and of the largest free block."]
    for memory in MEMORIES:
        free, sample = _lowest(timeline, memory)
        parts.append(
            f"{DELTA_LABELS[memory]}: minimum free {free:,} B at {sample.t_ms / 1000:.1f} s ({sample.context})."
        )
    for kind in MarkKind:
        count = sum(mark.kind is kind for mark in timeline.marks)
        if count:
            parts.append(f"{kind.sign} {kind.label}: {'once' if count == 1 else f'{count} times'}.")
    return " ".join(parts)


ROWS_MAX = 60
"""Maximum number of rows in a chart's table. If there are more samples, the table has those with extremes."""


def _table(timeline: Timeline) -> Table:
    samples = timeline.samples
    kept = set(range(len(samples)))
    if len(samples) > ROWS_MAX:
        kept = {0, len(samples) - 1}
        for memory in MEMORIES:
            kept |= set(
                thinned([getattr(sample.stats, f"{memory}_free") for sample in samples], ROWS_MAX // 12)
            )
    rows = [(samples[index].t_ms, _row(samples[index])) for index in kept]
    for kind in MarkKind:
        marks = [mark for mark in timeline.marks if mark.kind is kind][:MARKS_MAX]
        rows += [
            (mark.t_ms, (_seconds(mark.t_ms), f"{kind.label}: {mark.text}", *[""] * 6)) for mark in marks
        ]
    columns = ["time", "context"]
    for memory in MEMORIES:
        columns += [f"{DELTA_LABELS[memory]} free, B", "largest, B"]
    return Table(tuple(columns), tuple(row for _, row in sorted(rows)))


def _row(sample: TimelineSample) -> tuple[str, ...]:
    figures = []
    for memory in MEMORIES:
        free, largest, _ = sample.stats.memory(memory)
        figures += [f"{free:,}", f"{largest:,}"]
    return (_seconds(sample.t_ms), sample.context, *figures)


def _seconds(t_ms: float) -> str:
    return f"{t_ms / 1000:.1f} s"
