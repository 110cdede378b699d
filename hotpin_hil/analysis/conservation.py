"""Compares two readings of the resources that the firmware holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from hotpin_hil.protocol.answers import HeapCensus, Region, Resources

_CHECKSUM_MASK = 0xFFFF_FFFF
INTERNAL = "internal"
PSRAM = "PSRAM"
IRAM = "IRAM"

SLACK_BYTES = 12 * 8
"""Tolerated difference in bytes, if the number of blocks is the same. Blocks that are freed and allocated again end up
in other holes. If the rest of a hole, up to 12 bytes, is too small for a block, the allocator hands out the whole hole.
On the real firmware the first restart of the monitor alone causes a difference of 16 bytes."""

_NOTHING = HeapCensus(0, 0, 0, 0)


def memory_names(regions: Iterable[Region]) -> dict[int, str]:
    """Name of the memory type that each heap belongs to, by the heap's address."""
    return {region.start: _memory_name(region.caps.split(",")) for region in regions}


def _memory_name(caps: list[str]) -> str:
    if "SPIRAM" in caps:
        return PSRAM
    return INTERNAL if "8BIT" in caps else IRAM


def differences(before: Resources, after: Resources, memory_of: Mapping[int, str]) -> dict[str, str]:
    """Describe the differences, by field of `Resources`.

    Heaps of the same memory type are added up first, because which of them serves a request depends on the blocks
    that are free at that time.

    Args:
        before: the earlier reading.
        after: the later reading.
        memory_of: memory type of each heap, by the heap's address; needed only if the heaps differ.
    """
    found = {}
    for field in dataclasses.fields(Resources):
        values = getattr(before, field.name), getattr(after, field.name)
        if values[0] == values[1]:
            continue
        if field.name == "heaps":
            text = _heap_differences(*values, memory_of)
        else:
            text = f"{values[0]} before, {values[1]} after"
        if text:
            found[field.name] = text
    return found


def _heap_differences(
    before: tuple[HeapCensus, ...], after: tuple[HeapCensus, ...], memory_of: Mapping[int, str]
) -> str:
    memories = _by_memory(before, memory_of), _by_memory(after, memory_of)
    texts = []
    for name in sorted({*memories[0], *memories[1]}):
        old, new = (memory.get(name, _NOTHING) for memory in memories)
        is_slack = old.blocks == new.blocks and abs(old.bytes - new.bytes) <= SLACK_BYTES
        if is_slack:
            continue
        texts.append(
            f"{name}: {old.blocks} blocks of {old.bytes} bytes before, {new.blocks} of {new.bytes} after "
            f"({new.blocks - old.blocks:+} blocks, {new.bytes - old.bytes:+} bytes)"
        )
    return "; ".join(texts)


def _by_memory(heaps: tuple[HeapCensus, ...], memory_of: Mapping[int, str]) -> dict[str, HeapCensus]:
    memories: dict[str, HeapCensus] = {}
    for heap in heaps:
        name = memory_of.get(heap.heap, f"heap {heap.heap:#x}")
        known = memories.get(name, _NOTHING)
        memories[name] = HeapCensus(
            0,
            known.blocks + heap.blocks,
            known.bytes + heap.bytes,
            (known.sum + heap.sum) & _CHECKSUM_MASK,
        )
    return memories
