"""Readings of free memory in the words of any firmware.

Examples: `Free heap: 179788, min: 169788`, `freeHeap=4096`, `free sram: 4187 minimal sram: 47`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

TEXT_MAX = 400
"""Characters of a line in which readings are searched."""
_PAIR = re.compile(
    r"([A-Za-z][A-Za-z_ ()./-]{0,40}?)\"?\s{0,2}[:=]?\s{0,6}(?<![\d.])(\d{1,10})(?![\d.]*\d|\.\d)"
    r"(?:\s?(bytes\b|[kKM]i?B\b|B\b|[kK]\b|%|ms\b|us\b|s\b|MHz\b))?"
)
_UNITS = {"k": 1024, "M": 1024 * 1024}
_NOT_BYTES = ("%", "ms", "us", "s", "MHz")
_MEMORY_WORD = re.compile(r"(?i)heap|mem|ram\b|\bGC\b")
_MINIMUM = re.compile(r"(?<![a-z])(?:min(?:imum|imal)?|lowest|watermark)(?![a-z])")
_LARGEST = re.compile(r"largest|biggest|max(?:imum)?[ _]?(?:free[ _]?)?(?:alloc|block)|maxalloc|contiguous")
_OTHER = re.compile(
    r"stack|flash|disk|space|sketch|blocks|tasks?\b|frames?|slots?|buffers?|files?|total|used|alloc|size of|len"
)
_MEMORIES = (
    ("psram", re.compile(r"psram|spi ?ram")),
    ("dma", re.compile(r"dma")),
    ("internal", re.compile(r"internal|sram|dram|iram")),
    ("heap", re.compile(r"heap|mem")),
)
_ONE_HEAP = re.compile(r"\s{0,8}At 0x[0-9a-f]{1,8} len ")


@dataclass
class Reading:
    """Free memory as one line prints it, in bytes."""

    memory: str
    """"psram", "dma", "internal" or "heap"."""
    free: int
    largest: int | None = None
    minimum: int | None = None


def find_readings(text: str, memory: str = "") -> list[Reading]:
    """The readings in a line; none in a line that does not clearly print free memory.

    Args:
        text: the line without its header.
        memory: the memory that an earlier line names for this one; empty if none does.
    """
    text = text[:TEXT_MAX]
    if _ONE_HEAP.match(text):
        return []
    found: dict[str, dict[str, int]] = {}
    present = memory
    for words, digits, unit in _PAIR.findall(text):
        name = words.lower()
        quantity = _quantity(name, is_first=not found)
        if not quantity or unit in _NOT_BYTES:
            continue
        present = next((known for known, pattern in _MEMORIES if pattern.search(name)), present or "heap")
        found.setdefault(present, {}).setdefault(
            quantity, int(digits) * _UNITS.get(unit[:1].replace("K", "k"), 1)
        )
    is_memory = bool(memory) or _MEMORY_WORD.search(text) is not None
    return [
        Reading(name, sizes["free"], sizes.get("largest"), sizes.get("minimum"))
        for name, sizes in found.items()
        if "free" in sizes and (is_memory or "largest" in sizes)
    ]


def _quantity(words: str, *, is_first: bool) -> str:
    if _MINIMUM.search(words):
        return "minimum"
    if _LARGEST.search(words):
        return "largest"
    if _OTHER.search(words):
        return ""
    if "free" in words or (is_first and re.fullmatch(r"(?:.{0,20} )?heap(?: left| now)?", words)):
        return "free"
    return ""
