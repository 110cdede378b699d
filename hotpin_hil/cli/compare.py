"""`hotpin-hil compare`: compares a release with an earlier release, on one kind of board."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from hotpin_hil.errors import UsageError

EXIT_REGRESSION = 1
REGRESSION = "regression"


def add_command(commands: Any) -> None:
    """Add the command to the subparsers of `hotpin-hil`."""
    compare = commands.add_parser(
        "compare",
        help="compare a run with a run of the last release: regressions, improvements, other changes",
    )
    compare.add_argument(
        "runs",
        metavar="RUN",
        nargs="+",
        type=Path,
        help="runs of the base, then the candidate: each a folder, its results.jsonl, or a qualification.json; several "
        "runs of the base (one build) show what varies from run to run",
    )
    compare.add_argument("--json", action="store_true", help="print everything as one JSON object")
    compare.add_argument("--html", metavar="OUT", type=Path, help="also write an HTML page")
    compare.add_argument(
        "--fail-on", choices=(REGRESSION,), help="exit with 1 if there is a regression (default: exit with 0)"
    )
    compare.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from hotpin_hil.evidence.compare import compare_releases
    from hotpin_hil.evidence.releases import read_release
    from hotpin_hil.report import compare_page
    from hotpin_hil.report.whole_file import write_whole

    if len(options.runs) < 2:
        raise UsageError("compare needs a base and a candidate, but only one run is given", "name both")
    *bases, candidate = options.runs
    comparison = compare_releases(
        [read_release(path, "base") for path in bases], read_release(candidate, "candidate")
    )
    fails = options.fail_on == REGRESSION
    if options.html:
        write_whole(options.html, compare_page.page(comparison, fails=fails))
    if options.json:
        print(json.dumps(compare_page.as_json(comparison, fails=fails), indent=1))
    else:
        print(*compare_page.text_lines(comparison), sep="\n")
    return EXIT_REGRESSION if fails and comparison.regressions else 0
