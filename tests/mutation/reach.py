"""Finds which tests reach a given line of the firmware.

The coverage is measured with gcov, and cached until the firmware or the tests change.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hotpin_hil.paths import BUILD_DIR, PROJECT_ROOT
from tests.mutation import counters
from tests.mutation.counters import Coverage
from tests.system.defects.checkout import Checkout, Processes, is_bad

FIRMWARE = ("firmware/components", "firmware/main", "firmware/native")
HOST_SOURCES = (*FIRMWARE, "tests/firmware", "tests/native", "tests/support", "tests/fakes")
SUITE_SOURCES = (*FIRMWARE, "hil_tests", "fixtures")
"""Folders with the files that decide which test reaches which line."""
NOT_RUN = {
    # the fuzz tests reach the same lines as the parser's tests, but take much longer
    "tests/firmware/fuzz/test_console_fuzz.py",
    "tests/firmware/logic/test_c_sanitizers.py",  # this module runs other modules again
    "tests/native/test_heap_model.py",  # these three modules test the host runtime without components
    "tests/native/test_native_panics.py",
    "tests/native/test_native_runtime.py",
}
SUITE_TIMEOUT_S = 1200

FOLDER = BUILD_DIR / "mutation"
HOST_TRACE, SUITE_TRACE = FOLDER / "coverage-host-tests.json", FOLDER / "coverage-suite.json"
"""gcovr's coverage files: for the host tests, and for the suite."""


@dataclass
class TestRun:
    """A test of the suite or a module of host tests, with the lines that it reaches."""

    __test__ = False

    name: str
    seconds: float
    lines: dict[str, list[int]]
    release: bool = False
    """Whether the test runs the release image."""

    @property
    def breadth(self) -> int:
        """Number of reached lines."""
        return sum(map(len, self.lines.values()))


@dataclass
class Reach:
    """Coverage of the firmware by the host tests or by the suite."""

    digest: str
    runs: list[TestRun] = field(default_factory=list)
    executable: dict[str, list[int]] = field(default_factory=dict)
    """Numbers of the lines with code, by file."""
    functions: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """First and last line of each function, by file."""

    def tests(self, file: str, line: int) -> list[TestRun]:
        """Tests that reach a line: short and specific tests first, tests of the release image last."""
        wanted = self._lines_of(file, line)
        reaching = [run for run in self.runs if not wanted.isdisjoint(run.lines.get(file, ()))]
        return sorted(reaching, key=lambda run: (run.release, run.seconds * run.breadth))

    def _lines_of(self, file: str, line: int) -> set[int]:
        """The line itself; for a line without code, the lines of its function, or of its file if it is outside any
        function."""
        executable = set(self.executable.get(file, ()))
        if line in executable:
            return {line}
        for first, last in self.functions.get(file, ()):
            if first <= line <= last:
                return {number for number in executable if first <= number <= last}
        return executable

    def add(self, name: str, seconds: float, coverage: Coverage, release: bool = False) -> None:
        """Adds a test, unless it reaches no line."""
        lines = {file: sorted(numbers) for file, numbers in coverage.executed.items() if numbers}
        if not lines:
            return
        self.runs.append(TestRun(name, round(seconds, 3), lines, release))
        for file, numbers in coverage.executable.items():
            self.executable[file] = sorted(numbers.union(self.executable.get(file, ())))
        for file, functions in coverage.functions.items():
            known = self.functions.setdefault(file, [])
            known += [function for function in functions if function not in known]

    @classmethod
    def load(cls, path: Path) -> Reach:
        """Reads the coverage that `Measurement` has written."""
        data = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**data, "runs": [TestRun(**run) for run in data["runs"]]})


