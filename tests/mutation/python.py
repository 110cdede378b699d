"""Computes with cosmic-ray the mutation score of the harness's code that decides verdicts: evidence, analysis and
leases.

`python -m tests.mutation.python` (`make mutate-python`) draws mutants and runs the harness's tests of these packages
against each, in a private copy of the checkout. The session is in build/mutation; an interrupted run continues there.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hotpin_hil.paths import PROJECT_ROOT
from tests.mutation.reach import FOLDER, digest
from tests.support.command import run_command
from tests.system.defects.checkout import Checkout, Processes

MODULES = [
    "hotpin_hil/evidence",
    "hotpin_hil/analysis",
    "hotpin_hil/boards/lease.py",
    "hotpin_hil/boards/leasing.py",
]
TESTS = ["tests/analysis", "tests/evidence", "tests/boards/test_leases.py"]
SOURCES = ["hotpin_hil", *TESTS[:2], "tests/boards"]
NOT_DRAWN = ("core/NumberReplacer",)
"""Mutation operators that are not drawn, because they mostly change widths and length limits of texts."""
MUTANT_TIMEOUT_S = 300
RUN_TIMEOUT_S = 86_400


def config() -> str:
    """cosmic-ray's configuration."""
    command = f"{sys.executable} -m pytest -x -q -p no:cacheprovider {' '.join(TESTS)}"
    return f"""[cosmic-ray]
module-path = {MODULES!r}
timeout = {MUTANT_TIMEOUT_S}
excluded-modules = []
test-command = "{command}"
[cosmic-ray.distributor]
name = "local"
"""


def keep_a_sample(session: Path, count: int, seed: int) -> None:
    """Removes all but `count` mutants from a new session."""
    with sqlite3.connect(session) as database:
        marks = ",".join("?" * len(NOT_DRAWN))
        rows = database.execute(
            "SELECT job_id FROM mutation_specs "
            f"WHERE operator_name NOT IN ({marks}) "
            "ORDER BY module_path, start_pos_row, start_pos_col, operator_name, occurrence, operator_args",
            NOT_DRAWN,
        ).fetchall()
        kept = random.Random(seed).sample([job for (job,) in rows], min(count, len(rows)))
        database.execute("CREATE TEMP TABLE kept (job_id VARCHAR)")
        database.executemany("INSERT INTO kept VALUES (?)", [(job,) for job in kept])
        for table in ("mutation_specs", "work_items"):
            database.execute(f"DELETE FROM {table} WHERE job_id NOT IN (SELECT job_id FROM kept)")


def report(session: Path) -> str:
    """Report as text: the survivors, and the number of each outcome."""
    with sqlite3.connect(session) as database:
        counts = database.execute(
            "SELECT test_outcome, COUNT(*) FROM work_results GROUP BY 1 ORDER BY 1"
        ).fetchall()
        diffs = database.execute("SELECT diff FROM work_results WHERE test_outcome = 'SURVIVED'").fetchall()
    return "\n".join([*(diff for (diff,) in diffs), *(f"{outcome}: {number}" for outcome, number in counts)])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="tests.mutation.python", description=(__doc__ or "").splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("-n", type=int, default=30, metavar="N", help="mutants to test (default: 30)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="seed of the draw (default: 1)")
    options = parser.parse_args(arguments)
    sources = digest(PROJECT_ROOT, SOURCES)[:8]
    session = FOLDER / f"python-{options.n}-seed-{options.seed}-{sources}.sqlite"
    FOLDER.mkdir(parents=True, exist_ok=True)
    tool = str(Path(sys.executable).with_name("cosmic-ray"))
    with tempfile.TemporaryDirectory(prefix="hotpin-mutation-") as folder:
        processes = Processes()
        try:
            root = Checkout(Path(folder) / "checkout", processes).root
            (root / "cosmic-ray.toml").write_text(config(), encoding="utf-8")
            if not session.exists():
                new = Path(folder) / "session.sqlite"
                processes.run(root, [tool, "init", "cosmic-ray.toml", str(new)], (0,))
                keep_a_sample(new, options.n, options.seed)
                session.write_bytes(new.read_bytes())
            processes.run(root, [tool, "exec", "cosmic-ray.toml", str(session)], (0,), RUN_TIMEOUT_S)
        except RuntimeError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        finally:
            processes.end()
    print(report(session))
    return 0


if __name__ == "__main__":
    run_command(main)
