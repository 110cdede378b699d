"""Tests `hotpin-hil compare`: two runs of the same build must show no change, and each kind of regression must be
reported with its place and size."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hotpin_hil.cli.main import main
from hotpin_hil.errors import UsageError
from hotpin_hil.evidence.compare import BANDS_FILE, ReleaseComparison, compare_releases, load_bands
from hotpin_hil.evidence.fidelity_reasons import load_reasons
from hotpin_hil.evidence.model import Verdict
from hotpin_hil.evidence.qualification import qualify
from hotpin_hil.evidence.release_changes import REQUIREMENT, SUBJECTS, Effect, verdict_change
from hotpin_hil.evidence.releases import read_release
from hotpin_hil.evidence.results import read_results
from tests.support.release_runs import COST, CYCLES, MODES, SmallRun
from tests.support.schemas import RESULTS_LINE

BASE = SmallRun(seed=1)
CANDIDATE = SmallRun(seed=2, build="b" * 64)


def compared(tmp_path: Path, *runs: SmallRun) -> ReleaseComparison:
    """Compares the last run with the earlier runs."""
    folders = [run.write(tmp_path / f"run{number}") for number, run in enumerate(runs)]
    releases = [read_release(folder, folder.name) for folder in folders]
    return compare_releases(releases[:-1], releases[-1])


def named(comparison: ReleaseComparison) -> set[tuple[str, str, str, str]]:
    """Subject, requirement, place and size of each regression that the comparison found."""
    return {
        (change.subject, ", ".join(change.requirement), change.place, change.size.partition(" (")[0])
        for change in comparison.regressions
    }


def test_runs_of_this_file_match_the_schema() -> None:
    for line in BASE.lines():
        RESULTS_LINE.validate(line.as_json())


def test_pairs_of_one_build_have_no_change(tmp_path: Path) -> None:
    releases = [read_release(SmallRun(seed=seed).write(tmp_path / f"{seed}"), "run") for seed in range(7)]
    for base, candidate in itertools.combinations(releases, 2):
        found = compare_releases([base], candidate)
        assert not found.changes
        assert sum(found.compared.values()) > 40


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        (
            replace(CANDIDATE, voice_more=2_048),
            {
                ("memory", "TRN-03", "voice mode", "+2,048 B"),
                ("ledger", "TRN-02", "camera to voice", "+2,048 B"),
                ("measurement", "TRN-03", MODES[0], "+2,048 B"),
            },
        ),
        (replace(CANDIDATE, leak=16), {("leak", "TRN-04", CYCLES, "+16 B/cycle")}),
        (
            replace(CANDIDATE, slower=1.2),
            {("transition", "TRN-07", "camera to voice", "+43 ms")},
        ),
        (
            replace(CANDIDATE, static_more=1_024),
            {("size", "REL-01", "with test console", "+1,024 B")},
        ),
        (
            replace(CANDIDATE, lost="PERF-05"),
            {("requirement", "PERF-05", "PERF-05", ""), ("test", "PERF-05", COST, "")},
        ),
        (replace(CANDIDATE, without="PERF-05"), {("requirement", "PERF-05", "PERF-05", "")}),
    ],
    ids=[
        "memory_in_voice_mode",
        "leak",
        "slow_transition",
        "static_dram",
        "requirement_fails",
        "requirement_gone",
    ],
)
def test_regression_is_named_with_requirement_place_and_size(
    tmp_path: Path, candidate: SmallRun, expected: set[tuple[str, str, str, str]]
) -> None:
    found = compared(tmp_path, BASE, candidate)
    assert expected <= named(found)
    subjects = {subject for subject, *_ in expected}
    assert {change.subject for change in found.regressions} <= subjects | {"measurement"}
    for subject in SUBJECTS:
        is_listed = any(change.subject == subject for change in found.regressions)
        assert (found.verdict(subject, fails=True) is Verdict.FAIL) == is_listed


@pytest.mark.parametrize("field", ["voice_more", "leak", "static_more"])
def test_the_way_back_is_an_improvement(tmp_path: Path, field: str) -> None:
    found = compared(tmp_path, replace(BASE, **{field: 2_048}), CANDIDATE)
    assert not found.regressions
    assert found.of(Effect.IMPROVEMENT)


@pytest.mark.parametrize(
    ("base", "candidate", "effect"),
    [
        ("PASS", "WAIVED", Effect.NEUTRAL),
        ("FAIL", "WAIVED", Effect.NEUTRAL),
        (None, "WAIVED", Effect.NEUTRAL),
        ("WAIVED", "FAIL", Effect.REGRESSION),
        ("WAIVED", "PASS", Effect.IMPROVEMENT),
        ("PASS", "BLOCKED", Effect.REGRESSION),
        ("PASS", None, Effect.REGRESSION),
    ],
)
def test_waived_verdict_is_listed_but_no_regression(
    base: str | None, candidate: str | None, effect: Effect
) -> None:
    change = verdict_change(REQUIREMENT, "TTS-01", ("TTS-01",), (base, candidate), "waived until 2027-01-31")
    assert change.effect is effect
    assert ("waived" in change.why) == (candidate != "PASS")


def test_runs_of_the_base_show_what_varies(tmp_path: Path) -> None:
    slow = [replace(BASE, seed=seed, slower=slower) for seed, slower in ((1, 1), (2, 1.3), (3, 1.1))]
    candidate = replace(CANDIDATE, slower=1.25)
    assert not compared(tmp_path / "many", *slow, candidate).regressions
    assert compared(tmp_path / "one", slow[0], candidate).regressions
    much_slower = replace(CANDIDATE, slower=1.8)
    assert compared(tmp_path / "more", *slow, much_slower).regressions


def test_requirement_that_a_part_of_the_suite_left_out_is_not_lost(tmp_path: Path) -> None:
    part = replace(CANDIDATE, is_part=True)
    folder = part.write(tmp_path / "part")
    content = (folder / "results.jsonl").read_text().splitlines(keepends=True)
    kept = [line for line in content if COST not in line or '"about": "plan"' in line]
    (folder / "results.jsonl").write_text("".join(kept))
    base = read_release(BASE.write(tmp_path / "base"), "base")
    found = compare_releases([base], read_release(folder, "candidate"))
    assert not found.regressions
    assert any("only a part of the suite" in note for note in found.notes)


def test_a_changed_limit_is_listed(tmp_path: Path) -> None:
    found = compared(tmp_path, BASE, replace(CANDIDATE, manager_limit=4_096))
    assert [(change.subject, *change.shown()) for change in found.changes] == [
        ("limit", "<= 3071 B", "<= 4096 B")
    ]


def test_qualification_file_alone_shows_values_verdicts_and_sizes(tmp_path: Path) -> None:
    base = BASE.write(tmp_path / "base")
    file = tmp_path / "release-1.json"
    file.write_text(json.dumps(qualify(read_results(base))))
    candidate = replace(CANDIDATE, voice_more=2_048, static_more=1_024, lost="PERF-05").write(
        tmp_path / "new"
    )
    found = compare_releases([read_release(file, "base")], read_release(candidate, "candidate"))
    whole = compare_releases([read_release(base, "base")], read_release(candidate, "candidate"))
    assert {change.subject for change in found.regressions} == {"requirement", "test", "size", "measurement"}
    assert set(found.regressions) <= set(whole.regressions)
    assert len(found.bases[0].results.measurements) == len(whole.bases[0].results.measurements)
    assert any("qualification.json" in note for note in found.notes)


@pytest.mark.parametrize(
    ("bases", "candidate", "message"),
    [
        (
            (BASE,),
            replace(CANDIDATE, evidence="virtual"),
            "on a qemu board, the candidate on a virtual",
        ),
        ((BASE, CANDIDATE), CANDIDATE, "builds: aaaaaaaaa and bbbbbbbbb"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(
    tmp_path: Path, bases: tuple[SmallRun, ...], candidate: SmallRun, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        compared(tmp_path, *bases, candidate)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("other.json", "{}", "is not a qualification.json: KeyError"),
        ("other.json", "no", "is not valid JSON"),
        ("gone.json", None, "cannot read"),
        ("results.jsonl", "no\n", "line 1"),
    ],
)
def test_unreadable_run_is_named(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=re.escape(str(tmp_path / name)) + f".*{message}|{message}"):
        read_release(tmp_path / name, "base")


def test_stated_bands_are_tighter_than_the_planted_regressions() -> None:
    """A band (tolerated difference) must not hide 2 KB of memory, a 20 % longer duration, or a leak."""
    for band in load_reasons(BANDS_FILE):
        if "B" in band.unit and band.max_difference is not None:
            assert band.max_difference < 1_024, band.id
        if band.max_ratio is not None:
            assert band.max_ratio < 1.2, band.id
    assert any(band.id == "boot-id" for band in load_bands())


# --- Command ----------------------------------------------------------------------------------------------------


def test_command_prints_the_regressions_and_writes_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, same = BASE.write(tmp_path / "base"), CANDIDATE.write(tmp_path / "same")
    worse = replace(CANDIDATE, voice_more=2_048).write(tmp_path / "worse")
    page = tmp_path / "page.html"
    assert main(["compare", str(base), str(same), "--fail-on", "regression"]) == 0
    assert "no change; " in capsys.readouterr().out
    assert main(["compare", str(base), str(worse), "--html", str(page)]) == 0
    text = capsys.readouterr().out
    assert "memory, TRN-03: voice mode" in text
    assert "internal taken since the start: 98,544 B, now 100,592 B, +2,048 B (+2.1 %)" in text
    assert main(["compare", str(base), str(worse), "--fail-on", "regression"]) == 1
    html = page.read_text(encoding="utf-8")
    assert "+2,048 B (+2.1 %)" in html
    assert not re.search(r"<script|https?://", html)


def test_command_prints_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = BASE.write(tmp_path / "base")
    worse = replace(CANDIDATE, leak=16).write(tmp_path / "worse")
    assert main(["compare", str(base), str(worse), "--json", "--fail-on", "regression"]) == 1
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert data["verdicts"]["leak"] == {"verdict": "FAIL", "compared": 1, "within": 0}
    assert [change["place"] for change in data["changes"]] == [CYCLES]


def test_command_needs_two_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(tmp_path)]) == 2
    assert "only one run is given" in capsys.readouterr().err
