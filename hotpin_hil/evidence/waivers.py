"""Waivers: values outside their limits that a named person accepts, up to a bound and until a date.

A waiver covers measured values only. A test that crashed, got no reply, or measured nothing fails despite any waiver.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Protocol

from hotpin_hil.errors import UsageError
from hotpin_hil.evidence.model import Limit, LimitKind, Value, Verdict, is_number
from hotpin_hil.evidence.requirements import KINDS
from hotpin_hil.evidence.toml_tables import read_tables

FILE_NAME = "waivers.toml"

_TEXTS = ("reason", "approved_by")
_NAMES = ("requirement", "measurement")
_KEYS = {*_TEXTS, *_NAMES, "expires", "bound", "unit", "kinds"}


class Measured(Protocol):
    """A measurement, or its line in the results."""

    @property
    def requirement(self) -> tuple[str, ...]:
        """Ids of the requirements that the value belongs to."""

    @property
    def name(self) -> str:
        """What was measured."""

    @property
    def value(self) -> Value:
        """The measured value."""

    @property
    def unit(self) -> str:
        """Unit of value and limit."""

    @property
    def limit(self) -> Limit:
        """The limit of the value."""


@dataclass(frozen=True)
class Waiver:
    """One accepted deviation. It names a requirement, a measurement, or both."""

    requirement: str
    """Id; empty for a measurement of any requirement."""
    measurement: str
    """Name of the measured value; empty for all values of the requirement."""
    reason: str
    approved_by: str
    expires: str
    """Last day of the waiver, as YYYY-MM-DD."""
    bound: Value
    """A waived value is between its limit and this bound, or equal to it for booleans and strings."""
    unit: str
    """Unit of the bound. A value in another unit is not covered."""

    def __str__(self) -> str:
        return name_of(self.requirement, self.measurement)

    def as_json(self) -> dict[str, Any]:
        """The waiver as a JSON-serializable dict."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Waiver:
        """The waiver that this JSON data describes.

        Raises:
            TypeError: A key is missing or unknown, or `expires` is not a string.
            ValueError: `expires` is not a date, or the waiver names neither a requirement nor a measurement.
        """
        waiver = cls(**row)
        if not (waiver.requirement or waiver.measurement):
            raise ValueError("the waiver names neither a requirement nor a measurement")
        date.fromisoformat(waiver.expires)
        return waiver

    def concerns(self, measured: Measured) -> bool:
        """Whether the waiver names this value, in the same unit."""
        return (
            self.requirement in ("", *measured.requirement)
            and self.measurement in ("", measured.name)
            and self.unit == measured.unit
        )

    def allows(self, measured: Measured) -> bool:
        """Whether the waiver covers this value: between limit and bound, or equal to the bound of an exact limit."""
        value, edge = measured.value, _edge(measured)
        if is_number(value) and is_number(edge) and is_number(self.bound):
            return min(edge, self.bound) <= value <= max(edge, self.bound)
        exact = measured.limit.kind is LimitKind.EXACT
        return exact and Limit(LimitKind.EXACT, self.bound).judge(value) is not Verdict.FAIL


def name_of(requirement: str, measurement: str) -> str:
    """The subject of a waiver: requirement, name of the measurement, or both."""
    return " ".join(filter(None, (requirement, measurement and f'"{measurement}"')))


class Waivers:
    """The waivers of a run, including those that had expired on its day."""

    def __init__(self, started: str, waivers: Iterable[Waiver] = ()) -> None:
        """Create the collection.

        Args:
            started: Start of the run, ISO 8601. Its date decides whether a waiver has expired.
            waivers: The waivers.
        """
        self._day = started[: len("YYYY-MM-DD")]
        self._waivers = list(waivers)

    def add(self, waiver: Waiver) -> None:
        """Add a waiver; it covers only values that are judged afterwards."""
        self._waivers.append(waiver)

    def __iter__(self) -> Iterator[Waiver]:
        return iter(self._waivers)

    def is_expired(self, waiver: Waiver) -> bool:
        """Whether the waiver expired before the day of the run."""
        return waiver.expires < self._day

    def judge(self, measured: Measured) -> Verdict:
        """The verdict on a value by its limit, or WAIVED if each of its requirements has a waiver for the failure."""
        verdict = measured.limit.judge(measured.value)
        if verdict is not Verdict.FAIL:
            return verdict
        own = [
            waiver
            for waiver in self._waivers
            if waiver.concerns(measured) and waiver.allows(measured) and not self.is_expired(waiver)
        ]
        named = {waiver.requirement for waiver in own}
        is_covered = "" in named or (named and named.issuperset(measured.requirement))
        return Verdict.WAIVED if is_covered else Verdict.FAIL


