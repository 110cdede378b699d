"""Compares runs of the suite on different kinds of board: every measurement side by side, every difference classified.

A difference is explained if a row of fidelity.toml matches it and it is within the row's bound; all others are
unexplained. No row explains a failed verdict: a failure on one board is never attributed to the kind of board.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from hotpin_hil.errors import UsageError
from hotpin_hil.evidence.board_notes import RESOURCES
from hotpin_hil.evidence.fidelity_reasons import (
    BLOCKS_AT_START,
    FREE_AT_BOOT,
    FREE_AT_MAIN,
    FREE_AT_START,
    HELD_AT_START,
    ONLY,
    VALUE,
    VERDICT,
    Reason,
)
from hotpin_hil.evidence.lines import (
    EVIDENCE,
    WITH_CONSOLE,
    EventNote,
    MeasurementLine,
    ReplyNote,
    VerdictLine,
)
from hotpin_hil.evidence.model import Value, Verdict, with_unit
from hotpin_hil.evidence.results import Results, read_results
from hotpin_hil.evidence.run_folders import find_run
from hotpin_hil.protocol.answers import HeapCensus

SHOWN = (Verdict.PASS, Verdict.MARGINAL)

NVS_BLOCK_BYTES = 128
"""Size of a block of NVS's index, ESP-IDF's `HashListBlock`."""
NVS_NAMESPACE_BYTES = 28
"""Size of NVS's block for a namespace."""
NVS_NAMESPACES = 2
"""Number of namespaces that the firmware uses: one for its boot count, one for its history."""
DRIVER_BLOCKS, DRIVER_BYTES = 4, 364
"""Number and bytes of the blocks that the camera driver allocates, except in QEMU builds, which simulate the camera:
GPIO's interrupt service (320 bytes: 40 pins) and its interrupt (12, 16 and 16)."""
QEMU = "qemu"
HEADER_BYTES = 4
"""Overhead of a block in the chip's heaps."""
RESTS_OF_HOLES = 24
"""Maximum number of bytes by which all blocks together may exceed the request. If the rest of a hole, up to 12 bytes,
is too small for a block, the allocator hands out the whole hole."""

UNMATCHED = "no reason in fidelity.toml matches it"
"""Text for a difference that no row matches."""

Key = tuple[str, str, int]
"""Test, measurement name without figures, and index among the test's measurements with that name."""

_FIGURE = re.compile(r"0x[0-9a-fA-F]+|\d{4,}|\d+(?= %)")
"""Addresses, sizes and percentages in a name, such as "check(largest block: 110592 B)", which differ by board."""


@dataclass(frozen=True)
class Run:
    """One run of the suite, with the data that a comparison needs."""

    label: str
    """Kind of board, with a number if several runs used the same kind."""
    results: Results

    @property
    def kind(self) -> str:
        """The kind of board: "hardware", "qemu" or "virtual"."""
        return next(kind for kind, gives in EVIDENCE.items() if gives == self.results.run.evidence)

    @property
    def profile(self) -> str:
        """The profile of a virtual board; empty for other boards and if unknown."""
        return str(self.results.run.board.get("profile", ""))

    @property
    def idf(self) -> str:
        """The ESP-IDF version of the firmware; empty if unknown."""
        return str(self.results.run.firmware.get("idf", ""))

    @cached_property
    def measurements(self) -> dict[Key, MeasurementLine]:
        """All measurements, in the order of the run."""
        counts: Counter[tuple[str, str]] = Counter()
        found: dict[Key, MeasurementLine] = {}
        for line in self.results.measurements:
            test, name = line.test, _FIGURE.sub("#", line.name)
            found[test, name, counts[test, name]] = line
            counts[test, name] += 1
        return found

    @cached_property
    def verdicts(self) -> dict[tuple[str, str], VerdictLine]:
        """Test and requirement id (empty if the test has no requirement) -> the line of the verdict."""
        return {(line.test, id_): line for line in self.results.verdicts for id_ in line.requirement or ("",)}

    @cached_property
    def memory_map(self) -> tuple[int, int] | None:
        """Address of the first heap and of the end of IRAM; None if the run does not report them."""
        for note in self.results.sizes():
            if note.image == WITH_CONSOLE and note.first_heap is not None and note.iram_end is not None:
                return note.first_heap, note.iram_end
        return None

    @cached_property
    def free_at_main(self) -> int | None:
        """The most frequent number of free bytes at the start of app_main; None if the run has no `boot` event."""
        seen = Counter(
            note.data.get("free_at_main") for note in self.results.of(EventNote) if note.event == "boot"
        )
        value = seen.most_common(1)[0][0] if seen else None
        return value if isinstance(value, int) else None

    @cached_property
    def boot_counts(self) -> dict[str, int]:
        """Test -> boot count of its first `boot` event."""
        counts: dict[str, int] = {}
        for note in self.results.of(EventNote):
            count = note.data.get("boot_count")
            if note.event == "boot" and isinstance(count, int):
                counts.setdefault(note.test, count)
        return counts

    @cached_property
    def heaps_at_start(self) -> dict[str, tuple[int, int]]:
        """Test -> number of used blocks in all heaps, and their bytes, at the start of the test."""
        found: dict[str, tuple[int, int]] = {}
        for note in self.results.of(ReplyNote):
            if note.command == RESOURCES:
                heaps = [HeapCensus(*row) for row in note.data["heaps"]]
                found.setdefault(
                    note.test, (sum(heap.blocks for heap in heaps), sum(heap.bytes for heap in heaps))
                )
        return found

    def describe(self) -> str:
        """Board, firmware and memory map of the run, on one line."""
        place = self.memory_map
        parts = [f"{self.kind} board", f"firmware {self.idf}"]
        parts += [f"profile {self.profile}"] if self.profile else []
        parts.append(f"first heap at 0x{place[0]:08X}" if place else "memory map not known")
        if self.free_at_main is not None:
            parts.append(f"{self.free_at_main:,} B free at app_main")
        return ", ".join(parts)


