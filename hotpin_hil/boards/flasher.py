"""Flashes a firmware build like `idf.py flash`, but only the parts that differ."""

from __future__ import annotations

import contextlib
import hashlib
import io
from typing import Any

import esptool
from esptool.cmds import attach_flash, detect_chip, run_stub, write_flash

from hotpin_hil.boards.artifacts import FirmwareBuild
from hotpin_hil.errors import FlashError, PortError
from hotpin_hil.link.port import open_port, port_error

CONSOLE_BAUD = 115200
FLASH_BAUD = 921600
CONNECT_ATTEMPTS = 2


def flash_build(port: str, build: FirmwareBuild) -> list[str]:
    """Write the parts of `build` that differ from the flash, and reset the chip.

    Returns:
        The names of the files that were written.

    Raises:
        FlashError: esptool failed.
        PortError: the port cannot be opened or was lost.
    """
    with contextlib.redirect_stdout(io.StringIO()), contextlib.closing(open_port(port, CONSOLE_BAUD)) as line:
        try:
            chip = run_stub(detect_chip(line, connect_attempts=CONNECT_ATTEMPTS))
            chip.change_baud(FLASH_BAUD)
            attach_flash(chip)
            parts = [(offset, file.name, file.read_bytes()) for offset, file in build.flash_files]
            differing = [part for part in parts if not _holds(chip, part[0], part[2])]
            if differing:
                write_flash(chip, [(offset, content) for offset, _, content in differing])
            chip.hard_reset()
        except esptool.FatalError as error:
            raise FlashError(
                f"flashing the board on {port} failed: {str(error).splitlines()[0]}",
                "clear its faults, reset it, then try again",
            ) from error
        except (OSError, PortError) as error:
            raise port_error(port, error) from error
    return [name for _, name, _ in differing]


def _holds(chip: Any, offset: int, content: bytes) -> bool:
    held: str = chip.flash_md5sum(offset, len(content))
    return held == hashlib.md5(content, usedforsecurity=False).hexdigest()
