"""Runs the suite's burn-in on virtual boards: a leak of one board and a crash in a round must be found and named."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hotpin_hil.paths import NATIVE_BUILD_DIR, PROJECT_ROOT
from tests.support.until import PATIENCE_S
from tests.system import burn_in_trouble as planted

HOURS = "0.0005"
"""The burn-in then ends after the smallest number of rounds."""
SEED = "7"


@dataclass(frozen=True)
class Run:
    """A burn-in: exit status, output, and the content of its folder."""

    status: int
    output: str
    lines: list[dict[str, Any]]
    report: str

    def verdicts(self) -> dict[str, tuple[str, str]]:
        """Board -> verdict and reason."""
        return {
            line["test"].partition("[")[2]: (line["verdict"], line["reason"])
            for line in self.lines
            if line["kind"] == "verdict"
        }


def burn_in(folder: Path, trouble: str, *options: str) -> Run:
    """Run the burn-in with planted trouble on virtual boards, whose clocks hardly wait for the host's."""
    if not (NATIVE_BUILD_DIR / "flasher_args.json").is_file():
        pytest.skip("the firmware's host build is missing: make native")
    unset = ("CI", "HOTPIN_BOARD", "HOTPIN_BENCH", "ESPPORT", "PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    command = [sys.executable, "-m", "pytest", "--target", "esp32", "--board", "virtual", "-m", "burn_in"]
    command += ["--hours", HOURS, "--burn-in-seed", SEED, "--time-scale", "1000", "-p", planted.__name__]
    command += ["-p", "no:cacheprovider", "--qualification-dir", str(folder / "run"), *options]
    done = subprocess.run(
        [*command, "hil_tests/test_burn_in.py"],
        cwd=PROJECT_ROOT,
        env={**environment, "PYTHONPATH": str(PROJECT_ROOT), planted.VARIABLE: trouble},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    results = folder / "run" / "results.jsonl"
    assert results.is_file(), done.stdout + done.stderr
    return Run(
        done.returncode,
        done.stdout + done.stderr,
        [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()],
        (folder / "run" / "report.html").read_text(encoding="utf-8"),
    )


def test_leaking_board_fails_and_drifts_away_from_the_clean_one(tmp_path: Path) -> None:
    run = burn_in(tmp_path, planted.LEAK, "-n", "2")
    assert run.status == 1, run.output
    verdicts = run.verdicts()
    assert verdicts["board-1]"] == ("PASS", ""), run.output
    assert verdicts["board-2]"][0] == "FAIL"
    assert "internal lost since warm-up = " in verdicts["board-2]"][1]
    drift = re.search(
        r"^internal: drift between the boards .*; furthest from the others: (\S+)", run.output, re.M
    )
    assert drift is not None, run.output
    assert drift[1] == "board-2"
    assert re.search(r"^psram +board-2 .* within budget ", run.output, re.M)
    assert 'id="burn-in"' in run.report
    for board in ("board-1", "board-2"):
        assert re.search(
            rf"^burn-in {board} \S+: round 1, 0:00:\d\d of 0:00:01 .*last change \d+ ms$", run.output, re.M
        )


def test_crash_names_the_round_and_the_seed(tmp_path: Path) -> None:
    run = burn_in(tmp_path, planted.CRASH)
    assert run.status == 1, run.output
    verdict, reason = run.verdicts()["board-1]"]
    assert verdict == "FAIL"
    assert f"round 1 of seed {SEED}: " in reason
    assert f"--burn-in-seed {SEED}:1)" in reason