@dataclass(frozen=True)
class RunDifference:
    """One difference between two runs."""

    of: str
    """VALUE, ONLY or VERDICT."""
    test: str
    requirement: tuple[str, ...]
    name: str
    unit: str
    left: Value | None
    right: Value | None
    runs: tuple[str, str]
    """Labels of the two runs."""
    reason: Reason | None = None
    because: str = ""
    """An explanation that is not a row of fidelity.toml, or the reason why there is no explanation."""
    explained: bool = False
    key: Key | None = None
    """Key of the measurement; None for a verdict."""

    def shown(self) -> tuple[str, str]:
        """The two values as text, with their unit."""
        left, right = (
            "(none)" if value is None else with_unit(value, self.unit) for value in (self.left, self.right)
        )
        return left, right


@dataclass(frozen=True)
class MeasurementRow:
    """One measurement, with one column per run."""

    test: str
    requirement: tuple[str, ...]
    name: str
    unit: str
    values: tuple[Value | None, ...]
    """One value per run; None if the run did not measure it."""


@dataclass(frozen=True)
class Comparison:
    """All measurements of the compared runs side by side, and the differences between the runs."""

    runs: tuple[Run, ...]
    rows: list[MeasurementRow]
    differences: list[RunDifference] = field(default_factory=list)
    """Differences of each run from the first run."""

    @property
    def explained(self) -> list[RunDifference]:
        """The differences that a row of fidelity.toml, or the other board's NOT APPLICABLE verdict, explains."""
        return [difference for difference in self.differences if difference.explained]

    @property
    def unexplained(self) -> list[RunDifference]:
        """The differences that nothing explains."""
        return [difference for difference in self.differences if not difference.explained]

    @property
    def equal(self) -> int:
        """Number of measurements with the same value in all runs."""
        return sum(row.values.count(row.values[0]) == len(row.values) for row in self.rows)


def read_runs(paths: Sequence[Path]) -> tuple[Run, ...]:
    """Read the runs in these folders or results.jsonl files.

    Raises:
        UsageError: a run cannot be read, or has no measurements.
    """
    runs = [Run("", read_results(find_run(path))) for path in paths]
    for path, run in zip(paths, runs, strict=True):
        if run.results.unreadable:
            raise UsageError(f"{path}, {run.results.unreadable[0]}", "restore the results, or repeat the run")
        if not run.measurements:
            raise UsageError(f"{path} has no measurements", "name the folder of a completed run")
    kinds = Counter(run.kind for run in runs)
    seen: Counter[str] = Counter()
    named = []
    for run in runs:
        seen[run.kind] += 1
        label = f"{run.kind} {seen[run.kind]}" if kinds[run.kind] > 1 else run.kind
        named.append(replace(run, label=label))
    return tuple(named)