def load_waivers(path: Path, requirements: Collection[str]) -> list[tuple[Waiver, tuple[str, ...]]]:
    """Read and check a waivers file.

    Args:
        path: The file.
        requirements: The known requirement ids.

    Returns:
        Each waiver, with the kinds of board that it applies to.

    Raises:
        UsageError: The file cannot be read or a row is wrong; the message names file, row and key.
    """
    tables = read_tables(path, "waiver")
    return [
        _waiver(table, f"{path}, waiver {number}", requirements)
        for number, table in enumerate(tables, start=1)
    ]


def _waiver(table: Any, where: str, requirements: Collection[str]) -> tuple[Waiver, tuple[str, ...]]:
    if not isinstance(table, Mapping):
        raise UsageError(f"{where}: {table!r} is not a table", "begin each waiver with [[waiver]]")
    unknown = sorted(set(table) - _KEYS)
    if unknown:
        raise UsageError(f"{where}: unknown key {', '.join(unknown)}", f"known: {', '.join(sorted(_KEYS))}")
    if not any(name in table for name in _NAMES):
        raise UsageError(
            f"{where}: it names neither a requirement nor a measurement", "name one of them, or both"
        )
    for key in (*_NAMES, *_TEXTS):
        if (key in table or key in _TEXTS) and (not isinstance(table.get(key), str) or not table[key]):
            raise UsageError(
                f"{where}: `{key}` must be a non-empty string, but is {_shown(table, key)}",
                "give a non-empty string in quotes",
            )
    requirement = table.get("requirement", "")
    if requirement and requirement not in requirements:
        raise UsageError(
            f"{where}: requirement {requirement!r} is unknown", "use an id of requirements.toml, or remove it"
        )
    expires = table.get("expires")
    if not isinstance(expires, date) or isinstance(expires, datetime):
        raise UsageError(
            f"{where}: `expires` must be a date, but is {_shown(table, 'expires')}",
            "give a date without quotes, such as `expires = 2026-12-31`",
        )
    bound: Any = table.get("bound")
    try:
        Limit(LimitKind.EXACT, bound)
    except TypeError:
        raise UsageError(
            f"{where}: `bound` must be a finite number, a boolean or a string, but is {_shown(table, 'bound')}",
            "give the worst value that is accepted",
        ) from None
    if not isinstance(table.get("unit"), str):
        raise UsageError(
            f"{where}: `unit` must be a string, but is {_shown(table, 'unit')}",
            'give the unit of the bound, such as `unit = "ms"`, or `unit = ""` for none',
        )
    kinds = table.get("kinds", list(KINDS))
    if not isinstance(kinds, list) or not kinds or any(kind not in KINDS for kind in kinds):
        raise UsageError(
            f"{where}: `kinds` must be a list of kinds of board, but is {_shown(table, 'kinds')}",
            f"list some of {', '.join(KINDS)}",
        )
    waiver = Waiver(
        requirement=requirement,
        measurement=table.get("measurement", ""),
        reason=table["reason"],
        approved_by=table["approved_by"],
        expires=expires.isoformat(),
        bound=bound,
        unit=table["unit"],
    )
    return waiver, tuple(kinds)


def _shown(table: Mapping[str, Any], key: str) -> str:
    return repr(table[key]) if key in table else "missing"


def _edge(measured: Measured) -> Value | None:
    """The bound of the limit that the value exceeds."""
    limit = measured.limit
    if limit.kind is not LimitKind.RANGE:
        return limit.value
    is_below = is_number(measured.value) and is_number(limit.low) and measured.value < limit.low
    return limit.low if is_below else limit.high
