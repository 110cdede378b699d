"""Tests a burn-in's options, its share of the boards, its progress, and its summary, with a small suite and a fake
board."""

from __future__ import annotations

import pytest

from tests.support.plugin_suite import CONFTEST, IMPORTS, REGISTERED, WITHOUT, Suite

pytest_plugins = ["pytester", "tests.support.plugin_suite"]

BURN_IN = """
from hotpin_hil.pytest_plugin.board import worker_count
from hotpin_hil.pytest_plugin.burn_in import write_progress
from hotpin_hil.pytest_plugin.plugin import recorder_of

def pytest_generate_tests(metafunc):
    numbers = range(1, worker_count(metafunc.config) + 1)
    metafunc.parametrize("number", numbers, ids=[f"board-{number}" for number in numbers])

@pytest.mark.burn_in
@requirement("AAA-01")
def test_burn_in(request, number):
    recorder = recorder_of(request.node)
    write_progress(request.config, f"round 7 of board {number}\\x1b")
    recorder.measure("rounds", 7, min=1)
    LOSES
"""
NOTHING = "recorder.series('burn-in: internal', [1000] * 50, 'B')"
LITTLE = "recorder.series('burn-in: internal', [100000 - 16 * (at // 2) for at in range(50)], 'B')"


def burn_in(suite: Suite, *options: str, loses: str = NOTHING) -> pytest.RunResult:
    """Run the burn-in. Its tests use no board, so that they can also run in workers."""
    suite.write("conftest.py", CONFTEST + REGISTERED)
    return suite.run(BURN_IN.replace("LOSES", loses), "-m", "burn_in", *options, "hil_tests")


@pytest.mark.parametrize("hours", ["0", "-1", "nan", "inf"])
def test_burn_in_without_a_duration_is_refused(suite: Suite, hours: str) -> None:
    result = burn_in(suite, f"--hours={hours}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --hours must be *greater than 0, but is {hours}"])


@pytest.mark.parametrize("seed", ["x", "-1", "7:", "7:0", "7:x", ":3"])
def test_seed_that_is_none_is_refused(suite: Suite, seed: str) -> None:
    result = burn_in(suite, f"--burn-in-seed={seed}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"{seed!r} is not SEED or SEED:ROUND" in result.stderr.str()


def test_each_worker_burns_in_its_own_board(suite: Suite) -> None:
    for _ in range(2):  # in the second run, the order of the tests comes from the durations of the first
        burn_in(suite, "-n", "2").assert_outcomes(passed=2)
        started = {
            line["test"][-9:]: line["worker"] for line in suite.lines if line.get("about") == "started"
        }
        assert set(started) == {"[board-1]", "[board-2]"}
        assert len(set(started.values())) == 2


def test_burn_in_runs_at_the_time_scale_of_long_tests_and_names_the_command_to_repeat_it(
    suite: Suite,
) -> None:
    burn_in(suite, "--hours=0.5")
    assert suite.lines[0]["board"]["time_scale"] == 100
    (verdict,) = [line for line in suite.lines if line["kind"] == "verdict"]
    assert "-m burn_in --hours 0.5 'hil_tests/" in verdict["reproduce"]


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "on two workers"])
def test_progress_is_printed_while_output_is_captured(
    suite: Suite, pytester: pytest.Pytester, workers: tuple[str, ...]
) -> None:
    suite.write("conftest.py", CONFTEST + REGISTERED)
    suite.write("hil_tests/test_it.py", IMPORTS + BURN_IN.replace("LOSES", NOTHING))
    result = pytester.runpytest_subprocess(
        *WITHOUT, "--board", "virtual", "-m", "burn_in", *workers, "hil_tests", timeout=60
    )
    printed = (result.stderr if workers else result.stdout).str()
    for number in range(1, 3 if workers else 2):
        assert f"round 7 of board {number}\\x1b" in printed.splitlines()


def test_summary_shows_each_board_and_all_boards(suite: Suite) -> None:
    result = burn_in(suite, "-n", "2")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "*= burn-in =*",
            "memory * board * rounds * verdict *",
            "internal *board-1* 50 *within budget*",
            "internal *board-2* 50 *within budget*",
            "internal *all 2 boards* 50 *within budget*",
            "internal: drift between the boards 0 B",
        ]
    )
    assert 'id="burn-in"' in (suite.folder / "report.html").read_text()
    suite.validate()


def test_run_without_a_burn_in_has_no_summary_of_it(suite: Suite) -> None:
    result = suite.run("@requirement('AAA-01')\ndef test_x(measure): measure('x', 1, exact=1)\n")
    assert "burn-in" not in result.stdout.str()
    assert 'id="burn-in"' not in (suite.folder / "report.html").read_text()


def test_leak_over_all_boards_fails_the_run(suite: Suite) -> None:
    """The tests of the boards pass: none of them measures its loss."""
    result = burn_in(suite, "-n", "2", loses=LITTLE)
    assert result.ret == 1
    assert result.outlines[-1].startswith(
        "NOT QUALIFIED (virtual): burn-in: internal leaks over all 2 boards: "
    )
    result.stdout.fnmatch_lines(["internal *all 2 boards* 50 *leak*16,*"])
