"""Measures how long `hotpin-hil report` takes for a run of 1,000 cycles, and how large the page is.

    python -m tests.system.benchmarks.bench_report [--cycles N]

The results file is synthetic. It has as many tests, values and raw logs as a run of the suite, and one test of N cycles
with four samples and two mode changes each.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hotpin_hil.evidence import lines
from hotpin_hil.evidence.recorder import Recorder
from hotpin_hil.evidence.results import FILE_NAME
from hotpin_hil.protocol.fields import FIELDS
from tests.evidence.test_evidence import END, RUN, row, verdict
from tests.support.command import run_command

LIMIT_S, LIMIT_MB = 5.0, 5.0
"""Promised limits in seconds and in MB."""
TESTS, VALUES = 190, 10
CYCLE_MS = 900
MAC = "24:0a:c4:00:00:01"


def results(cycles: int) -> Iterator[dict[str, Any]]:
    yield {**RUN, "requirements": [row(f"R-{number}") for number in range(TESTS)]}
    for number in range(TESTS):
        measured: list[lines.ResultsLine] = []
        recorder = Recorder(f"t::R-{number}", (f"R-{number}",), measured.append)
        for value in range(VALUES):
            recorder.measure(f"value {value}", 900 - value, "B", max=1_000, source="where it comes from")
        yield from (line.as_json() for line in measured)
        yield lines.RawLog(recorder.test, MAC, f"logs/{number}.log", 20_000, "0" * 64).as_json()
        yield verdict(f"R-{number}", "PASS")
    yield from (line.as_json() for line in cycling("t::R-0", cycles))
    yield END


def cycling(test: str, cycles: int) -> Iterator[lines.ResultsLine]:
    for change in range(2 * cycles):
        start, to = ("camera", "voice") if change % 2 == 0 else ("voice", "camera")
        for place, context in enumerate(("Before", "After")):
            at = CYCLE_MS * change + 400 * place
            moment = lines.Moment(test, MAC, "00c0ffee", at)
            figures = {field.name: 90_000 + change % 97 for field in FIELDS if field.section}
            sample = {"context": f"{context} {to.title()} Transition", **figures, "timestamp_ms": at}
            yield lines.EventNote(moment, start, "mem.sample", sample)
        yield lines.EventNote(
            moment, to, "mode", {"from": start, "to": to, "ok": True, "duration_ms": 400, "step": None}
        )
    for name in ("internal", "psram"):
        readings = [90_000 + cycle % 7 for cycle in range(cycles)]
        yield lines.SeriesNote(test, MAC, name=name, unit="B", values=tuple(readings), budget=1.024)


def main() -> int:
    parser = argparse.ArgumentParser(description="time and size of the report of a long run")
    parser.add_argument("--cycles", type=int, default=1_000, help="cycles of the long test (default: 1,000)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = "".join(json.dumps(line) + "\n" for line in results(options.cycles))
        (folder / FILE_NAME).write_text(text)
        began = time.perf_counter()
        command = [sys.executable, "-m", "hotpin_hil", "report", name]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        took = time.perf_counter() - began
        size = (folder / "report.html").stat().st_size / 1e6
    kept = took <= LIMIT_S and size <= LIMIT_MB
    print(f"Report of a run of {options.cycles:,} cycles, {len(text) / 1e6:.1f} MB of results")
    print(
        f"{took:.2f} s, {size:.2f} MB; limits {LIMIT_S:g} s, {LIMIT_MB:g} MB: {'kept' if kept else 'BROKEN'}"
    )
    return 0 if kept else 1


if __name__ == "__main__":
    run_command(main)
