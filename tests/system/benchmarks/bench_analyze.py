"""Measures speed and memory of `hotpin-hil analyze` on recorded logs and on long logs through a pipe, compared with
`grep -c`.

    python -m tests.system.benchmarks.bench_analyze [--megabytes N] [--log FILE …]

A long log is never on disk. It repeats the given logs (default: the recorded logs next to this checkout), a log made
from the firmware's own formats, or a log of a kind that takes longest. Speed is bytes per second of the process's
processor time. `grep -c` searches the same bytes in the same run for the words that the scanner searches for.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hotpin_hil.logs.shapes import HEADLESS, MEMORY
from hotpin_hil.paths import PROJECT_ROOT
from hotpin_hil.protocol.box import render
from hotpin_hil.protocol.fields import DELTA_LABELS, MemoryStats
from hotpin_hil.protocol.records import encode
from tests.support.command import run_command
from tests.system.benchmarks.stock import StockFailure, measure_stock

RECORDED = PROJECT_ROOT.parent / "shared" / "real_logs"
LIMIT_S = 1.0
"""Limit in seconds for all recorded logs together."""
LIMIT_MB_S, LIMIT_WORST_MB_S = 50.0, 20.0
"""Limits in MB per second of one processor."""
LIMIT_MB = 100.0
WORST_SHARE = 10
"""Factor by which the logs of the kinds that take longest are shorter."""
GREP_PATTERN = f"{HEADLESS.pattern.decode()}|{MEMORY.pattern.decode()}|^[EW] \\("
GREP = ("env", "LC_ALL=C", "grep", "-acP", GREP_PATTERN)
COMMAND = (sys.executable, "-m", "hotpin_hil", "analyze", "--json")


def made_log() -> bytes:
    """A log of several cycles in this firmware's format, with lines from other components."""
    lines = [b"rst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)", b"I (566) cpu_start: Multicore app"]
    for cycle in range(200):
        t_ms = 2_000 + 900 * cycle
        stats = MemoryStats(t_ms, *(90_000 + place for place in range(11)))
        event = {
            "event": "mode",
            "from": "camera",
            "to": "voice",
            "ok": True,
            "duration_ms": 417,
            "step": None,
        }
        lines.append(encode("!", event | {"t": t_ms, "b": "0a0b0c0d", "n": cycle}).strip())
        box = render("After Voice Transition", stats, dict.fromkeys(DELTA_LABELS, -2_408))
        lines += [f"I ({t_ms}) MEM_MGR: {line}".encode() for line in box]
        lines += [b"I (%d) APP: received %d bytes of audio data" % (t_ms + n, 4096 + n) for n in range(60)]
    return b"\n".join(lines) + b"\n"


def measure_files(paths: list[Path]) -> bool:
    began = time.perf_counter()
    done = subprocess.run(
        [*COMMAND, *map(str, paths)], cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL, check=False
    )
    took = time.perf_counter() - began
    kept = done.returncode == 0 and took < LIMIT_S
    size = sum(path.stat().st_size for path in paths)
    verdict = "kept" if kept else "BROKEN"
    print(f"{len(paths)} logs, {size / 1e6:.2f} MB: {took:.2f} s, limit {LIMIT_S:g} s: {verdict}")
    return kept


def boxes_log() -> bytes:
    """A log of boxes only, each with different figures."""
    lines: list[str] = []
    for number in range(3_000):
        stats = MemoryStats(1_000 + 50 * number, *(90_000 + 7 * number + place for place in range(11)))
        box = render("After Voice Transition", stats, dict.fromkeys(DELTA_LABELS, -number))
        lines += [f"I ({stats.timestamp_ms}) MEM_MGR: {line}\n" for line in box]
    return "".join(lines).encode()


def errors_log() -> bytes:
    """A log of failed allocations only."""
    return b"".join(
        b"E (%d) app: failed to allocate %d bytes\n" % (20 * number, number) for number in range(50_000)
    )


def texts_log() -> bytes:
    """A log of lines that differ not only in their numbers."""
    return b"".join(
        b"E (%d) app: request %x was not answered\n" % (20 * number, number * 7919)
        for number in range(50_000)
    )


class Used(NamedTuple):
    """Resource use of a process, and its output."""

    output: bytes
    processor_s: float
    peak_mb: float


def read_through_pipe(command: Sequence[str], log: bytes, repeats: int) -> Used:
    """Run a command that reads the repeated log from its standard input."""
    process = subprocess.Popen(command, cwd=PROJECT_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    for _ in range(repeats):
        process.stdin.write(log)
    process.stdin.close()
    output = process.stdout.read()
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    peak = usage.ru_maxrss / (1024 if sys.platform != "darwin" else 1024 * 1024)
    return Used(output, usage.ru_utime + usage.ru_stime, peak)


def measure_pipe(name: str, log: bytes, megabytes: int, limit: float) -> bool:
    repeats = max(1, megabytes * 1_000_000 // len(log))
    sent = repeats * len(log)
    grep = measure_stock(lambda: read_through_pipe(GREP, log, repeats))
    read = read_through_pipe((*COMMAND, "-"), log, repeats)
    document = json.loads(read.output)
    speed = sent / 1e6 / read.processor_s
    whole = document["facts"]["bytes"] == sent
    grep_speed = (
        str(grep)
        if isinstance(grep, StockFailure)
        else f"{sent / 1e6 / max(grep.processor_s, 0.01):.0f} MB/s"
    )
    kept = speed >= limit and read.peak_mb < LIMIT_MB and whole
    print(
        f"{name}: {sent / 1e6:,.0f} MB, {document['facts']['lines']:,} lines, "
        f"{document['facts']['boxes']['complete']:,} boxes, {document['records']:,} records: {speed:.1f} MB/s, limit "
        f"{limit:g}; grep -c {grep_speed}; {read.peak_mb:.0f} MB of memory, "
        f"limit {LIMIT_MB:g}: {'kept' if kept else 'BROKEN'}",
        flush=True,
    )
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(description="speed and memory of hotpin-hil analyze")
    parser.add_argument("--megabytes", type=int, default=1_000, help="length of a long log (default: 1000)")
    parser.add_argument("--log", type=Path, nargs="*", help="logs to repeat (default: the recorded ones)")
    options = parser.parse_args()
    paths = options.log or sorted(RECORDED.glob("*.txt"))
    kept = measure_files(paths) if paths else True
    if paths:
        log = b"\n".join(path.read_bytes() for path in paths) + b"\n"
        kept &= measure_pipe("given" if options.log else "recorded", log, options.megabytes, LIMIT_MB_S)
    kept &= measure_pipe("own format", made_log(), options.megabytes, LIMIT_MB_S)
    for name, make in (("boxes", boxes_log), ("errors", errors_log), ("texts", texts_log)):
        kept &= measure_pipe(name, make(), options.megabytes // WORST_SHARE, LIMIT_WORST_MB_S)
    return 0 if kept else 1


if __name__ == "__main__":
    run_command(main)
