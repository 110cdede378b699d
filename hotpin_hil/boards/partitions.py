"""Reads data partitions from the flash of an attached board, without its firmware."""

from __future__ import annotations

import contextlib
import io

import esptool
from esptool.cmds import attach_flash, detect_chip, run_stub

from hotpin_hil.boards.flasher import CONNECT_ATTEMPTS, CONSOLE_BAUD, FLASH_BAUD
from hotpin_hil.errors import FlashError, PortError
from hotpin_hil.link.port import open_port, port_error
from hotpin_hil.virtual.partition import DATA, ENTRY, ENTRY_MAGIC, SUBTYPES, TABLE_LENGTH, TABLE_OFFSET


def read_data_partition(port: str, subtype: str) -> bytes:
    """Read the first data partition of this subtype, such as "nvs", and reset the chip.

    Raises:
        FlashError: no chip answers, or it has no such partition.
        PortError: the port cannot be opened or was lost.
    """
    with contextlib.redirect_stdout(io.StringIO()), contextlib.closing(open_port(port, CONSOLE_BAUD)) as line:
        try:
            chip = run_stub(detect_chip(line, connect_attempts=CONNECT_ATTEMPTS))
            chip.change_baud(FLASH_BAUD)
            attach_flash(chip)
            place = _place(chip.read_flash(TABLE_OFFSET, TABLE_LENGTH), SUBTYPES[DATA][subtype])
            content: bytes = chip.read_flash(*place) if place else b""
            chip.hard_reset()
        except esptool.FatalError as error:
            raise FlashError(
                f"the flash of the board on {port} cannot be read: {str(error).splitlines()[0]}",
                "check cable and power, then try again",
            ) from error
        except (OSError, PortError) as error:
            raise port_error(port, error) from error
    if place is None:
        raise FlashError(
            f"the board on {port} has no partition of the type {subtype}",
            "flash the firmware, then try again",
        )
    return content


def _place(table: bytes, subtype: int) -> tuple[int, int] | None:
    """Offset and size of the first such data partition in a binary partition table."""
    for at in range(0, len(table) - ENTRY.size + 1, ENTRY.size):
        magic, type_, found, offset, size, _, _ = ENTRY.unpack_from(table, at)
        if magic == ENTRY_MAGIC and (type_, found) == (DATA, subtype):
            return offset, size
    return None
