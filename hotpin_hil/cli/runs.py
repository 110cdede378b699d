"""`hotpin-hil runs`: lists and removes the folders of runs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from hotpin_hil.errors import UsageError
from hotpin_hil.paths import runs_dir


def add_command(commands: Any) -> None:
    """Add the command to the parser of `hotpin-hil`."""
    parser = commands.add_parser("runs", help="list the runs of the suite, oldest first, or remove old runs")
    parser.add_argument(
        "folder",
        metavar="DIR",
        type=Path,
        nargs="?",
        default=runs_dir(),
        help="folder of all runs (default: %(default)s)",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--prune", metavar="N", type=_count, help="remove all but the N newest runs")
    what.add_argument("--latest", action="store_true", help="print only the folder of the newest run")
    parser.set_defaults(run=_run)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a number of at least 1, not {text!r}")
    return int(text)


def _run(options: argparse.Namespace) -> int:
    from hotpin_hil.evidence.run_folders import LATEST, latest_run, list_runs, prune_runs

    if options.prune is not None:
        for folder in prune_runs(options.folder, options.prune):
            print(f"removed {folder}")
        return 0
    runs, latest = list_runs(options.folder), latest_run(options.folder)
    if latest is None and (options.latest or not runs):
        raise UsageError(f"there is no run in {options.folder}", "run pytest, or name the folder of all runs")
    if options.latest:
        print(latest)
        return 0
    for folder in runs:
        mark = f" ({LATEST})" if folder == latest else ""
        print(f"{folder}  {_state(folder)}{mark}")
    return 0


def _state(folder: Path) -> str:
    """The overall verdict, or why there is none."""
    from hotpin_hil.evidence.results import is_being_written
    from hotpin_hil.report.write import QUALIFICATION_FILE

    if is_being_written(folder):
        return "running"
    try:
        qualification = json.loads((folder / QUALIFICATION_FILE).read_text(encoding="utf-8"))
        return f"{qualification['overall']} ({qualification['evidence']})"
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return f"no report (make it: hotpin-hil report {folder})"
