"""Plays random games on the firmware and the model, with fixed seeds and with a fresh seed, which is printed."""

from __future__ import annotations

import random

import pytest

from tests.model.explore import play

FIXED_SEEDS = (1, 2)
ROUNDS = 3
FRESH_S = 10.0
"""Host time in s for games with the fresh seed; a game in progress is played to its end."""


@pytest.mark.parametrize("seed", FIXED_SEEDS)
def test_fixed_games(seed: int) -> None:
    assert play(1000 * seed, rounds=ROUNDS) > 0


def test_fresh_games(capsys: pytest.CaptureFixture[str]) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    with capsys.disabled():
        print(f"\nmodel: fresh seed {seed}; repeat with: make explore ARGS='--seed {seed}'")
    assert play(seed, seconds=FRESH_S) > 0
