"""Starts parallel runs on a bench of two virtual boards: each run must get its own board and, no matter how it ends,
must leave no process and no lease behind."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotpin_hil.boards.bench import load_bench
from hotpin_hil.boards.lease import Lease, holder_of, port_name
from hotpin_hil.link.port import open_port
from tests.support.parallel_runs import Project, Run
from tests.support.until import PATIENCE_S
from tests.support.virtual_board import Boards, Build

INTERRUPTED = 2
USAGE = 4
BLOCKED = 7


class Bench(Project):
    """Two virtual boards and a project that lists them in its bench.toml."""

    def __init__(self, boards: Boards, build: Build, folder: Path) -> None:
        self.boards = boards
        self.urls = [found["port"] for found in boards.found]
        listed = "".join(
            f'[[board]]\nname = "board-{number}"\nport = "{found["port"]}"\nmac = "{found["mac"]}"\n'
            for number, found in enumerate(boards.found)
        )
        super().__init__(build, folder, listed)

    def add_power_switches(self) -> None:
        """Adds power switches to bench.toml that call `hotpin-hil board power`."""
        board = shlex.join([sys.executable, "-m", "hotpin_hil", "board", "power"])
        state = f"--state-dir {shlex.quote(str(self.boards.state_dir))}"
        power = f'power = {{ off = "{board} off {{mac}} {state}", on = "{board} on {{mac}} {state}", off_s = 0.01 }}'
        path = self.folder / "bench.toml"
        path.write_text(path.read_text().replace("\nmac", f"\n{power}\nmac"))

    def is_leased(self) -> bool:
        """Whether any lease is held."""
        return any(holder_of(self.leases, port_name(url)) for url in self.urls)

    def is_free(self) -> bool:
        """Whether no lease is held. If none is held, also opens both ports, which fails unless they accept a client."""
        for url in self.urls:
            if holder_of(self.leases, port_name(url)):
                return False
            open_port(url, 115200).close()
        return True


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    return Build(tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="module")
def boards(build: Build, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boards]:
    boards = Boards(tmp_path_factory.mktemp("state"), build.registry, count=2)
    yield boards
    boards.stop()


@pytest.fixture
def bench(boards: Boards, build: Build, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(boards, build, tmp_path)
    yield bench
    for run in bench.runs:
        run.kill()


def test_two_parallel_runs_have_a_board_each_and_a_third_names_the_holders(bench: Bench) -> None:
    first, second = bench.run(), bench.run()
    assert {*first.boards(), *second.boards()} == set(bench.urls)
    third = bench.run("--lease-timeout", "0")
    assert third.end() == USAGE
    (error,) = [line for line in third.output.splitlines() if "ERROR" in line]
    assert error.startswith("ERROR: 1 board is needed, none free; in use: board-")
    for run in (first, second):
        assert f"by pid {run.process.pid} of " in error
    assert "Traceback" not in third.output
    assert (first.end(), second.end()) == (0, 0), first.output + second.output
    assert bench.is_free()


def test_a_third_run_waits_for_the_first_to_end(bench: Bench) -> None:
    first, second = bench.run(), bench.run()
    (freed,) = first.boards()
    second.boards()
    third = bench.run("--lease-timeout", str(PATIENCE_S))
    third.wait_until(lambda: "waiting up to" in third.output, "message that names the holder")
    assert re.search(
        rf"in use: board-0 .*by pid ({first.process.pid}|{second.process.pid}) of ", third.output
    )
    assert first.end() == 0, first.output
    assert third.boards() == [freed]
    assert (second.end(), third.end()) == (0, 0), second.output + third.output


@pytest.mark.parametrize(
    "workers", [("-n", "2"), ("-n", "3", "--maxprocesses", "2"), ("--dist", "load", "--tx", "2*popen")]
)
def test_workers_have_a_board_each(bench: Bench, workers: tuple[str, ...]) -> None:
    run = bench.run(*workers, tests=2)
    assert set(run.boards()) == set(bench.urls)
    other = bench.run("--lease-timeout", "0")
    assert other.end() == USAGE
    assert run.end() == 0, run.output
    assert bench.is_free()


def test_a_killed_runs_board_is_taken_over_at_once(bench: Bench) -> None:
    first = bench.run("--board-name", "board-1")
    assert first.boards() == [bench.urls[1]]
    first.process.kill()
    first.process.wait()
    second = bench.run("--board-name", "board-1", "--lease-timeout", "0")
    assert second.boards() == [bench.urls[1]]
    assert second.end() == 0, second.output


def test_a_killed_runs_workers_keep_their_boards_until_they_are_gone(bench: Bench) -> None:
    first = bench.run("-n", "2", tests=2)
    first.boards()
    workers = [int((bench.folder / f"has-0-{number}").read_text().split()[1]) for number in range(2)]
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)  # a stopped worker cannot detect that the controller has ended
    first.process.kill()
    first.process.wait()
    second = bench.run("--lease-timeout", "0")
    assert second.end() == USAGE, "the workers must still hold the boards"
    first.kill()
    third = bench.run("--lease-timeout", "0")
    third.boards()
    assert third.end() == 0, third.output


def interrupted(bench: Bench, run: Run) -> None:
    """Interrupts the run, and asserts that it left no process behind and that its boards are free."""
    run.interrupt()
    run.end()
    assert run.process.returncode == INTERRUPTED, run.output
    assert run.has_left_nothing()
    assert bench.is_free()
    assert "INTERNALERROR" not in run.output


def test_ctrl_c_in_a_test(bench: Bench) -> None:
    run = bench.run()
    run.boards()
    interrupted(bench, run)


def test_ctrl_c_in_a_test_of_each_worker(bench: Bench) -> None:
    run = bench.run("-n", "2", tests=2)
    run.boards()
    interrupted(bench, run)


def test_ctrl_c_while_waiting_for_a_board(bench: Bench) -> None:
    with Lease(bench.leases, "this test") as lease:
        for url in bench.urls:
            lease.add(port_name(url))
        run = bench.run("--lease-timeout", "3600")
        run.wait_until(lambda: "waiting up to" in run.output, "waiting")
        run.interrupt()
        run.end()
        assert run.process.returncode == INTERRUPTED, run.output
        assert run.has_left_nothing()
    assert bench.is_free()


def test_ctrl_c_while_flashing(bench: Bench) -> None:
    run = bench.run("-s", "--erase-all", "y")
    run.wait_until(lambda: "Writing at" in run.output, "flashing")
    interrupted(bench, run)


@pytest.fixture(scope="module")
def usual_s(boards: Boards, build: Build, tmp_path_factory: pytest.TempPathFactory) -> float:
    """Seconds that a run currently takes on this machine from its lease to its first test."""
    bench = Bench(boards, build, tmp_path_factory.mktemp("usual"))
    run = bench.run()
    run.wait_until(bench.is_leased, "lease")
    began = time.monotonic()
    run.boards()
    took = time.monotonic() - began
    assert run.end() == 0, run.output
    return took


@pytest.mark.parametrize("seed", range(4))
def test_ctrl_c_at_any_moment(bench: Bench, usual_s: float, seed: int) -> None:
    """Sends Ctrl-C at a random moment between the lease and the first test."""
    run = bench.run()
    run.wait_until(bench.is_leased, "lease")
    with contextlib.suppress(subprocess.TimeoutExpired):
        run.process.wait(random.Random(seed).uniform(0, usual_s))
    interrupted(bench, run)


def test_a_board_without_power_is_switched_on_and_tested(bench: Bench) -> None:
    bench.add_power_switches()
    (board,) = [board for board in load_bench(bench.folder / "bench.toml").boards if board.name == "board-1"]
    assert board.power is not None
    board.power.off()
    run = bench.run("--board-name", "board-1")
    assert run.boards() == [board.port]
    assert run.end() == 0, run.output


SWITCHES = """
import re

