"""Tests how Python mutants are drawn from cosmic-ray's session."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from tests.mutation.python import keep_a_sample, report


def session(path: Path) -> Path:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE work_items (job_id)")
        database.execute(
            "CREATE TABLE mutation_specs (module_path, operator_name, operator_args, occurrence, start_pos_row, "
            "start_pos_col, job_id)"
        )
        database.execute("CREATE TABLE work_results (test_outcome, diff, job_id)")
        for number in range(20):
            operator = "core/NumberReplacer" if number % 4 == 0 else "core/AddNot"
            row = ("a.py", operator, "{}", number, number, 0, f"job {number}")
            database.execute("INSERT INTO mutation_specs VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            database.execute("INSERT INTO work_items VALUES (?)", (f"job {number}",))
    return path


def jobs(path: Path, table: str) -> list[str]:
    with sqlite3.connect(path) as database:
        return [job for (job,) in database.execute(f"SELECT job_id FROM {table} ORDER BY job_id")]


def test_sample_is_reproducible_and_without_the_excluded_operator(tmp_path: Path) -> None:
    first, second, other = (session(tmp_path / name) for name in ("first", "second", "other"))
    keep_a_sample(first, 5, 1)
    keep_a_sample(second, 5, 1)
    keep_a_sample(other, 5, 2)
    drawn = jobs(first, "mutation_specs")
    assert len(drawn) == 5
    assert (
        drawn == jobs(first, "work_items") == jobs(second, "mutation_specs") != jobs(other, "mutation_specs")
    )
    assert not {f"job {number}" for number in range(0, 20, 4)}.intersection(drawn)


def test_report_has_the_survivors_change_and_the_counts(tmp_path: Path) -> None:
    path = session(tmp_path / "session")
    with sqlite3.connect(path) as database:
        for job, outcome in enumerate(("KILLED", "SURVIVED", "KILLED")):
            database.execute(
                "INSERT INTO work_results VALUES (?, ?, ?)", (outcome, f"-a\n+b {job}", f"job {job}")
            )
    assert report(path) == "-a\n+b 1\nKILLED: 2\nSURVIVED: 1"
