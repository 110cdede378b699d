"""Computes the mutation score of the firmware: makes small random changes, each of which a test should detect.

`python -m tests.mutation.run` (`make mutate`) draws mutants of the components and main, in proportion to their lines,
and discards those that do not compile or do not change the object code. Each remaining mutant is built in a private
copy of the checkout and tested until the first failure, first by the host tests that reach the changed line, then on a
virtual board by the suite's tests that reach it. The outcomes are in build/mutation; an interrupted run continues
there. At the end the tool prints a table by component, and each survivor with its line and change.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue

from hotpin_hil.paths import PROJECT_ROOT
from tests.mutation import equivalent, outcomes, reach
from tests.mutation.compiled import Compiler
from tests.mutation.draw import in_random_order, shares
from tests.mutation.killers import TIMED_OUT, find_killer
from tests.mutation.mutants import Mutant, component_of, mutants_of, planted
from tests.mutation.outcomes import SURVIVED, Outcome, OutcomesFile
from tests.mutation.reach import Measurement, Reach, TestRun
from tests.support.command import run_command
from tests.system.defects.checkout import Checkout, Processes


class Run:
    """A run of the tool in a temporary folder."""

    def __init__(self, folder: Path, file: OutcomesFile, jobs: int) -> None:
        self._folder = folder
        self._file = file
        self._jobs = jobs
        self._processes = Processes()
        self._idle: SimpleQueue[Checkout] = SimpleQueue()
        self._host = self._suite = Reach("")

    def end(self) -> None:
        """Ends all processes."""
        self._processes.end()

    def measure(self) -> None:
        """Measures which tests reach which lines."""
        measurement = Measurement(self._folder, self._processes)
        self._host, self._suite = measurement.host_tests(), measurement.suite()

    def tests(self, mutant: Mutant) -> tuple[list[TestRun], list[TestRun]]:
        """Host tests and tests of the suite that reach the changed line."""
        return self._host.tests(mutant.file, mutant.line), self._suite.tests(mutant.file, mutant.line)

    def prepare(self, count: int) -> Checkout:
        """Makes and builds `count` copies of the checkout; returns one of the copies."""
        for number in range(count):
            checkout = Checkout(self._folder / f"checkout-{number}", self._processes)
            checkout.environment["CMAKE_EXPORT_COMPILE_COMMANDS"] = "ON"
            checkout.build()
            self._idle.put(checkout)
        return checkout

    def draw(self, checkout: Checkout, component: str | None, count: int, seed: int) -> list[Mutant]:
        """Draws `count` mutants that change the code; records the outcome of discarded mutants."""
        compiler = Compiler(checkout.root)
        mutants: dict[str, list[Mutant]] = {}
        for source in compiler.files():
            name = component_of(source)
            mutants.setdefault(name, []).extend(mutants_of(checkout.root, source))
        if component is not None and component not in mutants:
            raise ValueError(f"no component {component!r}; there are {', '.join(sorted(mutants))}")
        chosen = {name: found for name, found in mutants.items() if component in (None, name)}
        lines = {name: len({(one.file, one.line) for one in found}) for name, found in chosen.items()}
        drawn: list[Mutant] = []
        for name, share in shares(lines, count).items():
            wanted = len(drawn) + share
            for mutant in in_random_order(chosen[name], seed):
                if len(drawn) == wanted:
                    break
                if self._has_own_code(mutant, compiler, checkout):
                    drawn.append(mutant)
        # mixed, so that an interrupted run has tested some mutants of each component
        random.Random(seed).shuffle(drawn)
        return drawn

    def _has_own_code(self, mutant: Mutant, compiler: Compiler, checkout: Checkout) -> bool:
        known = self._file.outcomes.get(mutant)
        if known is None:
            compiler.learn(mutant.file)
            with planted(mutant, checkout.root):
                discarded = compiler.judge(mutant.file)
            if not discarded:
                return True
            known = Outcome(mutant, discarded)
            self._file.add(known)
        return known.result not in (outcomes.NOT_COMPILED, outcomes.EQUAL_CODE)

    def test(self, mutants: list[Mutant]) -> None:
        """Tests the mutants, several at once, and prints a line for each."""
        with ThreadPoolExecutor(max_workers=self._jobs) as pool:
            futures = [pool.submit(self._test, mutant) for mutant in mutants]
            try:
                for done, future in enumerate(as_completed(futures), 1):
                    outcome = future.result()
                    self._file.add(outcome)
                    print(
                        f"[{done}/{len(mutants)}] {outcome.result:20} {outcome.mutant.name} "
                        f"({outcome.seconds:.0f} s) {outcome.killer}",
                        flush=True,
                    )
            except BaseException:
                self.end()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _test(self, mutant: Mutant) -> Outcome:
        checkout = self._idle.get()
        started = time.monotonic()
        try:
            with planted(mutant, checkout.root):
                kill = find_killer(checkout, *self.tests(mutant))
        except RuntimeError as error:
            return Outcome(mutant, outcomes.NOT_COMPILED, str(error)[-300:])
        finally:
            self._idle.put(checkout)
        seconds = round(time.monotonic() - started, 1)
        if kill is None:
            return Outcome(mutant, SURVIVED, "", seconds)
        return Outcome(mutant, f"killed by {kill.by}", kill.test, seconds)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="tests.mutation.run", description=(__doc__ or "").splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("--component", metavar="NAME", help="only mutants of this component (default: all)")
    parser.add_argument("-n", type=int, default=300, metavar="N", help="mutants to test (default: 300)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="seed of the draw (default: 1)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="mutants at once (default: 2)")
    parser.add_argument(
        "--again", action="store_true", help="repeat the tests of survivors and time-outs of the same draw"
    )
    arguments = parser.parse_args()
    if arguments.jobs < 1 or arguments.n < 1:
        parser.error(f"-n and --jobs must be 1 or more, not {arguments.n} and {arguments.jobs}")
    drawn = {
        "seed": arguments.seed,
        "count": arguments.n,
        "component": arguments.component,
        "firmware": reach.digest(PROJECT_ROOT, ["firmware/components", "firmware/main"]),
    }
    path = reach.FOLDER / f"{arguments.component or 'firmware'}-{arguments.n}-seed-{arguments.seed}.jsonl"
    file = OutcomesFile(path, drawn)
    with tempfile.TemporaryDirectory(prefix="hotpin-mutation-") as folder:
        run = Run(Path(folder), file, arguments.jobs)
        try:
            run.measure()
            checkout = run.prepare(arguments.jobs)
            mutants = run.draw(checkout, arguments.component, arguments.n, arguments.seed)
            run.test([mutant for mutant in mutants if _is_open(mutant, file, arguments.again)])
        except (RuntimeError, ValueError) as error:
            run.end()
            print(f"error: {error}", file=sys.stderr)
            return 1
        except BaseException:
            run.end()
            raise
    _report(file, run)
    print(f"outcomes: {path.relative_to(PROJECT_ROOT)}")
    return 0


def _is_open(mutant: Mutant, file: OutcomesFile, again: bool) -> bool:
    known = file.outcomes.get(mutant)
    return known is None or (again and (known.result == SURVIVED or known.killer == TIMED_OUT))


def _report(file: OutcomesFile, run: Run) -> None:
    everything = list(file.outcomes.values())
    survivors = [outcome for outcome in everything if outcome.result == SURVIVED]
    argued = equivalent.argued([outcome.mutant for outcome in survivors], equivalent.load())
    for outcome in sorted(survivors, key=lambda one: (one.mutant.file, one.mutant.line)):
        if outcome.mutant not in argued:
            print(outcomes.survivor_text(outcome, sum(map(len, run.tests(outcome.mutant)))))
    print(outcomes.table(everything, argued))


if __name__ == "__main__":
    run_command(main)
