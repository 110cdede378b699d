"""Causes every fault during a short run of the suite, and checks verdict, remedy, and the time until the fault is
detected.

The short run (fault_matrix/short_run.py) is a separate suite with the project's fixtures and firmware, in its own
pytest process. Cases that leave a working board share a run. A case that kills the board has a separate run, in which
the next test must be BLOCKED at once. With -s the tests print a table.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hotpin_hil.paths import FIRMWARE_DIR, NATIVE_BUILD_DIR, PROJECT_ROOT, REQUIREMENTS_FILE
from hotpin_hil.virtual.faults.table import FAULTS

SHORT_RUN = Path(__file__).parent / "fault_matrix" / "short_run.py"
RUN_TIMEOUT_S = 300.0
SLOW_MACHINE = 4.0
"""Factor for the time limits, which were chosen for an idle machine."""

CONFTEST = """
import json
pytest_plugins = ["fixtures.console", "fixtures.measure", "fixtures.board", "fixtures.device", "fixtures.faults",
                  "fixtures.memory", "fixtures.modes"]

def pytest_runtest_logreport(report):
    with open("durations.jsonl", "a") as file:
        print(json.dumps([report.nodeid, report.duration]), file=file)
"""

PASS, FAIL, BLOCKED = "PASS", "FAIL", "BLOCKED"


@dataclass(frozen=True)
class Case:
    """A fault and its expected outcome. `says`: pattern that the reason or the remedy must contain; `seconds`: time
    limit of the test."""

    id: str
    fault: str
    verdict: str
    says: str = ""
    seconds: float = 3
    arguments: dict[str, Any] = field(default_factory=dict)
    when: str = "running"
    empty_flash: bool = False
    after: str = PASS

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "fault": self.fault,
            "arguments": self.arguments,
            "when": self.when,
            "empty_flash": self.empty_flash,
            "seed": 1,
        }


CABLE, SUPPLY = "check (the )?cable", "check the supply"
NONE = Case("(none)", "", PASS)
ON_THE_LINE = [
    Case("noise, one byte", "noise", PASS, arguments={"rate": 1, "count": 1}),
    Case("drop, one byte", "drop", PASS, arguments={"rate": 1, "count": 1, "direction": "to-board"}),
    Case("insert, one byte", "insert", PASS, arguments={"rate": 1, "count": 1}),
    Case("duplicate, one byte", "duplicate", PASS, arguments={"rate": 1, "count": 1}),
    Case("foreign-line", "foreign-line", PASS, arguments={"inside": "line"}),
    Case("foreign-line, character", "foreign-line", PASS, arguments={"inside": "character"}),
    Case("noise", "noise", BLOCKED, CABLE, 8, {"rate": 0.02}),
    Case("noise to the board", "noise", BLOCKED, CABLE, 8, {"rate": 0.1, "direction": "to-board"}),
    Case("drop", "drop", BLOCKED, CABLE, 8, {"rate": 0.02}),
    Case("insert", "insert", BLOCKED, CABLE, 8, {"rate": 0.02}),
    Case("duplicate", "duplicate", BLOCKED, CABLE, 8, {"rate": 0.02}),
    # Boards in the recorded logs truncated lines when they reinstalled the UART driver, which would be a
    # firmware fault.
    Case("cut-utf8", "cut-utf8", FAIL, "no statistics box", 6, {"count": 100}),
    Case("disconnect", "disconnect", BLOCKED, CABLE, arguments={"seconds": 0.05}),
    NONE,
]
ON_THE_BOARD = [
    Case("brown-out", "brown-out", BLOCKED, SUPPLY),
    Case("brown-out, hardware", "brown-out", BLOCKED, SUPPLY, arguments={"by": "hardware"}),
    Case("power-cut", "power-cut", BLOCKED, SUPPLY, arguments={"off_s": 0.05}),
    Case(
        "power-cut-step", "power-cut-step", BLOCKED, SUPPLY, arguments={"step": "audio.start", "off_s": 0.05}
    ),
    Case("hang", "hang", FAIL, "the chip is alive", 6),
    Case("panic", "panic", FAIL, "StoreProhibited"),
    Case("task-watchdog", "task-watchdog", FAIL, "Task watchdog got triggered"),
    Case("interrupt-watchdog", "interrupt-watchdog", FAIL, "Interrupt wdt timeout"),
    Case("boot-loop", "boot-loop", FAIL, r"did not start.*abort\(\)", 2, when="set-up"),
    Case("no-psram", "no-psram", FAIL, "camera mode", when="set-up"),
    Case("no-sensor", "no-sensor", FAIL, "camera mode", when="set-up"),
    Case("sensor-dead", "sensor-dead", FAIL, "ESP_ERR_NOT_SUPPORTED: step camera.start"),
    Case("i2s-no-memory", "i2s-no-memory", FAIL, "ESP_ERR_NO_MEM: step audio.start"),
    Case("(missing event)", "", FAIL, "event 'mem.warning' did not arrive", when="event"),
    Case("(wrong value)", "", FAIL, "PSRAM", when="value"),
    NONE,
]
DEADLY = [
    Case("disconnect for good", "disconnect", BLOCKED, "port|cable", arguments={"seconds": 0}, after=PASS),
    Case(
        "port-busy",
        "port-busy",
        BLOCKED,
        "another program has the port",
        3,
        {"seconds": 0},
        "set-up",
        after=BLOCKED,
    ),
    Case("bridge-hang", "bridge-hang", BLOCKED, "does not answer", 12, {"seconds": 0}, after=BLOCKED),
    Case(
        "bridge-hang, set-up",
        "bridge-hang",
        BLOCKED,
        "port|cable",
        8,
        {"seconds": 0},
        "set-up",
        after=BLOCKED,
    ),
    Case("power off", "power-cut", BLOCKED, "does not answer|supply", 15, {"off_s": 0}, after=BLOCKED),
    Case("no-download", "no-download", BLOCKED, "check cable", 12, when="set-up", after=BLOCKED),
    Case(  # damages the app's magic number, 0xE9
        "bad-flash",
        "bad-flash",
        BLOCKED,
        "MD5",
        8,
        {"at": 0x10000},
        "set-up",
        empty_flash=True,
        after=BLOCKED,
    ),
    Case(
        "power-cut-flashing",
        "power-cut-flashing",
        BLOCKED,
        "check cable and power",
        14,
        {"bytes": 300_000, "off_s": 0.02},
        "set-up",
        empty_flash=True,
        after=BLOCKED,
    ),
]
CASES = {case.id: case for case in (*ON_THE_LINE, *ON_THE_BOARD, *DEADLY)}


@dataclass(frozen=True)
class Outcome:
    verdict: str
    text: str
    seconds: float


@dataclass(frozen=True)
class Run:
    """Results of a run of the short suite: the outcomes of its cases and of the last test."""

    cases: dict[str, Outcome]
    after: Outcome
    output: str


def run(folder: Path, cases: list[Case], *options: str) -> Run:
    """Runs the short suite in `folder` with these cases."""
    if not (NATIVE_BUILD_DIR / "flasher_args.json").is_file():
        pytest.skip("the firmware's host build is missing: make native")
    suite = folder / "hil_tests"
    suite.mkdir()
    shutil.copy(SHORT_RUN, suite / "test_short.py")
    shutil.copy(REQUIREMENTS_FILE, suite)
    (folder / "firmware").symlink_to(FIRMWARE_DIR)
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "pytest.ini").write_text(
        "[pytest]\naddopts = --embedded-services esp,idf --import-mode=importlib\n"
    )
    unset = ("CI", "HOTPIN_BOARD", "ESPPORT", "PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment["PYTHONPATH"] = str(PROJECT_ROOT)
    environment["FAULT_CASES"] = json.dumps([case.as_json() for case in cases])
    given = options or ("--board", "virtual")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--target", "esp32", *given, "hil_tests"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
    output = done.stdout + done.stderr
    results = folder / "build" / "qualification" / "latest" / "results.jsonl"
    assert results.is_file(), output
    seconds: dict[str, float] = {}
    for line in (folder / "durations.jsonl").read_text().splitlines():
        test, duration = json.loads(line)
        seconds[test] = seconds.get(test, 0.0) + duration
    found = {
        line["test"]: Outcome(line["verdict"], f"{line['reason']} ({line['remedy']})", seconds[line["test"]])
        for line in map(json.loads, results.read_text().splitlines())
        if line["kind"] == "verdict"
    }
    outcomes = {re.sub(r".*::\w+\[?|\]$", "", test): outcome for test, outcome in found.items()}
    after = outcomes.pop("")
    return Run(outcomes, after, output)


def show(capsys: pytest.CaptureFixture[str], outcomes: dict[str, Outcome]) -> None:
    with capsys.disabled():
        print()
        for name, outcome in outcomes.items():
            print(f"{name:<26}{outcome.verdict:<10}{outcome.seconds:6.2f} s  {outcome.text[:150]}")


def problems(case: Case, outcome: Outcome) -> list[str]:
    """Deviations of a case's outcome from the expected outcome."""
    where = f"{case.id}: {outcome}"
    found = []
    if outcome.verdict != case.verdict:
        found.append(f"{where}: expected {case.verdict}")
    if not re.search(case.says, outcome.text):
        found.append(f"{where}: expected the text {case.says!r}")
    if outcome.seconds > case.seconds * SLOW_MACHINE:
        found.append(f"{where}: expected within {case.seconds} s on an idle machine")
    return found


def test_matrix_has_every_fault() -> None:
    assert {case.fault for case in CASES.values()} == {*FAULTS, ""}


@pytest.mark.parametrize("cases", [ON_THE_LINE, ON_THE_BOARD], ids=["on the line", "on the board"])
def test_faults_that_the_board_survives(
    cases: list[Case], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All cases share one run, so each must leave a working board."""
    session = run(tmp_path, cases)
    show(capsys, session.cases)
    assert list(session.cases) == [case.id for case in cases], session.output
    wrong = [text for case in cases for text in problems(case, session.cases[case.id])]
    assert not wrong, "\n".join(wrong)
    assert session.after.verdict == PASS
    assert "Traceback (most recent call last)" not in session.output


@pytest.mark.parametrize("case", DEADLY, ids=lambda case: case.id)
def test_fault_that_kills_the_board(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session = run(tmp_path, [case])
    show(capsys, session.cases)
    wrong = problems(case, session.cases[case.id])
    assert not wrong, "\n".join(wrong)
    assert session.after.verdict == case.after, session.after
    if case.after == BLOCKED:
        assert session.after.seconds < 1.0 * SLOW_MACHINE
        assert "not tried again" in session.after.text
    assert "Traceback (most recent call last)" not in session.output
