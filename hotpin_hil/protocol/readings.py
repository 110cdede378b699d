r"""Readings of memory in the output formats of any firmware.

Examples: `Free heap: 179788, min: 169788`, `freeHeap=4096`, `free sram: 4187 minimal sram: 47`. Some firmware needs its
own patterns:

| firmware | output |
|---|---|
| Tasmota | `"Heap":138,"SleepMode":` in STATE, `"StatusMEM":{..."Heap":138,...,"PsrFree":1950`, in KB |
| WLED | `Free heap/contiguous: 120000/50000`, `PSRAM: 4080kB/8192kB`, `DRAM 8-bit: Free: 5 bytes` |
| MicroPython | `GC: total: 111168, used: 5232, free: 105936`, then ` No. of 1-blocks: 33, ..., max free sz: 6478` |
| ESPHome | `'Heap Free': Sending state 123456.00000 B with 0 decimals`, `'Heap Free' >> 123456 B` |
| ESP-IDF 5.5, heap task tracking | `├ ALIVE: wifi, CURRENT MEMORY USAGE 1, PEAK MEMORY USAGE 2, TOTAL HEAP USED 1:` |
"""

from __future__ import annotations

import re
from dataclasses import dataclass

TEXT_MAX = 400
"""Maximum number of characters of a line that are searched for readings."""
_PAIR = re.compile(
    r"([A-Za-z][A-Za-z_ ()./-]{0,40}?)\"?\s{0,2}[:=]?\s{0,6}(?<![\d.])(\d{1,10})(?![\d.]*\d|\.\d)"
    r"(?:\s?(bytes\b|[kKM]i?B\b|B\b|[kK]\b|%|ms\b|us\b|s\b|MHz\b))?"
)
_FREE_AFTER = re.compile(r"(?<![\d./])(\d{1,10}) ?(bytes|[kK]i?B|B) (?:are |is |of \w{1,10} )?free\b")
"""The figure before the word, as in `23616B are free`."""
_UNITS = {"k": 1024, "M": 1024 * 1024}
_NOT_BYTES = ("%", "ms", "us", "s", "MHz")
_MEMORY_WORD = re.compile(r"(?i)heap|mem|ram\b|\bGC\b")
_MINIMUM = re.compile(r"(?<![a-z])(?:min(?:imum|imal)?|lowest|watermark)(?![a-z])")
_LARGEST = re.compile(r"largest|biggest|max(?:imum)?[ _]?(?:free[ _]?)?(?:alloc|block)|maxalloc|contiguous")
_OTHER = re.compile(
    r"stack|flash|disk|space|sketch|blocks|tasks?\b|frames?|slots?|buffers?|files?|total|used|alloc|size of|len"
)
_OTHER_FREE = re.compile(r"stack|flash|disk|space|sketch|file|spiffs|littlefs|partition")
_MEMORIES = (
    ("psram", re.compile(r"psram|spi ?ram")),
    ("dma", re.compile(r"dma")),
    ("internal", re.compile(r"internal|sram|dram|iram")),
    ("heap", re.compile(r"heap|mem")),
)
_LABEL = re.compile(r"\s{0,8}([A-Za-z][A-Za-z0-9 -]{1,20}): ")
"""The subject of a line, such as `DRAM 8-bit: Free: …`."""
_ONE_HEAP = re.compile(r"\s{0,8}At 0x[0-9a-f]{1,8} len |\s{0,8}largest_free_block \d{1,10} alloc_blocks ")
"""A heap of `heap_caps_print_heap_info`, which is a part of the totals."""
_NO_HEAP = re.compile(r"(?i)32-?bit|\bRTC RAM\b|\blittlefs\b|\bspiffs\b")
"""Memory that ordinary allocations do not use, and texts that are not about memory."""
_TASMOTA = re.compile(r'"(Heap|PsrFree)":(\d{1,7})\b')
_TASMOTA_LINE = re.compile(r'"Heap":\d{1,7},"(?:SleepMode|StackLowMark|PsrMax|ProgramFlashSize)"')
_WLED_HEAP = re.compile(r"Free heap/contiguous: (\d{1,10})/(\d{1,10})")
_WLED_PSRAM = re.compile(r"PSRAM: (\d{1,7})kB/(\d{1,7})kB")
_GC_BLOCKS = re.compile(r"\s{0,4}No\. of \d-blocks: .{0,80}\bmax free sz: (\d{1,9})")
GC_BLOCK = 16
"""Bytes of MicroPython's blocks on a chip with 32-bit pointers."""
_ESPHOME = re.compile(
    r"'([^']{1,60})':? (?:Sending state|>>) (\d{1,10})(?:\.\d{1,6})? (B|kB|KiB|bytes)(?![A-Za-z/])"
)
_TASK = re.compile(
    r".{0,4}(?:ALIVE|DELETED): (.{1,32}?), CURRENT MEMORY USAGE (\d{1,10}), PEAK MEMORY USAGE (\d{1,10})"
)
_TASK_ROW = re.compile(
    r"│ {1,20}(.{1,20}?) │ (?:ALIVE|DELETED) {0,2} │ {1,24}(\d{1,10}) │ {1,20}(\d{1,10}) │"
)


