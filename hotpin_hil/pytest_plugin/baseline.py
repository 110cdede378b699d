"""`--baseline`: compares the run with runs of the last release, at the end of the session."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotpin_hil.errors import UsageError
from hotpin_hil.evidence.compare import check_bases, compare_releases
from hotpin_hil.evidence.lines import BaselineNote
from hotpin_hil.evidence.releases import Release, read_release, release_of
from hotpin_hil.evidence.results import Results
from hotpin_hil.report.compare_page import baseline_note


class Baseline:
    """Reads the runs that `--baseline` names, and compares the finished run with them."""

    def __init__(self, config: pytest.Config) -> None:
        """Store the options without reading the runs."""
        self._folders = [config.invocation_params.dir / Path(folder) for folder in config.option.baseline]
        self._fails = config.option.fail_on_regression
        self._bases: list[Release] = []

    def read(self, kind: str) -> None:
        """Read the runs before the first test, because `latest` may name this run at its end.

        Args:
            kind: Kind of board of this run.

        Raises:
            UsageError: They cannot be read, cannot be compared with a run on this kind of board, or are missing with
                --fail-on-regression.
        """
        if self._fails and not self._folders:
            raise UsageError("--fail-on-regression needs a run to compare with", "give --baseline DIR")
        self._bases = [read_release(folder, "base") for folder in self._folders]
        if self._bases:
            check_bases(self._bases, kind)

    def compare(self, results: Results) -> BaselineNote | None:
        """The comparison as a line for the results; None without `--baseline`, or if nothing was measured."""
        if not self._bases or not results.measurements:
            return None
        comparison = compare_releases(self._bases, release_of(results, "candidate"))
        return baseline_note(comparison, fails=self._fails)
