"""A chip in download mode: esptool's session on a port, with its output hidden and its errors converted."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any

import esptool
from esptool.cmds import attach_flash, detect_chip, run_stub

from hotpin_hil.errors import FlashError, PortError
from hotpin_hil.link.port import open_port, port_error

CONSOLE_BAUD = 115200
FLASH_BAUD = 921600
CONNECT_ATTEMPTS = 2


@contextlib.contextmanager
def download_mode(port: str, failure: str, remedy: str) -> Iterator[Any]:
    """Enter download mode, and yield esptool's chip to the block, which must reset the chip itself.

    Args:
        port: device or URL.
        failure: start of the message if esptool fails; the first line of esptool's error follows.
        remedy: remedy for the error.

    Raises:
        FlashError: esptool failed.
        PortError: the port cannot be opened or was lost.
    """
    with contextlib.redirect_stdout(io.StringIO()), contextlib.closing(open_port(port, CONSOLE_BAUD)) as line:
        try:
            yield detect_chip(line, connect_attempts=CONNECT_ATTEMPTS)
        except esptool.FatalError as error:
            raise FlashError(f"{failure}: {str(error).splitlines()[0]}", remedy) from error
        except (OSError, PortError) as error:
            raise port_error(port, error) from error


def with_fast_flash(chip: Any) -> Any:
    """Run esptool's stub at FLASH_BAUD, with the flash attached; returns it, to be used instead of `chip`."""
    stub = run_stub(chip)
    stub.change_baud(FLASH_BAUD)
    attach_flash(stub)
    return stub
