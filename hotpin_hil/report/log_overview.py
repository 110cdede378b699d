"""The overview of several logs: one row per file, the worst first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hotpin_hil.analysis.analyze import LogAnalysis
from hotpin_hil.analysis.kinds import Gravity
from hotpin_hil.report.text import shorten

NOTHING = "no finding"
NAMES_SHOWN = 3


@dataclass(frozen=True)
class RefusedFile:
    """A file that could not be analysed, with the reason."""

    name: str
    reason: str


@dataclass(frozen=True)
class OverviewRow:
    """The row of one log in the overview."""

    number: int
    """Index of the analysis, from 0."""
    name: str
    gravity: Gravity | None
    """Severity of the most severe diagnosis; None without a diagnosis."""
    boots: int
    lines: int
    summary: str

    @property
    def word(self) -> str:
        """The severity as a word; NOTHING if there is no diagnosis."""
        return str(self.gravity or NOTHING)


def overview(analyses: Sequence[LogAnalysis]) -> list[OverviewRow]:
    """One row per log, the worst first."""
    rows = [
        OverviewRow(
            number,
            shorten(analysis.facts["file"], 120),
            analysis.worst,
            analysis.boot_count,
            analysis.facts["lines"],
            _summary(analysis),
        )
        for number, analysis in enumerate(analyses)
    ]
    return sorted(rows, key=lambda row: row.gravity.rank if row.gravity else len(Gravity))


def _summary(analysis: LogAnalysis) -> str:
    """The names of the diagnoses, the most severe first."""
    found = analysis.diagnoses
    if not found:
        return "no known failure"
    counts: Counter[str] = Counter()
    for diagnosis in found:
        counts[shorten(diagnosis.name, 80)] += diagnosis.count
    names = [f"{name} ({count:,} times)" if count > 1 else name for name, count in counts.items()]
    more = [f"{len(names) - NAMES_SHOWN} more"] if len(names) > NAMES_SHOWN else []
    return "; ".join([*names[:NAMES_SHOWN], *more])


def short_name(name: str) -> str:
    """The name of a log's file, without its folder."""
    return shorten(Path(name).name or name, 60)
