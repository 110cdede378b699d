"""Tests limits, verdicts, the requirement file and the results file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import esptool
import pexpect
import pytest
import serial
from hypothesis import given
from hypothesis import strategies as st

from hotpin_hil.device.errors import NoReply
from hotpin_hil.errors import (
    BenchError,
    BuildError,
    FirmwareError,
    FlashError,
    HilError,
    PortError,
    UsageError,
    WrongBoardError,
)
from hotpin_hil.evidence.blame import CALL, SETUP, blame
from hotpin_hil.evidence.lines import MeasurementLine, ResultsLine, RunLine, VerdictLine, read_line
from hotpin_hil.evidence.model import Verdict, make_limit, worst
from hotpin_hil.evidence.provenance import Provenance, Tree
from hotpin_hil.evidence.qualification import exit_status, headline, qualify
from hotpin_hil.evidence.recorder import Recorder
from hotpin_hil.evidence.requirements import load_requirements
from hotpin_hil.evidence.results import Results, ResultsWriter, read_results
from hotpin_hil.link.idf_serial import HilIdfSerial
from hotpin_hil.paths import REQUIREMENTS_FILE
from tests.support.provenance import PROVENANCE
from tests.support.schemas import QUALIFICATION, REQUIREMENT, RESULTS_LINE

# Limits


@pytest.mark.parametrize(
    ("limit", "value", "verdict", "margin"),
    [
        ({"max": 1000}, 899, Verdict.PASS, 101),
        ({"max": 1000}, 900, Verdict.PASS, 100),
        ({"max": 1000}, 901, Verdict.MARGINAL, 99),
        ({"max": 1000}, 1000, Verdict.MARGINAL, 0),
        ({"max": 1000}, 1001, Verdict.FAIL, -1),
        ({"max": 0}, 0, Verdict.PASS, 0),
        ({"max": -70}, -75, Verdict.MARGINAL, 5),
        ({"min": 1000}, 1100, Verdict.PASS, 100),
        ({"min": 1000}, 1099, Verdict.MARGINAL, 99),
        ({"min": 1000}, 999, Verdict.FAIL, -1),
        ({"low": 1, "high": 3}, 1, Verdict.PASS, 0),
        ({"low": 1, "high": 3}, 3.25, Verdict.FAIL, -0.25),
        ({"exact": 5}, 5, Verdict.PASS, None),
        ({"exact": 5}, 6, Verdict.FAIL, None),
        ({"exact": True}, True, Verdict.PASS, None),
        ({"exact": True}, 1, Verdict.FAIL, None),
        ({"exact": "OK"}, "ok", Verdict.FAIL, None),
        ({"max": 1}, float("nan"), Verdict.FAIL, None),
        ({"min": 1}, float("inf"), Verdict.FAIL, None),
        ({"max": 1}, True, Verdict.FAIL, None),
    ],
)
def test_limit(limit: dict[str, Any], value: Any, verdict: Verdict, margin: float | None) -> None:
    made = make_limit(**limit)
    assert (made.judge(value), made.margin(value)) == (verdict, margin)


@pytest.mark.parametrize("arguments", [{}, {"max": 1, "min": 0}, {"low": 1}, {"max": 1, "exact": 1}])
def test_measurement_needs_exactly_one_limit(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="limit"):
        make_limit(**arguments)


@given(st.lists(st.sampled_from(list(Verdict)), min_size=1))
def test_nothing_outweighs_a_failure(verdicts: list[Verdict]) -> None:
    if Verdict.FAIL in verdicts:
        assert worst(verdicts) is Verdict.FAIL
    if worst(verdicts) is Verdict.PASS:
        assert set(verdicts) <= {Verdict.PASS, Verdict.NOT_APPLICABLE}


# Recorder


def test_recorder_keeps_requirements_apart() -> None:
    lines: list[Any] = []
    recorder = Recorder("t", ("A", "B", "C", "D"), lines.append)
    recorder.board = "24:0a:c4:00:00:01"
    recorder.where = lambda: ("00c0ffee", 1234)
    recorder.measure("a", 1, exact=1, requirement="A")
    recorder.measure("b", 2, "B", max=1, requirement=("B",))
    recorder.measure("d", 2, "us", max=10, requirement="D", klass="modelled")
    assert recorder.verdicts() == {
        "A": Verdict.PASS,
        "B": Verdict.FAIL,
        "C": Verdict.UNSET,
        "D": Verdict.NOT_APPLICABLE,
    }
    assert [line.name for line in lines] == ["a", "b", "d"]
    assert (lines[0].board, lines[0].boot, lines[0].t) == ("24:0a:c4:00:00:01", "00c0ffee", 1234)


def test_recorder_refuses_foreign_requirements_and_missing_values() -> None:
    lines: list[Any] = []
    recorder = Recorder("t", ("A",), lines.append)
    with pytest.raises(ValueError, match="marker"):
        recorder.measure("a", 1, exact=1, requirement="Z")
    with pytest.raises(TypeError, match="a number, a boolean or a string"):
        recorder.measure("a", None, exact=1)  # type: ignore[arg-type]
    assert not lines
    assert not recorder.measurements


# Blame for an error


@pytest.mark.parametrize(
    ("error", "verdict", "dead"),
    [
        (PortError("gone"), Verdict.BLOCKED, True),
        (FlashError("no sync"), Verdict.BLOCKED, True),
        (BuildError("no release build"), Verdict.BLOCKED, False),
        (WrongBoardError("virtual"), Verdict.BLOCKED, True),
        (BenchError("noise"), Verdict.BLOCKED, False),
        (esptool.FatalError("no sync"), Verdict.BLOCKED, True),
        (serial.SerialException("busy"), Verdict.BLOCKED, True),
        (FirmwareError("wrong"), Verdict.FAIL, False),
        (AssertionError("wrong"), Verdict.FAIL, False),
        (pexpect.TIMEOUT("no READY"), Verdict.FAIL, False),
        (pytest.fail.Exception("no READY"), Verdict.FAIL, False),
        (HilError("odd"), Verdict.BLOCKED, False),
        (KeyError("x"), Verdict.BLOCKED, False),
        (SystemExit(2), Verdict.BLOCKED, False),
    ],
)
def test_error_in_a_set_up(error: BaseException, verdict: Verdict, dead: bool) -> None:
    finding = blame(error, SETUP)
    assert (finding.verdict, finding.board_is_dead) == (verdict, dead)


def test_error_of_the_tools_is_a_bench_fault() -> None:
    with pytest.raises(ValueError, match="no_such_protocol") as caught:
        serial.serial_for_url("no_such_protocol://x")
    assert blame(caught.value, SETUP).verdict is Verdict.BLOCKED
    assert blame(caught.value, SETUP).board_is_dead
    assert blame(caught.value, SETUP).needs_traceback


@pytest.mark.parametrize(
    ("error", "needs"),
    [
        (KeyError("x"), True),
        (PortError("gone"), False),
        (UsageError("no option"), False),
        (esptool.FatalError("no sync"), False),
    ],
)
def test_only_unexpected_errors_need_a_traceback(error: BaseException, needs: bool) -> None:
    finding = blame(error, SETUP)
    assert finding.needs_traceback is needs
    assert ("traceback" in finding.remedy) is needs


def test_an_option_that_a_tool_refuses_keeps_its_own_remedy() -> None:
    """A UsageError must keep its remedy; it must not become "check the cable"."""
    kwargs = {"app": None, "msg_queue": None, "port_mac": "24:0a:c4:00:00:01"}
    with pytest.raises(UsageError) as caught:
        HilIdfSerial(**kwargs)
    assert blame(caught.value, SETUP).remedy == "choose the board with --board-mac"


def test_handled_error_is_not_blamed() -> None:
    error = AssertionError("afterwards")
    error.__context__ = PortError("handled by the test")
    assert blame(error, CALL).verdict is Verdict.FAIL


def test_bench_error_is_found_in_causes_and_groups() -> None:
    class Group(Exception):
        exceptions = (KeyError("x"), PortError("gone", "plug in"))

    error = ValueError("outer")
    error.__cause__ = Group()
    finding = blame(error, CALL)
    assert (finding.verdict, finding.reason, finding.remedy) == (Verdict.BLOCKED, "gone", "plug in")


@pytest.mark.parametrize(("answers", "verdict"), [(True, Verdict.FAIL), (False, Verdict.BLOCKED)])
def test_silence_is_judged_by_a_reset(answers: bool, verdict: Verdict) -> None:
    finding = blame(NoReply("no reply to 'mem.stats'", 0), CALL, lambda: answers)
    assert (finding.verdict, finding.board_is_dead) == (verdict, not answers)


# Requirements

ROW = 'id = "A-01"\ntext = "t"\nsource = "s"\npriority = "must"\nkinds = ["virtual"]\n'


def test_requirements_of_the_suite_are_valid() -> None:
    requirements = load_requirements(REQUIREMENTS_FILE)
    assert requirements["TTS-02"].is_must
    for requirement in requirements.as_json():
        REQUIREMENT.validate(requirement)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[requirement]", "not valid TOML"),
        ("x = 1", "may contain only"),
        ("[[requirement]]\n" + ROW + "[[requirement]]\n" + ROW, "A-01 appears twice"),
        ("[[requirement]]\n" + ROW.replace("must", "should"), r"1 \(A-01\): `priority` 'should'"),
        ("[[requirement]]\n" + ROW.replace('["virtual"]', '["virtual", "paper"]'), "`kinds` must be"),
        ("[[requirement]]\n" + ROW.replace('["virtual"]', "[]"), "`kinds` must be"),
        ("[[requirement]]\n" + ROW.replace('"t"', "1"), "`text` must be a non-empty string, but is 1"),
        ("[[requirement]]\n" + ROW + 'pending = ""', "`pending` must be"),
        ("[[requirement]]\n" + ROW + 'limit = "1"', "unknown key limit"),
    ],
)
def test_bad_requirement_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "requirements.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        load_requirements(path)


# Results

RUN = {
    "schema": 1,
    "kind": "run",
    "run": "8a6e0804-2bd0-4672-b79d-d97027f9071a",
    "evidence": "virtual",
    "started": "2025-01-01T00:00:00+00:00",
    "board": {"kind": "virtual"},
    "firmware": {"project": "hotpin", "version": "1", "idf": "native", "elf_sha256": "00"},
    "harness": {"version": "1", "python": "3", "packages": {}},
    "requirements": [],
}


def row(requirement: str, **fields: Any) -> dict[str, Any]:
    base = {"text": "t", "source": "s", "priority": "must", "kinds": ["hardware", "virtual"], "pending": ""}
    return {"id": requirement, **base, **fields}


def verdict(requirement: str, word: str) -> dict[str, Any]:
    reason = "" if word == "PASS" else "because"
    tail = {"reason": reason, "remedy": "", "reproduce": "pytest t"}
    return {
        "kind": "verdict",
        "test": f"t::{requirement}",
        "requirement": [requirement],
        "verdict": word,
        **tail,
    }


def passed(requirement: str, word: str = "PASS") -> list[dict[str, Any]]:
    """The lines of a passed test: a measurement within its limit, and the verdict."""
    lines: list[Any] = []
    recorder = Recorder(f"t::{requirement}", [requirement], lines.append)
    recorder.measure("value", 10 if word == "MARGINAL" else 5, max=10)
    return [lines[0].as_json(), verdict(requirement, word)]


END = {"kind": "end", "exit": 0, "finished": "2025-01-01T00:01:00+00:00"}
REAL_BOARD = {"kind": "note", "about": "board", "board": {"build": "hil", "mac": "24:0a:c4:00:00:01"}}


def results_of(run: dict[str, Any], lines: Iterable[ResultsLine | dict[str, Any]]) -> Results:
    results = Results(RunLine.from_json(run))
    for line in lines:
        typed = line if isinstance(line, ResultsLine) else read_line(line)
        assert typed is not None
        results.add(typed)
    return results


def test_killed_run_keeps_its_results(tmp_path: Path) -> None:
    writer = ResultsWriter(tmp_path, RunLine.from_json({**RUN, "requirements": [row("A"), row("B")]}))
    measured, judged = passed("A")
    writer.append(MeasurementLine.from_json(measured))
    writer.append(VerdictLine.from_json(judged))
    path = tmp_path / "results.jsonl"
    path.write_text(
        path.read_text() + '{"kind":"verd'
    )  # incomplete line: the process was killed during the write
    results = read_results(tmp_path)
    qualification = qualify(results)
    assert qualification["overall"] == "INCOMPLETE"
    assert qualification["requirements"]["A"]["verdict"] == "PASS"
    assert [entry["id"] for entry in qualification["not_tested"]] == ["B"]
    assert "cut off" in qualification["notes"][0]


@pytest.mark.parametrize(
    "cut", ['{"kind":"measurement","te', '{"kind":"measurement","limit":{"kind":"max","va']
)
def test_line_after_a_line_cut_by_a_killed_worker_is_kept(tmp_path: Path, cut: str) -> None:
    lines = [{**RUN, "requirements": [row("A")]}, *passed("A"), END]
    first, value, second, last = map(json.dumps, lines)
    second = second.replace(
        '"kind": "verdict"', '"kind":"verdict"'
    )  # spaced like the other lines of the file
    (tmp_path / "results.jsonl").write_text(f"{first}\n{value}\n{cut}{second}\n{last}\n")
    results = read_results(tmp_path)
    assert results.cut == 1
    qualification = qualify(results)
    assert qualification["requirements"]["A"]["verdict"] == "PASS"
    assert (qualification["overall"], qualification["reason"]) == (
        "INCOMPLETE",
        "lines of the results were cut off",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ('{"kind":"end"}\n', "does not begin with a run line"),
        (json.dumps({**RUN, "schema": 2}) + "\n", "run line of schema 1"),
        ("{" * 100_000 + "\n", "line 1: "),
        (json.dumps({**RUN, "evidence": "guess"}) + "\n", "line 1: 'guess' is not one of"),
        (json.dumps({**RUN, "board": 5}) + "\n", "line 1: '5' is not an object"),
    ],
)
def test_file_without_a_run_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "results.jsonl").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_results(tmp_path)


MEASURED = json.dumps(passed("A")[0])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "not JSON"),
        ("[]", "not an object"),
        ('{"kind":"poem"}', "unknown kind 'poem'"),
        ("{}", "no kind"),
        ('{"kind":"end","exit":0}', "no key 'finished'"),
        (json.dumps(verdict("A", "GOOD")), "'GOOD' is not a valid Verdict"),
        (json.dumps(RUN), "the first line of another run"),
        (MEASURED.replace('"value": 5', '"value": NaN', 1), "NaN is not a number"),
        (MEASURED.replace('"value": 5', '"value": 1e999', 1), "out of range"),
        (MEASURED.replace('"value": 5', f'"value": {"9" * 5000}', 1), "(5000 characters) is out of range"),
        (MEASURED.replace('"value": 10', '"value": "10"', 1), "a limit must be a finite number"),
        (MEASURED.replace('"value": 5', '"value": 5, "value": 6', 1), "the key 'value' occurs twice"),
        (MEASURED.replace('"value": 5', '"value": ' + "[" * 40 + "]" * 40, 1), "levels of nesting"),
        (MEASURED.replace('"value": 5', '"value": ' + "[" * 100_000, 1), "levels of nesting"),
        (MEASURED.replace('["A"]', '"A"'), "is not an array"),
        (MEASURED.replace('"unit": ""', '"unit": "é"'), "the byte 0xc3 is not ASCII"),
        (MEASURED.replace('"unit": ""', '"unit": 5'), "unit is 5, not str"),
    ],
)
def test_line_that_no_run_writes_is_named_and_the_run_incomplete(
    tmp_path: Path, line: str, message: str
) -> None:
    rows = [
        json.dumps({**RUN, "requirements": [row("A")]}),
        *map(json.dumps, passed("A")),
        line,
        json.dumps(END),
    ]
    (tmp_path / "results.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    qualification = qualify(read_results(tmp_path))
    assert qualification["overall"] == "INCOMPLETE"
    assert qualification["reason"].startswith("unreadable lines in the results: line 4: ")
    assert message in qualification["reason"]
    assert qualification["requirements"]["A"]["verdict"] == "PASS"


# Recomputed verdicts


def judged_again(*lines: dict[str, Any]) -> dict[str, Any]:
    rows = [row("A"), row("B")]
    return qualify(results_of({**RUN, "requirements": rows}, [*lines, *passed("B"), END]))


@pytest.mark.parametrize(
    ("changes", "word", "overall"),
    [
        ({}, "PASS", "REHEARSED"),
        ({"value": 11}, "FAIL", "NOT QUALIFIED"),
        ({"value": "nan"}, "FAIL", "NOT QUALIFIED"),
        ({"value": 1e9, "limit": {"kind": "exact", "value": 5}}, "FAIL", "NOT QUALIFIED"),
        ({"value": 10}, "MARGINAL", "INCOMPLETE"),
        ({"verdict": "FAIL"}, "PASS", "INCOMPLETE"),
        ({"class": "modelled"}, "NOT APPLICABLE", "INCOMPLETE"),
        ({"test": "t::other"}, "UNSET", "NOT QUALIFIED"),
        ({"requirement": ["B"]}, "UNSET", "NOT QUALIFIED"),
        ({"requirement": ["A", "Z"]}, "PASS", "INCOMPLETE"),
    ],
)
def test_verdict_is_recomputed_from_value_and_limit(changes: dict[str, Any], word: str, overall: str) -> None:
    measured, judged = passed("A")
    qualification = judged_again({**measured, **changes}, judged)
    assert (qualification["requirements"]["A"]["verdict"], qualification["overall"]) == (word, overall)
    assert any(note.startswith("recomputed: ") for note in qualification["notes"]) is bool(changes)
    QUALIFICATION.validate(qualification)


def test_pass_without_a_value_is_unset_and_other_verdicts_stay() -> None:
    assert judged_again(verdict("A", "PASS"))["requirements"]["A"]["verdict"] == "UNSET"
    for word in ("FAIL", "BLOCKED", "NOT APPLICABLE"):
        assert judged_again(passed("A")[0], verdict("A", word))["requirements"]["A"]["verdict"] == word


def test_each_attempt_of_a_rerun_is_judged_by_its_own_values() -> None:
    started = {"kind": "note", "about": "started", "test": "t::A", "requirement": ["A"], "worker": "main"}
    measured, judged = passed("A")
    failed = [{**measured, "value": 11, "verdict": "FAIL"}, verdict("A", "FAIL")]
    qualification = judged_again(started, *failed, started, measured, judged)
    assert [test["verdict"] for test in qualification["requirements"]["A"]["tests"]] == ["FAIL", "PASS"]
    assert not qualification["notes"]


def test_planned_test_without_a_verdict_makes_the_run_incomplete() -> None:
    plan = {"kind": "note", "about": "plan", "tests": {"t::A": ["A", "B"], "t::B": ["B"]}}
    qualification = judged_again(plan, *passed("A"))
    assert qualification["overall"] == "INCOMPLETE"
    assert "without a verdict on at least one of their requirements: t::A" in qualification["reason"]


# Overall verdict

VIRTUAL: dict[str, Any] = {}
HARDWARE = {"evidence": "hardware", "board": {"kind": "hardware"}, "provenance": PROVENANCE.as_json()}


@pytest.mark.parametrize(
    ("run", "words", "lines", "overall"),
    [
        (VIRTUAL, ("PASS", "PASS"), [END], "REHEARSED"),
        (VIRTUAL, ("PASS", "MARGINAL"), [END], "REHEARSED"),
        (VIRTUAL, ("PASS", "NOT APPLICABLE"), [END], "REHEARSED"),
        (VIRTUAL, ("PASS", "FAIL"), [END], "NOT QUALIFIED"),
        (VIRTUAL, ("PASS", "UNSET"), [END], "NOT QUALIFIED"),
        (VIRTUAL, ("PASS", "BLOCKED"), [END], "BLOCKED"),
        (VIRTUAL, ("FAIL", "BLOCKED"), [END], "NOT QUALIFIED"),
        (VIRTUAL, ("PASS",), [END], "INCOMPLETE"),
        (VIRTUAL, (), [END], "INCOMPLETE"),
        (VIRTUAL, ("PASS", "PASS"), [], "INCOMPLETE"),
        (VIRTUAL, ("PASS", "FAIL"), [], "INCOMPLETE"),
        (VIRTUAL, ("PASS", "PASS"), [{**END, "exit": 2}], "INCOMPLETE"),
        (HARDWARE, ("PASS", "PASS"), [REAL_BOARD, END], "QUALIFIED"),
        (HARDWARE, ("PASS", "PASS"), [END], "INCOMPLETE"),
        (HARDWARE, ("PASS", "NOT APPLICABLE"), [REAL_BOARD, END], "INCOMPLETE"),
        (
            HARDWARE,
            ("PASS", "PASS"),
            [{"kind": "note", "about": "board", "board": {"build": "native"}}, END],
            "INCOMPLETE",
        ),
        ({"evidence": "emulated", "board": {"kind": "qemu"}}, (), [END], "INCOMPLETE"),
    ],
)
def test_overall(
    run: dict[str, Any], words: tuple[str, ...], lines: list[dict[str, Any]], overall: str
) -> None:
    rows = [row("A"), row("B"), row("F", priority="later")]
    header = {**RUN, **run, "requirements": rows}
    verdicts = [
        line
        for requirement, word in zip("AB", words, strict=False)
        for line in (
            passed(requirement, word) if word in ("PASS", "MARGINAL") else [verdict(requirement, word)]
        )
    ]
    qualification = qualify(results_of(header, [*verdicts, *lines]))
    assert qualification["overall"] == overall
    QUALIFICATION.validate(qualification)
    for line in (header, *verdicts, *lines):
        RESULTS_LINE.validate(line)


DIRTY, NO_GIT = Tree("0" * 40, dirty="abcdefabcdef"), Tree(unknown="git is not installed")
DIRTY_FIRMWARE = (replace(PROVENANCE.firmware[0], tree=DIRTY),)


@pytest.mark.parametrize(
    ("provenance", "doubt"),
    [
        (None, "the run names no commit"),
        (replace(PROVENANCE, harness=DIRTY), "the harness has uncommitted changes (abcdefabcdef)"),
        (replace(PROVENANCE, suite=NO_GIT), "the suite is at an unknown commit (git is not installed)"),
        (
            replace(PROVENANCE, harness=DIRTY, suite=DIRTY),
            "the harness with its suite has uncommitted changes (abcdefabcdef)",
        ),
        (
            replace(PROVENANCE, firmware=DIRTY_FIRMWARE),
            'the firmware image "with test console" has uncommitted changes (abcdefabcdef)',
        ),
    ],
)
def test_hardware_qualifies_only_from_known_sources_unless_allowed(
    provenance: Provenance | None, doubt: str
) -> None:
    def judged(found: Provenance | None, **fields: Any) -> dict[str, Any]:
        data = found and found.as_json()
        header = {**RUN, **HARDWARE, "requirements": [row("A")], **fields, "provenance": data}
        return qualify(results_of(header, [REAL_BOARD, *passed("A"), END]))

    found = judged(provenance)
    assert (found["overall"], found["reason"]) == (
        "INCOMPLETE",
        f"{doubt}: commit and build, or give --allow-dirty",
    )
    assert judged(provenance, evidence="virtual", board={"kind": "virtual"})["overall"] == "REHEARSED"
    if provenance is not None:
        found = judged(replace(provenance, allow_dirty=True))
        assert found["overall"] == "QUALIFIED"
        assert f"QUALIFIED (hardware): allowed by --allow-dirty: {doubt}; all 1" in headline(found)


def test_hardware_does_not_qualify_with_a_pending_requirement() -> None:
    rows = [row("A"), row("P", pending="not built")]
    header = {**RUN, **HARDWARE, "requirements": rows}
    qualification = qualify(results_of(header, [REAL_BOARD, *passed("A"), END]))
    assert qualification["overall"] == "INCOMPLETE"
    assert headline(qualification).startswith(
        'INCOMPLETE (hardware): a release must pass every "must" requirement; all 1 "must"'
    )


def test_qualified_on_anything_but_hardware_violates_the_schema() -> None:
    qualification = qualify(results_of({**RUN, "requirements": [row("A")]}, [*passed("A"), END]))
    QUALIFICATION.validate(qualification)
    assert not QUALIFICATION.is_valid({**qualification, "overall": "QUALIFIED"})


def test_not_applicable_requirement_does_not_pass() -> None:
    rows = [row("A"), row("H", kinds=["hardware"])]
    lines = [*passed("A"), *passed("H"), END]
    qualification = qualify(results_of({**RUN, "requirements": rows}, lines))
    assert qualification["requirements"]["H"]["verdict"] == "NOT APPLICABLE"
    assert qualification["counts"]["must_shown"] == 1


@pytest.mark.parametrize(
    ("verdicts", "before", "after"),
    [
        ({}, 0, 0),
        ({Verdict.PASS: 3}, 0, 0),
        ({Verdict.MARGINAL: 1}, 0, 0),
        ({Verdict.FAIL: 1, Verdict.BLOCKED: 5}, 1, 1),
        ({Verdict.UNSET: 1}, 1, 1),
        ({Verdict.BLOCKED: 1, Verdict.PASS: 3}, 1, 7),
        ({Verdict.BLOCKED: 1}, 0, 7),
        ({Verdict.FAIL: 1}, 0, 1),
        ({Verdict.BLOCKED: 1}, 2, 2),
        ({Verdict.FAIL: 1}, 3, 3),
        ({}, 5, 5),
    ],
)
def test_exit_status(verdicts: dict[Verdict, int], before: int, after: int) -> None:
    assert exit_status(verdicts, before) == after
