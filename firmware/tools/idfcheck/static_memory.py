"""Bytes of static memory that a source takes on the chip, read from the assembly that a 32-bit compiler makes of it."""

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
"""Where the linker puts these sections (ESP-IDF's sections.ld).

Code and constants are not counted: the compiler is another core's.
"""


def of(assembly: str) -> Counter[str]:
    """Bytes by place. What the linker adds between objects to align them is not in it."""
    found: Counter[str] = Counter()
    section = ""
    for line in assembly.splitlines():
        if begins := _SECTION.match(line):
            section = begins["name"]
        elif (size := _SIZE.match(line)) and section in PLACES:
            found[PLACES[section]] += int(size["bytes"])
    return found
