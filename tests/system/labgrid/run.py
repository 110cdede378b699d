"""Six runs of a part of the suite compete for four places of a real labgrid.

`python -m tests.system.labgrid.run` (needs `make labgrid`) starts a coordinator, two exporters with two virtual boards
each, and the runs: first four runs at the same time, then each other run as soon as the previous run is waiting. The
table lists when each run had which board. The exit status is 1 unless all tests passed, no two runs had the same board
at the same time, the runs got boards in the order in which they started to wait, and all places are free at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from hotpin_hil.boards.labgrid_client import find_client
from hotpin_hil.errors import UsageError
from hotpin_hil.paths import NATIVE_ELFS_FILE, PROJECT_ROOT
from tests.support.command import run_command
from tests.support.labgrid_lab import Lab
from tests.support.virtual_board import Boards

TIMEOUT_S = 1800.0
"""Time limit of all runs, which take less than a minute on an idle machine."""
TESTS = [
    f"hil_tests/test_thresholds.py::{name}"
    for name in ("test_warns_below_its_threshold_and_not_at_it", "test_warns_around_the_guides_threshold")
]
"""Tests that take so long in real time that all places are in use when the last runs start."""
MACHINES = {"shelf": ("cam-1", "cam-2"), "rack": ("cam-3", "cam-4")}
SLACK_S = 15.0
"""Two runs that get their places at nearly the same time may be listed in the reverse order."""
HAS_BOARD, WAITS = "evidence: ", "waiting up to "


class Competitor:
    """One of the runs, with the times at which it started to wait, got its board and ended its tests, in seconds since
    the first run's start."""

    def __init__(
        self, number: int, lab: Lab, folder: Path, tests: list[str], clock: Callable[[], float]
    ) -> None:
        self.number = number
        self.times: dict[str, float] = {}
        self._clock = clock
        self._output = folder / f"run-{number}.txt"
        self._evidence = folder / f"evidence-{number}"
        environment = {name: text for name, text in os.environ.items() if not name.startswith("HOTPIN")}
        environment |= {
            "HOTPIN_LABGRID_CLIENT": lab.client.program,
            "HOTPIN_LEASES": str(folder / "leases"),
            "CI": "",
        }
        options = ["--board", "virtual", "--labgrid-coordinator", lab.address, "-q"]
        options += ["--lease-timeout", str(TIMEOUT_S), "--qualification-dir", str(self._evidence)]
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-u", "-m", "pytest", "--target", "esp32", *options, *tests],
                cwd=PROJECT_ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def look(self) -> bool:
        """Stores the current time for each of these events since the last call; returns whether the run has ended."""
        has_ended = self.process.poll() is not None
        text = self.text
        for name, happened in (
            ("waits", WAITS in text),
            ("has", HAS_BOARD in text),
            ("tested", '"kind":"end"' in self._results),
            ("ended", has_ended),
        ):
            if happened:
                self.times.setdefault(name, self._clock())
        return has_ended

    @property
    def text(self) -> str:
        return self._output.read_text(errors="replace")

    @property
    def _results(self) -> str:
        try:
            return (self._evidence / "results.jsonl").read_text()
        except OSError:
            return ""

    @property
    def port(self) -> str:
        for line in self._results.splitlines()[:1]:
            ports: list[str] = json.loads(line)["board"].get("ports", [])
            return ports[0] if ports else "none"
        return "none"

    @property
    def verdicts(self) -> list[str]:
        lines = map(json.loads, self._results.splitlines())
        return [line["verdict"] for line in lines if line["kind"] == "verdict"]


def problems_of(runs: list[Competitor]) -> list[str]:
    """Descriptions of all errors, after all runs have ended; empty if there were none."""
    problems = [
        f"run {run.number} ended with {run.process.returncode}:\n{run.text}"
        for run in runs
        if run.process.returncode or set(run.verdicts) != {"PASS"}
    ]
    if problems:
        return problems
    for port in {run.port for run in runs}:
        turns = sorted((run for run in runs if run.port == port), key=lambda run: run.times["has"])
        problems += [
            f"runs {first.number} and {second.number} had {port} at a time"
            for first, second in pairwise(turns)
            if second.times["has"] < first.times["tested"]
        ]
    problems += [
        f"run {second.number} had a board before run {first.number}, which waited longer"
        for first, second in pairwise(run for run in runs if "waits" in run.times)
        if second.times["has"] < first.times["has"] - SLACK_S
    ]
    return problems


def compete(count: int, tests: list[str], folder: Path) -> list[str]:
    """Starts labgrid and the runs, prints the table, and returns descriptions of all errors."""
    (folder / "state").mkdir()
    (folder / "lab").mkdir()
    count_of_boards = sum(map(len, MACHINES.values()))
    boards = Boards(folder / "state", NATIVE_ELFS_FILE, count=count_of_boards, time_scale=1.0)
    urls = dict(zip((place for places in MACHINES.values() for place in places), boards.found, strict=True))
    lab = Lab(folder / "lab", {place: {"board": "esp32-cam"} for place in urls})
    runs: list[Competitor] = []
    try:
        for machine, places in MACHINES.items():
            lab.start_exporter(machine, {place: urls[place]["port"] for place in places})
        start = time.monotonic()
        while not runs or not all([run.look() for run in runs]) or len(runs) < count:
            if time.monotonic() > start + TIMEOUT_S:
                return [f"run {run.number} has not ended:\n{run.text}" for run in runs if not run.look()]
            if len(runs) < count and (len(runs) < len(urls) or all(run.times for run in runs)):
                runs.append(Competitor(len(runs) + 1, lab, folder, tests, lambda: time.monotonic() - start))
            time.sleep(0.05)
        names = {f"{board['port']}?ign_set_control": place for place, board in urls.items()}
        print(
            "| run | waited from | had its board from | to | place | tests passed |\n|---|---|---|---|---|---|"
        )
        for run in runs:
            times = [
                f"{run.times[name]:.0f} s" if name in run.times else "" for name in ("waits", "has", "tested")
            ]
            passed = f"{run.verdicts.count('PASS')} of {len(run.verdicts)}"
            print(f"| {run.number} | {' | '.join(times)} | {names.get(run.port, run.port)} | {passed} |")
        return problems_of(runs) + ([] if lab.is_free() else ["a place is still held"])
    finally:
        for run in runs:
            run.process.kill()
            run.process.wait()
        lab.stop()
        boards.stop()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=6)
    parser.add_argument("tests", nargs="*", default=TESTS)
    options = parser.parse_args()
    try:
        find_client(os.environ)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        problems = compete(options.runs, options.tests, Path(folder))
    print(*problems, sep="\n")
    print("no errors" if not problems else f"errors: {len(problems)}")
    return bool(problems)


if __name__ == "__main__":
    run_command(main)