# The firmware may print more lines before the reset's banner.
START = re.compile(rb"rst:0x1 .*?firmware ready", re.DOTALL)

def test_power(dut, power):
    dut.expect(START)
    since = dut.serial.channel.mark()
    power.cycle()
    dut.expect(START)
    with power.off():
        off = dut.serial.channel.mark()
    dut.expect(START)
    assert [reset.name for reset in dut.serial.channel.resets(since)] == ["POWERON_RESET"] * 2
    assert len(dut.serial.channel.resets(off)) == 1
"""


def test_test_can_switch_the_power(bench: Bench) -> None:
    bench.add_power_switches()
    (bench.folder / "conftest.py").write_text("pytest_plugins = ['fixtures.console', 'fixtures.board']\n")
    (bench.folder / "hil_tests/test_it.py").write_text(SWITCHES)
    run = bench.run()
    assert run.end() == 0, run.output


def test_command_in_the_results_names_the_board(bench: Bench) -> None:
    """The command that repeats a failed test names the board as in the bench file."""
    run = bench.run("--board-name", "board-1")
    run.boards()
    assert run.end() == 0
    lines = (bench.folder / "evidence-0/results.jsonl").read_text().splitlines()
    header, (verdict,) = json.loads(lines[0]), [json.loads(line) for line in lines if '"verdict"' in line]
    assert header["board"]["ports"] == [bench.urls[1]]
    assert "--board virtual --bench bench.toml --board-name board-1 " in verdict["reproduce"]


TWO_BOARDS = """
import pytest

def test_both(dut):
    for board in dut:
        board.expect("firmware ready")
    assert dut[0].serial.port != dut[1].serial.port

@pytest.mark.parametrize("count", [1, 3], indirect=True)
def test_count_of_its_own(dut):
    dut.expect("firmware ready")
"""


def test_test_can_use_two_boards(bench: Bench) -> None:
    """The run has two boards (`--count 2`); one test needs one board, and another needs more than two."""
    (bench.folder / "hil_tests/test_it.py").write_text(TWO_BOARDS)
    run = bench.run("--count", "2", "-v")
    assert run.end() == BLOCKED
    assert "test_both PASSED" in run.output
    assert "test_count_of_its_own[1] PASSED" in run.output
    assert "the test needs 3 boards, but the run has 2" in run.output
    assert bench.is_free()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--count", "2", "-n", "2"), "-n gives each of 2 workers one board, but --count 2 was given"),
        (("--count", "3"), "3 boards are needed, but only 2 available"),
        (("--port", "{0}|{1}"), "--port names 2 boards, but a test uses 1"),
    ],
)
def test_contradictory_board_counts_are_a_one_line_error(
    bench: Bench, options: tuple[str, ...], message: str
) -> None:
    run = bench.run(*(option.format(*bench.urls) for option in options))
    assert run.end() == USAGE
    assert message in run.output
    assert "Traceback" not in run.output
