"""Reads a TOML file with a single array of tables, such as requirements.toml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hotpin_hil.compat import tomllib
from hotpin_hil.errors import UsageError


def read_tables(path: Path, name: str) -> list[Any]:
    """Read the tables of the array `name`; their keys and values are not checked.

    Raises:
        UsageError: The file cannot be read, is not TOML, or has other content.
    """
    try:
        with path.open("rb") as file:
            data = tomllib.load(file)
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}", "give a file that exists, and make it readable"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from error
    tables = data.get(name, [])
    if not isinstance(tables, list) or set(data) - {name}:
        raise UsageError(f"{path} may contain only [[{name}]] tables")
    return tables
