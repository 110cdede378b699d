"""Reads and checks fidelity.toml: the reasons why two kinds of board may measure different values."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from hotpin_hil.errors import UsageError
from hotpin_hil.evidence.model import Value
from hotpin_hil.evidence.requirements import KINDS
from hotpin_hil.evidence.toml_tables import read_tables

REASONS_FILE = Path(__file__).parent / "fidelity.toml"

VALUE, ONLY, VERDICT = "value", "only", "verdict"
"""The kind of difference: a value, a measurement that only one run has, or the verdict of a test."""

CLASSES = ("map", "flash", "pointer size", "clock", "simulated", "identity", "not modelled", "not applicable")

_PATTERNS = ("requirement", "test", "name")
_BOUNDS = ("max_difference", "max_ratio", "match", "because", "unbounded")
_KEYS = {
    "id",
    "class",
    "text",
    "of",
    "boards",
    "only_on",
    "other_map",
    "other_nvs",
    "every_run",
    "unit",
    "follows",
    "differ_by",
    "multiple_of",
    "max_multiple",
    *_PATTERNS,
    *_BOUNDS,
}

FREE_AT_MAIN = "free_at_main"
"""Value of `follows`: the expected difference is the difference in free memory at the start of app_main."""
FREE_AT_START, HELD_AT_START, BLOCKS_AT_START = "free_at_start", "held_at_start", "blocks_at_start"
"""Values of `follows`: the expected difference is the difference in free memory, in bytes in use or in blocks in use at
the start of the test."""
FREE_AT_BOOT = "free_at_boot"
"""Value of `follows`: like FREE_AT_START, but without the blocks of the first mode's drivers."""

_FOLLOWED = {
    FREE_AT_MAIN: "the difference between the maps",
    FREE_AT_START: "the difference at the test's start",
    FREE_AT_BOOT: "the difference at the test's start, without drivers",
    HELD_AT_START: "the difference at the test's start",
    BLOCKS_AT_START: "the difference at the test's start",
}
"""Words for the values of `follows`."""


