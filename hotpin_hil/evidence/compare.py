"""Compares a run with runs of an earlier release on the same kind of board.

Measurements are paired by test and name (fidelity.py), figures by place and name (run_figures.py). A difference within
a band is not a change. run_to_run.toml lists the bands. Several runs of the base add further bands: the range of
their values, widened by its width on each side, since a few runs do not cover the whole scatter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from hotpin_hil.errors import UsageError
from hotpin_hil.evidence import fidelity
from hotpin_hil.evidence.fidelity import SHOWN, UNMATCHED, Key, RunDifference
from hotpin_hil.evidence.fidelity_reasons import ONLY, VALUE, VERDICT, Reason, load_reasons
from hotpin_hil.evidence.lines import MeasurementLine
from hotpin_hil.evidence.model import LimitKind, Verdict, is_number, limit_text
from hotpin_hil.evidence.release_changes import (
    ABSENT,
    LIMIT,
    MEASUREMENT,
    REQUIREMENT,
    SUBJECTS,
    TEST,
    Effect,
    ReleaseChange,
    effect_of,
    figure_change,
    is_better,
    is_same_verdict,
    verdict_change,
)
from hotpin_hil.evidence.releases import Release
from hotpin_hil.evidence.run_figures import RunFigure, Topic, difference

BANDS_FILE = Path(__file__).parent / "run_to_run.toml"

NO_BAND = "no scatter: it is the same in every run of one build"
"""Text for a difference that no band covers."""


@dataclass(frozen=True)
class ReleaseComparison:
    """The changes from a base to a candidate, and how many pairs of values were compared."""

    bases: tuple[Release, ...]
    candidate: Release
    changes: tuple[ReleaseChange, ...]
    """In the order of SUBJECTS."""
    compared: Counter[str]
    """Subject -> number of pairs that were compared."""
    within: Counter[str]
    """Subject -> number of pairs that differ, but within a band."""
    notes: tuple[str, ...]
    """What was not compared, and conditions that differ."""

    def of(self, effect: Effect) -> list[ReleaseChange]:
        """The changes with this effect, in the order of SUBJECTS."""
        return [change for change in self.changes if change.effect is effect]

    @cached_property
    def regressions(self) -> list[ReleaseChange]:
        """The changes for the worse, in the order of SUBJECTS."""
        return self.of(Effect.REGRESSION)

    def verdict(self, subject: str, *, fails: bool) -> Verdict:
        """The verdict on one subject of the comparison.

        Args:
            subject: One of SUBJECTS.
            fails: Whether a regression gives FAIL. If not, it gives MARGINAL: it is listed, but passes.

        Returns:
            PASS, MARGINAL or FAIL; NOT APPLICABLE if nothing was compared.
        """
        if any(change.subject == subject for change in self.regressions):
            return Verdict.FAIL if fails else Verdict.MARGINAL
        return Verdict.PASS if self.compared[subject] else Verdict.NOT_APPLICABLE


@cache
def load_bands() -> tuple[Reason, ...]:
    """Load the bands: the rows of run_to_run.toml, and those of fidelity.toml that apply to every pair of runs."""
    return (*load_reasons(BANDS_FILE), *(reason for reason in load_reasons() if reason.every_run))


def compare_releases(bases: Sequence[Release], candidate: Release) -> ReleaseComparison:
    """Compare a run with an earlier release.

    Args:
        bases: Runs of one build: the first is the base of the comparison, the others show the scatter.
        candidate: The run to compare with them.

    Raises:
        UsageError: The runs used different kinds of board, or the bases tested different builds.
    """
    check_bases(bases, candidate.run.kind)
    base = bases[0]
    values = _Measurements(bases, candidate)
    figures = _Figures(bases, candidate)
    requirements = _requirements(base, candidate)
    changes = [*requirements, *figures.changes(), *values.changes(), *values.limits()]
    changes.sort(key=lambda change: SUBJECTS.index(change.subject))
    compared = values.compared + figures.compared
    compared[REQUIREMENT] = len(base.verdicts.keys() & candidate.verdicts.keys())
    within = values.within + figures.within
    notes = tuple(dict.fromkeys(_notes(bases, candidate)))
    return ReleaseComparison(tuple(bases), candidate, tuple(changes), compared, within, notes)


def check_bases(bases: Sequence[Release], kind: str) -> None:
    """Check that the bases used this kind of board, and all tested the same build.

    Raises:
        UsageError: A base used another kind of board, or the bases tested different builds.
    """
    for base in bases:
        if base.run.kind != kind:
            raise UsageError(
                f"the base was run on a {base.run.kind} board, the candidate on a {kind} board",
                "compare two runs on the same kind of board; to compare kinds, use hotpin-hil fidelity",
            )
        if base.build != bases[0].build:
            builds = f"{bases[0].build[:9]} and {base.build[:9]}"
            raise UsageError(
                f"the runs {bases[0].results.run.run[:8]} and {base.results.run.run[:8]} of the base tested different "
                f"builds: {builds}",
                "give runs of one build: only they show what varies from run to run",
            )


def _notes(bases: Sequence[Release], candidate: Release) -> Iterator[str]:
    for release in (*bases, candidate):
        if not release.has_notes:
            yield (
                f"the {release.run.label} is a qualification.json, which has no memory per mode, transitions, "
                "ledgers or leaks; to compare these too, give the folders of the runs"
            )
    if candidate.is_part:
        yield "the candidate ran only a part of the suite: tests that it left out are not listed"
    base = bases[0]
    conditions = [
        ("profile of the virtual board", base.run.profile, candidate.run.profile),
        ("ESP-IDF", base.run.idf, candidate.run.idf),
    ]
    for name in ("time_scale", "emulator_clock"):
        left, right = (str(release.results.run.board.get(name, "")) for release in (base, candidate))
        conditions.append((name.replace("_", " "), left, right))
    for what, left, right in conditions:
        if left != right:
            yield f"{what}: {left or ABSENT} in the base, {right or ABSENT} in the candidate"


def _requirements(base: Release, candidate: Release) -> Iterator[ReleaseChange]:
    for id_ in dict.fromkeys((*base.verdicts, *candidate.verdicts)):
        verdicts = base.verdicts.get(id_), candidate.verdicts.get(id_)
        if is_same_verdict(*verdicts) or (verdicts[1] == "" and candidate.is_part):
            continue
        yield verdict_change(REQUIREMENT, id_, (id_,), verdicts, _why(candidate, id_))


def _why(candidate: Release, id_: str) -> str:
    """Why a run does not verify a requirement."""
    entry = candidate.qualification["requirements"].get(id_)
    if entry is None:
        rows = candidate.qualification["not_tested"]
        return next((row["reason"] for row in rows if row["id"] == id_), "the candidate does not list it")
    return "; ".join(dict.fromkeys(test["reason"] for test in entry["tests"] if test["reason"]))


class _Figures:
    """Compares the figures of two releases."""

    def __init__(self, bases: Sequence[Release], candidate: Release) -> None:
        self._base, *self._repeats = bases
        self._candidate = candidate
        self.compared: Counter[str] = Counter()
        self.within: Counter[str] = Counter()

    def changes(self) -> Iterator[ReleaseChange]:
        for key in dict.fromkeys((*self._base.figures, *self._candidate.figures)):
            base, candidate = self._base.figures.get(key), self._candidate.figures.get(key)
            if base and candidate:
                yield from self._both(base, candidate)
            else:
                yield from self._one(base, candidate)

    def _both(self, base: RunFigure, candidate: RunFigure) -> Iterator[ReleaseChange]:
        found = difference(base, candidate)
        if found is None:
            return
        self.compared[base.topic.value] += 1
        value, change = found
        if not change:
            return
        exceeded = self._exceeded(base, candidate, value, change)
        if exceeded:
            is_gain = (change > 0) == base.is_more_better
            yield figure_change(base, (value, value + change), is_gain, exceeded)
        else:
            self.within[base.topic.value] += 1

    def _one(self, base: RunFigure | None, candidate: RunFigure | None) -> Iterator[ReleaseChange]:
        """A step or section that only one run has, if the other run has other steps or sections in the same place."""
        figure = base or candidate
        assert figure is not None
        others = self._candidate.figures if base else self._base.figures
        has_place = any(key[:2] == figure.key[:2] for key in others)
        if has_place and figure.topic in (Topic.LEDGER, Topic.SIZE):
            values = (base.value if base else None, candidate.value if candidate else None)
            yield figure_change(figure, values, None, f"only the {'base' if base else 'candidate'} has it")

    def _exceeded(self, base: RunFigure, candidate: RunFigure, value: float, change: float) -> str:
        """Why a figure is outside its bands; empty if it is within them."""
        repeats = [release.figures[base.key] for release in self._repeats if base.key in release.figures]
        if base.topic is Topic.LEAK:
            return _leak_exceeds([base, *repeats], candidate)
        scatter = [found[1] for other in repeats if (found := difference(base, other))]
        if scatter and _is_near(change, [0.0, *scatter]):
            return ""
        refused = []
        for band in load_bands():
            place = f"{base.topic}: {base.place}"
            if (
                band.of == VALUE
                and not band.other_nvs
                and band.concerns(base.requirement, place, base.name, base.unit)
            ):
                exceeds = band.exceeds(value, value + change, None)
                if not exceeds:
                    return ""
                refused.append(f"{exceeds} ({band.id})")
        return "; ".join(refused) or NO_BAND


def _leak_exceeds(bases: Sequence[RunFigure], candidate: RunFigure) -> str:
    low = min(figure.interval[0] for figure in bases)
    high = max(figure.interval[1] for figure in bases)
    if low <= candidate.interval[1] and candidate.interval[0] <= high:
        return ""
    left, right = (f"{ends[0]:+.3f}..{ends[1]:+.3f}" for ends in ((low, high), candidate.interval))
    return f"the confidence intervals {left} and {right} {candidate.unit} do not overlap"


class _Measurements:
    """Compares the values, limits and tests of two releases."""

    def __init__(self, bases: Sequence[Release], candidate: Release) -> None:
        self._candidate = candidate
        self._bases = [release.run for release in bases]
        self._runs = self._bases[0], candidate.run
        self._tests = [{test for test, _ in run.verdicts} for run in (*self._bases, candidate.run)]
        self._in_both = self._tests[0] & self._tests[-1]
        self.compared: Counter[str] = Counter()
        self.within: Counter[str] = Counter()

    def changes(self) -> Iterator[ReleaseChange]:
        """Changed values, and changed verdicts of tests."""
        base, candidate = self._runs
        self.compared[TEST] = len(self._in_both)
        self.compared[MEASUREMENT] = len(base.measurements.keys() & candidate.measurements.keys())
        for found in fidelity.compare(self._runs, load_bands()).differences:
            if found.of == VERDICT:
                yield from self._test(found)
            elif found.test not in self._in_both:
                continue  # the test itself is listed
            elif found.explained or (found.key and self._is_repeated(found, found.key)):
                self.within[MEASUREMENT] += 1
            else:
                yield self._value(found)

    def limits(self) -> Iterator[ReleaseChange]:
        """Changed limits."""
        for key, base in self._runs[0].measurements.items():
            candidate = self._runs[1].measurements.get(key)
            if candidate is None or LimitKind.EXACT in (base.limit.kind, candidate.limit.kind):
                continue
            self.compared[LIMIT] += 1
            texts = [limit_text(line.limit, line.unit) for line in (base, candidate)]
            if texts[0] != texts[1] and not _moves_along(base, candidate):
                yield ReleaseChange(Effect.NEUTRAL, LIMIT, base.requirement, base.test, base.name, "", *texts)

    def _test(self, found: RunDifference) -> Iterator[ReleaseChange]:
        base, candidate = (None if value is None else str(value) for value in (found.left, found.right))
        if is_same_verdict(base, candidate) or (candidate is None and self._candidate.is_part):
            return
        yield verdict_change(TEST, found.test, found.requirement, (base, candidate), found.because)

    def _value(self, found: RunDifference) -> ReleaseChange:
        base, candidate = self._lines(found)
        return ReleaseChange(
            effect_of(is_better(base, candidate) if base and candidate else None),
            MEASUREMENT,
            found.requirement,
            found.test,
            found.name,
            found.unit,
            found.left,
            found.right,
            self._because(found),
        )

    def _because(self, found: RunDifference) -> str:
        base, candidate = self._lines(found)
        if found.of == ONLY:
            return f"only the {'base' if base else 'candidate'} measured it"
        if base and candidate and (base.verdict in SHOWN) != (candidate.verdict in SHOWN):
            return f"{base.verdict}, now {candidate.verdict}"
        return NO_BAND if found.because == UNMATCHED else found.because

    def _lines(self, found: RunDifference) -> tuple[MeasurementLine | None, MeasurementLine | None]:
        base, candidate = (run.measurements.get(found.key) if found.key else None for run in self._runs)
        return base, candidate

    def _is_repeated(self, found: RunDifference, key: Key) -> bool:
        """Whether the difference is only scatter: the runs of the base differ in the same way, or by as much."""
        lines = [
            run.measurements.get(key)
            for run, tests in zip(self._bases, self._tests[:-1], strict=True)
            if found.test in tests
        ]
        if len(lines) == 1:
            return False
        if found.right is None or None in lines:
            return None in lines
        values = [line.value for line in lines if line is not None]
        numbers = [value for value in values if is_number(value)]
        if len(numbers) == len(values) and is_number(found.right):
            return _is_near(found.right, numbers)
        return len(set(values)) > 1


def _moves_along(base: MeasurementLine, candidate: MeasurementLine) -> bool:
    """Whether a limit moved with its value, at the same margin, because the test computes it from a reading."""
    return base.margin == candidate.margin and base.value != candidate.value


def _is_near(value: float, seen: Iterable[float]) -> bool:
    """Whether a value is within the range of others, widened by its width on each side."""
    found = list(seen)
    low, high = min(found), max(found)
    return low - (high - low) <= value <= high + (high - low)