def compare(runs: Sequence[Run], reasons: Sequence[Reason]) -> Comparison:
    """Compare each run with the first run."""
    first, *others = runs
    found = [difference for other in others for difference in _Pair(first, other, reasons).differences()]
    return Comparison(tuple(runs), _rows(runs), found)


def _rows(runs: Sequence[Run]) -> list[MeasurementRow]:
    keys = dict.fromkeys(key for run in runs for key in run.measurements)
    rows = []
    for key in keys:
        found = [run.measurements.get(key) for run in runs]
        line = next(line for line in found if line is not None)
        values = tuple(None if measurement is None else measurement.value for measurement in found)
        rows.append(MeasurementRow(line.test, line.requirement, line.name, line.unit, values))
    return rows


class _Pair:
    """Two runs, and the reasons that can explain their differences."""

    def __init__(self, left: Run, right: Run, reasons: Sequence[Reason]) -> None:
        self._left, self._right = left, right
        self._labels = (left.label, right.label)
        kinds = {left.kind, right.kind}
        maps = (left.memory_map, right.memory_map)
        other_map = None not in maps and maps[0] != maps[1]
        self._reasons = [
            reason
            for reason in reasons
            if (not reason.boards or kinds & set(reason.boards)) and (other_map or not reason.other_map)
        ]
        free = (left.free_at_main, right.free_at_main)
        self._shift = None if free[0] is None or free[1] is None else free[1] - free[0]

    def differences(self) -> Iterator[RunDifference]:
        values = [
            replace(difference, key=key) for key in self._keys() for difference in self._of_measurement(key)
        ]
        verdicts = list(self._of_verdicts(values))
        excused = {verdict.test for verdict in verdicts if verdict.explained and verdict.reason is not None}
        for difference in values:
            if difference.of == ONLY and not difference.explained and difference.test in excused:
                yield replace(
                    difference, explained=True, because="the test is not applicable on the other board"
                )
            else:
                yield difference
        yield from verdicts

    def _keys(self) -> list[Key]:
        return list(dict.fromkeys((*self._left.measurements, *self._right.measurements)))

    def _of_measurement(self, key: Key) -> Iterator[RunDifference]:
        left, right = self._left.measurements.get(key), self._right.measurements.get(key)
        if left is None or right is None:
            yield self._only(left, right)
            return
        if (left.verdict in SHOWN) != (right.verdict in SHOWN):
            words = f"{left.verdict} on {self._labels[0]}, {right.verdict} on {self._labels[1]}"
            because = f"{words}: no reason can explain a violated limit"
            yield replace(self._difference(VALUE, left, left.value, right.value), because=because)
        elif not _same(left.value, right.value):
            yield self._explain(self._difference(VALUE, left, left.value, right.value))

    def _only(self, left: MeasurementLine | None, right: MeasurementLine | None) -> RunDifference:
        line = left or right
        assert line is not None
        has = (self._left if left else self._right).kind
        found = self._difference(ONLY, line, left.value if left else None, right.value if right else None)
        for reason in self._reasons:
            if reason.of == ONLY and has in reason.only_on and self._concerns(reason, found):
                return replace(found, reason=reason, explained=True)
        return replace(found, because=f"only {has} measured it")

    def _explain(self, found: RunDifference) -> RunDifference:
        assert found.left is not None
        assert found.right is not None
        refused = []
        for reason in self._reasons:
            if reason.of != VALUE or not self._concerns(reason, found):
                continue
            if reason.other_nvs and self._has_equal_nvs(found.test):
                continue
            exceeds = self._exceeds(reason, found.test, found.left, found.right)
            if not exceeds:
                return replace(found, reason=reason, explained=True)
            refused.append(f"{reason.id}: {exceeds}")
        return replace(found, because="; ".join(refused) or UNMATCHED)

    def _has_equal_nvs(self, test: str) -> bool:
        left, right = (
            (run.boot_counts.get(test), run.heaps_at_start.get(test)) for run in (self._left, self._right)
        )
        return left == right

    def _exceeds(self, reason: Reason, test: str, left: Value, right: Value) -> str:
        shift = self._shift if reason.follows == FREE_AT_MAIN else self._at_start(test).get(reason.follows)
        if reason.boards and self._left.kind not in reason.boards:
            return reason.exceeds(right, left, None if shift is None else -shift)
        return reason.exceeds(left, right, shift)

    def _at_start(self, test: str) -> dict[str, int]:
        """How much more the right board has at the test's start: a number for each value of `follows`.

        Empty if the heaps are unknown, or differ by blocks other than those of NVS and of a simulated driver.
        """
        left, right = self._left.heaps_at_start.get(test), self._right.heaps_at_start.get(test)
        if left is None or right is None or self._shift is None:
            return {}
        blocks, held = right[0] - left[0], right[1] - left[1]
        simulated = (self._right.kind == QEMU) - (self._left.kind == QEMU)
        of_nvs, held_by_nvs = blocks + simulated * DRIVER_BLOCKS, held + simulated * DRIVER_BYTES
        if not _are_of_nvs(of_nvs, held_by_nvs):
            return {}
        free = self._shift - held - blocks * HEADER_BYTES
        at_boot = self._shift - held_by_nvs - of_nvs * HEADER_BYTES
        return {FREE_AT_START: free, FREE_AT_BOOT: at_boot, HELD_AT_START: held, BLOCKS_AT_START: blocks}

    def _of_verdicts(self, values: Sequence[RunDifference]) -> Iterator[RunDifference]:
        unexplained = {difference.test for difference in values if not difference.explained}
        for key in dict.fromkeys((*self._left.verdicts, *self._right.verdicts)):
            left, right = self._left.verdicts.get(key), self._right.verdicts.get(key)
            left_verdict, right_verdict = (line.verdict.value if line else None for line in (left, right))
            if left_verdict == right_verdict:
                continue
            test, id_ = key
            ids = (id_,) if id_ else ()
            found = RunDifference(
                VERDICT, test, ids, "verdict", "", left_verdict, right_verdict, self._labels
            )
            if left is None or right is None:
                has = self._left.label if left else self._right.label
                nothing_to_compare = (left_verdict or right_verdict) == Verdict.NOT_APPLICABLE.value
                because = f"only the {has} run has this test" + (
                    ", where it is not applicable" if nothing_to_compare else ""
                )
                yield replace(found, explained=nothing_to_compare, because=because)
            elif {left.verdict, right.verdict} == set(SHOWN):
                explained = test not in unexplained
                because = "the explained values cause it" if explained else "one of its values is unexplained"
                yield replace(found, explained=explained, because=because)
            else:
                yield self._of_applicability(found, left, right)

    def _of_applicability(self, found: RunDifference, left: VerdictLine, right: VerdictLine) -> RunDifference:
        """Explain a NOT APPLICABLE verdict if the other board tests the requirement; never FAIL or BLOCKED."""
        word = Verdict.NOT_APPLICABLE
        absent, shown = (left, right) if left.verdict == word else (right, left)
        if absent.verdict == word and shown.verdict in SHOWN:
            for reason in self._reasons:
                is_meant = reason.of == VERDICT and self._concerns(reason, found)
                if is_meant and re.search(reason.because, absent.reason):
                    return replace(found, reason=reason, explained=True)
        reasons = "; ".join(
            f"{run.label}: {line.reason}"
            for run, line in ((self._left, left), (self._right, right))
            if line.reason
        )
        return replace(found, because=reasons or UNMATCHED)

    def _difference(
        self, of: str, line: MeasurementLine, left: Value | None, right: Value | None
    ) -> RunDifference:
        return RunDifference(
            of,
            line.test,
            line.requirement,
            line.name,
            line.unit,
            left,
            right,
            self._labels,
        )

    @staticmethod
    def _concerns(reason: Reason, found: RunDifference) -> bool:
        return reason.concerns(found.requirement, found.test, found.name, found.unit)


def _are_of_nvs(blocks: int, held: int) -> bool:
    """Whether a difference of this many blocks and bytes consists of NVS's blocks for its index and its namespaces."""
    for names in range(min(abs(blocks), NVS_NAMESPACES) + 1):
        expected = (abs(blocks) - names) * NVS_BLOCK_BYTES + names * NVS_NAMESPACE_BYTES
        if abs(held - (expected if blocks > 0 else -expected)) <= RESTS_OF_HOLES:
            return True
    return False


def _same(left: Any, right: Any) -> bool:
    """Whether two values are equal. Python's True equals 1, but firmware that sends 1 instead of true is wrong."""
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)
