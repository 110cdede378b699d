"""Finds the test that fails for a mutant: first among the host tests that reach its line, then in the suite."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from tests.mutation.reach import TestRun
from tests.system.defects.checkout import Checkout, is_bad

TIMED_OUT = "time-out"
START_TIMEOUT_S = 300
TIMES_SLOWER = 4
"""A test that takes this many times longer with a mutant than without it counts as hung, which kills the mutant. The
factor allows for a loaded machine."""
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Kill:
    """The failure that kills a mutant."""

    by: str
    """`host tests` or `suite`."""
    test: str


def find_killer(checkout: Checkout, host: Sequence[TestRun], suite: Sequence[TestRun]) -> Kill | None:
    """Tests the copy with its planted mutant until the first failure.

    Args:
        checkout: the copy.
        host: modules of host tests that reach the changed line.
        suite: tests of the suite that reach the changed line.

    Raises:
        RuntimeError: the firmware could not be built.
    """
    return _by_host_tests(checkout, host) or _by_suite(checkout, suite)


def _by_host_tests(checkout: Checkout, runs: Sequence[TestRun]) -> Kill | None:
    if not runs:
        return None
    try:
        done = checkout.run_host_tests(*(run.name for run in runs), good=None, timeout=_timeout(runs))
    except subprocess.TimeoutExpired:
        return Kill("host tests", TIMED_OUT)
    if not done.returncode:
        return None
    # pytest names no test if a sanitizer has ended the process.
    failed = _FAILED.search(done.stdout)
    return Kill("host tests", failed[1] if failed else f"{runs[0].name} (exit status {done.returncode})")


def _by_suite(checkout: Checkout, runs: Sequence[TestRun]) -> Kill | None:
    if not runs:
        return None
    if any(run.release for run in runs):
        checkout.build()
    else:
        checkout.build_without_release()
    try:
        done = checkout.run("-x", *(run.name for run in runs), good=None, timeout=_timeout(runs))
    except subprocess.TimeoutExpired:
        return Kill("suite", TIMED_OUT)
    if not done.returncode:
        return None
    for line in checkout.results():
        if is_bad(line):
            return Kill("suite", f"{line['test']} ({line['verdict']})")
    return Kill("suite", f"exit status {done.returncode}: {done.stdout[-300:]}")


def _timeout(runs: Sequence[TestRun]) -> float:
    return START_TIMEOUT_S + TIMES_SLOWER * sum(run.seconds for run in runs)
