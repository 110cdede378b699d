"""News of a running log as text for a terminal, with all text from the log escaped."""

from __future__ import annotations

from hotpin_hil.analysis.code_traces import traces_of
from hotpin_hil.analysis.decoding import TraceDecoder
from hotpin_hil.analysis.news import FRAMES_MAX, News, NewsKind
from hotpin_hil.printable import printable
from hotpin_hil.protocol import events as ev
from hotpin_hil.report.text import shorten

WIDTH = 300


def one_line(news: News, decoder: TraceDecoder | None = None) -> str:
    """A piece of news as one line: its place, kind and text."""
    time = f" {news.t_ms / 1000:,.3f} s" if news.t_ms is not None else ""
    text = [shorten(news.text, WIDTH)]
    if news.diagnosis is not None:
        text.append(f"Likely cause: {news.diagnosis.cause}. Remedy: {news.diagnosis.remedy}.")
    if news.event is not None:
        text += panic_lines(news.event) if decoder is None else code_lines(news.event, decoder)
    where = f"boot {news.boot}, line {news.line:,}{time}"
    return printable(f"{where}: {news.kind.upper()} {' | '.join(text)}").replace("\n", " ")


def news_lines(news: News) -> list[str]:
    """A piece of news as lines of any width, the headline first."""
    if news.diagnosis is None:
        return [printable(news.text)]
    found = news.diagnosis
    return [
        printable(line)
        for line in (
            f"[{found.id}] {found.name} ({found.confidence})",
            found.finding,
            f"Likely cause: {found.cause}.",
            f"Remedy: {found.remedy}.",
        )
    ]


def panic_lines(event: ev.LogEvent) -> list[str]:
    """Details and backtrace of a panic; empty for any other event."""
    if not isinstance(event, ev.PanicSeen):
        return []
    panic = event.panic
    lines = [*panic.details[:2]]
    if panic.backtrace:
        lines.append("backtrace: " + " ".join(f"0x{frame.pc:08x}" for frame in panic.backtrace[:FRAMES_MAX]))
    return [printable(line) for line in lines]


def code_lines(event: ev.LogEvent, decoder: TraceDecoder) -> list[str]:
    """The decoded calls of an event; empty if it has no code address.

    Raises:
        UsageError: the toolchain that the user named cannot read the ELF.
    """
    lines: list[str] = []
    for trace in map(decoder.decode, traces_of(event)):
        remark = trace.decoding.remark
        lines += [remark.text] if remark is not None and not remark.is_match else []
        for address, call in zip(trace.addresses, trace.decoding.calls, strict=False):
            places = [place.short for place in call.places] or [f"0x{address.printed:08x}, no function known"]
            lines.append(f"{address.name} {' < '.join(places)}")
        lines += trace.decoding.stack
    return [printable(line) for line in lines]


STYLES = {
    NewsKind.BOOT: "bold cyan",
    NewsKind.MODE: "green",
    NewsKind.WARNING: "yellow",
    NewsKind.FAILURE: "bold red",
    NewsKind.PANIC: "bold white on red",
    NewsKind.DIAGNOSIS: "bold magenta",
}
"""Colour of each kind of news, as a style of the library rich."""
