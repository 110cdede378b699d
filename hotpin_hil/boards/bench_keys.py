"""Checks the keys and types of a table in bench.toml."""

from __future__ import annotations

import difflib
from typing import Any

from hotpin_hil.errors import UsageError

NUMBER = (int, float)
_TYPE_NAMES: dict[tuple[type, ...], str] = {
    (str,): "a string",
    (list,): "a list",
    (dict,): "a table",
    NUMBER: "a number",
}


def check_keys(where: str, row: dict[str, Any], types: dict[str, tuple[type, ...]]) -> None:
    """Check a table.

    Args:
        where: file and table, for the message.
        row: the table.
        types: the known keys with the types of their values.

    Raises:
        UsageError: a key is unknown, or its value has the wrong type.
    """
    for key, value in row.items():
        if key not in types:
            near = difflib.get_close_matches(key, types, n=1)
            remedy = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(types)}"
            raise UsageError(f"{where}: unknown key {key!r}", remedy)
        if not isinstance(value, types[key]) or isinstance(value, bool):
            raise UsageError(f"{where}: {key} = {value!r} is not valid", f"give {_TYPE_NAMES[types[key]]}")
