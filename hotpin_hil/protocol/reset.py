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
"""Upper limit of a banner's length, bytes. A search in a growing stream restarts this number of bytes before the
end of the stream."""

POWER_ON, SOFTWARE, SLEEP, WATCHDOG, BROWN_OUT, USB, LOCKUP, OTHER = (
    "power-on", "software", "sleep", "watchdog", "brown-out", "USB", "lockup", "other",
)  # fmt: skip
"""Kinds of resets."""
PANIC = "panic"
"""Kind of a reset that only the firmware can report."""
_KINDS = {
    POWER_ON: (0x1,), SOFTWARE: (0x3, 0xC), SLEEP: (0x5,), USB: (0x15, 0x16), BROWN_OUT: (0xF,), LOCKUP: (0x1A,),
    WATCHDOG: (0x4, 0x7, 0x8, 0x9, 0xB, 0xD, 0x10, 0x11, 0x12),
}  # fmt: skip
_KIND_OF_CODE = {code: kind for kind, codes in _KINDS.items() for code in codes}
"""The codes mean the same in all chips of the family, though their names differ."""
ROM_MARKS = (b"ets ", b"rst:0x")
"""Text in the first lines after a reset."""

_BANNER = r"rst:0x([0-9a-f]{1,4}) \(([A-Z0-9_]{1,40})\),boot:0x[0-9a-f]{1,8} \(([A-Z0-9_]{1,40})"
_IN_LINE = re.compile(_BANNER)
_IN_STREAM = re.compile(rb"%s(?=[^A-Z0-9_])" % _BANNER.encode())
"""The look-ahead ensures that the boot mode's name is complete."""
_REPORTED = re.compile(r"(?i)(?:reset|restart)[ _]?reason\W{1,4}(.{1,60})")
_REPORTED_KINDS = (
    (BROWN_OUT, re.compile(r"(?i)brown")),
    (WATCHDOG, re.compile(r"(?i)wdt|watchdog")),
    (PANIC, re.compile(r"(?i)panic|exception|crash")),
)
_DAMAGED = re.compile(
    r"rst:|\([A-Z0-9_]{0,40}_RE?SE?T\)|[A-Z0-9]{1,40}_RESET\)[,/]boot|\(SPI_FAST_FLASH_BOOT\)"
)
_GREETING = re.compile(r"ets [A-Z][a-z]{2} {1,2}\d{1,2} \d{4} \d\d:\d\d:\d\d|ESP-ROM:esp32")
_START = re.compile(r"rst:0x[0-9a-f]{1,4} \(|ets \w{3} {1,2}\d{1,2} \d{4} |ESP-ROM:esp32")


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


def reset_kind(code: int | None, name: str) -> str:
    """The kind of a reset, by the ROM's code; by its name if the code is unknown."""
    if code in _KIND_OF_CODE:
        return _KIND_OF_CODE[code]
    words = (
        (BROWN_OUT, "BROWN"), (WATCHDOG, "WDT"), (SLEEP, "SLEEP"), (POWER_ON, "POWERON"), (USB, "USB"),
        (LOCKUP, "LOCKUP"),
    )  # fmt: skip
    return next((kind for kind, word in words if word in name), OTHER)


def reported_reset(text: str) -> str | None:
    """The kind of failure in a reset reason that the firmware prints; None for any other line or an ordinary reset."""
    found = _REPORTED.search(text)
    if found is None:
        return None
    return next((kind for kind, pattern in _REPORTED_KINDS if pattern.search(found[1])), None)


def is_download(boot_mode: str) -> bool:
    """Whether the chip waits for a flasher in this boot mode."""
    return "DOWNLOAD" in boot_mode


def find_banner(line: str) -> ResetBanner | None:
    """The reset banner in a line; None if the line has no intact banner."""
    found = _IN_LINE.search(line)
    return None if found is None else ResetBanner(int(found[1], 16), found[2], found[3], *found.span())


def find_banners(stream: bytes | bytearray, start: int = 0) -> Iterator[ResetBanner]:
    """The reset banners in a stream of bytes, from `start` on."""
    for found in _IN_STREAM.finditer(stream, start):
        yield ResetBanner(int(found[1], 16), found[2].decode(), found[3].decode(), *found.span())


def is_damaged_banner(line: str) -> bool:
    """Whether a line without an intact banner has the remains of a banner."""
    return _DAMAGED.search(line) is not None


def is_greeting(line: str) -> bool:
    """Whether a line has the ROM's greeting, `ets` and its build date."""
    return _GREETING.search(line) is not None


def shows_start(line: str) -> bool:
    """Whether a line starts like a banner or like the greeting, which means that the chip was reset."""
    return _START.search(line) is not None
