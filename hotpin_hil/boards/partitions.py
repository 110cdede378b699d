"""Reads data partitions from the flash of an attached board, without its firmware."""

from __future__ import annotations

from hotpin_hil.boards.download_mode import download_mode, with_fast_flash
from hotpin_hil.errors import FlashError
from hotpin_hil.virtual.partition import DATA, SUBTYPES, TABLE_LENGTH, TABLE_OFFSET, parse_binary


def read_data_partition(port: str, subtype: str) -> bytes:
    """Read the first data partition of this subtype, such as "nvs", and reset the chip.

    Raises:
        FlashError: no chip answers, or it has no such partition.
        PortError: the port cannot be opened or was lost.
    """
    failure = f"the flash of the board on {port} cannot be read"
    wanted = (DATA, SUBTYPES[DATA][subtype])
    with download_mode(port, failure, "check cable and power, then try again") as chip:
        stub = with_fast_flash(chip)
        table = parse_binary(stub.read_flash(TABLE_OFFSET, TABLE_LENGTH))
        found = next((entry for entry in table if (entry.type, entry.subtype) == wanted), None)
        content: bytes = stub.read_flash(found.offset, found.size) if found else b""
        stub.hard_reset()
    if found is None:
        raise FlashError(
            f"the board on {port} has no {subtype} partition",
            "flash the firmware, then try again",
        )
    return content
