"""The content of a partition, from a file or from the flash of a board: `FILE` or `--port`."""

from __future__ import annotations

import argparse

from hotpin_hil.errors import UsageError


def read_source(options: argparse.Namespace, command: str, subtype: str) -> tuple[bytes, str]:
    """Read the partition that the options name.

    Args:
        options: has `file` and `port`, of which exactly one must be set.
        command: name of the command, for the example in an error.
        subtype: subtype of the data partition on the board, such as "nvs".

    Returns:
        The content, and its source, for messages.

    Raises:
        UsageError: both or neither are given, or the file cannot be read.
        FlashError, PortError: the board's flash cannot be read.
    """
    if (options.file is None) == (options.port is None):
        raise UsageError(
            "give either FILE or --port", f"for example: hotpin-hil {command} --port /dev/ttyUSB0"
        )
    if options.file is None:
        from hotpin_hil.boards.partitions import read_data_partition

        return read_data_partition(options.port, subtype), f"the flash of the board on {options.port}"
    try:
        return options.file.read_bytes(), str(options.file)
    except OSError as error:
        raise UsageError(f"{options.file} cannot be read: {error.strerror}", "check the path") from error
