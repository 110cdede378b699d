"""`hotpin-hil history`: a board's memory history, from its flash."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from hotpin_hil.cli.flash_source import read_source
from hotpin_hil.errors import UsageError


def add_command(commands: Any) -> None:
    """Add the command to the subparsers of `hotpin-hil`."""
    history = commands.add_parser(
        "history", help="show the memory history that a board keeps in flash, across its resets"
    )
    history.add_argument(
        "file",
        metavar="FILE",
        type=Path,
        nargs="?",
        help='file with the content of the partition "nvs", instead of --port',
    )
    history.add_argument("--port", help="port of the board, which is reset; it may have any firmware")
    history.add_argument("--html", metavar="OUT", type=Path, help="also write an HTML page with a chart")
    history.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from hotpin_hil.protocol.memory_history import rows_in_flash
    from hotpin_hil.report.history import history_lines, history_page
    from hotpin_hil.report.whole_file import write_whole

    content, source = read_source(options, "history", "nvs")
    rows = rows_in_flash(content)
    if not rows:
        raise UsageError(
            f"no history in {source}",
            "the firmware writes a row every 10 minutes if CONFIG_HOTPIN_MEM_HISTORY is on",
        )
    if options.html:
        write_whole(options.html, history_page(rows, source))
    print(*history_lines(rows), sep="\n")
    return 0