@dataclass
class Reading:
    """Free memory as one line prints it, in bytes."""

    memory: str
    """"psram", "dma", "internal" or "heap"."""
    free: int | None
    """None if the line prints only the largest free block."""
    largest: int | None = None
    minimum: int | None = None


@dataclass(frozen=True)
class TaskUse:
    """Memory that a task has allocated, in bytes."""

    task: str
    used: int
    peak: int


def find_task_use(text: str) -> TaskUse | None:
    """The memory of a task in a line of heap task tracking; None for any other line."""
    found = _TASK.match(text) or _TASK_ROW.match(text)
    return None if found is None else TaskUse(found[1].strip(), int(found[2]), int(found[3]))


def find_readings(text: str, memory: str = "") -> list[Reading]:
    """The readings in a line; empty if the line does not clearly print free memory.

    Args:
        text: the line without its header.
        memory: the memory type that an earlier line announces for this line; empty if none does.
    """
    special = _special(text)
    if special is not None:
        return special
    text = text[:TEXT_MAX]
    if _ONE_HEAP.match(text) or _NO_HEAP.search(text):
        return []
    found: dict[str, dict[str, int]] = {}
    label = _LABEL.match(text)
    present = memory or (_memory_in(label[1].lower()) if label else "")
    for words, digits, unit in _PAIR.findall(text):
        name = words.lower()
        quantity = _quantity(name, is_first=not found)
        if not quantity or unit in _NOT_BYTES:
            continue
        present = _memory_in(name) or present or "heap"
        found.setdefault(present, {}).setdefault(
            quantity, int(digits) * _UNITS.get(unit[:1].replace("K", "k"), 1)
        )
    is_memory = bool(memory) or _MEMORY_WORD.search(text) is not None
    after = _FREE_AFTER.search(text)
    if not found and is_memory and after is not None and not _OTHER_FREE.search(text.lower()):
        size = int(after[1]) * _UNITS.get(after[2][:1].replace("K", "k"), 1)
        return [Reading(_memory_in(text.lower()) or "heap", size)]
    return [
        Reading(name, sizes.get("free"), sizes.get("largest"), sizes.get("minimum"))
        for name, sizes in found.items()
        if "largest" in sizes or ("free" in sizes and is_memory)
    ]


def _special(text: str) -> list[Reading] | None:
    """The readings in a line that has its own pattern; None for any other line."""
    if _TASMOTA_LINE.search(text):
        sizes = {name: int(size) * 1024 for name, size in _TASMOTA.findall(text)}
        found = [Reading("heap", sizes["Heap"])]
        return [*found, Reading("psram", sizes["PsrFree"])] if sizes.get("PsrFree") else found
    if (pair := _WLED_HEAP.search(text)) is not None:
        return [Reading("heap", int(pair[1]), int(pair[2]))]
    if (pair := _WLED_PSRAM.search(text)) is not None:
        return [Reading("psram", int(pair[1]) * 1024)]
    if (blocks := _GC_BLOCKS.match(text)) is not None:
        return [Reading("heap", None, int(blocks[1]) * GC_BLOCK)]
    if (state := _ESPHOME.search(text)) is not None:
        name = state[1].lower()
        size = int(state[2]) * (1024 if state[3] in ("kB", "KiB") else 1)
        memory = _memory_in(name) or "heap"
        quantity = _quantity(name, is_first=True)
        if quantity not in ("free", "largest") or not (_MEMORY_WORD.search(name) or quantity == "largest"):
            return []
        return [Reading(memory, size) if quantity == "free" else Reading(memory, None, size)]
    return None


def _memory_in(words: str) -> str:
    """The memory named by lower-case words; empty if they do not name one."""
    return next((known for known, pattern in _MEMORIES if pattern.search(words)), "")


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
