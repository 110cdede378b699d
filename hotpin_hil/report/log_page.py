"""The analysis of console logs as one printable page, without network access or scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hotpin_hil.analysis.analyze import LogAnalysis
from hotpin_hil.analysis.excerpts import Excerpt, not_in_excerpt
from hotpin_hil.analysis.kinds import Gravity, Outcome
from hotpin_hil.analysis.leak import LeakVerdict
from hotpin_hil.analysis.log_difference import LogDifference
from hotpin_hil.analysis.model import NAMES, Diagnosis, Evidence
from hotpin_hil.analysis.summary import BootSummary
from hotpin_hil.logs.line_range import WHOLE
from hotpin_hil.protocol import events as ev
from hotpin_hil.report.chart import Chart, Table
from hotpin_hil.report.leak_chart import leak_chart
from hotpin_hil.report.log_chart import memory_chart
from hotpin_hil.report.log_overview import OverviewRow, RefusedFile, overview, short_name
from hotpin_hil.report.page import render_page
from hotpin_hil.report.text import shorten
from hotpin_hil.report.timeline import Mark, MarkKind, Span, Timeline, TimelineSample, timeline_chart
from hotpin_hil.report.trace_lines import trace_lines

TEXT_MAX = 160
LEAKS_DRAWN = 6
TRACES_DRAWN = 50
TAGS_SHOWN = 40
REFUSED_SHOWN = 100


@dataclass(frozen=True)
class DiagnosisPart:
    """One diagnosis, with the lines of the log around its evidence."""

    found: Diagnosis
    excerpt: Excerpt
    evidence: tuple[Evidence, ...]
    """Evidence outside the excerpt."""


@dataclass(frozen=True)
class OverviewPart:
    """One row of the overview."""

    row: OverviewRow
    anchor: str


@dataclass(frozen=True)
class LogPart:
    """One log's part of the page."""

    anchor: str
    name: str
    """Name of the file, without its folder."""
    log: LogAnalysis
    outline: Mapping[str, str]
    """Facts about the whole log."""
    diagnoses: tuple[DiagnosisPart, ...]
    absent: tuple[str, ...]
    """Topics that were searched for and not found."""
    not_judged: tuple[tuple[str, str], ...]
    """Topics that the log has too little data for, with the reason."""
    complaints: Table
    boots: Table
    memory: Table
    transitions: Table
    failed: Table
    memory_chart: Chart | None
    series: Table
    leaks: Table
    undecided: int
    """Number of series with too few readings for a verdict."""
    unreadable: Table
    timelines: tuple[Chart, ...]
    leak_charts: tuple[Chart, ...]
    traces: tuple[str, ...]
    """Backtraces and registers."""


def render(
    analyses: Sequence[LogAnalysis],
    refused: Sequence[RefusedFile] = (),
    difference: LogDifference | None = None,
) -> str:
    """Render the page: an overview, the differences, then each log, the worst first. All text from logs is escaped."""
    rows = [OverviewPart(row, f"log-{place}") for place, row in enumerate(overview(analyses), 1)]
    return render_page(
        "log.html",
        rows=rows,
        refused=refused[:REFUSED_SHOWN],
        refused_count=len(refused),
        difference=difference,
        changes=_changes(difference) if difference else None,
        gravities=[str(gravity) for gravity in Gravity],
        logs=[_part(part.anchor, analyses[part.row.number]) for part in rows],
    )


def _part(anchor: str, analysis: LogAnalysis) -> LogPart:
    chart = memory_chart(analysis.series, f"{anchor}-memory", "Memory over the whole log")
    pictured = [boot for boot in analysis.boots if boot.story is not None]
    drawn = [leak for leak in analysis.leaks if leak.leak is not None and leak.values]
    drawn.sort(key=lambda leak: leak.verdict is not LeakVerdict.LEAK)
    return LogPart(
        anchor,
        short_name(analysis.facts["file"]),
        analysis,
        _outline(analysis),
        diagnoses=_diagnoses(analysis),
        absent=tuple(topic.topic for topic in analysis.looked_for if topic.outcome is Outcome.NOT_FOUND),
        not_judged=tuple(
            (topic.topic, topic.why) for topic in analysis.looked_for if topic.outcome is Outcome.NOT_JUDGED
        ),
        complaints=_complaints(analysis),
        boots=_boots(analysis),
        memory=_memory(analysis),
        transitions=_transitions(analysis),
        failed=_failed(analysis),
        memory_chart=chart,
        series=_series(analysis),
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
        firmware = str(boot.build) if boot.build else ""
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


def _outline(analysis: LogAnalysis) -> dict[str, str]:
    facts = analysis.facts
    boxes = facts["boxes"]
    outline = {
        "file": facts["file"],
        "size": f"{facts['lines']:,} lines, {facts['bytes']:,} bytes",
        "boots": f"{analysis.boot_count:,}",
    }
    if analysis.part != WHOLE:
        outline["part"] = str(analysis.part)
    if boxes["total"]:
        outline["boxes"] = (
            f"{boxes['complete']:,} whole, {boxes['truncated']:,} incomplete or damaged, "
            f"{boxes['interleaved_by_other_tasks']:,} interrupted by other lines"
        )
    if analysis.records or analysis.records_lost:
        outline["records"] = f"{analysis.records:,} undamaged, {analysis.records_lost:,} missing"
    return outline


def _diagnoses(analysis: LogAnalysis) -> tuple[DiagnosisPart, ...]:
    shown = analysis.excerpts or ((),) * len(analysis.diagnoses)
    return tuple(
        DiagnosisPart(found, excerpt, not_in_excerpt(found, excerpt))
        for found, excerpt in zip(analysis.diagnoses, shown, strict=True)
    )


def _complaints(analysis: LogAnalysis) -> Table:
    rows = tuple(
        (
            "error" if complaints.level == "E" else "warning",
            shorten(complaints.tag, 60),
            f"{complaints.count:,}",
        )
        for complaints in analysis.complaints[:TAGS_SHOWN]
    )
    return Table(("level", "tag", "lines"), rows)


def _changes(difference: LogDifference) -> Table:
    """Differences in the number of errors and warnings, and in the lowest memory."""
    rows = [
        (
            f"{'errors' if change.level == 'E' else 'warnings'} of {shorten(change.tag, 40)}",
            f"{change.before:,}",
            f"{change.after:,}",
        )
        for change in difference.complaints
    ]
    rows += [
        (
            f"lowest {series.quantity} {NAMES[series.memory]}, {shorten(series.source, 40)}",
            "not in the log" if series.before is None else f"{series.before:,} B",
            f"{series.after:,} B",
        )
        for series in difference.series
        if series.more != 0
    ]
    return Table(("what", "in the first log", "in the second log"), tuple(rows))


def _series(analysis: LogAnalysis) -> Table:
    rows = tuple(
        (
            shorten(series.source, 40),
            NAMES[series.memory],
            series.quantity,
            f"{series.count:,}",
            f"{series.first.bytes:,} B",
            f"{series.lowest.bytes:,} B",
            f"{series.lowest.line:,}",
            f"{series.last.bytes:,} B",
        )
        for series in analysis.series
    )
    columns = ("printed by", "memory", "what", "readings", "first", "lowest", "line", "last")
    return Table(columns, rows)


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
    drawn.sort(key=lambda sample: sample.t_ms)  # tasks may print lines out of the order of their timestamps
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
