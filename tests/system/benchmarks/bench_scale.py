"""Measures how a run of the suite speeds up with the number of virtual boards, at real-time pace.

    python -m tests.system.benchmarks.bench_scale [--boards 1,2,4] [TEST …]

At time scale 1 virtual boards wait as real ones do, so that the rest of the time is the harness's own. The efficiency
with N boards is the time with one board, divided by N and by the time with N boards.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from hotpin_hil.paths import PROJECT_ROOT
from tests.support.command import run_command
from tests.system.benchmarks import set_up_times

TESTS = ("hil_tests/test_thresholds.py",)
BOARDS = "1,2,4,8,16"
MINIMUM_PERCENT = 80
"""Promised efficiency."""
LOOK_EVERY_S = 1.0


@dataclass(frozen=True)
class Scale:
    """A run with some boards; seconds of the host's clock."""

    boards: int
    took_s: float
    ready_s: float
    """Seconds until the last board had been started, flashed and booted."""
    cpu_s: float
    """CPU time of all processes, boards included."""
    memory_mb: float
    """Highest proportional set size of all processes, in MB (10^6 bytes)."""


def descendants(pid: int) -> list[int]:
    """A process and its descendants. Processes that end meanwhile are left out."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += map(int, task.read_text().split())
            except OSError:
                continue
    return found


def memory_bytes(pid: int) -> int:
    """Proportional set size of a process and its descendants, in bytes."""
    total = 0
    for process in descendants(pid):
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


def run(boards: int, tests: list[str], folder: Path) -> Scale:
    """Run the tests on new virtual boards.

    Raises:
        subprocess.CalledProcessError: a test failed.
    """
    ready = folder / f"ready-{boards}"
    command = [sys.executable, "-m", "pytest", "--target", "esp32", "--board", "virtual", "--time-scale", "1"]
    command += ["-p", set_up_times.__name__, "-p", "no:cacheprovider", "-q"]
    command += ["-n", str(boards)] if boards > 1 else []
    command += ["--qualification-dir", str(folder / f"run-{boards}"), *tests]
    environment = {**os.environ, set_up_times.FILE: str(ready), "PYTHONPATH": str(PROJECT_ROOT)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    highest = 0
    with open(folder / f"log-{boards}", "w", encoding="utf-8") as log:
        process = subprocess.Popen(command, cwd=PROJECT_ROOT, env=environment, stdout=log, stderr=log)
        ended = threading.Event()
        try:
            threading.Thread(target=lambda: (process.wait(), ended.set()), daemon=True).start()
            while not ended.wait(LOOK_EVERY_S):
                highest = max(highest, memory_bytes(process.pid))
        finally:
            process.terminate()
            process.wait()
    took = time.monotonic() - began
    if process.returncode:
        raise subprocess.CalledProcessError(
            process.returncode, command, output=(folder / f"log-{boards}").read_text()[-2000:]
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Scale(boards, took, max(map(float, ready.read_text().split())), cpu, highest / 1e6)


def report(scales: list[Scale]) -> int:
    """Print the table. Returns 1 if the efficiency with any number of boards is too low."""
    first = scales[0]
    print(
        f"{'boards':>6} {'time':>8} {'efficiency':>10} {'set-up':>8} {'CPU':>8} {'CPU per board':>13} {'memory':>8}"
    )
    lowest = 100.0
    for scale in scales:
        percent = 100 * first.took_s * first.boards / (scale.boards * scale.took_s)
        lowest = min(lowest, percent)
        print(
            f"{scale.boards:6} {scale.took_s:6.1f} s {percent:8.0f} % {scale.ready_s:6.1f} s {scale.cpu_s:6.1f} s"
            f" {scale.cpu_s / scale.boards:11.1f} s {scale.memory_mb:5.0f} MB"
        )
    kept = lowest >= MINIMUM_PERCENT
    print(f"lowest efficiency {lowest:.0f} %, promised {MINIMUM_PERCENT} %: {'kept' if kept else 'BROKEN'}")
    return 0 if kept else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument(
        "--boards",
        default=BOARDS,
        metavar="N,…",
        help="numbers of boards, the first is the reference (default: %(default)s)",
    )
    parser.add_argument(
        "tests", nargs="*", default=TESTS, metavar="TEST", help="tests (default: %(default)s)"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scales = []
        for boards in map(int, options.boards.split(",")):
            print(f"running the tests on {boards} boards …", file=sys.stderr)
            try:
                scales.append(run(boards, list(options.tests), Path(name)))
            except subprocess.CalledProcessError as error:
                print(f"the run with {boards} boards failed:\n{error.output}", file=sys.stderr)
                return 1
    print(f"Virtual boards at real-time pace, {os.cpu_count()} cores: {' '.join(options.tests)}")
    return report(scales)


if __name__ == "__main__":
    run_command(main)
