"""The analysis of console logs as one printable page, without network access or scripts."""

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
from hotpin_hil.report.trace_lines import trace_lines

TEXT_MAX = 160
LEAKS_DRAWN = 6
TRACES_DRAWN = 50


@dataclass(frozen=True)
class LogPart:
    """One log's part of the page."""

    anchor: str
    name: str
    """Name of the file, without its folder."""
    log: LogAnalysis
    boots: Table
    memory: Table
    transitions: Table
    failed: Table
    printers: Table
    leaks: Table
    undecided: int
    """Number of series with too few readings for a verdict."""
    unreadable: Table
    timelines: tuple[Chart, ...]
    leak_charts: tuple[Chart, ...]
    traces: tuple[str, ...]
    """Backtraces and registers."""


def render(analyses: Sequence[LogAnalysis]) -> str:
    """Render the page. All text from logs is escaped."""
    parts = [_part(number, analysis) for number, analysis in enumerate(analyses, 1)]
    return render_page("log.html", logs=parts)


def _part(number: int, analysis: LogAnalysis) -> LogPart:
    anchor = f"log-{number}"
    pictured = [boot for boot in analysis.boots if boot.story is not None]
    drawn = [leak for leak in analysis.leaks if leak.leak is not None and leak.values]
    drawn.sort(key=lambda leak: leak.verdict is not LeakVerdict.LEAK)
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
        undecided=sum(leak.leak is None for leak in analysis.leaks),
        unreadable=_unreadable(analysis),
        timelines=tuple(_timeline(anchor, boot) for boot in pictured),
        leak_charts=tuple(
            leak_chart(
                leak.values,
                leak.leak,
                f"{anchor}-leak-{place}",
                f"Boot {leak.boot}: {NAMES[leak.memory]} {shorten(leak.state, TEXT_MAX)}",
            )
            for place, leak in enumerate(drawn[:LEAKS_DRAWN])
            if leak.leak is not None and leak.stride == 1
        ),
        traces=tuple("\n".join(trace_lines(trace)) for trace in analysis.traces[:TRACES_DRAWN]),
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
            NAMES[lowest.memory],
            f"{lowest.bytes:,} B",
            str(lowest.boot),
            _time(lowest.t_ms),
            f"{lowest.line:,}",
            shorten(lowest.where, TEXT_MAX),
        )
        for lowest in analysis.lowest
    )
    return Table(("memory", "lowest free", "boot", "time", "line", "source"), rows)


def _transitions(analysis: LogAnalysis) -> Table:
    times = {duration.to: duration for duration in analysis.transition_times}
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
        (
            f"{transition.line:,}",
            str(transition.boot),
            _time(transition.t_ms),
            shorten(transition.text or transition.result, TEXT_MAX),
        )
        for transition in analysis.transitions
        if transition.result != "complete"
    )
    return Table(("line", "boot", "time", "text of the log"), rows)


def _printers(analysis: LogAnalysis) -> Table:
    rows = tuple(
        (
            shorten(printer.tag, 40),
            NAMES[printer.memory],
            f"{printer.count:,}",
            f"{printer.lowest:,} B",
            f"{printer.lowest_line:,}",
            f"{printer.highest:,} B",
        )
        for printer in analysis.printers
    )
    return Table(("component", "memory", "times", "lowest free", "line", "highest free"), rows)


def _leaks(analysis: LogAnalysis) -> Table:
    rows = tuple(
        (
            str(leak.boot),
            NAMES[leak.memory],
            shorten(leak.state, TEXT_MAX),
            f"{leak.readings:,}",
            f"{leak.first:,} → {leak.last:,} B",
            str(leak),
        )
        for leak in analysis.leaks
        if leak.leak is not None
    )
    return Table(("boot", "memory", "same state", "readings", "first → last", "verdict"), rows)


def _unreadable(analysis: LogAnalysis) -> Table:
    rows = tuple(
        (f"{quote.line:,}", quote.what, shorten(quote.reason, TEXT_MAX), shorten(quote.quote, TEXT_MAX))
        for quote in analysis.quotes
    )
    return Table(("line", "what", "why", "quoted"), rows)


def _timeline(anchor: str, boot: BootSummary) -> Chart:
    assert boot.story is not None
    samples = boot.story.samples
    if any(sample.source == "record" for sample in samples):
        samples = [sample for sample in samples if sample.source == "record"]
    drawn = [
        TimelineSample(sample.t_ms or 0, shorten(sample.context, 60), sample.stats) for sample in samples
    ]
    drawn.sort(key=lambda sample: sample.t_ms)  # lines may be written later than logged
    timeline = Timeline(drawn, _marks(boot.story.marks), _spans(boot))
    title = f"Boot {boot.boot}: memory over time"
    return timeline_chart(timeline, f"{anchor}-boot-{boot.boot}", title)


def _marks(events: Sequence[ev.LogEvent]) -> list[Mark]:
    marks = []
    for event in events:
        kind, text = None, ""
        match event:
            case ev.MemoryWarning():
                kind, text = (MarkKind.RECOVERED if event.recovered else MarkKind.WARNING), event.text
            case ev.AllocationFailed():
                kind, text = MarkKind.ALLOC_FAILED, event.text
            case ev.Transition(result="failed"):
                kind, text = MarkKind.MODE_FAILED, event.text
            case ev.PanicSeen():
                kind, text = MarkKind.RESET, event.panic.cause
        if kind is not None and event.t_ms is not None:
            marks.append(Mark(event.t_ms, kind, shorten(text, 80)))
    return marks


def _spans(boot: BootSummary) -> list[Span]:
    assert boot.story is not None
    ended = [
        mark
        for mark in boot.story.marks
        if isinstance(mark, ev.Transition) and mark.result == "complete" and mark.t_ms is not None
    ]
    spans = []
    for place, transition in enumerate(ended):
        assert transition.t_ms is not None
        after = ended[place + 1] if place + 1 < len(ended) else None
        end = boot.last_ms if after is None else (after.t_ms or 0) - (after.duration_ms or 0)
        spans.append(Span(shorten(transition.to, 20), transition.t_ms, max(transition.t_ms, end)))
    return spans


def _time(t_ms: int | None) -> str:
    return "" if t_ms is None else f"{t_ms:,} ms"
