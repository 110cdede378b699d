"""The evidence of each test for a requirement: its procedure, its verdicts and its values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hotpin_hil.evidence.lines import MeasurementLine, ProcedureNote
from hotpin_hil.evidence.results import Results


@dataclass(frozen=True)
class Proof:
    """One test of a requirement."""

    test: str
    procedure: str
    """What the test does."""
    verdicts: tuple[Mapping[str, Any], ...]
    """The test's entries in qualification.json: one, or one per run of a test that ran more than once."""
    measurements: tuple[MeasurementLine, ...]


def proofs(
    entries: Sequence[Mapping[str, Any]],
    measurements: Sequence[MeasurementLine],
    procedures: Mapping[str, str],
) -> tuple[Proof, ...]:
    """The proofs of a requirement, in the order of its tests.

    Args:
        entries: `tests` of the requirement in qualification.json.
        measurements: The values of the requirement.
        procedures: Result of `procedures_of`.
    """
    tests: dict[str, list[Mapping[str, Any]]] = {}
    for entry in entries:
        tests.setdefault(entry["test"], []).append(entry)
    values: dict[str, list[MeasurementLine]] = {test: [] for test in tests}
    # A test that was running at the end of the run has values, but no verdict.
    for line in measurements:
        values.setdefault(line.test, []).append(line)
    return tuple(
        Proof(test, procedure_of(test, procedures), tuple(tests.get(test, ())), tuple(lines))
        for test, lines in values.items()
    )


def procedures_of(results: Results) -> dict[str, str]:
    """Node id without parameters -> docstring of the test. Every worker of a run writes them."""
    return {test: text for note in results.of(ProcedureNote) for test, text in note.tests.items()}


def procedure_of(test: str, procedures: Mapping[str, str]) -> str:
    """Description of a test: its docstring, or else its name in words."""
    bare = test.partition("[")[0]
    text = procedures.get(bare, "")
    return text or re.sub(r"^test_", "", bare.rpartition("::")[2]).replace("_", " ")
