"""Flashes a firmware build like `idf.py flash`, but only the parts that differ."""

from __future__ import annotations

import hashlib
from typing import Any

from esptool.cmds import write_flash

from hotpin_hil.boards.artifacts import FirmwareBuild
from hotpin_hil.boards.download_mode import download_mode, with_fast_flash


def flash_build(port: str, build: FirmwareBuild) -> list[str]:
    """Write the parts of `build` that differ from the flash, and reset the chip.

    Returns:
        The names of the files that were written.

    Raises:
        FlashError: esptool failed.
        PortError: the port cannot be opened or was lost.
    """
    failure = f"flashing the board on {port} failed"
    with download_mode(port, failure, "clear its faults, reset it, then try again") as chip:
        stub = with_fast_flash(chip)
        parts = [(offset, file.name, file.read_bytes()) for offset, file in build.flash_files]
        differing = [part for part in parts if not _holds(stub, part[0], part[2])]
        if differing:
            write_flash(stub, [(offset, content) for offset, _, content in differing])
        stub.hard_reset()
    return [name for _, name, _ in differing]


def _holds(chip: Any, offset: int, content: bytes) -> bool:
    held: str = chip.flash_md5sum(offset, len(content))
    return held == hashlib.md5(content, usedforsecurity=False).hexdigest()
