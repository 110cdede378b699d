"""Draws mutants reproducibly: their order within a component, and how many each component gets."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import groupby

from tests.mutation.mutants import Mutant


def in_random_order(mutants: Sequence[Mutant], seed: int) -> list[Mutant]:
    """Orders all mutants: first a random mutant of each line, then a second mutant of each line, and so on.

    Thus a long condition, which has many more mutants than an assignment, is not drawn more often.
    """
    chance = random.Random(seed)
    turns: list[list[Mutant]] = []
    for _, group in groupby(mutants, key=lambda mutant: (mutant.file, mutant.line)):
        of_line = list(group)
        chance.shuffle(of_line)
        for turn, mutant in enumerate(of_line):
            if turn == len(turns):
                turns.append([])
            turns[turn].append(mutant)
    for turn_mutants in turns:
        chance.shuffle(turn_mutants)
    return [mutant for turn_mutants in turns for mutant in turn_mutants]


def shares(lines: dict[str, int], count: int) -> dict[str, int]:
    """Distributes `count` mutants among components in proportion to their number of mutable lines."""
    total = sum(lines.values())
    exact = {name: count * number / total for name, number in lines.items()}
    given = {name: int(share) for name, share in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (given[name] - exact[name], name))
    for name in by_remainder[: count - sum(given.values())]:
        given[name] += 1
    return given
