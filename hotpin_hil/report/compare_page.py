"""Views of a comparison of releases: text lines, JSON, an HTML page."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from hotpin_hil.evidence.compare import ReleaseComparison
from hotpin_hil.evidence.lines import BaselineNote
from hotpin_hil.evidence.release_changes import MEASUREMENT, SUBJECTS, Effect, ReleaseChange
from hotpin_hil.printable import printable
from hotpin_hil.report.chart import Table
from hotpin_hil.report.page import render_page
from hotpin_hil.report.table import WIDTH
from hotpin_hil.report.text import shorten

TITLES = {
    "requirement": "Requirements",
    "test": "Tests",
    "memory": "Memory per mode",
    "transition": "Transition times",
    "ledger": "Ledger of each step",
    "leak": "Leak slopes",
    "size": "Image sizes",
    "measurement": "Measurements",
    "limit": "Limits",
}
"""Title of each of SUBJECTS."""

_VALUE_MAX = 40
"""Maximum number of characters of a value."""
_PLACES_SHOWN = 3
"""Maximum number of places in a line."""

_COLUMNS = ("requirement", "place", "name", "base", "candidate", "difference", "why")

_PLURALS = {
    Effect.REGRESSION: "regressions",
    Effect.IMPROVEMENT: "improvements",
    Effect.NEUTRAL: "other changes",
}


def summary(comparison: ReleaseComparison) -> str:
    """One line: the number of changes of each effect, and of the pairs compared."""
    counts = [(effect, len(comparison.of(effect))) for effect in Effect]
    found = [f"{count} {_name(effect, count)}" for effect, count in counts if count]
    return (
        f"{', '.join(found) or 'no change'}; {sum(comparison.compared.values()):,} pairs compared, "
        f"{sum(comparison.within.values()):,} of them differ within the scatter of one build"
    )


def text_lines(comparison: ReleaseComparison) -> list[str]:
    """The releases, each regression and improvement, and the number of other changes."""
    lines = [f"base: {base.describe()}" for base in comparison.bases]
    lines += [f"candidate: {comparison.candidate.describe()}", summary(comparison)]
    for note in comparison.notes:
        lines += _wrapped(f"note: {note}", "")
    for effect in (Effect.REGRESSION, Effect.IMPROVEMENT):
        lines += ["", *change_lines(comparison.of(effect), _PLURALS[effect])] if comparison.of(effect) else []
    others = comparison.of(Effect.NEUTRAL)
    if others:
        counts = {subject: sum(change.subject == subject for change in others) for subject in SUBJECTS}
        shown = ", ".join(f"{count} {TITLES[subject].lower()}" for subject, count in counts.items() if count)
        lines += ["", *_wrapped(f"other changes, on the page and in the JSON: {shown}", "")]
    return [printable(line) for line in lines]


def change_lines(changes: Sequence[ReleaseChange], title: str) -> list[str]:
    """A title, and a few lines for each change. Measurements that moved by the same amount share their lines."""
    lines = [title]
    for group in _groups(changes):
        first = group[0]
        base, candidate = (shorten(value, _VALUE_MAX) for value in first.shown())
        ids = (
            ", ".join(dict.fromkeys(id_ for change in group for id_ in change.requirement))
            or "no requirement"
        )
        places = list(dict.fromkeys(change.place for change in group))
        more = f" and {len(places) - _PLACES_SHOWN} more" if len(places) > _PLACES_SHOWN else ""
        what = first.name if len(group) == 1 else f"{len(group)} values, the first: {first.name}"
        size = f", {first.size}" if first.size else ""
        lines += _wrapped(f"{first.subject}, {ids}: {', '.join(places[:_PLACES_SHOWN])}{more}", "  ")
        lines += _wrapped(f"{what}: {base}, now {candidate}{size}", "      ")
        lines += _wrapped(first.why, "      ") if first.why else []
    return lines


def _groups(changes: Iterable[ReleaseChange]) -> list[list[ReleaseChange]]:
    """Group measurements with an equal difference; other changes stay separate."""
    groups: dict[object, list[ReleaseChange]] = {}
    for number, change in enumerate(changes):
        is_shared = change.subject == MEASUREMENT and change.size
        key = (change.effect, change.size.partition(" (")[0]) if is_shared else number
        groups.setdefault(key, []).append(change)
    return list(groups.values())


def as_json(comparison: ReleaseComparison, *, fails: bool = False) -> dict[str, Any]:
    """All data: the releases, the verdict on each subject, and each change."""
    releases = {"base": comparison.bases, "candidate": (comparison.candidate,)}
    return {
        **{
            side: [
                {
                    "run": release.results.run.run,
                    "started": release.results.run.started,
                    "overall": release.qualification["overall"],
                    "kind": release.run.kind,
                    "firmware": dict(release.results.run.firmware),
                }
                for release in runs
            ]
            for side, runs in releases.items()
        },
        "notes": list(comparison.notes),
        "verdicts": _verdicts(comparison, fails=fails),
        "changes": [{**change.as_json(), "difference": change.size} for change in comparison.changes],
    }


def baseline_note(comparison: ReleaseComparison, *, fails: bool) -> BaselineNote:
    """The comparison as a line of the candidate's results."""
    return BaselineNote(
        run=comparison.bases[0].results.run.run,
        text=comparison.bases[0].describe(),
        fails=fails,
        summary=summary(comparison),
        verdicts=_verdicts(comparison, fails=fails),
        changes=tuple(change.as_json() for change in comparison.changes),
        notes=comparison.notes,
    )


