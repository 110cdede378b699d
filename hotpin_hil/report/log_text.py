"""The analysis of a log as text for a terminal, with all text from the log escaped."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from hotpin_hil.analysis.analyze import LogAnalysis
from hotpin_hil.analysis.model import NAMES, Diagnosis
from hotpin_hil.analysis.summary import BootSummary
from hotpin_hil.printable import printable
from hotpin_hil.report.text import shorten
from hotpin_hil.report.trace_lines import trace_lines

WIDTH = 110
BOOTS_SHOWN = 20
QUOTES_SHOWN = 10
TRACES_SHOWN = 20


def text_lines(analysis: LogAnalysis) -> list[str]:
    """The whole result as lines."""
    lines: list[str] = []
    for title, body in (
        ("", [_headline(analysis)]),
        ("Diagnoses", _diagnoses(analysis)),
        ("Backtraces and registers", _traces(analysis)),
        ("Boots", _boots(analysis)),
        ("Memory", _memory(analysis)),
        ("Transitions", _transitions(analysis)),
        ("Leak verdicts, same state compared", _leaks(analysis)),
        ("Unreadable", _unreadable(analysis)),
    ):
        if body:
            lines += ["", title, "-" * len(title)] if title else []
            lines += body
    return [printable(line) for line in lines]


def _headline(analysis: LogAnalysis) -> str:
    facts = analysis.facts
    return (
        f"{facts['file']}: {facts['lines']:,} lines, {facts['bytes']:,} bytes; boots: {analysis.boot_count:,}, "
        f"whole boxes: {facts['boxes']['complete']:,}, records: {analysis.records:,}"
    )


def _diagnoses(analysis: LogAnalysis) -> list[str]:
    if not analysis.diagnoses:
        return ["none: no known failure in this log"]
    return [line for diagnosis in analysis.diagnoses for line in _diagnosis(diagnosis)]


def _diagnosis(found: Diagnosis) -> list[str]:
    count = f", {found.count} times" if found.count > 1 else ""
    lines = [f"[{found.id}] {found.name} ({found.confidence}; boot {found.boot}{count})"]
    lines += _wrapped(found.finding)
    lines += _wrapped(f"Likely cause: {found.cause}.")
    lines += _wrapped(f"Remedy: {found.remedy}.")
    for evidence in found.evidence:
        time = f" at {evidence.t_ms:,} ms" if evidence.t_ms is not None else ""
        lines.append(f"    line {evidence.line:,}{time}: {shorten(evidence.text, WIDTH)}")
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
    build = boot.build
    what = (
        f"; {build.project} {build.app_version} (ELF {build.elf}, IDF {build.idf})"
        if build and build.elf
        else ""
    )
    ended = ", ".join(f"{count} {result}" for result, count in boot.transitions.items())
    counts = [
        f"statistics: {boot.samples}",
        f"transitions: {ended}" if ended else "",
        f"warnings: {boot.warnings}" if boot.warnings else "",
        f"panics: {boot.panics}" if boot.panics else "",
    ]
    until = f"until {boot.last_ms:,} ms: " if boot.last_ms else ""
    return (
        f"boot {boot.boot}, line {boot.line:,}: {shorten(boot.how, WIDTH)}{shorten(what, WIDTH)}\n"
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
    for printer in analysis.printers:
        lines.append(
            f"printed by {shorten(printer.tag, 20)}: {NAMES[printer.memory]}, {printer.count:,} times, "
            f"{printer.lowest:,} (line {printer.lowest_line:,}) to {printer.highest:,} bytes free"
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
    return [*lines, *_if(lost, f"{lost:,} records are missing between others")]


def _if(wanted: object, line: str) -> Iterable[str]:
    return [line] if wanted else []
