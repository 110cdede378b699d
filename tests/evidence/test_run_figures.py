"""Tests the figures of a run: each figure has one value per test, which comes from a valid note."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hotpin_hil.evidence import lines
from hotpin_hil.evidence.results import Results
from hotpin_hil.evidence.run_figures import FigureKey, RunFigure, Topic, difference, figures_of
from tests.support.release_runs import DURATION_MS, MODES, VOICE_INTERNAL, SmallRun

DURATION = (Topic.TRANSITION, "camera to voice", "duration")
TAKEN = (Topic.MEMORY, "voice mode", "internal taken since the start")
STEP = (Topic.LEDGER, "camera to voice", "audio.start: internal taken")


def results(*changed: lines.ResultsLine, run: SmallRun | None = None) -> Results:
    """The results of a small run, with `more` lines appended."""
    first, *rest = (run or SmallRun()).lines()
    assert isinstance(first, lines.RunLine)
    found = Results(first)
    for line in (*rest, *changed):
        found.add(line)
    return found


def notes_of(found: Results, about: str) -> list[Any]:
    return [line for line in found.notes if line.about == about]


def test_figures_are_those_of_the_firmware() -> None:
    figures = figures_of(results())
    assert abs(figures[DURATION].value - DURATION_MS) <= 2
    assert figures[TAKEN].value == VOICE_INTERNAL
    assert figures[TAKEN].seen.keys() == set(MODES)
    assert (figures[STEP].value, figures[STEP].requirement) == (25_996, ("TRN-02",))
    topics = [topic for topic, _, _ in figures]
    assert topics == sorted(topics, key=list(Topic).index)


def test_only_the_first_value_of_a_test_counts() -> None:
    """Only the first value is comparable between runs; later ones depend on what the test does."""
    change = next(line for line in notes_of(results(), "event") if line.event == "mode")
    again = replace(change, data={**change.data, "duration_ms": 9_999})
    assert figures_of(results(again)) == figures_of(results())


@pytest.mark.parametrize(
    ("about", "key", "fields"),
    [
        ("event", DURATION, {"ok": False, "step": "audio.start"}),
        ("event", DURATION, {"duration_ms": "long"}),
        ("event", DURATION, {"to": None}),
        ("reply", STEP, {"ledger": [{"step": "audio.start"}]}),
        ("reply", STEP, {"ledger": 1}),
    ],
    ids=["failed_transition", "text_for_a_number", "no_mode", "step_without_bytes", "no_ledger"],
)
def test_failed_and_malformed_notes_are_left_out(about: str, key: FigureKey, fields: dict[str, Any]) -> None:
    found = results()
    note = next(line for line in notes_of(found, about) if about != "event" or line.event == "mode")
    moment = replace(note.moment, test="t::other")
    odd = replace(note, moment=moment, data={**note.data, **fields})
    assert "t::other" not in figures_of(results(odd))[key].seen


def test_ledger_of_a_rollback_is_left_out() -> None:
    found = results()
    mode = next(line for line in notes_of(found, "event") if line.event == "mode")
    ledger = notes_of(found, "reply")[0]
    moment = replace(ledger.moment, test="t::other")
    steps = [{**step, "undo": number == 1} for number, step in enumerate(ledger.data["ledger"])]
    more = replace(mode, moment=moment), replace(ledger, moment=moment, data={"ledger": steps})
    assert "t::other" not in figures_of(results(*more))[STEP].seen


def test_difference_is_that_of_the_tests_that_both_runs_have() -> None:
    base = RunFigure(*TAKEN, "B", (), seen={"a": 100, "b": 200, "c": 900})
    assert difference(base, replace(base, seen={"a": 110, "b": 210, "x": 5})) == (150, 10)
    assert difference(base, replace(base, seen={"x": 5})) is None
