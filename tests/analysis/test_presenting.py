"""Checks what `hotpin-hil analyze` prints for one or several logs: severity, excerpts, parts, comparison, exit
status."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hotpin_hil.analysis.analyze import analyze
from hotpin_hil.analysis.boot_catalogue import BOOT_FAULTS
from hotpin_hil.analysis.kinds import PANIC, TOPICS, Gravity, topic_of
from hotpin_hil.analysis.log_difference import compare_logs
from hotpin_hil.cli.main import main
from hotpin_hil.paths import PROJECT_ROOT
from hotpin_hil.report.log_chart import memory_chart

QUIET = "I (100) app: ready\nI (200) app: tick\n"
WARNED = "I (100) app: ready\nW (150) wifi: slow\nE (160) net: no answer\nE (170) net: no answer\n"
ABORT = (
    "I (100) app: ready\nI (200) app: one\nI (300) app: two\nI (400) app: three\n"
    "abort() was called at PC 0x4008e1ef on core 1\n\n\nBacktrace: 0x40081c16:0x3ffb99c0\n\nRebooting...\n"
)
BANNER = "rst:0xc (SW_CPU_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\n"
NO_MEMORY = "I (100) app: ready\nE (200) app: failed to allocate 9000 bytes\n"
LEAK = "".join(f"I ({t * 1000}) app: Free heap: {180_000 - 212 * t}\n" for t in range(30))
LOGS = {"quiet": QUIET, "warned": WARNED, "abort": ABORT, "memory": NO_MEMORY, "leak": LEAK}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with all of LOGS, and two files that are not logs."""
    (tmp_path / "deep").mkdir()
    for name, log in LOGS.items():
        (tmp_path / ("deep" if name == "leak" else "") / f"{name}.txt").write_text(log)
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    (tmp_path / ".hidden.txt").write_text(ABORT)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """Exit status, output and errors of the command."""
    try:
        status = main(["analyze", *map(str, arguments)])
    except SystemExit as exit_:
        status = int(exit_.code or 0)
    output = capsys.readouterr()
    return status, output.out, output.err


