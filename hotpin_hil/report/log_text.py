"""The analysis of a log as text for a terminal, with all text from the log escaped."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from hotpin_hil.analysis.analyze import LogAnalysis
from hotpin_hil.analysis.excerpts import Excerpt, not_in_excerpt
from hotpin_hil.analysis.kinds import Gravity, Outcome
from hotpin_hil.analysis.log_difference import LogDifference
from hotpin_hil.analysis.model import NAMES, Diagnosis
from hotpin_hil.analysis.summary import BootSummary
from hotpin_hil.logs.line_range import WHOLE
from hotpin_hil.printable import printable
from hotpin_hil.report.log_overview import OverviewRow, RefusedFile, overview
from hotpin_hil.report.text import shorten
from hotpin_hil.report.trace_lines import trace_lines

WIDTH = 110
BOOTS_SHOWN = 20
QUOTES_SHOWN = 10
TRACES_SHOWN = 20
REFUSED_SHOWN = 10
TAGS_SHOWN = 12
_COLOURS = {
    "fatal": "\x1b[1;37;41m",
    "failure": "\x1b[1;31m",
    "risk": "\x1b[1;33m",
    "note": "\x1b[36m",
    "no finding": "\x1b[32m",
}
_PLAIN = "\x1b[0m"


def all_lines(
    analyses: Sequence[LogAnalysis],
    refused: Sequence[RefusedFile] = (),
    difference: LogDifference | None = None,
    *,
    is_coloured: bool = False,
) -> list[str]:
    """The results of several logs as lines: an overview, the differences, then each log, the worst first."""
    rows = overview(analyses)
    width = max((len(row.name) for row in rows), default=0)
    lines = [_painted(_overview_line(row, width), row.word, is_coloured) for row in rows]
    lines += [f"{'not read':10}  {shorten(file.reason, 2 * WIDTH)}" for file in refused[:REFUSED_SHOWN]]
    if len(refused) > REFUSED_SHOWN:
        lines.append(f"... {len(refused) - REFUSED_SHOWN:,} more files not read")
    if difference is not None:
        lines += ["", *_section("Differences", _difference(difference), is_coloured)]
    for row in rows:
        lines += ["", *text_lines(analyses[row.number], is_coloured=is_coloured)]
    return lines


def text_lines(analysis: LogAnalysis, *, is_coloured: bool = False) -> list[str]:
    """The whole result of one log as lines."""
    lines: list[str] = []
    for title, body in (
        ("", [_headline(analysis)]),
        ("Diagnoses", _diagnoses(analysis)),
        ("Looked for and not found", _looked_for(analysis)),
        ("Backtraces and registers", _traces(analysis)),
        ("Boots", _boots(analysis)),
        ("Memory", _memory(analysis)),
        ("Transitions", _transitions(analysis)),
        ("Leak verdicts: the same state, cycle by cycle", _leaks(analysis)),
        ("Errors and warnings by tag", _complaints(analysis)),
        ("Could not be read", _unreadable(analysis)),
    ):
        if body:
            lines += _section(title, body, is_coloured)
    return lines


def _section(title: str, body: Iterable[str], is_coloured: bool) -> list[str]:
    """A section's lines, escaped. A line that starts with a severity in capitals is coloured."""
    lines = ["", title, "-" * len(title)] if title else []
    for line in body:
        first = line.partition(" ")[0].lower()
        is_painted = first.upper() == line.partition(" ")[0] and first in set(Gravity)
        lines.append(_painted(printable(line), first, is_coloured and is_painted))
    return lines


def _painted(line: str, word: str, is_coloured: bool) -> str:
    """The line with its first word in the colour of `word`, if colours are wanted."""
    if not is_coloured or word not in _COLOURS:
        return line
    return f"{_COLOURS[word]}{line[: len(word)]}{_PLAIN}{line[len(word) :]}"


def _overview_line(row: OverviewRow, width: int) -> str:
    word = row.word.upper() if row.gravity else row.word
    boots = f"{row.boots:,} boot{'' if row.boots == 1 else 's'}"
    return printable(f"{word:10}  {row.name:{width}}  {boots:>8}  {shorten(row.summary, WIDTH)}")


