"""Coverage of the firmware's components by the host tests, by the suite, and by both.

`python -m tests.mutation.coverage` (`make coverage`) prints gcovr's tables of lines and branches, and the lines that no
test reaches. Its files are in build/mutation.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hotpin_hil.paths import PROJECT_ROOT
from tests.mutation import counters
from tests.mutation.mutants import component_of
from tests.mutation.reach import HOST_TRACE, SUITE_TRACE, Measurement
from tests.support.command import run_command
from tests.system.defects.checkout import Processes

BOTH = {"host tests": [HOST_TRACE], "suite": [SUITE_TRACE], "both": [HOST_TRACE, SUITE_TRACE]}


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="hotpin-coverage-") as folder:
        processes = Processes()
        try:
            measurement = Measurement(Path(folder), processes)
            measurement.host_tests()
            measurement.suite()
        except RuntimeError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        finally:
            processes.end()
    counts: dict[str, dict[str, Counter[str]]] = {}
    for name, traces in BOTH.items():
        files = {file["file"]: _lines(file) for file in _merged(traces)}
        for file, lines in files.items():
            for component in (component_of(file), "all"):
                _count(counts.setdefault(component, {}).setdefault(name, Counter()), lines)
    for file, lines in files.items():
        _print_unreached(file, lines)
    print(f"{'component':20}" + "".join(f"{f'{name}: lines':>20}{'branches':>12}" for name in BOTH))
    for component in sorted(counts, key=lambda name: (name == "all", name)):
        cells = (_cells(counts[component].get(name, Counter())) for name in BOTH)
        print(f"{component:20}" + "".join(cells))
    return 0


def _merged(traces: list[Path]) -> list[dict[str, Any]]:
    """Files of gcovr's report."""
    options = [option for trace in traces for option in ("-a", str(trace))]
    report = json.loads(counters.gcovr(PROJECT_ROOT, *options, "--json"))
    files: list[dict[str, Any]] = report["files"]
    return files


@dataclass
class Line:
    """A line of a file: whether it was executed, and for each of its branches whether it was taken."""

    reached: bool = False
    branches: list[bool] = field(default_factory=list)


def _lines(file: dict[str, Any]) -> dict[int, Line]:
    """Lines by number. gcovr lists a line once for each function that a macro generates on it, and for each build."""
    lines: dict[int, Line] = {}
    for entry in file["lines"]:
        line = lines.setdefault(entry["line_number"], Line())
        line.reached |= entry["count"] > 0
        taken = [branch["count"] > 0 for branch in entry["branches"]]
        if len(taken) == len(line.branches):
            line.branches = [one or other for one, other in zip(taken, line.branches, strict=True)]
        elif len(taken) > len(line.branches):
            line.branches = taken
    return lines


def _count(count: Counter[str], lines: dict[int, Line]) -> None:
    for line in lines.values():
        count["lines"] += 1
        count["lines reached"] += line.reached
        count["branches"] += len(line.branches)
        count["branches reached"] += sum(line.branches)


def _cells(count: Counter[str]) -> str:
    def share(name: str) -> str:
        return f"{100 * count[f'{name} reached'] / count[name]:.1f} %" if count[name] else "-"

    return f"{share('lines'):>20}{share('branches'):>12}"


def _print_unreached(file: str, lines: dict[int, Line]) -> None:
    text = (PROJECT_ROOT / file).read_text(encoding="utf-8").splitlines()
    for number, line in sorted(lines.items()):
        source = text[number - 1].strip()
        missed = line.branches.count(False)
        if not line.reached:
            print(f"{file}:{number}: not reached: {source}")
        elif missed:
            print(f"{file}:{number}: {missed} of {len(line.branches)} branches not taken: {source}")


if __name__ == "__main__":
    run_command(main)
