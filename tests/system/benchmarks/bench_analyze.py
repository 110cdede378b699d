"""Speed and memory of `hotpin-hil analyze`: recorded logs, and a long log through a pipe.

    python -m tests.system.benchmarks.bench_analyze [--megabytes N] [--log FILE …]

The long log repeats the given logs (default: the recorded ones next to this checkout, otherwise one made from the
firmware's own formats) up to that length; it is never on disk. Time and memory are measured for the whole process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from hotpin_hil.paths import PROJECT_ROOT
from hotpin_hil.protocol.box import render
from hotpin_hil.protocol.fields import DELTA_LABELS, MemoryStats
from hotpin_hil.protocol.records import encode

RECORDED = PROJECT_ROOT.parent / "shared" / "real_logs"
LIMIT_S = 1.0
"""Limit in seconds for all recorded logs together."""
LIMIT_MB_S = 20.0
LIMIT_MB = 100.0
COMMAND = (sys.executable, "-m", "hotpin_hil", "analyze", "--json")


def made_log() -> bytes:
    """A log of several cycles as this firmware prints them, with lines from other components."""
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


def measure_pipe(log: bytes, megabytes: int) -> bool:
    began = time.perf_counter()
    process = subprocess.Popen(
        [*COMMAND, "-"], cwd=PROJECT_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    sent = 0
    while sent < megabytes * 1_000_000:
        process.stdin.write(log)
        sent += len(log)
    process.stdin.close()
    document = json.loads(process.stdout.read())
    took = time.perf_counter() - began
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    peak = usage.ru_maxrss / (1024 if sys.platform != "darwin" else 1024 * 1024)
    speed = sent / 1e6 / took
    whole = document["facts"]["bytes"] == sent
    kept = speed >= LIMIT_MB_S and peak < LIMIT_MB and whole
    processor_s = usage.ru_utime + usage.ru_stime
    print(
        f"{sent / 1e6:,.0f} MB through a pipe, {document['facts']['lines']:,} lines, "
        f"{document['facts']['boxes']['complete']:,} boxes, {document['records']:,} records: {took:.1f} s "
        f"({processor_s:.1f} s of one processor), {speed:.1f} MB/s, limit {LIMIT_MB_S:g}; "
        f"{peak:.0f} MB of memory, limit {LIMIT_MB:g}: {'kept' if kept else 'BROKEN'}"
    )
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(description="speed and memory of hotpin-hil analyze")
    parser.add_argument("--megabytes", type=int, default=200, help="length of the long log (default: 200)")
    parser.add_argument("--log", type=Path, nargs="*", help="logs to repeat (default: the recorded ones)")
    options = parser.parse_args()
    paths = options.log or sorted(RECORDED.glob("*.txt"))
    kept = measure_files(paths) if paths else True
    log = b"\n".join(path.read_bytes() for path in paths) + b"\n" if paths else made_log()
    kept &= measure_pipe(log, options.megabytes)
    if paths:
        kept &= measure_pipe(made_log(), options.megabytes)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