def _difference(difference: LogDifference) -> list[str]:
    lines = [f"what {shorten(difference.after, 60)} has and {shorten(difference.before, 60)} does not:"]
    lines += [f"{found.gravity.upper()} {found.name} [{found.id}]" for found in difference.new]
    lines += [f"no longer: {found.name} [{found.id}]" for found in difference.gone]
    lines += [
        f"{'errors' if change.level == 'E' else 'warnings'} of {shorten(change.tag, 40)}: "
        f"{change.before:,} -> {change.after:,}"
        for change in difference.complaints
    ]
    for series in difference.series:
        what = f"{series.quantity} {NAMES[series.memory]}, {shorten(series.source, 40)}"
        if series.more is None:
            lines.append(f"{what}: only in the second log, lowest {series.after:,} bytes")
        elif series.more:
            lines.append(f"{what}: lowest {series.before:,} -> {series.after:,} bytes ({series.more:+,})")
    return lines if len(lines) > 1 else [*lines, "nothing"]


def _looked_for(analysis: LogAnalysis) -> list[str]:
    absent = [topic.topic for topic in analysis.looked_for if topic.outcome is Outcome.NOT_FOUND]
    lines = textwrap.wrap(", ".join(absent), WIDTH)
    return lines + [
        f"not judged: {topic.topic}, because {topic.why}"
        for topic in analysis.looked_for
        if topic.outcome is Outcome.NOT_JUDGED
    ]


def _complaints(analysis: LogAnalysis) -> list[str]:
    lines = []
    for level, title in (("E", "errors"), ("W", "warnings")):
        tags = [complaints for complaints in analysis.complaints if complaints.level == level]
        if tags:
            shown = [f"{shorten(tag.tag, 40)} {tag.count:,}" for tag in tags[:TAGS_SHOWN]]
            rest = sum(tag.count for tag in tags[TAGS_SHOWN:])
            more = [f"{len(tags) - TAGS_SHOWN:,} other tags {rest:,}"] if rest else []
            total = sum(tag.count for tag in tags)
            lines += textwrap.wrap(
                printable(f"{title} ({total:,}): {', '.join([*shown, *more])}"), WIDTH, subsequent_indent="  "
            )
    return lines


def _headline(analysis: LogAnalysis) -> str:
    facts = analysis.facts
    part = f"; part: {analysis.part}" if analysis.part != WHOLE else ""
    return (
        f"{facts['file']}: {facts['lines']:,} lines, {facts['bytes']:,} bytes; boots: {analysis.boot_count:,}, "
        f"whole boxes: {facts['boxes']['complete']:,}, records: {analysis.records:,}{part}"
    )


def _diagnoses(analysis: LogAnalysis) -> list[str]:
    if not analysis.diagnoses:
        return ["none: no known failure in this log"]
    shown = analysis.excerpts or ((),) * len(analysis.diagnoses)
    return [
        line
        for diagnosis, excerpt in zip(analysis.diagnoses, shown, strict=True)
        for line in _diagnosis(diagnosis, excerpt)
    ]


def _diagnosis(found: Diagnosis, excerpt: Excerpt) -> list[str]:
    count = f", {found.count} times" if found.count > 1 else ""
    lines = [
        f"{found.gravity.upper()} {found.name} [{found.id}] ({found.confidence}; boot {found.boot}{count})"
    ]
    lines += _wrapped(found.finding)
    lines += _wrapped(f"Likely cause: {found.cause}.")
    lines += _wrapped(f"Remedy: {found.remedy}.")
    for evidence in not_in_excerpt(found, excerpt):
        time = f" at {evidence.t_ms:,} ms" if evidence.t_ms is not None else ""
        lines.append(f"    line {evidence.line:,}{time}: {shorten(evidence.text, WIDTH)}")
    return lines + _excerpt_lines(excerpt)


def _excerpt_lines(excerpt: Excerpt) -> list[str]:
    """The lines of the log around the evidence, with a mark at the evidence."""
    width = max((len(f"{line.line}") for line in excerpt), default=0)
    lines = []
    last = 0
    for line in excerpt:
        if last and line.line > last + 1:
            lines.append("      ...")
        last = line.line
        mark = ">" if line.is_evidence else " "
        lines.append(f"    {mark} {line.line:{width}} | {shorten(line.text, WIDTH)}".rstrip())
    return lines


def _traces(analysis: LogAnalysis) -> list[str]:
    lines = [line for trace in analysis.traces[:TRACES_SHOWN] for line in trace_lines(trace)]
    left_out = len(analysis.traces[TRACES_SHOWN:]) + analysis.traces_not_kept
    return [*lines, *_if(left_out, f"... {left_out:,} more not shown")]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(printable(text), WIDTH, initial_indent="  ", subsequent_indent="  ")


