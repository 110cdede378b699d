"""The lines of a log around the evidence of its diagnoses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hotpin_hil.analysis.model import Diagnosis, Evidence

BEFORE, AFTER = 3, 4
"""Lines shown before and after each line of evidence."""
LINES_MAX = 40
"""Maximum number of lines for a diagnosis."""


class ExcerptLine(NamedTuple):
    """A line of an excerpt. Its text is unchecked: escape it before display."""

    line: int
    text: str
    is_evidence: bool


Excerpt = tuple[ExcerptLine, ...]


def wanted_lines(diagnosis: Diagnosis) -> list[int]:
    """Numbers of the lines to show for a diagnosis, in order."""
    wanted: dict[int, None] = {}
    for evidence in diagnosis.evidence:
        around = range(max(1, evidence.line - BEFORE), evidence.line + AFTER + 1)
        if len(wanted.keys() | set(around)) <= LINES_MAX:
            wanted |= dict.fromkeys(around)
    return sorted(wanted)


def excerpts(diagnoses: Sequence[Diagnosis], texts: Mapping[int, str]) -> tuple[Excerpt, ...]:
    """One excerpt per diagnosis, in the same order.

    Args:
        diagnoses: the diagnoses of a log.
        texts: the texts of the wanted lines, by line number; lines outside the log are missing.
    """
    return tuple(
        tuple(
            ExcerptLine(number, texts[number], number in {evidence.line for evidence in diagnosis.evidence})
            for number in wanted_lines(diagnosis)
            if number in texts
        )
        for diagnosis in diagnoses
    )


def not_in_excerpt(diagnosis: Diagnosis, excerpt: Excerpt) -> tuple[Evidence, ...]:
    """The evidence whose text does not appear in the excerpt."""
    texts = {line.line: line.text for line in excerpt}
    return tuple(
        evidence
        for evidence in diagnosis.evidence
        if evidence.text not in texts.get(evidence.line, "") and not _is_in(evidence.text, excerpt)
    )


def _is_in(text: str, excerpt: Excerpt) -> bool:
    """Whether the excerpt has a line with exactly this text, such as a detail line of a panic."""
    return any(line.text.strip() == text for line in excerpt)
