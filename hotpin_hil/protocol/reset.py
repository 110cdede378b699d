"""The ROM's greeting and reset banner, printed when the chip starts.

    ets Jul 29 2019 12:21:46
    rst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)

The ROM prints neither while GPIO15 is low.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

BANNER_MAX = 120
"""Upper limit of a banner's length, bytes. A search in a growing stream restarts this far before its end."""
DOWNLOAD_BOOT = "DOWNLOAD_BOOT"
"""Boot mode of a chip that waits for a flasher."""
ROM_MARKS = (b"ets ", b"rst:0x")
"""Text in the first lines after a reset."""

_BANNER = r"rst:0x([0-9a-f]+) \(([A-Z0-9_]+)\),boot:0x[0-9a-f]+ \(([A-Z0-9_]+)"
_IN_LINE = re.compile(_BANNER)
_IN_STREAM = re.compile(rb"%s(?=[^A-Z0-9_])" % _BANNER.encode())
"""The look-ahead ensures that the boot mode's name is complete."""
_DAMAGED = re.compile(r"rst:|\([A-Z0-9_]*_RESET\)|[A-Z0-9]+_RESET\)[,/]boot|\(SPI_FAST_FLASH_BOOT\)")
_GREETING = re.compile(r"ets [A-Z][a-z]{2} +\d+ \d{4} \d\d:\d\d:\d\d")
_START = re.compile(r"rst:0x[0-9a-f]+ \(|ets \w{3} +\d+ \d{4} ")


@dataclass(frozen=True)
class ResetBanner:
    """One reset banner."""

    cause: int
    """The ROM's code: 0x1 power-on, 0xc software, …"""
    name: str
    """The ROM's name of the cause: "POWERON_RESET", …"""
    boot_mode: str
    """"SPI_FAST_FLASH_BOOT", "DOWNLOAD_BOOT", …"""
    start: int
    end: int
    """Offsets of the banner's start and end in the searched text."""


def find_banner(line: str) -> ResetBanner | None:
    """The reset banner in a line; None if the line has no intact banner."""
    found = _IN_LINE.search(line)
    return None if found is None else ResetBanner(int(found[1], 16), found[2], found[3], *found.span())


def find_banners(stream: bytes | bytearray, start: int = 0) -> Iterator[ResetBanner]:
    """The reset banners in a stream of bytes, from `start` on."""
    for found in _IN_STREAM.finditer(stream, start):
        yield ResetBanner(int(found[1], 16), found[2].decode(), found[3].decode(), *found.span())


def is_damaged_banner(line: str) -> bool:
    """Whether a line without an intact banner has the remains of one."""
    return _DAMAGED.search(line) is not None


def is_greeting(line: str) -> bool:
    """Whether a line has the ROM's greeting, `ets` and its build date."""
    return _GREETING.search(line) is not None


def shows_start(line: str) -> bool:
    """Whether a line starts like a banner or like the greeting, which means that the chip was reset."""
    return _START.search(line) is not None
