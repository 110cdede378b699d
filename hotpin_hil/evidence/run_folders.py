"""Folders of runs: build/qualification/<UTC time>-<short run id>/, and `latest`, which names the newest.

`latest` is a relative symbolic link. Where links cannot be made, it is a text file with the name of the folder.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from hotpin_hil.errors import UsageError
from hotpin_hil.evidence.results import FILE_NAME, is_being_written

LATEST = "latest"


def run_name(started: datetime, run: str) -> str:
    """The name of a run's folder, which sorts by time: `20250131T120000Z-1a2b3c4d`."""
    return f"{started:%Y%m%dT%H%M%SZ}-{run[:8]}"


def find_run(path: Path) -> Path:
    """The folder of a run that a user names by `latest` or by the folder of all runs; any other path unchanged."""
    if not (path / FILE_NAME).exists() and os.path.lexists(path / LATEST):
        path /= LATEST
    if path.name == LATEST and path.is_file():
        with suppress(OSError, UnicodeDecodeError):
            return path.with_name(path.read_text(encoding="utf-8").strip())
    return path


def point_latest(folder: Path) -> None:
    """Point `latest`, next to the folder of a run, to that folder.

    Raises:
        OSError: `latest` cannot be written.
    """
    latest = folder.with_name(LATEST)
    part = folder.with_name(f"{LATEST}.{folder.name}.part")
    try:
        try:
            part.symlink_to(folder.name, target_is_directory=True)
        except (OSError, NotImplementedError):
            part.write_text(f"{folder.name}\n", encoding="utf-8")
        part.replace(latest)
    finally:
        part.unlink(missing_ok=True)


def latest_run(folder: Path) -> Path | None:
    """The run in the runs folder that `latest` points to; None if there is no run."""
    run = folder / find_run(folder / LATEST).resolve().name
    return run if (run / FILE_NAME).is_file() else None


def list_runs(folder: Path) -> list[Path]:
    """The folders of runs in this folder, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.name != LATEST and (path / FILE_NAME).is_file())


def prune_runs(folder: Path, keep: int) -> list[Path]:
    """Remove all but the newest runs. `latest` and a run that is being written are kept.

    Args:
        folder: Folder of all runs.
        keep: Number of runs to keep, at least 1.

    Returns:
        The folders that were removed.

    Raises:
        UsageError: A folder cannot be removed.
    """
    latest = latest_run(folder)
    removed = [path for path in list_runs(folder)[:-keep] if path != latest and not is_being_written(path)]
    for path in removed:
        try:
            shutil.rmtree(path)
        except OSError as error:
            raise UsageError(
                f"{path} cannot be removed: {error.strerror}", "make sure that you may write to it"
            ) from error
    return removed
