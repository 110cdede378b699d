"""What the ESP32's heaps can still hand out, computed from their layout.

One number for free memory hides what matters: the sum may be large while no single block is. These functions
take the heaps as the board's allocator walked them (`heap.regions`) and answer by the rules of TLSF, the
allocator that ESP-IDF uses. The suite checks the firmware's claims against them, so nothing here is shared
with the firmware.

Sizes are bytes. A request is rounded *up* and a free block is filed under its size class rounded *down*; that
is why a free block of 100,000 bytes does not serve a request of 100,000.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

BLOCK_OVERHEAD = 4  # the size word in front of each block
MINIMUM_BLOCK = 12  # two list pointers and the next block's back pointer have to fit into a free block
ALIGNMENT = 4
HEAP_HEADER = 20  # IDF's own record at the start of a heap, in front of TLSF's


@dataclass(frozen=True)
class HeapState:
    """One heap: where it lies, what it can be used for, and its free blocks as a walk found them.

    `free` is the sum of the free blocks, `largest` the true size of the biggest one (not rounded to its
    class).
    """

    start: int
    length: int
    caps: frozenset[str]
    free: int
    largest: int

    def serves(self, caps: Iterable[str]) -> bool:
        """True when this heap has every one of these capabilities."""
        return self.caps.issuperset(caps)


def serving(regions: Iterable[HeapState], caps: Iterable[str]) -> list[HeapState]:
    """The heaps that count for a query with these capabilities."""
    wanted = frozenset(caps)
    return [region for region in regions if region.serves(wanted)]


def subclasses(heap_length: int) -> int:
    """How many size classes TLSF keeps per power of two in a heap of this length."""
    pool = heap_length - HEAP_HEADER
    if pool <= 16 * 1024:
        return 8
    return 16 if pool <= 256 * 1024 else 32


def class_step(size: int, heap_length: int) -> int:
    """Width of the size class that `size` falls into; sizes below 4 * classes have classes of 4 bytes."""
    classes = subclasses(heap_length)
    if size < classes * ALIGNMENT:
        return ALIGNMENT
    return max(ALIGNMENT, (1 << (size.bit_length() - 1)) // classes)


def class_floor(size: int, heap_length: int) -> int:
    """The size under which a free block of `size` is filed: what a query for the largest block answers."""
    step = class_step(size, heap_length)
    return size // step * step


def class_ceil(size: int, heap_length: int) -> int:
    """The class a request for `size` is searched from; any free block filed at or above it serves the
    request."""
    wanted = max(MINIMUM_BLOCK, -(-size // ALIGNMENT) * ALIGNMENT)
    step = class_step(wanted, heap_length)
    return -(-wanted // step) * step


def fits_one(regions: Iterable[HeapState], size: int) -> bool:
    """True when one of these heaps can hand out a single block of `size` bytes now."""
    return any(
        region.largest and class_ceil(size, region.length) <= class_floor(region.largest, region.length)
        for region in regions
    )


def largest_request(regions: Iterable[HeapState]) -> int:
    """The largest single request that these heaps serve now; 0 when they serve none."""
    return max((class_floor(region.largest, region.length) for region in regions), default=0)


def fragmentation_percent(regions: Sequence[HeapState]) -> int:
    """Share of free memory that lies outside the largest block of its own heap, in percent, rounded to
    nearest.

    Several separate heaps are not fragmentation: each may have one whole free block, and then this is 0.
    It is 0 too when nothing is free.
    """
    free = sum(region.free for region in regions)
    if free == 0:
        return 0
    largest = sum(region.largest for region in regions)
    return ((free - largest) * 200 + free) // (2 * free)


def placeable(free_blocks: Iterable[tuple[int, int]], sizes: Iterable[int]) -> bool:
    """True when all `sizes` can be had at once from these free blocks, given as (block size, length of its
    heap).

    Requests are served in their order, each from the smallest class that holds it, with the rest of the block
    kept for the next: the allocator's own strategy. A block's rest is usable when it can be a block itself.
    """
    remaining = list(free_blocks)
    for size in sizes:
        candidates = [
            (class_floor(block, length), index)
            for index, (block, length) in enumerate(remaining)
            if class_ceil(size, length) <= class_floor(block, length)
        ]
        if not candidates:
            return False
        _, index = min(candidates)
        block, length = remaining.pop(index)
        rest = block - class_ceil(size, length) - BLOCK_OVERHEAD
        if rest >= MINIMUM_BLOCK:
            remaining.append((rest, length))
    return True
