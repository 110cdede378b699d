"""Compares a log with an earlier log: new diagnoses, errors and warnings, lowest memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hotpin_hil.analysis.analyze import LogAnalysis
from hotpin_hil.analysis.kinds import FRAGMENTED, LEAK, Gravity, topic_of
from hotpin_hil.analysis.model import Diagnosis
from hotpin_hil.analysis.series import MemorySeries

MORE_FACTOR = 2
"""A tag counts as noisier if its errors or warnings per line have grown by at least this factor."""


@dataclass(frozen=True)
class ComplaintChange:
    """A tag with errors or warnings in the second log, but none or far fewer in the first."""

    level: str
    tag: str
    before: int
    after: int


@dataclass(frozen=True)
class SeriesChange:
    """The lowest figure of one memory type from one source in both logs."""

    source: str
    memory: str
    quantity: str
    before: int | None
    """None if the first log does not have the series."""
    after: int

    @property
    def more(self) -> int | None:
        """Bytes by which the lowest figure rose; negative if it fell."""
        return None if self.before is None else self.after - self.before


@dataclass(frozen=True)
class LogDifference:
    """The comparison of two logs."""

    before: str
    after: str
    """Names of the logs."""
    new: tuple[Diagnosis, ...]
    """Diagnoses that only the second log has, the most severe first."""
    gone: tuple[Diagnosis, ...]
    complaints: tuple[ComplaintChange, ...]
    series: tuple[SeriesChange, ...]

    @property
    def worst(self) -> Gravity | None:
        """Severity of the most severe new diagnosis; None if there is none."""
        return self.new[0].gravity if self.new else None

    def to_json(self) -> dict[str, Any]:
        """The comparison as a JSON-serializable dict."""
        return {
            "schema": 1,
            "compared": [self.before, self.after],
            "worst": self.worst,
            "new_diagnoses": [asdict(found) | {"gravity": found.gravity} for found in self.new],
            "gone_diagnoses": [asdict(found) | {"gravity": found.gravity} for found in self.gone],
            "complaints": [asdict(change) for change in self.complaints],
            "memory_series": [asdict(change) | {"more": change.more} for change in self.series],
        }


def compare_logs(before: LogAnalysis, after: LogAnalysis) -> LogDifference:
    """Compare two logs of the same firmware."""
    return LogDifference(
        before.facts["file"],
        after.facts["file"],
        new=_missing_in(before, after),
        gone=_missing_in(after, before),
        complaints=_complaints(before, after),
        series=_series(before, after),
    )


def _missing_in(known: LogAnalysis, other: LogAnalysis) -> tuple[Diagnosis, ...]:
    keys = {_key(found) for found in known.diagnoses}
    return tuple(found for found in other.diagnoses if _key(found) not in keys)


def _key(found: Diagnosis) -> tuple[str, str, str]:
    """Key of a diagnosis, to find it in the other log. For leaks and fragmentation it includes the memory type."""
    is_memory = topic_of(found.id).name in (LEAK, FRAGMENTED)
    return found.id, found.name, found.subject if is_memory else ""


def _complaints(before: LogAnalysis, after: LogAnalysis) -> tuple[ComplaintChange, ...]:
    """Tags with errors or warnings only in the second log, or with many more relative to its length."""
    known = {(complaints.level, complaints.tag): complaints.count for complaints in before.complaints}
    lines = max(1, before.facts["lines"]), max(1, after.facts["lines"])
    changes = []
    for complaints in after.complaints:
        had = known.get((complaints.level, complaints.tag), 0)
        if complaints.count * lines[0] >= MORE_FACTOR * had * lines[1]:
            changes.append(ComplaintChange(complaints.level, complaints.tag, had, complaints.count))
    return tuple(changes)


def _series(before: LogAnalysis, after: LogAnalysis) -> tuple[SeriesChange, ...]:
    known = _by_key(before)
    return tuple(
        SeriesChange(*key, known[key].lowest.bytes if key in known else None, series.lowest.bytes)
        for key, series in _by_key(after).items()
    )


def _by_key(analysis: LogAnalysis) -> Mapping[tuple[str, str, str], MemorySeries]:
    return {(series.source, series.memory, series.quantity): series for series in analysis.series}