def _verdicts(comparison: ReleaseComparison, *, fails: bool) -> dict[str, dict[str, Any]]:
    return {
        subject: {
            "verdict": comparison.verdict(subject, fails=fails).value,
            "compared": comparison.compared[subject],
            "within": comparison.within[subject],
        }
        for subject in SUBJECTS
    }


def changes_of(entry: Mapping[str, Any]) -> list[ReleaseChange]:
    """The changes in the JSON data of a BaselineNote. Invalid changes are left out."""
    found = []
    for row in entry["changes"]:
        with suppress(LookupError, TypeError, ValueError):
            found.append(ReleaseChange.from_json(row))
    return found


def baseline_lines(entry: Mapping[str, Any]) -> list[str]:
    """Lines for the terminal about the JSON data of a BaselineNote."""
    lines = [f"base: {entry['text']}", entry["summary"]]
    for note in entry["notes"]:
        lines += _wrapped(f"note: {note}", "")
    regressions = [change for change in changes_of(entry) if change.effect is Effect.REGRESSION]
    if regressions:
        lines += change_lines(regressions, _PLURALS[Effect.REGRESSION])
    return [printable(line) for line in lines]


def baseline_view(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Data for the report's section, from the JSON data of a BaselineNote."""
    changes = changes_of(entry)
    return {
        "text": entry["text"],
        "summary": entry["summary"],
        "notes": entry["notes"],
        "verdicts": verdict_rows(entry["verdicts"]),
        "groups": [
            (_PLURALS[effect].capitalize(), effect is Effect.REGRESSION, found)
            for effect in Effect
            if (found := tables([change for change in changes if change.effect is effect]))
        ],
    }


def verdict_rows(verdicts: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str, str]]:
    """Title, verdict, pairs compared and pairs within the scatter, for each subject."""
    return [
        (
            TITLES.get(subject, subject),
            str(entry.get("verdict", "")),
            str(entry.get("compared", "")),
            str(entry.get("within", "")),
        )
        for subject, entry in verdicts.items()
    ]


def tables(changes: Sequence[ReleaseChange]) -> list[tuple[str, Table]]:
    """A title and a table for each subject that has changes."""
    return [
        (TITLES[subject], Table(_COLUMNS, tuple(map(_row, found))))
        for subject in SUBJECTS
        if (found := [change for change in changes if change.subject == subject])
    ]


def page(comparison: ReleaseComparison, *, fails: bool = False) -> str:
    """The comparison as one HTML page: no network access, no scripts, all texts escaped."""
    bases = {f"base {number}": base.describe() for number, base in enumerate(comparison.bases, start=1)}
    if len(bases) == 1:
        bases = {"base": comparison.bases[0].describe()}
    return render_page(
        "compare.html",
        releases={**bases, "candidate": comparison.candidate.describe()},
        since=baseline_view(baseline_note(comparison, fails=fails).as_json()),
    )


def _row(change: ReleaseChange) -> tuple[str, ...]:
    base, candidate = (shorten(value, _VALUE_MAX) for value in change.shown())
    ids = ", ".join(change.requirement)
    return ids, change.place, change.name, base, candidate, change.size, change.why


def _name(effect: Effect, count: int) -> str:
    return _PLURALS[effect] if count != 1 else _PLURALS[effect].removesuffix("s")


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,  # complete, so that it can be copied
        break_on_hyphens=False,
    )
