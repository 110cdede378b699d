"""Reads requirements.toml, the list of the firmware's requirements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hotpin_hil.errors import UsageError
from hotpin_hil.evidence.toml_tables import read_tables

PRIORITIES = ("must", "later")
KINDS = ("hardware", "qemu", "virtual")
_KEYS = {"id", "text", "source", "priority", "kinds", "pending"}


@dataclass(frozen=True)
class Requirement:
    """One row of requirements.toml."""

    id: str
    text: str
    source: str
    priority: str
    kinds: tuple[str, ...]
    """Kinds of board that can test the requirement."""
    pending: str = ""
    """Why no test covers the requirement yet; empty if a test does."""

    @property
    def is_must(self) -> bool:
        """Whether a release must fulfil the requirement."""
        return self.priority == "must"

    def as_json(self) -> dict[str, Any]:
        """The requirement as a JSON-serializable dict."""
        row = {"id": self.id, "text": self.text, "source": self.source, "priority": self.priority}
        return {**row, "kinds": list(self.kinds), "pending": self.pending}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Requirement:
        """The requirement that this JSON data describes.

        Raises:
            TypeError: A key is missing or unknown, or a value is not one of those allowed.
        """
        kinds = row.get("kinds")
        if not isinstance(kinds, list) or not kinds or any(kind not in KINDS for kind in kinds):
            raise TypeError(
                f"`kinds` of requirement {row.get('id')!r} must be a list of {', '.join(KINDS)}, but is {kinds!r}"
            )
        if row.get("priority") not in PRIORITIES:
            raise TypeError(
                f"`priority` of requirement {row.get('id')!r} must be {' or '.join(PRIORITIES)}, "
                f"but is {row.get('priority')!r}"
            )
        return cls(**{**row, "kinds": tuple(kinds)})


class Requirements(Mapping[str, Requirement]):
    """The rows by id, in the order of the file."""

    def __init__(self, rows: list[Requirement]) -> None:
        self._rows = {row.id: row for row in rows}

    def __getitem__(self, key: str) -> Requirement:
        return self._rows[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def as_json(self) -> list[dict[str, Any]]:
        """The dicts of `Requirement.as_json`, in the order of the file."""
        return [row.as_json() for row in self._rows.values()]


def load_requirements(path: Path) -> Requirements:
    """Read and check requirements.toml.

    Raises:
        UsageError: The file cannot be read or a row is wrong; the message names file, row and key.
    """
    tables = read_tables(path, "requirement")
    rows = [_row(table, f"{path}, requirement {number}") for number, table in enumerate(tables, start=1)]
    seen: set[str] = set()
    for row in rows:
        if row.id in seen:
            raise UsageError(f"{path}: requirement {row.id} appears twice")
        seen.add(row.id)
    return Requirements(rows)


def _row(table: dict[str, Any], where: str) -> Requirement:
    where = f"{where} ({table['id']})" if isinstance(table.get("id"), str) else where
    unknown = sorted(set(table) - _KEYS)
    if unknown:
        raise UsageError(f"{where}: unknown key {', '.join(unknown)}", f"known: {', '.join(sorted(_KEYS))}")
    for key in sorted(_KEYS - {"kinds", "pending"}):
        if not isinstance(table.get(key), str) or not table[key]:
            raise UsageError(f"{where}: `{key}` must be a non-empty string, but is {table.get(key)!r}")
    if table["priority"] not in PRIORITIES:
        raise UsageError(f"{where}: `priority` {table['priority']!r} is not one of {', '.join(PRIORITIES)}")
    kinds = table.get("kinds")
    if not isinstance(kinds, list) or not kinds or not set(kinds) <= set(KINDS):
        raise UsageError(f"{where}: `kinds` must be a list of {', '.join(KINDS)}, but is {kinds!r}")
    pending = table.get("pending", "")
    if not isinstance(pending, str) or ("pending" in table and not pending):
        raise UsageError(
            f"{where}: `pending` must be a non-empty string, but is {pending!r}",
            "say why no test covers the requirement yet",
        )
    fields = {key: table[key] for key in _KEYS - {"kinds", "pending"}}
    return Requirement(**fields, kinds=tuple(kinds), pending=pending)
