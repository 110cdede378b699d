"""The monitor without a terminal: each finding as a line."""

from __future__ import annotations

from hotpin_hil.analysis.decoding import TraceDecoder
from hotpin_hil.analysis.live import LiveLog
from hotpin_hil.cli.monitor_source import Source
from hotpin_hil.link.recording import NOTE, Recording
from hotpin_hil.printable import printable
from hotpin_hil.protocol.log import LineSplitter
from hotpin_hil.report.live_text import one_line

TAKE_S = 0.5


def watch_lines(
    log: LiveLog, source: Source, recording: Recording, decoder: TraceDecoder | None = None
) -> None:
    """Print each news item, and each note of the monitor, until the log ends or Ctrl-C."""
    lines = LineSplitter()

    def show(data: bytes) -> None:
        for line in lines.feed(data):
            if line.text.startswith(NOTE):
                print(printable(line.text), flush=True)
        for news in log.feed(data):
            print(one_line(news, decoder), flush=True)

    try:
        while not recording.is_over:
            show(recording.take(TAKE_S))
    finally:
        source.close()
        show(recording.take())
        for news in log.close():
            print(one_line(news, decoder), flush=True)
