"""Checks the verdict over all boards of a burn-in, and the drift between boards."""

from __future__ import annotations

import random

import pytest

from hotpin_hil.analysis.burn_in import BurnIn, compare_boards
from hotpin_hil.analysis.leak import BUDGET_PER_CYCLE, LeakVerdict

FREE = 200_000
NOISE_B = 200
"""Standard deviation of the noisy boards' readings."""


def boards(seed: int, *, rounds: int = 60, leak: int = 0, every: int = 4, noise: float = 0) -> BurnIn:
    """Eight boards that lose `leak` bytes in every `every`-th round, with independent noise."""
    drawn = random.Random(seed)
    found = compare_boards(
        "internal",
        {
            f"board-{board}": [
                FREE - leak * (number // every) + drawn.gauss(0, noise) for number in range(rounds)
            ]
            for board in range(1, 9)
        },
        BUDGET_PER_CYCLE,
    )
    assert found is not None
    return found


def verdicts(found: BurnIn) -> set[LeakVerdict]:
    return {leak.verdict for leak in found.leaks.values()}


def test_leak_in_the_noise_of_each_board_is_found_over_all_boards() -> None:
    found = boards(seed=0, leak=16, noise=NOISE_B)
    assert verdicts(found) == {LeakVerdict.UNDECIDED}
    assert found.total.verdict is LeakVerdict.LEAK
    assert found.total.slope == pytest.approx(8 * 16 / 4, rel=0.5)


def test_all_boards_show_a_leak_that_one_board_rarely_shows() -> None:
    series = [boards(seed, leak=16, noise=NOISE_B) for seed in range(40)]
    assert sum(found.total.verdict is LeakVerdict.LEAK for found in series) >= 38
    alone = [leak.verdict is LeakVerdict.LEAK for found in series for leak in found.leaks.values()]
    assert sum(alone) < len(alone) / 10


@pytest.mark.parametrize("seed", range(10))
def test_noise_alone_is_no_leak_over_all_boards(seed: int) -> None:
    assert boards(seed, noise=NOISE_B).total.verdict is not LeakVerdict.LEAK


@pytest.mark.parametrize("seed", range(10))
def test_clean_boards_are_within_the_budget_each_and_all(seed: int) -> None:
    found = boards(seed, rounds=400, noise=8)
    assert verdicts(found) == {LeakVerdict.WITHIN_BUDGET}
    assert found.total.verdict is LeakVerdict.WITHIN_BUDGET
    assert found.total.budget == pytest.approx(8 * BUDGET_PER_CYCLE)
    assert found.drift < 8


def test_board_that_drifts_away_is_named() -> None:
    readings = {f"board-{board}": [FREE] * 100 for board in range(1, 9)}
    readings["board-5"] = [FREE - 2 * number for number in range(100)]
    found = compare_boards("psram", readings, BUDGET_PER_CYCLE)
    assert found is not None
    assert found.furthest == "board-5"
    assert found.drift == 2 * 72  # medians of quarters of the 96 settled readings are 72 rounds apart
    assert found.changes["board-5"] == -found.drift


def test_boards_that_lose_alike_do_not_drift() -> None:
    found = boards(1, leak=64)
    assert verdicts(found) == {LeakVerdict.LEAK}
    assert (found.drift, found.furthest) == (0, "")


def test_sum_has_the_rounds_of_the_board_with_the_fewest() -> None:
    found = compare_boards("internal", {"a": [FREE] * 90, "b": [FREE] * 30, "c": []}, BUDGET_PER_CYCLE)
    assert found is not None
    assert (found.rounds, found.total.cycles + found.total.warm_up) == (30, 30)
    assert list(found.leaks) == ["a", "b"]


def test_no_readings_give_no_verdict() -> None:
    assert compare_boards("internal", {"a": []}, BUDGET_PER_CYCLE) is None
    few = compare_boards("internal", {"a": [FREE]}, BUDGET_PER_CYCLE)
    assert few is not None
    assert few.total.verdict is LeakVerdict.UNDECIDED
