"""The verdict on each requirement and on the whole run, as a pure function of results.jsonl."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from hotpin_hil.evidence.burn_in import leaking
from hotpin_hil.evidence.lines import (
    EVIDENCE,
    SCHEMA_VERSION,
    BaselineNote,
    EmulatorNote,
    LeftOutNote,
    ResultsLine,
    SelectionNote,
    VerdictLine,
)
from hotpin_hil.evidence.model import PASSED, Verdict, worst
from hotpin_hil.evidence.requirements import Requirement
from hotpin_hil.evidence.results import Results
from hotpin_hil.evidence.waiver_use import waiver_uses

QUALIFIED = "QUALIFIED"
NOT_QUALIFIED = "NOT QUALIFIED"
REHEARSED = "REHEARSED"
BLOCKED = "BLOCKED"
INCOMPLETE = "INCOMPLETE"

BEST = {"hardware": QUALIFIED, "emulated": REHEARSED, "virtual": REHEARSED}
"""The best overall verdict that each kind of evidence allows."""

EXIT_FAILED = 1
EXIT_BLOCKED = 7
EXIT_INCOMPLETE = 8
"""Exit status with --require-complete if nothing failed but the run is INCOMPLETE."""

NATIVE_BUILD = "native"
"""`build` in `sys.info` of firmware that was built for the host. It never counts as hardware."""

NOTES_MAX = 20
"""Maximum number of notes about unreadable lines, and of notes about contradictions."""

_FAILED = (Verdict.FAIL, Verdict.UNSET)


def qualify(results: Results) -> dict[str, Any]:
    """Return the content of qualification.json (schemas/qualification.schema.json)."""
    evidence = results.run.evidence
    kind = next(kind for kind, gives in EVIDENCE.items() if gives == evidence)
    rows = results.run.requirements
    judged = {row.id: _judge(row, kind, results) for row in rows}
    not_tested = [_not_tested(row) for row in rows if judged[row.id]["verdict"] is None]
    uses = waiver_uses(results)
    overall, reason = _overall(rows, judged, results, [use.problem for use in uses if use.problem])
    found: dict[str, Any] = {
        "schema": SCHEMA_VERSION,
        "run": results.run.run,
        "started": results.run.started,
        "finished": results.end.finished if results.end else None,
        "overall": overall,
        "reason": reason,
        "evidence": evidence,
        "board": _board(results),
        "firmware": results.run.firmware,
        "harness": results.run.harness,
        "provenance": results.run.provenance.as_json() if results.run.provenance else None,
        "requirements": {key: row for key, row in judged.items() if row["verdict"] is not None},
        "not_tested": not_tested,
        "waivers": [use.as_json() for use in uses],
        "other_tests": [_test(line) for line in results.verdicts if not line.requirement],
        "unfinished": _unfinished(results),
        "reruns": results.reruns(),
        "sizes": [_content(note) for note in results.sizes()],
        "notes": _notes(results),
        "counts": _counts(rows, judged),
    }
    for note in results.of(BaselineNote):
        found["since_last_release"] = _content(note)
    return found


def headline(qualification: Mapping[str, Any]) -> str:
    """The overall verdict in one line.

    For example `REHEARSED (virtual): all 34 "must" requirements that this kind of board can test pass; 30 not built yet
    (listed)`.
    """
    counts = qualification["counts"]
    parts = [qualification["reason"]] if qualification["reason"] else []
    passed, shown = counts["must_passed"], counts["must_shown"]
    if passed == shown > 0 and not counts["must_not_run"]:
        parts.append(f'all {shown} "must" requirements that this kind of board can test pass')
    else:
        parts.append(f'{passed} of {shown} tested "must" requirements pass')
    for key, text in (
        (Verdict.WAIVED.value, "waived (listed)"),
        ("must_not_applicable", "not applicable to this kind of board"),
        ("must_not_run", "not run"),
        ("must_pending", "not built yet (listed)"),
    ):
        if counts[key]:
            parts.append(f"{counts[key]} {text}")
    return f"{qualification['overall']} ({qualification['evidence']}): {'; '.join(parts)}"


def exit_status(verdicts: Mapping[Verdict, int], pytest_status: int) -> int:
    """The exit status for these counts of verdicts, or `pytest_status` if they do not determine it.

    pytest's statuses 2 (interrupted), 3 (internal error), 4 (usage) and 5 (no tests) are kept.
    """
    if pytest_status not in (0, 1):
        return pytest_status
    if any(verdicts.get(verdict) for verdict in _FAILED):
        return EXIT_FAILED
    return EXIT_BLOCKED if verdicts.get(Verdict.BLOCKED) else pytest_status


def has_failed(note: BaselineNote) -> bool:
    """Whether a comparison with the last release fails the run."""
    return any(entry["verdict"] == Verdict.FAIL.value for entry in note.verdicts.values())


def _judge(row: Requirement, kind: str, results: Results) -> dict[str, Any]:
    """The entry of one requirement; its verdict is None if the board can test it, but none of its tests completed."""
    lines = [line for line in results.verdicts if row.id in line.requirement]
    verdict = worst(line.verdict for line in lines)
    if kind not in row.kinds and verdict is not Verdict.FAIL:
        verdict = Verdict.NOT_APPLICABLE
    return {
        "verdict": verdict.value if verdict else None,
        "text": row.text,
        "source": row.source,
        "priority": row.priority,
        "tests": [_test(line) for line in lines],
        "measurements": [line.as_json() for line in results.measurements if row.id in line.requirement],
    }


def _test(line: VerdictLine) -> dict[str, Any]:
    row = line.as_json()
    return {key: row[key] for key in ("test", "verdict", "reason", "remedy", "reproduce")}


def _content(note: ResultsLine) -> dict[str, Any]:
    return {key: value for key, value in note.as_json().items() if key not in ("kind", "about")}


def _not_tested(row: Requirement) -> dict[str, Any]:
    return {
        "id": row.id,
        "text": row.text,
        "priority": row.priority,
        "pending": bool(row.pending),
        "reason": row.pending or "none of its tests completed",
    }


def _unfinished(results: Results) -> list[dict[str, Any]]:
    """Every test without a verdict in an interrupted run; tests that were running come first."""
    running = results.unfinished()
    ended = {line.test for line in results.verdicts}
    waiting = {test: ids for test, ids in results.planned().items() if test not in ended | running.keys()}
    return [
        {"test": test, "requirement": list(ids), "running": tests is running}
        for tests in (running, waiting)
        for test, ids in tests.items()
    ]


def _notes(results: Results) -> list[str]:
    """Notes about the whole run, except known noise, which has its own section."""
    texts = [note.text for note in results.notes if isinstance(note, (SelectionNote, LeftOutNote))]
    starts: Counter[str] = Counter()
    for note in results.of(EmulatorNote):
        starts[note.text] += note.count
    texts += [
        f"the emulator was restarted {'once' if count == 1 else f'{count} times'} before the firmware was ready: {text}"
        for text, count in starts.items()
    ]
    if results.cut:
        texts.append(f"{results.cut} line(s) of the results were cut off and are ignored")
    for what, found in (("ignored", results.unreadable), ("recomputed", results.contradictions)):
        texts += [f"{what}: {text}" for text in found[:NOTES_MAX]]
        if len(found) > NOTES_MAX:
            texts.append(f"{what}: {len(found) - NOTES_MAX} more lines of the results")
    return list(dict.fromkeys(texts))


def missing_lines(qualification: Mapping[str, Any]) -> list[str]:
    """Terminal lines about the untested part of an interrupted run.

    They name the tests that were running, and the "must" requirements with incomplete tests.
    """
    unfinished = qualification["unfinished"]
    lines = [f"was running: {test['test']}" for test in unfinished if test["running"]]
    pending = {
        row["id"] for row in qualification["not_tested"] if row["pending"] or row["priority"] != "must"
    }
    open_ids = {id_ for test in unfinished for id_ in test["requirement"]} - pending
    open_ids |= {row["id"] for row in qualification["not_tested"]} - pending
    untouched = open_ids - set(qualification["requirements"])
    for title, ids in (
        ("no test completed for", untouched),
        ("not all tests completed for", open_ids - untouched),
    ):
        if ids:
            lines.append(f"{title}: {', '.join(sorted(ids))}")
    return lines


def _overall(
    rows: Sequence[Requirement], judged: Mapping[str, Any], results: Results, waivers: Sequence[str]
) -> tuple[str, str]:
    """The overall verdict, and the main reason why it is not the best verdict.

    Args:
        rows: The requirements.
        judged: Requirement id -> its entry.
        results: The results.
        waivers: Problems with the waivers.
    """
    every = Counter(line.verdict for line in results.verdicts)
    musts = [row for row in rows if row.is_must]
    not_run = [row.id for row in musts if judged[row.id]["verdict"] is None and not row.pending]
    on_hardware = results.run.evidence == "hardware"
    if results.unreadable:
        return INCOMPLETE, _few("unreadable lines in the results", results.unreadable)
    if results.end is None:
        running = ", ".join(results.unfinished())
        return (
            INCOMPLETE,
            f"the run was cut off {f'while {running} was running' if running else 'before its end'}",
        )
    if any(every[verdict] for verdict in _FAILED):
        return NOT_QUALIFIED, ""
    for note in results.of(BaselineNote):
        if has_failed(note):
            return NOT_QUALIFIED, f"{note.summary.partition(';')[0]} since run {note.run[:8]}"
    for leak in leaking(results):
        return NOT_QUALIFIED, leak
    if waivers:
        return NOT_QUALIFIED, _few("expired or unneeded waivers", waivers)
    if every[Verdict.BLOCKED]:
        return BLOCKED, "the bench, not the firmware, blocked some tests"
    if results.contradictions:
        return INCOMPLETE, _few("contradictions in the results", results.contradictions)
    if results.cut:
        return INCOMPLETE, "lines of the results were cut off"
    if results.end.exit != 0:
        return INCOMPLETE, f"pytest exited with status {results.end.exit}"
    without = results.without_verdict()
    if without:
        return INCOMPLETE, _few(
            "planned tests without a verdict on at least one of their requirements", without
        )
    if not any(judged[row.id]["verdict"] in PASSED for row in musts):
        return INCOMPLETE, "no requirement was verified"
    if not_run or results.is_selection:
        return INCOMPLETE, "not all tests were run"
    unmeasured = [row for row in musts if "hardware" in row.kinds and judged[row.id]["verdict"] not in PASSED]
    if on_hardware and unmeasured:
        return INCOMPLETE, 'a release must pass every "must" requirement'
    if on_hardware and not all(_is_real(board) for board in results.boards() or [{}]):
        return INCOMPLETE, "the board never reported that it is real hardware"
    doubts = _doubts(results)
    if on_hardware and doubts:
        provenance = results.run.provenance
        if provenance is None or not provenance.allow_dirty:
            return INCOMPLETE, f"{'; '.join(doubts)}: commit and build, or give --allow-dirty"
        return QUALIFIED, f"allowed by --allow-dirty: {'; '.join(doubts)}"
    return BEST[results.run.evidence], ""


def _doubts(results: Results) -> list[str]:
    """Why the results do not identify the sources of the harness, the suite and the firmware."""
    provenance = results.run.provenance
    return ["the run names no commit"] if provenance is None else provenance.doubts()


def _few(what: str, texts: Sequence[str]) -> str:
    """The number of texts, and the first text."""
    return f"{len(texts)} {what}, the first: {texts[0]}" if len(texts) > 1 else f"{what}: {texts[0]}"


def _is_real(board: Mapping[str, Any]) -> bool:
    return board.get("build", NATIVE_BUILD) not in (NATIVE_BUILD, "qemu")


def _board(results: Results) -> dict[str, Any]:
    """The boards of the run: the harness's data, updated with the boards' reports. Workers may use several boards."""
    reported = results.boards()
    if len(reported) > 1:
        return {**results.run.board, "boards": reported}
    return {**results.run.board, **(reported[0] if reported else {})}


def _counts(rows: Sequence[Requirement], judged: Mapping[str, Any]) -> dict[str, int]:
    """Number of requirements per verdict, and of "must" requirements that were verified, passed, and not run."""
    verdicts = Counter(row["verdict"] for row in judged.values() if row["verdict"])
    must = [row for row in rows if row.is_must]
    untested = [row for row in must if judged[row.id]["verdict"] is None]
    inapplicable = [row for row in must if judged[row.id]["verdict"] == Verdict.NOT_APPLICABLE.value]
    return {
        **{verdict.value: verdicts[verdict.value] for verdict in Verdict},
        "not_tested": sum(row["verdict"] is None for row in judged.values()),
        "must": len(must),
        "must_shown": len(must) - len(untested) - len(inapplicable),
        "must_passed": sum(judged[row.id]["verdict"] in PASSED for row in must),
        "must_not_applicable": len(inapplicable),
        "must_not_run": sum(not row.pending for row in untested),
        "must_pending": sum(bool(row.pending) for row in untested),
    }
