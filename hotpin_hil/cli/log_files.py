"""The logs that the arguments of a command name: files, folders and patterns."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hotpin_hil.errors import UsageError

STANDARD_INPUT = "-"


@dataclass(frozen=True)
class LogFile:
    """A file to analyse."""

    path: str
    is_named: bool = True
    """Whether the user named the file. If not, it comes from a folder or a pattern, and may not be a log."""


def expand(argument: str) -> Sequence[LogFile]:
    """The files that an argument names, in the order of their names.

    Args:
        argument: a file, `-`, a folder (searched recursively, without hidden files), or a pattern such as
            `logs/**/*.txt`.

    Raises:
        UsageError: the folder has no files.
    """
    path = Path(argument)
    if argument == STANDARD_INPUT:
        return [LogFile(argument)]
    if path.is_dir():
        files = _in_folder(path)
        if not files:
            raise UsageError(f"{argument} is a folder without files", "name a log, or a folder with logs")
        return files
    if glob.has_magic(argument) and not os.path.lexists(path):
        found = sorted(name for name in glob.iglob(argument, recursive=True) if Path(name).is_file())
        if found:
            return [LogFile(name, is_named=False) for name in found]
    return [LogFile(argument)]


def _in_folder(folder: Path) -> list[LogFile]:
    found = []
    for path in sorted(folder.rglob("*")):
        is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not is_hidden and path.is_file():
            found.append(LogFile(str(path), is_named=False))
    return found