@dataclass(frozen=True)
class Reason:
    """One row of fidelity.toml. It explains a difference that matches its patterns and is within its bounds."""

    id: str
    klass: str
    text: str
    of: str = VALUE
    boards: tuple[str, ...] = ()
    """At least one of the two runs must be on one of these kinds of board; if empty, the kind does not matter."""
    only_on: tuple[str, ...] = ()
    """For `only`: the kinds of board that have the measurement."""
    other_map: bool = False
    """Whether the two runs must have different memory maps."""
    other_nvs: bool = False
    """Whether the boards' NVS must have differed at the test's start: in the boot count, or in blocks in the heaps."""
    every_run: bool = False
    """Whether two runs on the same kind of board may differ for this reason as well."""
    requirement: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    name: tuple[str, ...] = ()
    unit: tuple[str, ...] = ()
    follows: str = ""
    differ_by: float = 0
    """Value on the other board minus the value on a board of a kind in `boards`."""
    max_difference: float | None = None
    """Tolerance around the expected difference, which is `differ_by` or the difference that `follows` names."""
    multiple_of: int = 0
    """The difference must be 1 to `max_multiple` times this, each within `max_difference`."""
    max_multiple: int = 0
    max_ratio: float | None = None
    match: str = ""
    """Regular expression for both values as text."""
    because: str = ""
    """For `verdict`: regular expression for the reason of the NOT APPLICABLE verdict."""
    unbounded: str = ""
    """Why no bound makes sense for this reason."""

    def concerns(self, requirement: Sequence[str], test: str, name: str, unit: str) -> bool:
        """Whether the patterns match: `*`, `?` and `[!a]` as in file names; `[[]` matches a literal `[`."""
        return (
            (not self.requirement or any(_matches(id_, self.requirement) for id_ in requirement))
            and (not self.test or _matches(test.rpartition("/")[2], self.test))
            and (not self.name or _matches(name, self.name))
            and (not self.unit or unit in self.unit)
        )

    def exceeds(self, left: Value, right: Value, shift: int | None) -> str:
        """Describe why two values are outside the bounds; empty if they are within.

        Args:
            left: value of the run on one of the kinds in `boards`, if only one of the runs is.
            right: value of the other run.
            shift: the difference that `follows` names, right minus left; None if unknown.
        """
        if self.match:
            texts = (str(left), str(right))
            return "" if all(re.fullmatch(self.match, text) for text in texts) else "not of the expected form"
        if self.max_difference is None and self.max_ratio is None:
            return ""
        if any(isinstance(value, (bool, str)) for value in (left, right)):
            return "not a number"
        low, high = float(left), float(right)
        expected = float(self.differ_by)
        if self.follows:
            if shift is None:
                return f"{self.follows} of a run is unknown"
            expected = float(shift)
        difference = abs(high - low - expected)
        if self.multiple_of:
            return self._exceeds_multiple(difference)
        if self.max_difference is not None and difference > self.max_difference:
            off = (
                f"{difference:g} away from the expected {expected:+g}"
                if expected
                else f"{difference:g} apart"
            )
            return f"{off}, more than {self.max_difference:g}"
        if self.max_ratio is not None and _ratio(low, high) > self.max_ratio:
            return f"a ratio of {_ratio(low, high):.3g}, more than {self.max_ratio:g}"
        return ""

    def _exceeds_multiple(self, difference: float) -> str:
        count = round(difference / self.multiple_of)
        off = abs(difference - count * self.multiple_of)
        if 1 <= count <= self.max_multiple and off <= count * (self.max_difference or 0):
            return ""
        return f"{difference:g} is not 1 to {self.max_multiple} times {self.multiple_of}"

    @property
    def bound(self) -> str:
        """The bound as text, for the table."""
        parts = []
        if self.multiple_of:
            around = f"{_FOLLOWED[self.follows]} and " if self.follows else ""
            count = f"1 to {self.max_multiple} times " if self.max_multiple > 1 else ""
            parts.append(f"{around}{count}{self.multiple_of}, each within {self.max_difference:g}")
        elif self.max_difference is not None:
            by = _FOLLOWED.get(self.follows, f"{self.differ_by:+g}")
            is_shifted = self.follows or self.differ_by
            parts.append(
                f"{by}, within {self.max_difference:g}"
                if is_shifted
                else f"at most {self.max_difference:g} apart"
            )
        if self.max_ratio is not None:
            parts.append(f"within a factor of {self.max_ratio:g}")
        if self.match:
            parts.append(f"both are {self.match}")
        if self.because:
            parts.append(f"the verdict's reason: {self.because}")
        return ", ".join(parts) or (f"none: {self.unbounded}" if self.unbounded else "none")


def _matches(text: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(text, pattern) for pattern in patterns)


def _ratio(value: float, other: float) -> float:
    small, large = sorted((abs(value), abs(other)))
    if large == 0:
        return 1.0
    return large / small if small and (value < 0) == (other < 0) else math.inf


def load_reasons(path: Path = REASONS_FILE) -> tuple[Reason, ...]:
    """Read and check a file of reasons.

    Raises:
        UsageError: the file cannot be read or a row is wrong; the message names row, key and value.
    """
    tables = read_tables(path, "reason")
    reasons: dict[str, Reason] = {}
    for number, table in enumerate(tables, start=1):
        reason = _reason(table, f"{path}, reason {number} ({table.get('id', 'no id')})")
        if reason.id in reasons:
            raise UsageError(f"{path}: reason {reason.id} appears twice")
        reasons[reason.id] = reason
    return tuple(reasons.values())


