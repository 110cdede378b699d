"""The burn-in in the results of a run: its readings, and the verdicts over all boards."""

from __future__ import annotations

from hotpin_hil.analysis.burn_in import BurnIn, compare_boards
from hotpin_hil.analysis.leak import BUDGET_PER_CYCLE, LeakVerdict
from hotpin_hil.evidence.lines import SeriesNote, StartedNote
from hotpin_hil.evidence.results import Results

SERIES = "burn-in: "
"""Start of the name of a series with some rounds' readings; the name of the memory type follows."""


def burn_in_of(results: Results) -> list[BurnIn]:
    """The verdicts for each memory type, even if the run was cut off; empty without a burn-in.

    A burn-in writes its readings in parts while it runs, so the parts of a test are joined. A repeated test counts with
    its last attempt.
    """
    memories: dict[str, dict[str, list[float]]] = {}
    boards: dict[str, str] = {}
    for note in results.notes:
        if isinstance(note, StartedNote):
            for readings in memories.values():
                readings.pop(note.test, None)
        elif isinstance(note, SeriesNote) and note.name.startswith(SERIES):
            boards[note.test] = _board_name(note)
            readings = memories.setdefault(note.name.removeprefix(SERIES), {})
            readings.setdefault(note.test, []).extend(note.values)
    tests = sorted(boards, key=lambda test: (len(boards[test]), boards[test]))
    found = (
        compare_boards(memory, {boards[test]: readings.get(test, ()) for test in tests}, BUDGET_PER_CYCLE)
        for memory, readings in memories.items()
    )
    return [burn_in for burn_in in found if burn_in is not None]


def leaking(results: Results) -> list[str]:
    """The memory types that leak over all boards of a burn-in, each as a sentence."""
    return [
        f"burn-in: {burn_in.memory} leaks over all {len(burn_in.leaks)} boards: {burn_in.total}"
        for burn_in in burn_in_of(results)
        if burn_in.total.verdict is LeakVerdict.LEAK
    ]


def _board_name(note: SeriesNote) -> str:
    """Parameter id of the test, then the board's MAC. The MAC alone may not be unique, so the id precedes it."""
    case = note.test.rpartition("[")[2].removesuffix("]")
    return f"{case} {note.board}" if note.board else case
