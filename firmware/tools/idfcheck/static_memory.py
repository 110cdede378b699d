"""Static memory that a source uses on the chip, in bytes, read from the assembly of a 32-bit compiler."""

from __future__ import annotations

import re
from collections import Counter

_SECTION = re.compile(r"\s*\.section\s+\"?(?P<name>\.\w+)")
_SIZE = re.compile(r"\s*\.size\s+(?P<symbol>[\w.$]+),\s*(?P<bytes>\d+)\s*$")

PLACES = {
    ".data": "internal RAM",
    ".bss": "internal RAM",
    ".dram1": "internal RAM",
    ".rtc_noinit": "RTC memory",
}
"""Section → memory where the linker places it (ESP-IDF's sections.ld).

Code and constants are not counted, because the compiler is for another core.
"""


def of(assembly: str) -> Counter[str]:
    """Counts the bytes in each memory type, without the padding that the linker adds between objects."""
    found: Counter[str] = Counter()
    section = ""
    for line in assembly.splitlines():
        if begins := _SECTION.match(line):
            section = begins["name"]
        elif (size := _SIZE.match(line)) and section in PLACES:
            found[PLACES[section]] += int(size["bytes"])
    return found
