"""Identifies a chip: reads fuses and flash in download mode, then the size of PSRAM from its boot log.

Probing resets the board: lease its port first.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import esptool
from esptool.cmds import attach_flash, detect_flash_size
from esptool.util import flash_size_bytes

from hotpin_hil.boards.artifacts import (
    APP_DESCRIPTOR_OFFSET,
    APP_DESCRIPTOR_SIZE,
    AppDescriptor,
    parse_app_descriptor,
)
from hotpin_hil.boards.download_mode import download_mode
from hotpin_hil.errors import BuildError
from hotpin_hil.virtual.partition import APP, TABLE_LENGTH, TABLE_OFFSET, parse_binary

START_S = 4.0
"""Time from the reset to the log line about PSRAM. It comes after the logs of the ROM and the bootloader: after 1.2 s
in the recorded logs."""


# Size of PSRAM in a boot log: from ESP-IDF's driver, or from this project's boot record.
_PSRAM_FOUND = re.compile(rb"esp_psram: Found (\d+)MB PSRAM|\"psram\":(\d+)[,}]")
_PSRAM_MISSING = re.compile(rb"PSRAM chip not found|Failed to init external RAM")
_MB = 1024 * 1024

Tell = Callable[[str], object]


@dataclass(frozen=True)
class ChipReport:
    """The identity of a chip."""

    mac: str
    chip: str
    """esptool's name of the chip, for example `ESP32-D0WD-V3`."""
    revision: str
    """For example `v3.1`."""
    flash: int | None = None
    """Bytes; None if the flash chip does not answer."""
    psram: int | None = None
    """Bytes; 0 without PSRAM, None if the flashed firmware does not log it."""
    apps: tuple[tuple[str, AppDescriptor], ...] = ()
    """Partition and descriptor of each ESP-IDF application in flash."""


def read_mac(port: str) -> str:
    """Read the MAC of the chip on `port`, as `24:0a:c4:00:00:01`, and reset the chip.

    Raises:
        FlashError: no chip answers.
        PortError: the port cannot be opened or was lost.
    """
    with _chip(port) as chip:
        mac = _mac(chip)
        chip.hard_reset()
        return mac


def probe(port: str, tell: Tell = lambda text: None) -> ChipReport:
    """Identify the board on `port` and leave it running.

    Args:
        port: device or URL.
        tell: receives the name of each slow step.

    Raises:
        FlashError: no chip answers.
        PortError: the port cannot be opened or was lost.
    """
    tell("reading the chip")
    with _chip(port) as chip:
        name, _, revision = chip.get_chip_description().partition(" (revision ")
        known = {"mac": _mac(chip), "chip": name, "revision": revision.rstrip(")")}
        flash: int | None = None
        apps: tuple[tuple[str, AppDescriptor], ...] = ()
        with contextlib.suppress(esptool.FatalError):  # no flash chip, or it does not answer
            tell("reading the flash")
            attach_flash(chip)
            flash = flash_size(chip)
            apps = tuple(_apps(chip, flash)) if flash else ()
        psram = None
        chip.hard_reset()
        if apps:
            tell("reading the boot log")
            psram = listen_for_psram(chip._port)
    return ChipReport(**known, flash=flash, psram=psram, apps=apps)


def _chip(port: str) -> contextlib.AbstractContextManager[Any]:
    return download_mode(
        port,
        f"no chip answers on {port}",
        "check cable and power, and that GPIO0 is wired to DTR or held low while EN rises",
    )


def _mac(chip: Any) -> str:
    mac: tuple[int, ...] = chip.read_mac()
    return ":".join(f"{byte:02x}" for byte in mac)


def flash_size(chip: Any) -> int | None:
    """Size in bytes from the id of the flash chip; None if no flash chip answers."""
    size: int | None = flash_size_bytes(detect_flash_size(chip))
    return size


def _apps(chip: Any, flash: int) -> Iterator[tuple[str, AppDescriptor]]:
    for partition in parse_binary(chip.read_flash(TABLE_OFFSET, TABLE_LENGTH)):
        place = partition.offset + APP_DESCRIPTOR_OFFSET
        if partition.type != APP or place + APP_DESCRIPTOR_SIZE > flash:
            continue
        content = chip.read_flash(place, APP_DESCRIPTOR_SIZE)
        with contextlib.suppress(BuildError):  # erased, encrypted, or not an ESP-IDF application
            yield partition.name, parse_app_descriptor(content)


def listen_for_psram(line: Any) -> int | None:
    """Read the size of PSRAM, in bytes, from the log of the current boot.

    Args:
        line: an open port.

    Returns:
        The size; 0 without PSRAM, None if the log does not show it.
    """
    log = b""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        log += line.read(max(1, line.in_waiting))
        found = _PSRAM_FOUND.search(log)
        if found:
            return int(found[1]) * _MB if found[1] else int(found[2])
        if _PSRAM_MISSING.search(log):
            return 0
    return None