def _boots(analysis: LogAnalysis) -> list[str]:
    boots = analysis.boots
    shown = boots if len(boots) <= BOOTS_SHOWN else (*boots[: BOOTS_SHOWN - 5], *boots[-5:])
    lines = [_boot(boot) for boot in shown]
    if analysis.boot_count > len(shown):
        lines.append(f"... {analysis.boot_count - len(shown):,} boots not shown")
    return lines


def _boot(boot: BootSummary) -> str:
    firmware = str(boot.build) if boot.build else ""
    what = f"; {shorten(firmware, WIDTH)}" if firmware else ""
    ended = ", ".join(f"{count} {result}" for result, count in boot.transitions.items())
    counts = [
        f"statistics: {boot.samples}",
        f"transitions: {ended}" if ended else "",
        f"warnings: {boot.warnings}" if boot.warnings else "",
        f"panics: {boot.panics}" if boot.panics else "",
    ]
    until = f"until {boot.last_ms:,} ms: " if boot.last_ms else ""
    return (
        f"boot {boot.boot}, line {boot.line:,}: {shorten(boot.how, WIDTH)}{what}\n"
        f"    {until}{', '.join(text for text in counts if text)}"
    )


def _memory(analysis: LogAnalysis) -> list[str]:
    lines = []
    for lowest in analysis.lowest:
        time = f" at {lowest.t_ms:,} ms" if lowest.t_ms is not None else ""
        lines.append(
            f"lowest {NAMES[lowest.memory]}: {lowest.bytes:,} bytes, boot {lowest.boot}{time}, line {lowest.line:,}, "
            f"{shorten(lowest.where, WIDTH)}"
        )
    boxes = analysis.facts["boxes"]
    if boxes["total"]:
        stale = sum(analysis.facts["before_after_pairs_identical_snapshot"].values())
        pairs = sum(analysis.facts["before_after_pairs"].values())
        lines.append(
            f"boxes: {boxes['complete']:,} whole, {boxes['truncated']:,} incomplete or damaged, "
            f"{boxes['interleaved_by_other_tasks']:,} interrupted by other lines, "
            f"{boxes['corrupted']:,} with a split line; {stale} of {pairs} before/after pairs identical"
        )
    warnings = analysis.facts["memory_warnings"]
    if warnings:
        lines.append("warnings: " + ", ".join(f"{kind} {count:,}" for kind, count in warnings.items()))
    for series in analysis.series:
        lines.append(
            f"{series.quantity} {NAMES[series.memory]}, {shorten(series.source, 40)}: {series.count:,} readings, "
            f"first {series.first.bytes:,}, lowest {series.lowest.bytes:,} (line {series.lowest.line:,}), "
            f"last {series.last.bytes:,} bytes"
        )
    return lines


def _transitions(analysis: LogAnalysis) -> list[str]:
    lines = []
    times = {duration.to: duration for duration in analysis.transition_times}
    for to, results in analysis.facts["transitions"].items():
        line = f"to {shorten(to, 20)}: " + ", ".join(
            f"{count:,} {result}" for result, count in results.items()
        )
        took = times.get(to)
        if took is not None:
            line += (
                f"; {took.shortest:,} / {took.median:,.0f} / {took.longest:,} ms (shortest, median, longest)"
            )
        lines.append(line)
    for transition in analysis.transitions:
        if transition.result == "failed":
            lines.append(
                f"    line {transition.line:,}, boot {transition.boot}: {shorten(transition.text, WIDTH)}"
            )
    return lines


def _leaks(analysis: LogAnalysis) -> list[str]:
    judged = [leak for leak in analysis.leaks if leak.leak is not None]
    lines = [f"boot {leak.boot}, {NAMES[leak.memory]} {shorten(leak.state, 60)}: {leak}" for leak in judged]
    few = len(analysis.leaks) - len(judged)
    if few:
        lines.append(f"{few} series with too few readings for a verdict")
    return lines


def _unreadable(analysis: LogAnalysis) -> list[str]:
    if not analysis.unreadable:
        return []
    lines = [", ".join(f"{what}: {count:,}" for what, count in analysis.unreadable.items())]
    for quote in analysis.quotes[:QUOTES_SHOWN]:
        lines.append(
            f"    line {quote.line:,}: {quote.what}, {shorten(quote.reason, 60)}: {shorten(quote.quote, 60)}"
        )
    lost = analysis.records_lost
    return [*lines, *_if(lost, f"{lost:,} records are missing (gaps in the sequence numbers)")]


def _if(wanted: object, line: str) -> Iterable[str]:
    return [line] if wanted else []
