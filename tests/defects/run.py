"""Plants known defects in the firmware, one at a time, and checks that the suite blames the right requirement.

`python -m tests.defects.run [NAME …]`: for each defect of `defects.toml` a copy of the checkout is patched, built
and tested on a virtual board of its own; the table says which ids the suite failed. Exit status 1 if a defect was
missed or blamed on other ids only, or if the unharmed firmware fails.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from hotpin_hil.paths import PROJECT_ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CATALOGUE = Path(__file__).with_name("defects.toml")
RUN_TIMEOUT_S = 300


@dataclass(frozen=True)
class Edit:
    """`file` has `old` exactly once; `new` comes in its place."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Defect:
    """One planted defect, and the requirement that must catch it. `tests` is pytest's -k; empty: the whole suite."""

    name: str
    what: str
    requirement: str
    edits: tuple[Edit, ...]
    tests: str = ""


@dataclass(frozen=True)
class Outcome:
    """What the suite said of a planted defect: the ids that failed, and how long build and run took."""

    failed: tuple[str, ...]
    seconds: float


def load(path: Path = CATALOGUE) -> list[Defect]:
    with path.open("rb") as file:
        rows = tomllib.load(file)["defect"]
    return [Defect(**{**row, "edits": tuple(Edit(**edit) for edit in row["edits"])}) for row in rows]


def plant(defect: Defect, root: Path) -> None:
    """Applies `defect` to the checkout at `root`; raises ValueError when the firmware no longer has the place."""
    for edit in defect.edits:
        path = root / edit.file
        text = path.read_text()
        if text.count(edit.old) != 1:
            raise ValueError(
                f"defect {defect.name!r}: {edit.file} has its 'old' text {text.count(edit.old)} times, not once; "
                "bring the defect's row in defects.toml up to date"
            )
        path.write_text(text.replace(edit.old, edit.new))


def copy_checkout(target: Path) -> None:
    """Copies the files that git knows or would add: the sources as they are now, and no build output."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (source := PROJECT_ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)


def run_suite(root: Path, tests: str) -> tuple[str, ...]:
    """Builds and tests the checkout at `root` on a virtual board; returns the ids that failed."""
    _run(root, "-m", "hotpin_hil", "build", "--board", "virtual", good=(0,))
    selection = ["-k", tests] if tests else []
    _run(
        root,
        "-m",
        "pytest",
        "--target",
        "esp32",
        "--board",
        "virtual",
        "-n",
        "3",
        "-q",
        *selection,
        good=(0, 1),
    )
    verdicts = json.loads((root / "build/qualification/qualification.json").read_text())["requirements"]
    return tuple(sorted(i for i, row in verdicts.items() if row["verdict"] in ("FAIL", "UNSET")))


def _run(root: Path, *arguments: str, good: tuple[int, ...]) -> None:
    """Runs Python in the checkout at `root`; RuntimeError with its last words unless it ends with a `good` status."""
    environment = dict(os.environ, PYTHONPATH=str(root))
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=root,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # so that nothing it started outlives it
    )
    try:
        output, _ = process.communicate(timeout=RUN_TIMEOUT_S)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if process.returncode not in good:
        raise RuntimeError(f"{' '.join(arguments)} ended with {process.returncode}:\n{output[-4000:]}")


def examine(defect: Defect | None) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="hotpin-defect-") as folder:
        root = Path(folder)
        started = time.monotonic()
        copy_checkout(root)
        if defect:
            plant(defect, root)
        failed = run_suite(root, defect.tests if defect else "")
        return Outcome(failed, time.monotonic() - started)


def main() -> int:
    defects = load()
    parser = argparse.ArgumentParser(prog="tests.defects.run", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="defects to plant (default: all)")
    parser.add_argument("--skip-unharmed", action="store_true", help="do not run the unharmed firmware first")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - {d.name for d in defects}
    if unknown:
        parser.error(
            f"no defect named {', '.join(sorted(unknown))}; there are: {', '.join(d.name for d in defects)}"
        )
    missed = 0
    if not arguments.skip_unharmed:
        outcome = examine(None)
        missed += bool(outcome.failed)
        _row("(unharmed)", "nothing", outcome, not outcome.failed)
    for defect in defects:
        if arguments.names and defect.name not in arguments.names:
            continue
        outcome = examine(defect)
        caught = defect.requirement in outcome.failed
        missed += not caught
        _row(defect.name, defect.requirement, outcome, caught)
    print(f"{missed} wrong" if missed else "every defect was caught by its requirement")
    return 1 if missed else 0


def _row(name: str, expected: str, outcome: Outcome, good: bool) -> None:
    failed = ", ".join(outcome.failed) or "nothing"
    print(
        f"{'ok   ' if good else 'WRONG'} {name:28} expected {expected:8} failed: {failed}  ({outcome.seconds:.0f} s)",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
