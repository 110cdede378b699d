"""`hotpin-hil fidelity`: compares the measurements of several runs and explains their differences."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from hotpin_hil.errors import UsageError

EXIT_UNEXPLAINED = 1


def add_command(commands: Any) -> None:
    """Add the command to the subparsers of `hotpin-hil`."""
    fidelity = commands.add_parser(
        "fidelity",
        help="compare the measurements of runs on several kinds of board; exits with 1 on an unexplained difference",
    )
    fidelity.add_argument(
        "runs",
        metavar="RUN",
        nargs="+",
        type=Path,
        help="folder of a run, or its results.jsonl; the first is the reference",
    )
    shape = fidelity.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="print everything as one JSON object")
    shape.add_argument("--markdown", action="store_true", help="print the table of docs/virtual-board.md")
    fidelity.add_argument("--html", metavar="OUT", type=Path, help="also write an HTML page")
    fidelity.add_argument(
        "--into",
        metavar="FILE",
        type=Path,
        help="with --markdown: replace the table in this document instead of printing it",
    )
    fidelity.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from hotpin_hil.evidence.fidelity import compare, read_runs
    from hotpin_hil.evidence.fidelity_reasons import load_reasons
    from hotpin_hil.report import fidelity_views as views
    from hotpin_hil.report.whole_file import write_whole

    if len(options.runs) < 2:
        raise UsageError("fidelity needs at least two runs, but only one is given", "name a second folder")
    if options.into and not options.markdown:
        raise UsageError("--into needs the Markdown table", "also give --markdown")
    comparison = compare(read_runs(options.runs), load_reasons())
    if options.html:
        write_whole(options.html, views.page(comparison))
    if options.json:
        print(json.dumps(views.as_json(comparison), indent=1))
    elif options.markdown:
        names = " ".join(f"RUN_{run.label.upper().replace(' ', '_')}" for run in comparison.runs)
        text = views.markdown(comparison, f"hotpin-hil fidelity {names} --markdown")
        if options.into:
            views.put_into(options.into, text)
        else:
            print(text, end="")
    else:
        print(*views.text_lines(comparison), sep="\n")
    return EXIT_UNEXPLAINED if comparison.unexplained else 0
