"""Leaks over all boards of a burn-in, and the drift between the boards.

Each board repeats rounds that end in the same state, with one reading of free memory per round. A leak that every board
has in common adds up in the sum of the boards' readings, while their noise partly cancels: the sum of N boards shows a
leak that is smaller by the square root of N than the smallest leak that one board shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from hotpin_hil.analysis.leak import Leak, find_leak

EDGE_SHARE = 4
"""The first and the last median are taken over a quarter of the readings each."""


@dataclass(frozen=True)
class BurnIn:
    """One memory type in a burn-in of several boards."""

    memory: str
    leaks: Mapping[str, Leak]
    """Board -> verdict on its readings."""
    changes: Mapping[str, float]
    """Board -> bytes that it gained from the first to the last median of its readings after warm-up."""
    rounds: int
    """Number of rounds of the board with the fewest rounds; the sum has that many readings."""
    total: Leak
    """Verdict on the sum of all boards' readings. Its budget is the budget of one board times the number of boards."""

    @property
    def drift(self) -> float:
        """Largest difference between the changes of two boards, bytes."""
        return max(self.changes.values()) - min(self.changes.values())

    @property
    def furthest(self) -> str:
        """The board whose change is furthest from the median of all boards; empty if all boards change alike."""
        if self.drift == 0:
            return ""
        middle = median(self.changes.values())
        return max(
            self.changes, key=lambda board: (abs(self.changes[board] - middle), abs(self.changes[board]))
        )


def compare_boards(
    memory: str, readings: Mapping[str, Sequence[float]], budget_per_round: float
) -> BurnIn | None:
    """Look for a leak in one memory type: on each board, and in the sum over all boards.

    Args:
        memory: Name of the memory type.
        readings: Board -> free bytes at the end of each round.
        budget_per_round: Allowed loss of one board per round, bytes.

    Returns:
        The verdicts; None if no board has a reading. A board without readings is left out.
    """
    boards = {board: values for board, values in readings.items() if values}
    if not boards:
        return None
    leaks = {board: find_leak(values, budget_per_round) for board, values in boards.items()}
    rounds = min(map(len, boards.values()))
    sums = [sum(values[number] for values in boards.values()) for number in range(rounds)]
    return BurnIn(
        memory,
        leaks,
        {board: _change(values[leaks[board].warm_up :] or values) for board, values in boards.items()},
        rounds,
        find_leak(sums, budget_per_round * len(boards)),
    )


def _change(settled: Sequence[float]) -> float:
    edge = max(1, len(settled) // EDGE_SHARE)
    return median(settled[-edge:]) - median(settled[:edge])
