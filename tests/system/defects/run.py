"""Plants known defects in the firmware, one at a time, and checks that the suite blames the right requirement.

`python -m tests.system.defects.run [NAME …]` (`make selftest`): each defect of the catalogue is planted in a private
copy of the checkout, built, and tested on a virtual board by the tests of its requirement (with --whole-suite: by the
whole suite). Before that, the unchanged firmware must pass the whole suite. The table lists the failed requirements
with their reasons. The exit status is 1 if a defect was missed or the unchanged firmware fails.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from tests.support.command import run_command
from tests.system.defects.catalogue import Defect, load, planted
from tests.system.defects.checkout import Checkout, Processes

BOARDS_AT_ONCE = ("-n", "3")
REASON_SHOWN = 90


@dataclass(frozen=True)
class Outcome:
    """Result of a run of the suite: the first reason of each failed requirement, or the error that prevented the
    run."""

    failed: dict[str, str]
    seconds: float
    problem: str = ""
    blame: str = ""
    """Text that the reason must contain."""

    def catches(self, requirement: str) -> bool:
        """Whether the requirement failed, for the right reason."""
        return requirement in self.failed and self.blame in self.failed[requirement]


class Workbench:
    """Pool of checkout copies, one per parallel test; only changed files are rebuilt."""

    def __init__(self, folder: Path, count: int) -> None:
        self.processes = Processes()
        self._idle: SimpleQueue[Checkout] = SimpleQueue()
        for number in range(count):
            self._idle.put(Checkout(folder / f"checkout-{number}", self.processes))

    @contextmanager
    def checkout(self) -> Iterator[Checkout]:
        checkout = self._idle.get()
        try:
            yield checkout
        finally:
            self._idle.put(checkout)

    def examine(self, defect: Defect, whole_suite: bool) -> Outcome:
        options = BOARDS_AT_ONCE if whole_suite else ("-x", "--requirement", defect.requirement)
        with self.checkout() as checkout:
            started = time.monotonic()
            try:
                with planted(defect, checkout.root):
                    blame = defect.reason_in(checkout.root)
                    failed = checkout.test(*options)
            except (RuntimeError, ValueError) as error:
                return Outcome({}, time.monotonic() - started, str(error))
            return Outcome(failed, time.monotonic() - started, blame=blame)

    def examine_unharmed(self) -> Outcome:
        with self.checkout() as checkout:
            started = time.monotonic()
            try:
                failed = checkout.test(*BOARDS_AT_ONCE, good=(0,))
            except RuntimeError as error:
                return Outcome({}, time.monotonic() - started, str(error))
            return Outcome(failed, time.monotonic() - started)


def main() -> int:
    defects = load()
    parser = argparse.ArgumentParser(
        prog="tests.system.defects.run", description=(__doc__ or "").splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="defects to plant (default: all)")
    parser.add_argument("--whole-suite", action="store_true", help="run every test against each defect")
    parser.add_argument(
        "--skip-unharmed", action="store_true", help="do not test the unchanged firmware first"
    )
    parser.add_argument(
        "--jobs", type=int, default=2, metavar="N", help="defects tested at the same time (default: 2)"
    )
    arguments = parser.parse_args()
    unknown = set(arguments.names) - {defect.name for defect in defects}
    if unknown:
        names = "\n  ".join(defect.name for defect in defects)
        parser.error(f"no defect named {', '.join(sorted(unknown))}; there are:\n  {names}")
    if arguments.jobs < 1:
        parser.error(f"--jobs must be 1 or more, not {arguments.jobs}")
    chosen = [defect for defect in defects if not arguments.names or defect.name in arguments.names]
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hotpin-defects-") as folder:
        bench = Workbench(Path(folder), min(arguments.jobs, len(chosen)))
        try:
            wrong = _run(bench, chosen, arguments.whole_suite, arguments.skip_unharmed)
        except BaseException:
            bench.processes.end()
            raise
    minutes = (time.monotonic() - started) / 60
    print(
        f"{wrong} of {len(chosen)} wrong"
        if wrong
        else f"all {len(chosen)} defects were caught by their requirement",
        f"({minutes:.1f} min)",
    )
    return 1 if wrong else 0


def _run(bench: Workbench, defects: list[Defect], whole_suite: bool, skip_unharmed: bool) -> int:
    """Prints a row for each outcome as it arrives; returns the number of wrong outcomes."""
    wrong = 0
    if not skip_unharmed:
        print("testing the unchanged firmware first ...", flush=True)
        outcome = bench.examine_unharmed()
        wrong += bool(outcome.problem)
        _row("(unharmed)", "nothing", outcome, not outcome.problem)
    with ThreadPoolExecutor(max_workers=len(defects)) as pool:
        futures: dict[Future[Outcome], Defect] = {
            pool.submit(bench.examine, defect, whole_suite): defect for defect in defects
        }
        try:
            for done, future in enumerate(as_completed(futures), 1):
                defect, outcome = futures[future], future.result()
                caught = outcome.catches(defect.requirement)
                wrong += not caught
                _row(defect.name, defect.requirement, outcome, caught, f"[{done}/{len(defects)}] ")
        except BaseException:
            bench.processes.end()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return wrong


def _row(name: str, expected: str, outcome: Outcome, good: bool, progress: str = "") -> None:
    failed = ", ".join(outcome.failed) or "nothing"
    reason = outcome.problem or outcome.failed.get(expected, "")
    if outcome.blame and not good and not outcome.problem:
        reason += f" (must name '{outcome.blame}')"
    if good and len(reason) > REASON_SHOWN:
        reason = reason[: REASON_SHOWN - 1] + "…"
    word = "ok   " if good else "WRONG"
    print(
        f"{progress:8}{word} {name:32} expected {expected:8} failed {failed} ({outcome.seconds:.0f} s)"
        + (f": {reason}" if reason else ""),
        flush=True,
    )


if __name__ == "__main__":
    run_command(main)
