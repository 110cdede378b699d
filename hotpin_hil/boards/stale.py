"""Notices that a build is older than the firmware's sources."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from hotpin_hil.boards.artifacts import FirmwareBuild, how_to_build
from hotpin_hil.boards.kind import BoardKind
from hotpin_hil.paths import FIRMWARE_DIR

_SOURCE_SUFFIXES = (".c", ".h", ".def")
"""Files that affect the image. A change to a CMake or Kconfig file often does not."""


def notice_if_stale(build: FirmwareBuild, kind: BoardKind, firmware: Path = FIRMWARE_DIR) -> str:
    """A line for the terminal if a source file has changed since the build; empty otherwise.

    The check compares time stamps, so a file that was only touched counts as changed. Builds outside the firmware's
    folder are not checked.
    """
    if firmware not in build.folder.parents:
        return ""
    built = build.app_file.stat().st_mtime
    newer = sorted(path for path in _sources(firmware, kind) if path.stat().st_mtime > built)
    if not newer:
        return ""
    others = f" and {len(newer) - 1} more" if len(newer) > 1 else ""
    return (
        f"note: {build.folder.name} is older than {newer[0].relative_to(firmware.parent)}{others}; "
        f"{how_to_build(kind)}"
    )


def _sources(firmware: Path, kind: BoardKind) -> Iterator[Path]:
    yield firmware / "partitions.csv"
    wings = ["components", "main", *(["native"] if kind is BoardKind.VIRTUAL else [])]
    for wing in wings:
        for folder, folders, names in os.walk(firmware / wing):
            folders[:] = [name for name in folders if name not in ("test", "test_apps")]
            for name in names:
                if name.endswith(_SOURCE_SUFFIXES):
                    yield Path(folder, name)
