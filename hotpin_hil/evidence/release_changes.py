"""Types for a comparison of releases: a change, its subject, and its effect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

from hotpin_hil.compat import StrEnum
from hotpin_hil.evidence.fidelity import SHOWN
from hotpin_hil.evidence.lines import MeasurementLine
from hotpin_hil.evidence.model import LimitKind, Value, Verdict, is_number, with_unit
from hotpin_hil.evidence.run_figures import RunFigure, Topic

REQUIREMENT, TEST, MEASUREMENT, LIMIT = "requirement", "test", "measurement", "limit"
SUBJECTS = (REQUIREMENT, TEST, *(topic.value for topic in Topic), MEASUREMENT, LIMIT)
"""Subject of a change, in the order of the report."""

ABSENT = "none"
"""Text for a value that a run does not have."""
NOT_LISTED, NO_VERDICT = "not listed", "no verdict"

_SHOWN = tuple(verdict.value for verdict in SHOWN)

_LESS_IS_BETTER = ("*fragmentation*", "*taken*", "*duration*", "static *", "image size*", "total bytes*")
_MORE_IS_BETTER = ("*free*", "*largest*", "minimum ever*", "*never used*")
"""Patterns of the names of measurements of which a lower, or a higher, value is better regardless of the limit."""
_LESS_IS_BETTER_UNITS = ("ms", "us", "s", "B/cycle")


class Effect(StrEnum):
    """Whether a change makes the candidate better or worse."""

    REGRESSION = "regression"
    IMPROVEMENT = "improvement"
    NEUTRAL = "neutral"


@dataclass(frozen=True)
class ReleaseChange:
    """One change from the base to the candidate."""

    effect: Effect
    subject: str
    """One of SUBJECTS."""
    requirement: tuple[str, ...]
    place: str
    """Test, mode, transition or image."""
    name: str
    unit: str
    base: Value | None
    candidate: Value | None
    why: str = ""
    """The exceeded band, or the reason of a verdict."""

    @property
    def size(self) -> str:
        """The difference with sign, unit and percentage; empty for strings and missing values."""
        base, candidate = _number(self.base), _number(self.candidate)
        if base is None or candidate is None:
            return ""
        change = candidate - base
        text = f"{change:+,}" if isinstance(change, int) else f"{change:+,.6g}"
        share = f" ({change / abs(base) * 100:+.1f} %)" if base and self.unit != "%" else ""
        return f"{text} {self.unit}".strip() + share

    def as_json(self) -> dict[str, Any]:
        """The change as a JSON-serializable dict."""
        return {**asdict(self), "effect": self.effect.value, "requirement": list(self.requirement)}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> ReleaseChange:
        """The change that this JSON data describes.

        Raises:
            LookupError, TypeError, ValueError: The data does not describe a change.
        """
        return cls(**{**row, "effect": Effect(row["effect"]), "requirement": tuple(row["requirement"])})

    def shown(self) -> tuple[str, str]:
        """The two values as text, with their unit."""
        return _text(self.base, self.unit), _text(self.candidate, self.unit)


def verdict_change(
    subject: str, place: str, ids: tuple[str, ...], verdicts: tuple[str | None, str | None], why: str
) -> ReleaseChange:
    """A changed verdict on a requirement or of a test.

    A lost requirement is a regression. A removed test is not, if its requirement is still verified. A verdict that
    became WAIVED is not, because the waiver accepts it.

    Args:
        subject: REQUIREMENT or TEST.
        place: The requirement's id, or the test.
        ids: Ids of the requirements.
        verdicts: In the base and in the candidate; empty without a verdict, None if the run does not list it.
        why: Reason of the candidate's verdict.
    """
    base, candidate = verdicts
    was, is_now = base in _SHOWN, candidate in _SHOWN
    is_lost = was and not is_now and (subject == REQUIREMENT or bool(candidate))
    is_better: bool | None = None
    if candidate == Verdict.WAIVED.value:
        pass
    elif candidate in (Verdict.FAIL.value, Verdict.UNSET.value) or is_lost:
        is_better = False
    elif is_now and base is not None:
        is_better = True
    base, candidate = (NOT_LISTED if text is None else text or NO_VERDICT for text in verdicts)
    effect = effect_of(is_better)
    return ReleaseChange(effect, subject, ids, place, "verdict", "", base, candidate, "" if is_now else why)


def figure_change(
    figure: RunFigure, values: tuple[float | None, float | None], is_better: bool | None, why: str
) -> ReleaseChange:
    """A changed figure, with its values in the base and in the candidate."""
    base, candidate = (None if value is None else _whole(value) for value in values)
    effect, subject = effect_of(is_better), figure.topic.value
    return ReleaseChange(
        effect, subject, figure.requirement, figure.place, figure.name, figure.unit, base, candidate, why
    )


def effect_of(is_better: bool | None) -> Effect:
    """The effect of a change; `is_better` is None if it is neither better nor worse."""
    if is_better is None:
        return Effect.NEUTRAL
    return Effect.IMPROVEMENT if is_better else Effect.REGRESSION


def is_same_verdict(base: str | None, candidate: str | None) -> bool:
    """Whether two verdicts mean the same for a release.

    MARGINAL counts as PASS, because the changed value is listed anyway.
    """
    return base == candidate or (base in _SHOWN and candidate in _SHOWN)


def is_better(base: MeasurementLine, candidate: MeasurementLine) -> bool | None:
    """Whether a measurement became better; None if it is waived, not a number, or neither more nor less is better."""
    was, is_now = base.verdict in SHOWN, candidate.verdict in SHOWN
    if candidate.verdict is Verdict.WAIVED:
        return None
    if not (was and is_now):
        return None if was == is_now else is_now
    left, right = _number(base.value), _number(candidate.value)
    is_more_better = _is_more_better(base)
    if left is None or right is None or is_more_better is None:
        return None
    return (right > left) == is_more_better


def _is_more_better(line: MeasurementLine) -> bool | None:
    """Whether more is better, by the measurement's name, limit or unit; None if unknown."""
    name, limit = line.name.lower(), line.limit
    for patterns, direction in ((_LESS_IS_BETTER, False), (_MORE_IS_BETTER, True)):
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            return direction
    if limit.kind is LimitKind.MIN:
        return True
    is_from_zero = limit.kind is LimitKind.RANGE and limit.low == 0
    if limit.kind is LimitKind.MAX or is_from_zero or line.unit in _LESS_IS_BETTER_UNITS:
        return False
    return None


def _number(value: Value | None) -> float | None:
    return value if is_number(value) else None


def _whole(value: float) -> float:
    """Convert 51200.0 to 51200, so that bytes stay integers."""
    return int(value) if float(value).is_integer() else value


def _text(value: Value | None, unit: str) -> str:
    if value is None:
        return ABSENT
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,} {unit}".strip()
    return with_unit(value, unit)
