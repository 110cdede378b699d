"""What console logs show, as one page: no network, no scripts, printable, in the style of the qualification report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hotpin_hil.analysis.analyze import LogAnalysis
from hotpin_hil.analysis.leak import LeakVerdict
from hotpin_hil.analysis.model import NAMES
from hotpin_hil.analysis.summary import BootSummary
from hotpin_hil.protocol import events as ev
from hotpin_hil.report.chart import Chart, Table
from hotpin_hil.report.leak_chart import leak_chart
from hotpin_hil.report.page import render_page
from hotpin_hil.report.text import shorten
from hotpin_hil.report.timeline import Mark, MarkKind, Span, Timeline, TimelineSample, timeline_chart

TEXT_MAX = 160
LEAKS_DRAWN = 6


@dataclass(frozen=True)
class LogPart:
    """One log's part of the page."""

    anchor: str
    name: str
    """Of the file, without its folder."""
    log: LogAnalysis
    boots: Table
    memory: Table
    transitions: Table
    failed: Table
    printers: Table
    leaks: Table
    undecided: int
    """Series with too few readings for a verdict."""
    unreadable: Table
    timelines: tuple[Chart, ...]
    leak_charts: tuple[Chart, ...]


def render(analyses: Sequence[LogAnalysis]) -> str:
    """The page. Texts of a log are escaped: nothing of them can become markup."""
    parts = [_part(number, analysis) for number, analysis in enumerate(analyses, 1)]
    return render_page("log.html", logs=parts)


def _part(number: int, analysis: LogAnalysis) -> LogPart:
    anchor = f"log-{number}"
    pictured = [boot for boot in analysis.boots if boot.story is not None]
    drawn = [one for one in analysis.leaks if one.leak is not None and one.values]
    drawn.sort(key=lambda one: one.verdict is not LeakVerdict.LEAK)
    return LogPart(
        anchor,
        shorten(Path(analysis.facts["file"]).name, 60),
        analysis,
        boots=_boots(analysis),
        memory=_memory(analysis),
        transitions=_transitions(analysis),
        failed=_failed(analysis),
        printers=_printers(analysis),
        leaks=_leaks(analysis),
        undecided=sum(one.leak is None for one in analysis.leaks),
        unreadable=_unreadable(analysis),
        timelines=tuple(_timeline(anchor, boot) for boot in pictured),
        leak_charts=tuple(
            leak_chart(
                one.values,
                one.leak,
                f"{anchor}-leak-{place}",
                f"Boot {one.boot}: {NAMES[one.memory]} {shorten(one.state, TEXT_MAX)}",
            )
            for place, one in enumerate(drawn[:LEAKS_DRAWN])
            if one.leak is not None and one.stride == 1
        ),
    )


def _boots(analysis: LogAnalysis) -> Table:
    rows = []
    for boot in analysis.boots:
        build = boot.build
        firmware = f"{build.project} {build.app_version}, ELF {build.elf}" if build and build.elf else ""
        ended = ", ".join(f"{count} {result}" for result, count in boot.transitions.items())
        row = (
            boot.boot,
            f"{boot.line:,}",
            boot.how,
            firmware,
            boot.samples,
            ended,
            boot.warnings,
            boot.panics,
        )
        rows.append(tuple(shorten(str(cell), TEXT_MAX) for cell in row))
    columns = (
        "boot",
        "line",
        "why it started",
        "firmware",
        "statistics",
        "transitions",
        "warnings",
        "panics",
    )
    return Table(columns, tuple(rows))


def _memory(analysis: LogAnalysis) -> Table:
    rows = tuple(
        (
            NAMES[one.memory],
            f"{one.bytes:,} B",
            str(one.boot),
            _time(one.t_ms),
            f"{one.line:,}",
            shorten(one.where, TEXT_MAX),
        )
        for one in analysis.lowest
    )
    return Table(("memory", "lowest free", "boot", "time", "line", "told by"), rows)