class Measurement:
    """Measures the coverage in a copy of the checkout, unless a measurement of the current sources exists.

    Raises RuntimeError if a test fails.
    """

    def __init__(self, folder: Path, processes: Processes) -> None:
        self._folder = folder
        self._processes = processes
        self._built: Checkout | None = None

    def host_tests(self) -> Reach:
        """Coverage by each module of host tests."""
        return self._known_or_measured("host-tests", HOST_SOURCES, self._run_host_tests)

    def suite(self) -> Reach:
        """Coverage by each test of the suite on the virtual board."""
        return self._known_or_measured("suite", SUITE_SOURCES, self._run_suite)

    def _known_or_measured(
        self, name: str, sources: Sequence[str], measure: Callable[[Reach, Path], None]
    ) -> Reach:
        path = FOLDER / f"reach-{name}.json"
        current = digest(PROJECT_ROOT, sources)
        if path.exists() and (known := Reach.load(path)).digest == current:
            return known
        print(f"{name}: measuring which tests reach which lines (some minutes) ...", flush=True)
        FOLDER.mkdir(parents=True, exist_ok=True)
        keep = self._folder / f"counters-{name}"
        keep.mkdir()
        reach = Reach(current)
        measure(reach, keep)
        path.write_text(json.dumps(asdict(reach)), encoding="utf-8")
        return reach

    def _checkout(self, keep: Path) -> Checkout:
        """A copy of the checkout with a build that counts lines, with cleared counters; counter files go to `keep`."""
        if self._built is None:
            self._built = Checkout(self._folder / "counted", self._processes)
            self._built.environment["HOTPIN_COVERAGE"] = "ON"
            self._built.build()
        self._built.environment["HOTPIN_KEEP"] = self._built.environment["HOTPIN_COUNTERS"] = str(keep)
        for file in counters.data_files(self._built.root):
            file.unlink()
        return self._built

    def _run_host_tests(self, reach: Reach, keep: Path) -> None:
        checkout = self._checkout(keep)
        traces: list[Path] = []
        for module in host_modules(checkout.root):
            started = time.monotonic()
            checkout.run_host_tests(module, good=(0,))
            seconds = time.monotonic() - started
            counters.write_data_files(checkout.root, keep)
            for name in counters.PROGRAMS:
                (keep / name).unlink(missing_ok=True)
            if counters.data_files(checkout.root):
                traces.append(keep / f"trace-{len(traces)}.json")
                counters.trace(checkout.root, traces[-1])
            reach.add(module, seconds, counters.take(checkout.root))
        counters.merge_traces(checkout.root, traces, HOST_TRACE)

    def _run_suite(self, reach: Reach, keep: Path) -> None:
        checkout = self._checkout(keep)
        plugin = ("-p", "tests.mutation.counting_plugin")
        # Failures are allowed: a counting build exceeds the limits of static memory, but the tests still reach their
        # lines.
        checkout.run("-n", "2", *plugin, timeout=SUITE_TIMEOUT_S)
        failed = [line["test"] for line in checkout.results() if is_bad(line)]
        if failed:
            print(f"failed on the build with line counters: {', '.join(failed)}", flush=True)
        for line in (keep / "tests.jsonl").read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            counted = keep / entry["folder"]
            counters.write_data_files(checkout.root, counted)
            release = (counted / "build-native-release").exists()
            reach.add(entry["test"], entry["seconds"], counters.take(checkout.root), release)
        counters.add_up(list(keep.glob("test-*")), keep / "all")
        counters.write_data_files(checkout.root, keep / "all")
        counters.trace(checkout.root, SUITE_TRACE)


def digest(root: Path, folders: Sequence[str]) -> str:
    """Digest of all files in these folders except builds."""
    found = hashlib.sha256()
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            inside = path.relative_to(root)
            if path.is_file() and not any(
                part == "__pycache__" or part.startswith(("build-", ".")) for part in inside.parts
            ):
                found.update(f"{inside}\0".encode())
                found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def host_modules(root: Path) -> list[str]:
    """Host tests that may reach a component."""
    folders = [root / "tests/firmware", root / "tests/native"]
    paths = [path for folder in folders for path in folder.rglob("test_*.py")]
    return sorted({str(path.relative_to(root)) for path in paths} - NOT_RUN)
