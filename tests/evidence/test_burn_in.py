"""Checks how the burn-in is read from the results: in parts, from a killed run, and after a rerun."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hotpin_hil.evidence.burn_in import SERIES, burn_in_of, leaking
from hotpin_hil.evidence.lines import SeriesNote, StartedNote
from hotpin_hil.evidence.qualification import qualify
from tests.evidence.test_evidence import END, RUN, passed, results_of, row

REQUIREMENTS: dict[str, Any] = {**RUN, "requirements": [row("A")]}
MAC = "24:0a:c4:00:00:0"


def part(board: int, values: Sequence[float], memory: str = "internal") -> SeriesNote:
    return SeriesNote(
        f"t::burn_in[board-{board}]", f"{MAC}{board}", SERIES + memory, "B", tuple(values), None
    )


def started(board: int) -> StartedNote:
    return StartedNote(f"t::burn_in[board-{board}]", ("A",), "gw0")


def test_parts_of_each_board_are_joined_even_without_an_end() -> None:
    other = SeriesNote("t::x[board-1]", None, "internal free", "B", (1.0,) * 99, 1.024)
    lines = [started(1), started(2), part(1, [500] * 25), part(2, [700] * 25), other, part(1, [500] * 25)]
    (found,) = burn_in_of(results_of(REQUIREMENTS, [*lines, part(2, [600] * 5)]))
    assert (found.memory, list(found.leaks)) == ("internal", [f"board-1 {MAC}1", f"board-2 {MAC}2"])
    assert [leak.cycles + leak.warm_up for leak in found.leaks.values()] == [50, 30]
    assert found.rounds == 30
    assert found.furthest == f"board-2 {MAC}2"


def test_boards_with_the_same_mac_are_told_apart_and_sorted_by_number() -> None:
    lines = [
        SeriesNote(f"t::burn_in[board-{board}]", MAC, f"{SERIES}psram", "B", (1.0,) * 20, None)
        for board in (10, 2, 1)
    ]
    (found,) = burn_in_of(results_of(REQUIREMENTS, lines))
    assert list(found.leaks) == [f"board-{board} {MAC}" for board in (1, 2, 10)]


def test_rerun_replaces_the_readings_of_the_first_attempt() -> None:
    lines = [started(1), part(1, range(1_000, 900, -1)), started(1), part(1, [1_000] * 30)]
    (found,) = burn_in_of(results_of(REQUIREMENTS, lines))
    assert found.rounds == 30
    assert found.total.slope == 0


def test_leak_over_all_boards_makes_a_finished_run_not_qualified() -> None:
    leak = [part(board, [9_000 - 8 * at for at in range(60)], memory="psram") for board in (1, 2)]
    flat = [part(board, [9_000] * 60) for board in (1, 2)]
    leaky = results_of(REQUIREMENTS, [*passed("A"), *flat, *leak, END])
    (sentence,) = leaking(leaky)
    assert sentence.startswith("burn-in: psram leaks over all 2 boards: leak: +16.000 B/cycle")
    assert (qualify(leaky)["overall"], qualify(leaky)["reason"]) == ("NOT QUALIFIED", sentence)
    assert qualify(results_of(REQUIREMENTS, [*passed("A"), *leak]))["overall"] == "INCOMPLETE"
    assert qualify(results_of(REQUIREMENTS, [*passed("A"), *flat, END]))["overall"] == "REHEARSED"
