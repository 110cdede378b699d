"""`hotpin-hil monitor`: a board's console, or a log that is being written, with its analysis."""

from __future__ import annotations

import argparse
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotpin_hil.errors import UsageError

if TYPE_CHECKING:
    from hotpin_hil.link.recording import Recording

BAUD = 115200


def add_command(commands: Any) -> None:
    """Add the command to the subparsers of `hotpin-hil`."""
    from hotpin_hil.boards.kind import CHOICES
    from hotpin_hil.cli.decoding import add_elf_options

    monitor = commands.add_parser(
        "monitor", help="show a board's console, or a log that is being written, with live diagnosis"
    )
    monitor.add_argument("--board", choices=CHOICES, help="kind of board (default: as pytest would choose)")
    monitor.add_argument("--port", metavar="P", help="device or URL (rfc2217://host:port)")
    monitor.add_argument("--baud", type=int, default=BAUD, metavar="N", help=f"baud rate (default: {BAUD})")
    monitor.add_argument(
        "--follow", metavar="FILE", help="watch a log file instead of a board; - is standard input"
    )
    monitor.add_argument("--save", metavar="LOG", type=Path, help="save everything received to this file")
    monitor.add_argument("--append", action="store_true", help="append to the file of --save if it exists")
    add_elf_options(monitor)
    monitor.add_argument(
        "--plain",
        action="store_true",
        help="print findings as lines, as if standard output were not a terminal",
    )
    monitor.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from hotpin_hil.analysis.live import LiveLog
    from hotpin_hil.cli.decoding import make_decoder
    from hotpin_hil.cli.monitor_lines import watch_lines
    from hotpin_hil.cli.monitor_source import open_source
    from hotpin_hil.link.recording import Recording

    if options.follow and (options.port or options.board):
        raise UsageError("--follow reads a file, not a board", "leave --port and --board out")
    if options.append and options.save is None:
        raise UsageError("--append needs a file", "name it with --save")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end like Ctrl-C, so that the clean-up runs
    with ExitStack() as cleanup:
        decoder = make_decoder(options)
        recording = Recording(options.save, append=options.append)
        cleanup.callback(_close, recording)
        source = open_source(options, recording, cleanup)
        decoder = decoder or make_decoder(options)  # a virtual board started by the monitor has a known ELF
        if options.plain or not _is_terminal():
            print(f"watching {source.port}; Ctrl-C exits", file=sys.stderr, flush=True)
            watch_lines(LiveLog(), source, recording, decoder)
        else:
            from hotpin_hil.cli.monitor_app import MonitorApp

            MonitorApp(LiveLog(), source, recording, decoder).run()
    return 0


def _is_terminal() -> bool:
    """Whether standard input, output and error are terminals; textual draws on standard error."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))


def _close(recording: Recording) -> None:
    recording.close()
    if recording.path is not None:
        what = "saved in" if recording.is_saved else "only the first part is saved in"
        print(f"{what} {recording.path}; analyse it: hotpin-hil analyze {recording.path}", file=sys.stderr)
