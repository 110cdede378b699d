"""The monitor on a terminal: the console, and the state and the findings of the log next to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Footer, Static

from hotpin_hil.analysis.code_traces import traces_of
from hotpin_hil.analysis.decoding import TraceDecoder
from hotpin_hil.analysis.live import LiveLog
from hotpin_hil.analysis.news import News
from hotpin_hil.cli.command_line import CommandLine
from hotpin_hil.cli.monitor_source import Source
from hotpin_hil.cli.monitor_views import BootsView, ConsoleView, MemoryView, NewsView, StatusView, status_text
from hotpin_hil.errors import HilError
from hotpin_hil.link.live_port import LivePort
from hotpin_hil.link.recording import Recording
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.log import LineSplitter
from hotpin_hil.report.live_text import code_lines, panic_lines

REFRESH_S = 0.1


class MonitorApp(App[None]):
    """Displays a log that is being written. `LiveLog` analyses it, and the source reads it."""

    CSS = """
    #status { height: 1; background: $panel; padding: 0 1; }
    #side { width: 46; border-left: solid $panel; }
    #boots { height: auto; max-height: 8; }
    #news { height: 1fr; }
    .title { background: $boost; color: $text-muted; padding: 0 1; height: 1; }
    #console { overflow-x: hidden; }
    #hint { height: auto; max-height: 4; color: $text-muted; padding: 0 1; display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f2", "mark", "Mark"),
        Binding("f3", "pause", "Pause"),
        Binding("f4", "wrap", "Wrap"),
        Binding("f5", "reset", "Reset"),
        Binding("f6", "boot_loader", "Download mode"),
        Binding("ctrl+q,ctrl+c,ctrl+right_square_bracket", "quit", "Quit", priority=True),
        Binding("pageup", "scroll('console', -1)", "Scroll", show=False, priority=True),
        Binding("pagedown", "scroll('console', 1)", "Scroll", show=False, priority=True),
        Binding("ctrl+up", "scroll('news', -1)", "Scroll", show=False, priority=True),
        Binding("ctrl+down", "scroll('news', 1)", "Scroll", show=False, priority=True),
    ]
    ENABLE_COMMAND_PALETTE = False

    def __init__(
        self, log: LiveLog, source: Source, recording: Recording, decoder: TraceDecoder | None = None
    ) -> None:
        """Build the widgets without showing them.

        Args:
            log: the state of the log; the app feeds it.
            source: the open source; reset keys and command line work only with a LivePort.
            recording: the bytes that the source has read.
            decoder: decodes the addresses of a panic.
        """
        super().__init__()
        self.log_state = log
        self._source = source
        self._recording = recording
        self._decoder = decoder
        self._board = source if isinstance(source, LivePort) else None
        self._lines = LineSplitter()
        self._marks = 0
        # Stored instead of queried: the timer may fire while the screen is being built or removed.
        self._status = StatusView(id="status")
        self._console = ConsoleView(id="console")
        self._memory = MemoryView(id="memory")
        self._boots = BootsView(id="boots")
        self._news = NewsView(id="news")
        self._hint = Static(id="hint")
        self._command = CommandLine()

    def compose(self) -> ComposeResult:
        """Lay out the widgets."""
        yield self._status
        with Horizontal():
            yield self._console
            with Vertical(id="side"):
                yield Static("Memory", classes="title")
                yield self._memory
                yield Static("Boots", classes="title")
                yield self._boots
                yield Static("Findings", classes="title")
                yield self._news
        yield self._hint
        if self._board is not None:
            yield self._command
        yield Footer()

    def on_mount(self) -> None:
        """Start to refresh the display."""
        self.title = f"hotpin-hil monitor {self._source.port}"
        if self._board is not None:
            self._command.focus()
        self.set_interval(REFRESH_S, self.refresh_log)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Hide the keys that need a board if a file is followed."""
        return self._board is not None or action not in ("reset", "boot_loader")

    # --- The log ---

    def refresh_log(self) -> None:
        """Process and show new bytes."""
        data = self._recording.take()
        for line in self._lines.feed(data):
            self._command.book.learn(line.text)
            self._console.add(line.text)
        for news in self.log_state.feed(data):
            self._show(news)
        if data:
            self._memory.show(self.log_state.gauges.read)
            self._boots.show(self.log_state.summary.kept_boots)
        self._status.show(status_text(self.log_state, self._source, self._recording, self._console.held))

    def _show(self, news: News) -> None:
        self._news.add(news)
        if news.event is not None:
            self._news.add_lines(panic_lines(news.event))
            if self._decoder is not None and traces_of(news.event):
                self._explain(self._decoder, news.event)

    @work(thread=True)
    def _explain(self, decoder: TraceDecoder, event: ev.LogEvent) -> None:
        """Show the decoded calls of an event; decoding takes a while."""
        try:
            lines = code_lines(event, decoder)
        except HilError as error:
            lines = [str(error)]
        where = f"code of boot {event.boot}, line {event.line:,}:"
        self.call_from_thread(self._news.add_lines, [where, *lines])

    # --- Keys ---

    def action_mark(self) -> None:
        """Mark this moment in the log."""
        self._marks += 1
        self._recording.note(f"mark {self._marks} at {time.strftime('%H:%M:%S')}")

    def action_pause(self) -> None:
        """Pause or resume the console view. Reading and analysis continue."""
        self._console.toggle()

    def action_reset(self) -> None:
        """Restart the firmware."""
        if self._board is not None:
            self._call(self._board.reset, "reset")

    def action_boot_loader(self) -> None:
        """Restart the chip into download mode."""
        if self._board is not None:
            self._call(self._board.enter_boot_loader, "reset into download mode")

    def action_wrap(self) -> None:
        """Switch between wrapping and cutting the long lines that arrive from now on."""
        self._console.toggle_wrap()

    def action_scroll(self, id: str, pages: int) -> None:
        """Scroll the console or the findings by a page."""
        view = self._console if id == "console" else self._news
        view.scroll_page_up(animate=False) if pages < 0 else view.scroll_page_down(animate=False)

    def on_command_line_entered(self, message: CommandLine.Entered) -> None:
        """Send a command."""
        self._say(message.hint)
        board = self._board
        if board is not None:
            self._call(lambda: board.write(message.line.encode() + b"\n"), "")

    def on_command_line_hinted(self, message: CommandLine.Hinted) -> None:
        """Show the possible completions of the command."""
        self._say(message.text)

    @work(thread=True)
    def _call(self, command: Callable[[], None], note: str) -> None:
        """Call a function of the board in a thread, because it may block for a moment."""
        if note:
            self._recording.note(note)
        try:
            command()
        except HilError as error:
            self.call_from_thread(self._say, str(error))

    def _say(self, text: str) -> None:
        self._hint.display = bool(text)
        self._hint.update(Text(text))
