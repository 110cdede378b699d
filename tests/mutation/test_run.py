"""Runs the mutation tool: it must name the killed and the surviving mutant, and must not change the checkout."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotpin_hil.paths import PROJECT_ROOT
from tests.mutation.killers import Kill, find_killer
from tests.mutation.mutants import Mutant, planted
from tests.mutation.reach import TestRun
from tests.system.defects.checkout import Checkout, Processes

FILE = "firmware/components/telemetry/src/telemetry_crc.c"
TEST = "tests/firmware/logic/test_telemetry_c.py::test_crc_check_value"


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    processes = Processes()
    yield Checkout(tmp_path / "checkout", processes)
    processes.end()


def state() -> str:
    return subprocess.run(
        ["git", "status", "--porcelain"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    ).stdout


def mutant_of(before: str, after: str) -> Mutant:
    lines = (PROJECT_ROOT / FILE).read_text().splitlines()
    (number,) = [number for number, line in enumerate(lines, 1) if before in line]
    line = lines[number - 1]
    return Mutant("telemetry", FILE, number, line, line.replace(before, after))


def test_killer_is_named_a_mutant_that_no_test_notices_survives_and_the_checkout_is_unchanged(
    checkout: Checkout,
) -> None:
    before = state()
    mutant = mutant_of("^ (bytes[i] & 0xF)", "^ (bytes[i] & 0x7)")
    host = [TestRun(TEST, 5, {})]
    with planted(mutant, checkout.root):
        killed = find_killer(checkout, host, [])
    assert killed == Kill("host tests", TEST)
    assert find_killer(checkout, host, []) is None  # without the mutant all tests pass
    with planted(mutant, checkout.root):
        assert find_killer(checkout, [], []) is None  # no test reaches the line
    assert state() == before
