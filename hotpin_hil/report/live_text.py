"""News of a running log as text for a terminal, with all text from the log escaped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from hotpin_hil.analysis.news import News, NewsKind
from hotpin_hil.printable import printable
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.panic import Panic
from hotpin_hil.report.text import shorten

WIDTH = 300
FRAMES_MAX = 8


class PanicDecoder(Protocol):
    """Names the code of a panic."""

    def __call__(self, panic: Panic) -> Sequence[str]:
        """One text per call of the backtrace, the innermost first; empty if no ELF file fits."""


def one_line(news: News, decode: PanicDecoder | None = None) -> str:
    """A piece of news as one line: its place, kind and text."""
    time = f" {news.t_ms / 1000:,.3f} s" if news.t_ms is not None else ""
    text = [shorten(news.text, WIDTH)]
    if news.diagnosis is not None:
        text.append(f"Likely cause: {news.diagnosis.cause}. Remedy: {news.diagnosis.remedy}.")
    if isinstance(news.event, ev.PanicSeen):
        text += panic_lines(news.event.panic, decode)
    where = f"boot {news.boot}, line {news.line:,}{time}"
    return printable(f"{where}: {news.kind.upper()} {' | '.join(text)}").replace("\n", " ")


def news_lines(news: News) -> list[str]:
    """A piece of news as lines of free width, the headline first."""
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


def panic_lines(panic: Panic, decode: PanicDecoder | None = None) -> list[str]:
    """What else a panic printed: its details, and its backtrace, with names if a decoder knows them."""
    lines = [*panic.details[:2]]
    decoded = decode(panic) if decode is not None else ()
    if decoded:
        lines += decoded[:FRAMES_MAX]
    elif panic.backtrace:
        lines.append("backtrace: " + " ".join(f"0x{frame.pc:08x}" for frame in panic.backtrace[:FRAMES_MAX]))
    return [printable(line) for line in lines]


STYLES = {
    NewsKind.BOOT: "bold cyan",
    NewsKind.MODE: "green",
    NewsKind.WARNING: "yellow",
    NewsKind.FAILURE: "bold red",
    NewsKind.PANIC: "bold white on red",
    NewsKind.DIAGNOSIS: "bold magenta",
}
"""Colour of each kind of news, in rich's words."""
