"""Compares runs of one build, and of builds with planted regressions, with `hotpin-hil compare`.

`python -m tests.system.releases.run [--runs 7] [--tests FILE …] [NAME …]`: a private copy of the checkout is built, and
its suite (or a part of it) runs several times: comparing any two runs must show no change. Seven runs give 21 pairs.
Then each regression of regressions.toml, or each NAME, is planted, and comparing its run with the first run must report
the regression with requirement, place and size. Otherwise the exit status is 1. The runs are kept in --folder.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from hotpin_hil.evidence.compare import compare_releases
from hotpin_hil.evidence.release_changes import ReleaseChange
from hotpin_hil.evidence.releases import Release, read_release
from hotpin_hil.evidence.toml_tables import read_tables
from hotpin_hil.report.compare_page import change_lines, summary
from tests.support.command import run_command
from tests.system.defects.catalogue import Defect, Edit, load, planted
from tests.system.defects.checkout import Checkout, Processes

ROWS = Path(__file__).with_name("regressions.toml")

RUN_TIMEOUT_S = 3_600
PART = (
    "hil_tests/test_transitions.py::test_nothing_leaks_over_100_cycles",
    "hil_tests/test_transitions.py::test_camera_to_voice_to_camera",
    "hil_tests/test_transitions.py::test_duration_is_within_its_limit",
    "hil_tests/test_transitions.py::test_pauses_add_to_duration_and_cost_no_memory",
    "hil_tests/test_transitions.py::test_memory_in_a_mode_is_what_it_was_one_cycle_before",
    "hil_tests/test_cost.py",
    "hil_tests/test_tts.py",
)
"""Tests that detect every planted regression, in about a minute; `--tests hil_tests` runs the whole suite."""


@dataclass(frozen=True)
class PlantedRegression:
    """A change to the firmware, and the report expected from the comparison."""

    defect: Defect
    expected: tuple[str, ...]
    """"SUBJECT, REQUIREMENT, PLACE, SIZE", with * as in file names."""

    def missing(self, found: Sequence[ReleaseChange]) -> list[str]:
        """The expected regressions that the comparison did not report."""
        names = [_named(change) for change in found]
        return [text for text in self.expected if not any(_matches(name, text) for name in names)]


def load_regressions(path: Path = ROWS) -> list[PlantedRegression]:
    """Load all rows of the file."""
    known = {defect.name: defect for defect in load()}
    rows = []
    for row in read_tables(path, "regression"):
        expected = tuple(row.pop("expected"))
        if "defect" in row:
            defect = known[row["defect"]]
        else:
            defect = Defect(**{**row, "edits": tuple(Edit(**edit) for edit in row["edits"])})
        rows.append(PlantedRegression(defect, expected))
    return rows


def _named(change: ReleaseChange) -> str:
    size = change.size.partition(" (")[0]
    return f"{change.subject}, {', '.join(change.requirement)}, {change.place}, {size}"


def _matches(name: str, expected: str) -> bool:
    return name == expected or fnmatchcase(name, expected.replace("[", "[[]"))


class Bench:
    """Runs the suite in a copy of the checkout."""

    def __init__(self, folder: Path, tests: Sequence[str]) -> None:
        self._folder, self._tests = folder, tests
        self._checkout = Checkout(folder / "checkout", Processes())

    def run(self, name: str) -> Release:
        """Build, run the tests, and read the results; if a run with this name exists, only read its results."""
        results = self._folder / name
        if not (results / "qualification.json").is_file():
            self._checkout.build()
            options = ["--qualification-dir", str(results), "--overwrite", *self._tests]
            self._checkout.run(*options, good=(0, 1, 7), timeout=RUN_TIMEOUT_S)
        return read_release(results, name)

    def run_planted(self, planted_one: PlantedRegression) -> Release:
        """Like run(), but with this regression planted in the firmware."""
        with planted(planted_one.defect, self._checkout.root):
            return self.run(planted_one.defect.name)


def main() -> int:
    """Run everything, and print a line per comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("names", metavar="NAME", nargs="*", help="regressions to plant (default: all)")
    parser.add_argument(
        "--runs", metavar="N", type=int, default=7, help="runs of one build (default: %(default)s)"
    )
    parser.add_argument("--tests", metavar="FILE", nargs="+", default=list(PART), help="part of the suite")
    parser.add_argument(
        "--folder",
        type=Path,
        help="folder for the copy and the runs, in which a later call continues (default: temporary)",
    )
    options = parser.parse_args()
    rows = [row for row in load_regressions() if not options.names or row.defect.name in options.names]
    bench = Bench(options.folder or Path(tempfile.mkdtemp(prefix="releases-")), options.tests)
    same = [bench.run(f"same-{number}") for number in range(1, options.runs + 1)]
    bad = 0
    for base, candidate in itertools.combinations(same, 2):
        found = compare_releases([base], candidate)
        print(f"{base.run.label}, {candidate.run.label}: {summary(found)}", flush=True)
        if found.changes:
            bad += 1
            print(*change_lines(found.changes, "changes between runs of one build"), sep="\n", flush=True)
    for row in rows:
        found = compare_releases([same[0]], bench.run_planted(row))
        missing = row.missing(found.regressions)
        print(f"{row.defect.name}: {summary(found)}: {'missed' if missing else 'named'}", flush=True)
        print(*change_lines(found.regressions, "regressions"), sep="\n", flush=True)
        bad += bool(missing)
        for text in missing:
            print(f"  not named: {text}", flush=True)
    print(f"{len(same)} runs of one build, {len(rows)} planted regressions: {bad} comparisons are wrong")
    return 1 if bad else 0


if __name__ == "__main__":
    run_command(main)