def _transitions(analysis: LogAnalysis) -> Table:
    times = {one.to: one for one in analysis.transition_times}
    rows = []
    for to, results in analysis.facts["transitions"].items():
        took = times.get(to)
        duration = f"{took.shortest:,} / {took.median:,.0f} / {took.longest:,} ms" if took else ""
        ended = [f"{results.get(name, 0):,}" for name in ("complete", "failed", "unfinished")]
        rows.append((shorten(to, TEXT_MAX), *ended, duration))
    columns = ("to", "complete", "failed", "unfinished", "shortest / median / longest")
    return Table(columns, tuple(rows))


def _failed(analysis: LogAnalysis) -> Table:
    rows = tuple(
        (f"{one.line:,}", str(one.boot), _time(one.t_ms), shorten(one.text or one.result, TEXT_MAX))
        for one in analysis.transitions
        if one.result != "complete"
    )
    return Table(("line", "boot", "time", "what the log says"), rows)


def _printers(analysis: LogAnalysis) -> Table:
    rows = tuple(
        (
            shorten(one.tag, 40),
            NAMES[one.memory],
            f"{one.count:,}",
            f"{one.lowest:,} B",
            f"{one.lowest_line:,}",
            f"{one.highest:,} B",
        )
        for one in analysis.printers
    )
    return Table(("component", "memory", "times", "lowest free", "line", "highest free"), rows)


def _leaks(analysis: LogAnalysis) -> Table:
    rows = tuple(
        (
            str(one.boot),
            NAMES[one.memory],
            shorten(one.state, TEXT_MAX),
            f"{one.readings:,}",
            f"{one.first:,} → {one.last:,} B",
            str(one),
        )
        for one in analysis.leaks
        if one.leak is not None
    )
    return Table(("boot", "memory", "same state", "readings", "first → last", "verdict"), rows)


def _unreadable(analysis: LogAnalysis) -> Table:
    rows = tuple(
        (f"{one.line:,}", one.what, shorten(one.reason, TEXT_MAX), shorten(one.quote, TEXT_MAX))
        for one in analysis.quotes
    )
    return Table(("line", "what", "why", "quoted"), rows)


def _timeline(anchor: str, boot: BootSummary) -> Chart:
    assert boot.story is not None
    samples = boot.story.samples
    if any(one.source == "record" for one in samples):
        samples = [one for one in samples if one.source == "record"]
    drawn = [TimelineSample(one.t_ms or 0, shorten(one.context, 60), one.stats) for one in samples]
    drawn.sort(key=lambda one: one.t_ms)  # what was logged may be written later
    timeline = Timeline(drawn, _marks(boot.story.marks), _spans(boot))
    title = f"Boot {boot.boot}: memory over time"
    return timeline_chart(timeline, f"{anchor}-boot-{boot.boot}", title)


def _marks(events: Sequence[ev.LogEvent]) -> list[Mark]:
    marks = []
    for one in events:
        kind, text = None, ""
        match one:
            case ev.MemoryWarning():
                kind, text = (MarkKind.RECOVERED if one.recovered else MarkKind.WARNING), one.text
            case ev.AllocationFailed():
                kind, text = MarkKind.ALLOC_FAILED, one.text
            case ev.Transition(result="failed"):
                kind, text = MarkKind.MODE_FAILED, one.text
            case ev.PanicSeen():
                kind, text = MarkKind.RESET, one.panic.cause
        if kind is not None and one.t_ms is not None:
            marks.append(Mark(one.t_ms, kind, shorten(text, 80)))
    return marks


def _spans(boot: BootSummary) -> list[Span]:
    assert boot.story is not None
    ended = [
        one
        for one in boot.story.marks
        if isinstance(one, ev.Transition) and one.result == "complete" and one.t_ms is not None
    ]
    spans = []
    for place, one in enumerate(ended):
        assert one.t_ms is not None
        after = ended[place + 1] if place + 1 < len(ended) else None
        end = boot.last_ms if after is None else (after.t_ms or 0) - (after.duration_ms or 0)
        spans.append(Span(shorten(one.to, 20), one.t_ms, max(one.t_ms, end)))
    return spans


def _time(t_ms: int | None) -> str:
    return "" if t_ms is None else f"{t_ms:,} ms"
