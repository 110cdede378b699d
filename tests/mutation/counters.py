"""Reads which lines a build with HOTPIN_COVERAGE has executed.

The host build's programs keep their counters in shared files (firmware/native/coverage/counters.c); programs that end
by themselves write gcov's data files.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

PROGRAMS = {
    "build-native": "firmware/build-native/hotpin.elf",
    "build-native-release": "firmware/build-native-release/hotpin.elf",
    "native-drivers-test": "build/native-drivers-test/drivers_test.elf",
}
"""Counter file → its program, in the checkout."""

Lines = dict[str, set[int]]
"""Numbers of lines, by file."""


@dataclass
class Coverage:
    """The executed and the executable lines of the firmware's components."""

    executed: Lines = field(default_factory=dict)
    executable: Lines = field(default_factory=dict)
    functions: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """First and last line of each function, by file."""


def write_data_files(root: Path, counters: Path) -> None:
    """Turns the counter files in `counters` into gcov's data files."""
    environment = {**os.environ, "HOTPIN_COUNTERS": str(counters), "HOTPIN_COUNTERS_DUMP": "1"}
    for name, program in PROGRAMS.items():
        if (counters / name).exists():
            subprocess.run([root / program], env=environment, check=True)


def add_up(folders: Sequence[Path], total: Path) -> None:
    """Adds up the counter files of several folders, and writes the sums into the folder `total`."""
    total.mkdir()
    for name in PROGRAMS:
        files = [folder / name for folder in folders if (folder / name).exists()]
        if files:
            counts = sum(np.fromfile(file, dtype=np.int64) for file in files)
            np.asarray(counts, dtype=np.int64).tofile(total / name)


def data_files(root: Path) -> list[Path]:
    """gcov's data files of all programs in the checkout."""
    folders = [root / "build", *(root / "firmware").glob("build-native*")]
    return sorted(path for folder in folders for path in folder.rglob("*.gcda"))


def trace(root: Path, file: Path) -> None:
    """Writes the counts in gcov's data files as a file that gcovr can merge."""
    filters = ("--filter", "firmware/components/", "--filter", "firmware/main/")
    gcovr(root, *filters, "--json", str(file), *map(str, data_files(root)))


def merge_traces(root: Path, parts: Iterable[Path], whole: Path) -> None:
    """Merges gcovr's files into one."""
    options = [option for part in parts for option in ("-a", str(part))]
    gcovr(root, *options, "--json", str(whole))


def gcovr(root: Path, *options: str) -> str:
    """Runs gcovr; returns its output."""
    command = [sys.executable, "-m", "gcovr", "--root", str(root), "--merge-mode-functions", "separate"]
    return subprocess.run([*command, *options], cwd=root, capture_output=True, text=True, check=True).stdout


def take(root: Path) -> Coverage:
    """Reads and deletes gcov's data files."""
    coverage = Coverage()
    files = data_files(root)
    for report in _gcov(root, files):
        for source in report["files"]:
            path = (Path(report["current_working_directory"]) / source["file"]).resolve()
            if not path.is_relative_to(root / "firmware") or path.is_relative_to(root / "firmware/native"):
                continue
            name = str(path.relative_to(root))
            executed = coverage.executed.setdefault(name, set())
            executable = coverage.executable.setdefault(name, set())
            for line in source["lines"]:
                executable.add(line["line_number"])
                if line["count"]:
                    executed.add(line["line_number"])
            functions = coverage.functions.setdefault(name, [])
            for function in source["functions"]:
                extent = (function["start_line"], function["end_line"])
                if extent not in functions:
                    functions.append(extent)
    for file in files:
        file.unlink()
    return coverage


def _gcov(root: Path, files: list[Path]) -> Iterator[dict[str, Any]]:
    if not files:
        return
    done = subprocess.run(
        ["gcov", "--json-format", "--stdout", *map(str, files)],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    yield from map(json.loads, done.stdout.splitlines())