def _reason(table: Mapping[str, Any], where: str) -> Reason:
    unknown = sorted(set(table) - _KEYS)
    if unknown:
        raise UsageError(f"{where}: unknown key {', '.join(unknown)}", f"known: {', '.join(sorted(_KEYS))}")

    def text(key: str, default: str = "") -> str:
        value = table.get(key, default)
        if not isinstance(value, str) or (key in table and not value):
            raise UsageError(f"{where}: `{key}` must be a non-empty string, but is {value!r}")
        return value

    def texts(key: str) -> tuple[str, ...]:
        value = table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise UsageError(f"{where}: `{key}` must be a list of strings, but is {value!r}")
        return tuple(value)

    def number(key: str) -> float | None:
        value = table.get(key)
        if value is not None and (
            not isinstance(value, (int, float)) or isinstance(value, bool) or value < 0
        ):
            raise UsageError(f"{where}: `{key}` must be a number, at least 0, but is {value!r}")
        return value

    def whole(key: str) -> int:
        value = table.get(key, 0)
        if not isinstance(value, int) or isinstance(value, bool) or (key in table and value < 1):
            raise UsageError(f"{where}: `{key}` must be a whole number, at least 1, but is {value!r}")
        return value

    for key in ("id", "class", "text"):
        if key not in table:
            raise UsageError(f"{where}: `{key}` is missing")
    for key in ("other_map", "other_nvs", "every_run"):
        if not isinstance(table.get(key, False), bool):
            raise UsageError(f"{where}: `{key}` must be true or false, but is {table[key]!r}")
    reason = Reason(
        id=text("id"),
        klass=text("class"),
        text=text("text"),
        of=text("of", VALUE),
        boards=texts("boards"),
        only_on=texts("only_on"),
        other_map=table.get("other_map", False),
        other_nvs=table.get("other_nvs", False),
        every_run=table.get("every_run", False),
        requirement=texts("requirement"),
        test=texts("test"),
        name=texts("name"),
        unit=texts("unit"),
        follows=text("follows"),
        differ_by=table.get("differ_by", 0),
        max_difference=number("max_difference"),
        multiple_of=whole("multiple_of"),
        max_multiple=whole("max_multiple"),
        max_ratio=number("max_ratio"),
        match=text("match"),
        because=text("because"),
        unbounded=text("unbounded"),
    )
    _check(reason, where)
    return reason


def _check(reason: Reason, where: str) -> None:
    if reason.klass not in CLASSES:
        raise UsageError(f"{where}: `class` {reason.klass!r} is not one of {', '.join(CLASSES)}")
    if reason.of not in (VALUE, ONLY, VERDICT):
        raise UsageError(f"{where}: `of` {reason.of!r} is not one of {VALUE}, {ONLY}, {VERDICT}")
    unknown = [kind for kind in (*reason.boards, *reason.only_on) if kind not in KINDS]
    if unknown:
        raise UsageError(
            f"{where}: {', '.join(unknown)} is not a kind of board", f"known: {', '.join(KINDS)}"
        )
    if not any((reason.requirement, reason.test, reason.name, reason.because)):
        raise UsageError(
            f"{where}: without a pattern, it would explain every difference",
            "give `requirement`, `test` or `name`",
        )
    for key in ("match", "because"):
        try:
            re.compile(getattr(reason, key))
        except re.error as error:
            raise UsageError(f"{where}: `{key}` is not a regular expression: {error}") from error
    if (reason.of == ONLY) != bool(reason.only_on):
        raise UsageError(f'{where}: `only_on` is required if `of = "{ONLY}"`, and allowed only then')
    if (reason.of == VERDICT) != bool(reason.because):
        raise UsageError(f'{where}: `because` is required if `of = "{VERDICT}"`, and allowed only then')
    if reason.follows not in ("", *_FOLLOWED):
        raise UsageError(f"{where}: `follows` {reason.follows!r} is not one of {', '.join(_FOLLOWED)}")
    if not isinstance(reason.differ_by, (int, float)) or isinstance(reason.differ_by, bool):
        raise UsageError(f"{where}: `differ_by` must be a number, but is {reason.differ_by!r}")
    if (reason.follows or reason.differ_by) and reason.max_difference is None:
        raise UsageError(f"{where}: `{'follows' if reason.follows else 'differ_by'}` needs `max_difference`")
    if reason.multiple_of and (not reason.max_multiple or reason.max_difference is None):
        raise UsageError(f"{where}: `multiple_of` needs `max_multiple` and `max_difference`")
    if reason.differ_by and not reason.boards:
        raise UsageError(f"{where}: `differ_by` needs `boards`, the kinds of board whose value is subtracted")
    has_bound = any((reason.max_difference is not None, reason.max_ratio is not None, reason.match))
    if reason.of == VALUE and has_bound == bool(reason.unbounded):
        raise UsageError(
            f"{where}: give either a bound (`max_difference`, `max_ratio`, `match`) or, in `unbounded`, "
            "why there is none"
        )
