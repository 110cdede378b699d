"""Reads a run of a release for a comparison: from its folder, or from qualification.json alone.

qualification.json has the measurements, verdicts and sizes of a run, but not the notes about memory, transitions and
leaks. So a comparison with it covers less, and reports that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from hotpin_hil.errors import UsageError
from hotpin_hil.evidence.fidelity import Run
from hotpin_hil.evidence.lines import EndLine, MeasurementLine, RunLine, SizesNote, VerdictLine
from hotpin_hil.evidence.qualification import INCOMPLETE, qualify
from hotpin_hil.evidence.requirements import KINDS, Requirement
from hotpin_hil.evidence.results import Results, read_results
from hotpin_hil.evidence.run_figures import FigureKey, RunFigure, figures_of
from hotpin_hil.evidence.run_folders import find_run
from hotpin_hil.evidence.strict_json import read_object

_DAMAGED = (LookupError, TypeError, ValueError, AttributeError)


@dataclass(frozen=True)
class Release:
    """One run of the suite, as one side of a comparison."""

    run: Run
    qualification: Mapping[str, Any] = field(repr=False)
    has_notes: bool = True
    """Whether the run's notes, which the figures come from, are known."""

    @property
    def results(self) -> Results:
        """The lines of the run."""
        return self.run.results

    @property
    def is_part(self) -> bool:
        """Whether tests of the suite were, or may have been, left out on purpose."""
        return self.results.is_selection or (
            not self.has_notes and self.qualification["overall"] == INCOMPLETE
        )

    @cached_property
    def figures(self) -> dict[FigureKey, RunFigure]:
        """The figures of the run."""
        return figures_of(self.results)

    @property
    def build(self) -> str:
        """SHA-256 of the firmware's ELF file; empty if unknown."""
        return str(self.results.run.firmware.get("elf_sha256", ""))

    @property
    def verdicts(self) -> dict[str, str]:
        """Requirement id -> verdict; empty for a requirement without a verdict."""
        found = {row["id"]: "" for row in self.qualification["not_tested"]}
        return found | {id_: row["verdict"] for id_, row in self.qualification["requirements"].items()}

    def describe(self) -> str:
        """Run, overall verdict, board and firmware, on one line."""
        overall = f"{self.qualification['overall']} ({self.qualification['evidence']})"
        build = f", build {self.build[:9]}" if self.build else ""
        start = self.results.run.started
        return f"run {self.results.run.run[:8]} of {start}: {overall}, {self.run.describe()}{build}"


def read_release(path: Path, label: str) -> Release:
    """Read a run from its folder, its results.jsonl, or a qualification.json.

    Args:
        path: Folder or file.
        label: Name of the run in messages.

    Raises:
        UsageError: The run cannot be read, or it has no measurements.
    """
    path = find_run(path)
    if path.is_file() and path.suffix == ".json":
        qualification = _read_qualification(path)
        try:
            results = _results_of(qualification)
        except _DAMAGED as error:
            raise UsageError(
                f"{path} is not a qualification.json: {type(error).__name__}: {error}",
                "name the folder of a run, or the qualification.json in it",
            ) from error
        release = Release(Run(label, results), qualification, has_notes=False)
    else:
        results = read_results(path)
        if results.unreadable:
            raise UsageError(f"{path}, {results.unreadable[0]}", "restore the results, or repeat the run")
        release = release_of(results, label)
    if not results.measurements:
        raise UsageError(f"{path} has no measurements", "name the folder of a completed run")
    return release


def release_of(results: Results, label: str) -> Release:
    """Make a side of a comparison from results that are already in memory."""
    return Release(Run(label, results), qualify(results))


def _read_qualification(path: Path) -> Mapping[str, Any]:
    try:
        return read_object(path.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", "name the folder of a run") from error
    except ValueError as error:
        raise UsageError(f"{path} is not valid JSON: {error}", "name the folder of a run") from error


def _results_of(qualification: Mapping[str, Any]) -> Results:
    """The lines of results.jsonl that a qualification.json repeats.

    Raises:
        LookupError, TypeError, ValueError, AttributeError: It is not the content of a qualification.json.
    """
    results = Results(
        RunLine(
            run=qualification["run"],
            evidence=qualification["evidence"],
            started=qualification["started"],
            board=qualification["board"],
            firmware=qualification["firmware"],
            harness=qualification["harness"],
            requirements=tuple(_requirements(qualification)),
        )
    )
    for id_, entry in qualification["requirements"].items():
        for row in entry["measurements"]:
            line = MeasurementLine.from_json(row)
            if line.requirement[0] == id_:  # the file lists a measurement under each of its requirements
                results.add(line, id_)
    for id_, entry in qualification["requirements"].items():
        for row in entry["tests"]:
            results.add(VerdictLine.from_json({**row, "requirement": [id_]}), id_)
    for row in qualification["other_tests"]:
        results.add(VerdictLine.from_json({**row, "requirement": []}), row["test"])
    for row in qualification["sizes"]:
        results.add(SizesNote.from_json(row), "sizes")
    if qualification["finished"]:
        results.add(EndLine(exit=0, finished=qualification["finished"]), "finished")
    return results


def _requirements(qualification: Mapping[str, Any]) -> Iterator[Requirement]:
    for id_, row in qualification["requirements"].items():
        yield Requirement(id_, row["text"], row["source"], row["priority"], KINDS)
    for row in qualification["not_tested"]:
        yield Requirement(
            row["id"], row["text"], "", row["priority"], KINDS, row["reason"] if row["pending"] else ""
        )
