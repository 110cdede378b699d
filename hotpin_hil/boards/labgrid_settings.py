"""The table [labgrid] of bench.toml: the coordinator, and which of its places have boards for this project."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hotpin_hil.boards.bench_keys import check_keys
from hotpin_hil.errors import UsageError

TABLE = "labgrid"
OPTION = "--labgrid-coordinator"
NAME = "name"
"""Tag that labgrid itself adds to each place: the place's name."""

_ADDRESS = re.compile(r"[0-9A-Za-z][0-9A-Za-z.-]*(:\d{1,5})?|\[[0-9A-Fa-f:]+\](:\d{1,5})?")
_TAG_KEY = re.compile(r"[a-z][a-z0-9_]+")
"""labgrid's rule for the keys of tags."""
_TAG_VALUE = re.compile(r"[^=\s,]+")
_TYPES: dict[str, tuple[type, ...]] = {"coordinator": (str,), "match": (dict,), "places": (list,)}


@dataclass(frozen=True)
class LabgridSettings:
    """Where a run gets its boards from labgrid."""

    coordinator: str
    """`host:port`; labgrid's default port is 20408."""
    match: tuple[tuple[str, str], ...] = (("board", "esp32-cam"),)
    """Tags that a place must have."""
    places: tuple[str, ...] = ()
    """The only places to use; empty: all that match."""

    def is_met_by(self, name: str, tags: Mapping[str, str]) -> bool:
        """Whether a place with this name and these tags may be used."""
        return set(self.match) <= tags.items() and (not self.places or name in self.places)

    def __str__(self) -> str:
        tags = ", ".join(f"{key}={value}" for key, value in self.match)
        return f"{tags} in {', '.join(self.places)}" if self.places else tags


def read_labgrid(where: str, row: dict[str, Any]) -> LabgridSettings:
    """Read and check the table.

    Args:
        where: file and table, for messages.
        row: the table.

    Raises:
        UsageError: it is invalid.
    """
    check_keys(where, row, _TYPES)
    if "coordinator" not in row:
        raise UsageError(f"{where} has no coordinator", 'write coordinator = "host:20408"')
    match = row.get("match", dict(LabgridSettings.match))
    for key, value in match.items():
        if not _TAG_KEY.fullmatch(key) or not isinstance(value, str) or not _TAG_VALUE.fullmatch(value):
            raise UsageError(
                f"{where}: match has {key} = {value!r}, which is not a labgrid tag",
                'write match = { board = "esp32-cam" }',
            )
    places = row.get("places", [])
    for name in places:
        if not isinstance(name, str) or not name.isprintable() or not _TAG_VALUE.fullmatch(name):
            raise UsageError(
                f"{where}: places has {name!r}, which is not the name of a place",
                f"{TABLE}-client places lists them",
            )
    return LabgridSettings(
        checked_address(f"{where}: coordinator", row["coordinator"]), tuple(match.items()), tuple(places)
    )


def checked_address(where: str, text: str) -> str:
    """Return `text` if it is the address of a coordinator.

    Raises:
        UsageError: it is not `host:port`.
    """
    if not _ADDRESS.fullmatch(text):
        raise UsageError(f"{where} = {text!r} is not the address of a coordinator", "write host:20408")
    return text
