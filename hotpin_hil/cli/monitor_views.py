"""Parts of the monitor's screen."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from rich.text import Text
from textual.widgets import RichLog, Static

from hotpin_hil.analysis.gauges import Gauge
from hotpin_hil.analysis.live import LiveLog
from hotpin_hil.analysis.news import News
from hotpin_hil.analysis.summary import BootSummary
from hotpin_hil.cli.monitor_source import Source
from hotpin_hil.link.recording import NOTE, Recording
from hotpin_hil.printable import printable
from hotpin_hil.report.live_text import STYLES, news_lines
from hotpin_hil.report.text import LINE_MAX, shorten

CONSOLE_LINES = 10_000
NEWS_LINES = 2_000
BOOTS_SHOWN = 6
TERMINAL_QUERY = "\x1b[5n"
"""Query for the terminal's state, which the board's console sends before its prompt."""
BAR = 18
"""Width of a gauge, in characters."""
COURSE = 40
"""Width of a sparkline, in characters."""
HOW_MAX = 20
"""Maximum length of a reset cause, in characters."""
_LEVEL_STYLES = {"E": "red", "W": "yellow", "D": "dim", "V": "dim"}
_GAUGE_STYLES = {"": "green", "WARN": "yellow", "CRIT": "red"}
_STEPS = "▁▂▃▄▅▆▇█"


class ConsoleView(RichLog):
    """Shows the lines of the console. Follows the newest line unless the user has scrolled up."""

    can_focus = False

    def __init__(self, *, id: str) -> None:
        super().__init__(
            id=id, max_lines=CONSOLE_LINES, wrap=False, highlight=False, markup=False, min_width=20
        )
        self._held: deque[str] | None = None
        """Lines that arrived while the view is paused."""

    @property
    def held(self) -> int | None:
        """Number of lines that arrived during the pause; None if the view is not paused."""
        return None if self._held is None else len(self._held)

    def add(self, line: str) -> None:
        """Show a line, or keep it while the view is paused."""
        if self._held is not None:
            self._held.append(line)
        else:
            self.write(_console_text(line), scroll_end=self.is_vertical_scroll_end)

    def toggle_wrap(self) -> None:
        """Switch between wrapping and cutting the long lines that arrive from now on."""
        self.wrap = not self.wrap

    def toggle(self) -> None:
        """Pause the view, or resume it and show the lines that arrived during the pause."""
        if self._held is None:
            self._held = deque(maxlen=CONSOLE_LINES)
            return
        lines, self._held = self._held, None
        for line in lines:
            self.add(line)
        self.scroll_end(animate=False)


class NewsView(RichLog):
    """The news, the newest last."""

    can_focus = False

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, max_lines=NEWS_LINES, wrap=True, highlight=False, markup=False, min_width=20)

    def add(self, news: News) -> None:
        """Add a news item."""
        head, *more = news_lines(news)
        time = f"{news.t_ms / 1000:,.1f} s " if news.t_ms is not None else ""
        self.write(
            Text.assemble((time, "dim"), (head, STYLES[news.kind])), scroll_end=self.is_vertical_scroll_end
        )
        self.add_lines(more)

    def add_lines(self, lines: Sequence[str]) -> None:
        """Add lines to the last news item."""
        for line in lines:
            self.write(Text(f"  {line}"), scroll_end=self.is_vertical_scroll_end)


class StatusView(Static):
    """The line at the top."""

    _shown = Text()

    def show(self, text: Text) -> None:
        """Show a text; does nothing if it is already shown."""
        if text != self._shown:
            self._shown = text
            self.update(text, layout=False)


class MemoryView(Static):
    """A gauge and a sparkline of each memory type."""

    def show(self, gauges: Sequence[Gauge]) -> None:
        """Show the newest readings."""
        lines = [line for gauge in gauges for line in _gauge_lines(gauge)]
        self.update(Text("\n").join(lines) if lines else Text("no reading yet", "dim"))


class BootsView(Static):
    """The newest boots, the current boot last."""

    def show(self, boots: Sequence[BootSummary]) -> None:
        """Show the newest boots."""
        self.update(Text("\n").join(_boot_text(boot) for boot in boots[-BOOTS_SHOWN:]))


def status_text(log: LiveLog, source: Source, recording: Recording, held: int | None) -> Text:
    """The line at the top: source, boot, mode, errors, file."""
    text = Text(no_wrap=True, overflow="ellipsis")
    if source.problem:
        text.append(f"gone: {printable(source.problem)}", "bold red")
    else:
        text.append("● ", "green").append(printable(source.port))
    if held is not None:
        text.append(f"  paused, {held:,} lines wait", "bold yellow")
    if (boot := log.boot) is not None:
        text.append(f"  boot {boot.boot}, {boot.last_ms / 1000:,.1f} s")
    if log.target:
        text.append(f"  to {log.target} mode …", "yellow")
    elif log.mode:
        text.append(f"  {log.mode} mode", "green")
    levels = log.reader.scan.tally.levels
    text.append(f"  {log.reader.scan.lines:,} lines")
    text.append(f"  E {levels['E']:,}", "red" if levels["E"] else "dim")
    text.append(f"  W {levels['W']:,}", "yellow" if levels["W"] else "dim")
    if recording.path is not None:
        text.append(f"  saved in {recording.path.name}" if recording.is_saved else "  NOT SAVED", "dim")
    return text


def _console_text(line: str) -> Text:
    text = printable(line[:LINE_MAX].replace(TERMINAL_QUERY, ""))
    if line.startswith(NOTE):
        return Text(text, "bold cyan")
    if line.startswith("@"):
        return Text(text, "dim")
    is_headed = line[1:3] == " ("
    return Text(text, _LEVEL_STYLES.get(line[:1], "") if is_headed else "")


def _gauge_lines(gauge: Gauge) -> list[Text]:
    style = _GAUGE_STYLES[gauge.level]
    share = gauge.free / gauge.highest if gauge.highest else 0.0
    filled = round(share * BAR)
    head = Text.assemble(
        (f"{gauge.memory:<9}", "bold"),
        ("█" * filled, style),
        ("░" * (BAR - filled), "dim"),
        f" {gauge.free:>10,} free",
    )
    largest = f"largest {gauge.largest:,}  " if gauge.largest is not None else ""
    return [
        head,
        Text(f"  {largest}lowest {gauge.lowest:,}", "dim"),
        Text(f"  {_course(list(gauge.course)[-COURSE:])}", style),
    ]


def _course(values: list[int]) -> str:
    """Readings as a sparkline, scaled from the lowest to the highest."""
    low, high = min(values), max(values)
    if low == high:
        return _STEPS[3] * len(values)
    return "".join(_STEPS[(value - low) * (len(_STEPS) - 1) // (high - low)] for value in values)


def _boot_text(boot: BootSummary) -> Text:
    how = shorten(boot.cause or boot.reason or boot.sign, HOW_MAX)
    text = Text.assemble((f"{boot.boot:>3} ", "bold"), how, f"  {boot.last_ms / 1000:,.1f} s")
    if boot.panics:
        text.append(f"  {boot.panics} panics" if boot.panics > 1 else "  panic", "bold red")
    if boot.warnings:
        text.append(f"  W {boot.warnings}", "yellow")
    return text
