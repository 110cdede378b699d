"""`hotpin-hil trend`: chosen figures over many runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotpin_hil.errors import HilError, UsageError

if TYPE_CHECKING:
    from hotpin_hil.evidence.releases import Release


def add_command(commands: Any) -> None:
    """Add the command to the subparsers of `hotpin-hil`."""
    trend = commands.add_parser("trend", help="show chosen figures over many runs on one kind of board")
    trend.add_argument(
        "folders",
        metavar="DIR",
        nargs="+",
        type=Path,
        help="folder of a run, or of many runs such as build/qualification",
    )
    trend.add_argument(
        "--figure",
        metavar="PATTERN",
        action="append",
        help='figures to show, as "TOPIC: PLACE: NAME" with * (may be repeated), for example "memory: voice*"',
    )
    trend.add_argument(
        "--board", choices=("hardware", "qemu", "virtual"), help="kind of board (default: the newest run's)"
    )
    trend.add_argument("--html", metavar="OUT", type=Path, help="also write an HTML page with charts")
    trend.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from hotpin_hil.report import trend
    from hotpin_hil.report.whole_file import write_whole

    runs = sorted(_read(options.folders), key=lambda run: run.results.run.started)
    kind = options.board or (runs[-1].run.kind if runs else "")
    chosen = [run for run in runs if run.run.kind == kind]
    if len(chosen) < 2:
        raise UsageError(
            f"a trend needs at least two runs, but there are {len(chosen)}", "name more folders of runs"
        )
    if len(chosen) < len(runs):
        print(f"left out: {len(runs) - len(chosen)} runs on other kinds of board", file=sys.stderr)
    patterns = options.figure or trend.USUAL_FIGURES
    trends = trend.trends_of(chosen, patterns)
    if not trends:
        known = sorted({trend.figure_name(figure) for run in chosen for figure in run.figures.values()})
        raise UsageError(
            f"no figure matches {', '.join(patterns)}",
            f"figures of these runs: {'; '.join(known) or 'none'}",
        )
    if options.html:
        write_whole(options.html, trend.trend_page(chosen, trends))
    print(*trend.trend_lines(chosen, trends), sep="\n")
    return 0


def _read(folders: list[Path]) -> Iterator[Release]:
    """Read each run once. A run that cannot be read is reported and left out; if the user named it, it is an error."""
    from hotpin_hil.evidence.releases import read_release
    from hotpin_hil.evidence.run_folders import list_runs

    seen = set()
    for folder in folders:
        found = list_runs(folder)
        for path in found or [folder]:
            if path.resolve() in seen:
                continue
            seen.add(path.resolve())
            try:
                yield read_release(path, path.name)
            except HilError as error:
                if not found:
                    raise
                print(f"left out: {error}", file=sys.stderr)
