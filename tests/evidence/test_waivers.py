"""Tests waivers: coverage, bound, last day, and errors in waivers.toml and in its use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hotpin_hil.errors import UsageError
from hotpin_hil.evidence.lines import WaiverNote
from hotpin_hil.evidence.model import Verdict
from hotpin_hil.evidence.qualification import headline, qualify
from hotpin_hil.evidence.recorder import Recorder
from hotpin_hil.evidence.results import Results
from hotpin_hil.evidence.waivers import Waiver, Waivers, load_waivers
from tests.evidence.test_evidence import END, RUN, passed, results_of, row, verdict
from tests.support.schemas import QUALIFICATION, RESULTS_LINE

DAY = RUN["started"]


def waiver(**changes: Any) -> Waiver:
    """A waiver of requirement A up to 12 B, until the day of the run."""
    usual: dict[str, Any] = {
        **{"requirement": "A", "measurement": "", "reason": "board rev 2", "approved_by": "R. Lead"},
        **{"expires": "2025-01-01", "bound": 12, "unit": "B"},
    }
    return Waiver(**{**usual, **changes})


def judged(one: Waiver | list[Waiver], value: Any, ids: tuple[str, ...] = ("A",), **limit: Any) -> Verdict:
    waivers = Waivers(DAY, one if isinstance(one, list) else [one])
    recorder = Recorder("t::A", ids, lambda line: None, waivers)
    return recorder.measure("free", value, "B", **(limit or {"max": 10})).verdict


# What a waiver covers


@pytest.mark.parametrize(
    ("limit", "value", "bound", "word"),
    [
        ({"max": 10}, 8, 12, Verdict.PASS),
        ({"max": 10}, 10, 12, Verdict.MARGINAL),
        ({"max": 10}, 12, 12, Verdict.WAIVED),
        ({"max": 10}, 12.5, 12, Verdict.FAIL),
        ({"max": 10}, 11, 9, Verdict.FAIL),
        ({"min": 10}, 9, 8, Verdict.WAIVED),
        ({"min": 10}, 7, 8, Verdict.FAIL),
        ({"min": 10}, 7, 12, Verdict.FAIL),
        ({"low": 5, "high": 10}, 11, 12, Verdict.WAIVED),
        ({"low": 5, "high": 10}, 4, 12, Verdict.FAIL),
        ({"low": 5, "high": 10}, 4, 3, Verdict.WAIVED),
        ({"exact": 0}, 2, 3, Verdict.WAIVED),
        ({"exact": 0}, -1, 3, Verdict.FAIL),
        ({"exact": True}, False, False, Verdict.WAIVED),
        ({"exact": True}, 0, False, Verdict.FAIL),
        ({"exact": "ok"}, "late", "late", Verdict.WAIVED),
        ({"exact": "ok"}, "gone", "late", Verdict.FAIL),
        ({"max": 10}, float("nan"), 12, Verdict.FAIL),
        ({"max": 10}, float("inf"), 12, Verdict.FAIL),
        ({"max": 10}, "nan", "nan", Verdict.FAIL),
        ({"max": 10}, True, 12, Verdict.FAIL),
    ],
)
def test_waived_value_is_between_limit_and_bound(
    limit: dict[str, Any], value: Any, bound: Any, word: Verdict
) -> None:
    assert judged(waiver(bound=bound), value, **limit) is word


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"requirement": "B"}, Verdict.FAIL),
        ({"requirement": "", "measurement": "free"}, Verdict.WAIVED),
        ({"measurement": "free"}, Verdict.WAIVED),
        ({"measurement": "largest"}, Verdict.FAIL),
        ({"unit": "ms"}, Verdict.FAIL),
        ({"expires": "2024-12-31"}, Verdict.FAIL),
    ],
)
def test_waiver_covers_only_what_it_names(changes: dict[str, Any], word: Verdict) -> None:
    assert judged(waiver(**changes), 11) is word


def test_each_requirement_of_a_value_needs_a_waiver() -> None:
    assert judged(waiver(), 11, ("A", "B")) is Verdict.FAIL
    assert judged([waiver(), waiver(requirement="B", bound=10)], 11, ("A", "B")) is Verdict.FAIL
    assert judged([waiver(), waiver(requirement="B")], 11, ("A", "B")) is Verdict.WAIVED
    assert judged(waiver(requirement="", measurement="free"), 11, ()) is Verdict.WAIVED


# In the results of a run


def run_of(*waivers: Waiver, value: float = 11, more: tuple[Any, ...] = (), **changes: Any) -> Results:
    """Results of a run in which A measured one value with a limit of 10 B, and B passed."""
    lines: list[Any] = [WaiverNote(one) for one in waivers]
    recorder = Recorder("t::A", ("A",), lines.append, Waivers(DAY, waivers))
    recorder.measure("free", value, "B", max=10)
    word = recorder.verdicts()["A"].value
    lines.append({**verdict("A", word), **changes})
    for line in lines:
        RESULTS_LINE.validate(line if isinstance(line, dict) else line.as_json())
    return results_of({**RUN, "requirements": [row("A"), row("B")]}, [*lines, *passed("B"), *more, END])


def overall(results: Results) -> tuple[str, str]:
    """The overall verdict and the verdict of A."""
    qualification = qualify(results)
    QUALIFICATION.validate(qualification)
    return qualification["overall"], qualification["requirements"]["A"]["verdict"]


def test_waived_failure_passes_and_is_counted_and_listed() -> None:
    qualification = qualify(run_of(waiver()))
    assert (qualification["overall"], qualification["counts"]["WAIVED"]) == ("REHEARSED", 1)
    assert qualification["counts"]["must_passed"] == 2
    assert "1 waived (listed)" in headline(qualification)
    (listed,) = qualification["waivers"]
    assert (listed["state"], listed["problem"], listed["approved_by"]) == ("used", "", "R. Lead")
    assert [value["value"] for value in listed["values"]] == [11]
    assert not qualification["notes"]
    QUALIFICATION.validate(qualification)


@pytest.mark.parametrize(
    ("changes", "value", "state", "result", "problem"),
    [
        ({}, 11, "used", ("REHEARSED", "WAIVED"), ""),
        ({}, 13, "insufficient", ("NOT QUALIFIED", "FAIL"), ""),
        ({}, 5, "unneeded", ("NOT QUALIFIED", "PASS"), "no value needs it"),
        ({"measurement": "other"}, 5, "unneeded", ("NOT QUALIFIED", "PASS"), 'A "other" is unneeded'),
        ({"expires": "2024-12-31"}, 5, "expired", ("NOT QUALIFIED", "PASS"), "expired on 2024-12-31"),
        ({"expires": "2024-12-31"}, 11, "expired", ("NOT QUALIFIED", "FAIL"), "expired on 2024-12-31"),
    ],
)
def test_expired_or_unneeded_waiver_fails_and_is_named(
    changes: dict[str, Any], value: float, state: str, result: tuple[str, str], problem: str
) -> None:
    results = run_of(waiver(**changes), value=value)
    assert overall(results) == result
    qualification = qualify(results)
    assert qualification["waivers"][0]["state"] == state
    assert problem in qualification["waivers"][0]["problem"]
    assert bool(qualification["waivers"][0]["problem"]) is bool(problem)
    if problem and result[1] == "PASS":
        assert problem in headline(qualification)


def test_part_of_the_suite_does_not_need_all_waivers() -> None:
    part = {"kind": "note", "about": "selection", "text": "a part"}
    for expires in ("2025-01-01", "2024-12-31"):
        results = run_of(waiver(requirement="B", measurement="x", expires=expires), value=5, more=(part,))
        assert qualify(results)["waivers"][0]["state"] == "not tested"
        assert overall(results)[0] == "INCOMPLETE"
    results = run_of(waiver(), value=5, more=(part,))
    assert qualify(results)["waivers"][0]["state"] == "unneeded"


def test_failure_for_another_reason_is_not_waived() -> None:
    """A waiver covers a value, not another failure, such as a later panic or a wait that timed out."""
    results = run_of(waiver(), verdict="FAIL", reason="the board panicked")
    assert overall(results) == ("NOT QUALIFIED", "FAIL")


@pytest.mark.parametrize(
    ("waivers", "value", "word", "result"),
    [
        ((), 11, "WAIVED", ("NOT QUALIFIED", "FAIL")),
        ((), 5, "WAIVED", ("INCOMPLETE", "PASS")),
        ((waiver(),), 11, "PASS", ("INCOMPLETE", "WAIVED")),
        ((waiver(),), 13, "WAIVED", ("NOT QUALIFIED", "FAIL")),
    ],
)
def test_altered_verdict_is_recomputed_with_the_waivers(
    waivers: tuple[Waiver, ...], value: float, word: str, result: tuple[str, str]
) -> None:
    results = run_of(*waivers, value=value, verdict=word, reason="altered")
    assert overall(results) == result
    assert results.contradictions


def test_waiver_that_is_added_to_the_results_contradicts_them() -> None:
    plain = run_of()
    lines = [WaiverNote(waiver()), *plain.measurements, *plain.verdicts]
    assert results_of({**RUN, "requirements": [row("A"), row("B")]}, lines).contradictions


@pytest.mark.parametrize("changes", [{"requirement": ""}, {"expires": "never"}, {"expires": 5}, {"limit": 1}])
def test_waiver_that_no_run_writes_is_refused(changes: dict[str, Any]) -> None:
    row = {**WaiverNote(waiver()).as_json()["waiver"], **changes}
    with pytest.raises((TypeError, ValueError)):
        Waiver.from_json(row)


# The file

ROW = 'requirement = "A"\nreason = "r"\napproved_by = "x"\nexpires = 2025-01-01\nbound = 1\nunit = "B"\n'


def load(tmp_path: Path, text: str) -> Any:
    path = tmp_path / "waivers.toml"
    path.write_text(text)
    return load_waivers(path, ["A"])


def test_file_is_read(tmp_path: Path) -> None:
    text = f'[[waiver]]\n{ROW}kinds = ["hardware"]\n[[waiver]]\n{ROW.replace("requirement", "measurement")}'
    (first, kinds), (second, all_kinds) = load(tmp_path, text)
    assert first == Waiver("A", "", "r", "x", "2025-01-01", 1, "B")
    assert (second.requirement, second.measurement) == ("", "A")
    assert (kinds, all_kinds) == (("hardware",), ("hardware", "qemu", "virtual"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[waiver]", "waivers.toml is not valid TOML"),
        ("x = 1", "may contain only [[waiver]] tables"),
        ("waiver = [1]", "waiver 1: 1 is not a table (begin"),
        (f"[[waiver]]\n{ROW}limit = 1", "waiver 1: unknown key limit (known: approved_by, bound,"),
        (
            ROW.replace('requirement = "A"\n', ""),
            "it names neither a requirement nor a measurement (name one of them",
        ),
        (ROW.replace('"A"', '"Z"'), "requirement 'Z' is unknown (use an id of requirements.toml"),
        (
            ROW.replace('"A"', '""'),
            "`requirement` must be a non-empty string, but is '' (give a non-empty string",
        ),
        (
            ROW.replace('reason = "r"\n', ""),
            "`reason` must be a non-empty string, but is missing (give a non-empty string",
        ),
        (
            ROW.replace('"x"', "5"),
            "`approved_by` must be a non-empty string, but is 5 (give a non-empty string",
        ),
        (
            ROW.replace("2025-01-01", '"2025-01-01"'),
            "must be a date, but is '2025-01-01' (give a date without quotes",
        ),
        (
            ROW.replace("2025-01-01", "2025-01-01T00:00:00"),
            "`expires` must be a date, but is datetime.datetime(",
        ),
        (ROW.replace("bound = 1\n", ""), "a boolean or a string, but is missing (give the worst value"),
        (
            ROW.replace("bound = 1\n", "bound = nan\n"),
            "must be a finite number, a boolean or a string, but is nan (give the",
        ),
        (
            ROW.replace("bound = 1\n", "bound = [1]\n"),
            "a boolean or a string, but is [1] (give the worst value",
        ),
        (ROW.replace('unit = "B"\n', ""), "`unit` must be a string, but is missing (give the unit"),
        (
            f'{ROW}kinds = ["paper"]',
            "must be a list of kinds of board, but is ['paper'] (list some of hardware, qemu",
        ),
    ],
)
def test_bad_file_is_named_with_row_key_and_remedy(tmp_path: Path, text: str, message: str) -> None:
    if "waiver" not in text and text != "x = 1":
        text = f"[[waiver]]\n{ROW}[[waiver]]\n{text}"
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text)
    assert message in str(caught.value)
    assert str(tmp_path / "waivers.toml") in str(caught.value)
    if text.count("[[waiver]]") == 2:
        assert "waivers.toml, waiver 2: " in str(caught.value)