def documents(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> list[dict[str, Any]]:
    status, out, err = run(capsys, "--json", *arguments)
    assert (status, err) == (0, "")
    return [json.loads(line) for line in out.splitlines()]


# --- Severity ---


def test_every_diagnosis_of_the_code_has_a_topic_and_a_gravity() -> None:
    source = "".join(path.read_text() for path in (PROJECT_ROOT / "hotpin_hil" / "analysis").glob("*.py"))
    made = set(re.findall(r'(?:Known|Diagnosis)\(\s*"([\w-]+)"', source)) | set(BOOT_FAULTS)
    known = [id_ for topic in TOPICS for id_ in topic.ids]
    assert len(made) > 25
    assert made | {PANIC} == set(known)
    assert len(known) == len(set(known))
    assert topic_of("panic-abort").gravity is Gravity.FATAL


def test_diagnoses_are_sorted_by_gravity_and_json_says_the_worst() -> None:
    document = analyze([(NO_MEMORY + LEAK + ABORT).encode()], "log").to_json()
    found = [(diagnosis["id"], diagnosis["gravity"]) for diagnosis in document["diagnoses"]]
    assert found == [("panic-abort", "fatal"), ("DIAG-01", "failure"), ("DIAG-03", "risk")]
    assert document["worst"] == "fatal"
    assert analyze([QUIET.encode()], "log").to_json()["worst"] is None


@pytest.mark.parametrize(
    ("log", "fail_on", "status"),
    [
        ("abort", "fatal", 1),
        ("abort", "risk", 1),
        ("memory", "fatal", 0),
        ("memory", "failure", 1),
        ("leak", "failure", 0),
        ("leak", "risk", 1),
        ("warned", "risk", 0),
    ],
)
def test_exit_status_follows_fail_on(
    folder: Path, capsys: pytest.CaptureFixture[str], log: str, fail_on: str, status: int
) -> None:
    path = folder / ("deep" if log == "leak" else "") / f"{log}.txt"
    assert run(capsys, path)[0] == 0
    assert run(capsys, path, "--fail-on", fail_on)[0] == status
    assert run(capsys, path, "--fail-on", fail_on, folder / "missing.txt")[0] == 2, "an error prevails"


# --- Files ---


def test_folder_is_searched_and_its_overview_begins_with_the_worst(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(capsys, folder)
    assert (status, err) == (0, "")
    rows = [(line[:12].strip(), Path(line.split()[1]).name) for line in out.splitlines()[:3]]
    assert rows == [("FATAL", "abort.txt"), ("FAILURE", "memory.txt"), ("RISK", "leak.txt")]
    assert "not read    " in out
    assert "picture.png is not a console log" in out
    assert ".hidden" not in out


def test_pattern_is_expanded(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = documents(capsys, folder / "**" / "[lm]*.txt")
    assert [Path(document["facts"]["file"]).name for document in found] == ["leak.txt", "memory.txt"]


def test_folder_without_logs_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "diary.txt").write_text("Dear diary\n")
    status, _, err = run(capsys, tmp_path)
    assert (status, err) == (
        2,
        f"error: there is no console log in {tmp_path} (name another folder)\n",
    )


# --- What is shown ---


def test_excerpt_has_the_lines_around_the_evidence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (document,) = documents(capsys, folder / "abort.txt")
    excerpt = document["diagnoses"][0]["excerpt"]
    assert [line["line"] for line in excerpt] == list(range(2, 10))
    assert [line["text"] for line in excerpt if line["is_evidence"]] == [
        "abort() was called at PC 0x4008e1ef on core 1"
    ]
    out = run(capsys, folder / "abort.txt")[1]
    assert "      4 | I (400) app: three\n    > 5 | abort() was called" in out


def test_excerpt_of_a_pipe_is_read_from_its_copy() -> None:
    command = [sys.executable, "-m", "hotpin_hil", "analyze", "--json", "-"]
    done = subprocess.run(
        command, cwd=PROJECT_ROOT, input=ABORT.encode(), capture_output=True, timeout=60, check=True
    )
    (found,) = json.loads(done.stdout)["diagnoses"]
    assert len(found["excerpt"]) == 8


def test_complaints_are_counted_by_tag(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (document,) = documents(capsys, folder / "warned.txt")
    assert document["complaints"] == [
        {"level": "E", "tag": "net", "count": 2},
        {"level": "W", "tag": "wifi", "count": 1},
    ]
    assert "errors (2): net 2\nwarnings (1): wifi 1" in run(capsys, folder / "warned.txt")[1]


def test_what_was_looked_for_is_said() -> None:
    def outcomes(log: str) -> dict[str, str]:
        document = analyze([log.encode()], "log").to_json()
        return {topic["topic"]: topic["outcome"] for topic in document["looked_for"]}

    assert outcomes(QUIET)["a brown-out"] == "not found"
    assert outcomes(QUIET)["a memory leak"] == "not judged"
    assert outcomes(LEAK)["a memory leak"] == "found"
    steady = LEAK.replace("Free heap", "Largest block: 4000, free heap")
    assert outcomes(steady)["fragmented memory"] != "not judged"
    overflow = "Guru Meditation Error: Core  0 panic'ed (Stack protection fault). \n\n"
    assert outcomes(QUIET + overflow)["a panic, an abort or a failed assertion"] == "found"


def test_one_chart_has_all_readings_and_says_which() -> None:
    log = "".join(
        f"I ({t * 500}) app: Free heap: {90_000 - t}, largest block: {40_000 + t}\nI ({t * 500}) net: free psram: {t}\n"
        for t in range(2_000)
    )
    analysis = analyze([log.encode()], "log")
    series = {(one.source, one.memory, one.quantity): one for one in analysis.series}
    assert set(series) == {("app", "heap", "free"), ("app", "heap", "largest"), ("net", "psram", "free")}
    falling = series["app", "heap", "free"]
    assert (falling.count, falling.first.bytes, falling.lowest.bytes) == (2_000, 90_000, 88_001)
    assert len(falling.points) < 512
    assert {falling.first, falling.last} <= set(falling.points)
    drawn = memory_chart(analysis.series, "memory", "Memory")
    assert drawn is not None
    assert "2,000 readings (free) from app, 2,000 readings (largest) from app" in drawn.description
    assert "PSRAM: 2,000 readings (free) from net" in drawn.description
    assert memory_chart(analyze([QUIET.encode()], "log").series, "memory", "Memory") is None


def test_page_begins_with_the_overview(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, folder, "--html", folder / "page.html")[0] == 0
    page = (folder / "page.html").read_text()
    assert page.index("abort.txt") < page.index("memory.txt") < page.index("quiet.txt")
    for expected in ("gravity-fatal", "gravity-risk", "<mark>abort() was called", "Looked for and not found"):
        assert expected in page


def test_terminal_gets_colours_and_a_file_gets_none(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "\x1b" not in run(capsys, folder)[1]
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    out = run(capsys, folder)[1]
    assert "\x1b[1;37;41mFATAL\x1b[0m" in out
    assert "\x1b[1;33mRISK\x1b[0m" in out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in run(capsys, folder)[1]


# --- A part of a log ---


def test_boot_is_read_with_its_own_line_numbers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "boots.txt"
    path.write_text(QUIET + BANNER + NO_MEMORY + BANNER + QUIET)
    (second,) = documents(capsys, path, "--boot", "1")
    assert second["part"] == {"first_line": 3, "last_line": 5, "boot": 1}
    assert (second["facts"]["lines"], second["boot_count"], second["boots"][0]["boot"]) == (3, 1, 1)
    (found,) = second["diagnoses"]
    assert (found["boot"], found["evidence"][-1]["line"]) == (1, 5)
    assert [line["text"] for line in found["excerpt"] if line["is_evidence"]] == [
        "E (200) app: failed to allocate 9000 bytes"
    ]
    assert documents(capsys, path, "--boot", "0")[0]["facts"]["lines"] == 2
    assert documents(capsys, path, "--boot", "-1")[0]["part"]["first_line"] == 6
    status, _, err = run(capsys, path, "--boot", "7")
    assert status == 2
    assert err.startswith(f"error: {path}: there is no boot 7 in the log (it has the boots 0 to 2;")


@pytest.mark.parametrize(
    ("since", "first"), [("3", 3), ("23:50", 1), ("23:50:01", 2), ("2026-03-01 00:00", 4), ("00:00", 1)]
)
def test_log_is_read_since_a_line_or_a_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], since: str, first: int
) -> None:
    stamps = ("2026-02-28 23:50:00", "2026-02-28 23:50:01", "2026-02-28 23:59:00", "2026-03-01 00:00:30")
    path = tmp_path / "log.txt"
    path.write_text("".join(f"{stamp} I ({t}) app: built at 00:00:00\n" for t, stamp in enumerate(stamps)))
    (document,) = documents(capsys, path, "--since", since)
    assert (document["part"]["first_line"], document["facts"]["lines"]) == (first, 5 - first)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--since", "yesterday"], "is neither a line nor a time (give 1200, 10:15"),
        (
            ["--since", "10:15"],
            "no line of the log has a time stamp since 10:15 (give a line number instead)",
        ),
        (["--since", "3", "--boot", "1"], "--boot and --since cannot be used together"),
        (["--boot", "x"], "argument --boot: invalid int value: 'x'"),
        (["--boot", "1"], "there is no boot 1 in the log (it has only boot 0"),
        (["--fail-on", "note"], "argument --fail-on: invalid choice: 'note'"),
        (["--compare"], "--compare needs two logs, but 1 could be read"),
    ],
)
def test_wrong_option_is_one_clear_line(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    status, out, err = run(capsys, folder / "quiet.txt", *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1


# --- Comparison ---


def test_comparison_says_what_the_second_log_has(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = folder / "before.txt", folder / "after.txt"
    before.write_text(WARNED + NO_MEMORY + "I (300) app: Free heap: 5000\n")
    after.write_text(WARNED + "W (160) bt: x\nI (300) app: Free heap: 4000\n" + ABORT)
    (document,) = documents(capsys, before, after, "--compare")
    assert [found["id"] for found in document["new_diagnoses"]] == ["panic-abort"]
    assert [found["id"] for found in document["gone_diagnoses"]] == ["DIAG-01"]
    assert document["complaints"] == [{"level": "W", "tag": "bt", "before": 0, "after": 1}]
    assert [(change["source"], change["more"]) for change in document["memory_series"]] == [("app", -1_000)]
    status, out, _ = run(capsys, before, after, "--compare", "--html", folder / "page.html")
    assert status == 0
    for expected in (
        "FATAL Panic: abort [panic-abort]",
        "warnings of bt: 0 -> 1",
        "5,000 -> 4,000 bytes (-1,000)",
    ):
        assert expected in out
    assert "What " + str(after) in (folder / "page.html").read_text()


def test_leak_of_another_memory_is_new() -> None:
    both = LEAK + LEAK.replace("Free heap", "Free psram")
    before, after = (analyze([log.encode()], "log") for log in (LEAK, both))
    assert [found.finding[:5] for found in compare_logs(before, after).new] == ["PSRAM"]
    assert compare_logs(after, after).new == ()


def test_fail_on_of_a_comparison_counts_only_new_diagnoses(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = (folder / "abort.txt", folder / "abort.txt")
    assert run(capsys, *both, "--fail-on", "risk")[0] == 1
    assert run(capsys, *both, "--fail-on", "risk", "--compare")[0] == 0
    assert run(capsys, folder / "quiet.txt", both[0], "--fail-on", "fatal", "--compare")[0] == 1


def test_named_pipe_is_read_once(folder: Path) -> None:
    """If the command opened the pipe a second time, it would block, because the writer has ended."""
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    script = f'cat abort.txt > pipe & "{sys.executable}" -m hotpin_hil analyze pipe'
    done = subprocess.run(
        ["sh", "-c", script],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "> 5 | abort() was called" in done.stdout
