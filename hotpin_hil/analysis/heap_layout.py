"""Which allocations the ESP32's heaps can still serve, computed from their layout.

A single number for free memory is misleading: the sum may be large while every single block is small. These functions
apply the rules of TLSF, ESP-IDF's allocator, to the heaps that the board lists after a heap walk (`heap.regions`). The
suite checks the firmware's reports against them, so they share no code with the firmware.

Sizes are bytes. A request is rounded *up* to a size class, and a free block is listed under its size rounded *down*:
a free block of 100,000 bytes cannot serve a request for 100,000 bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

BLOCK_OVERHEAD = 4  # the size word before each block
MINIMUM_BLOCK = 12  # a free block must hold two list pointers and the next block's back pointer
ALIGNMENT = 4
HEAP_HEADER = 20  # IDF's own header at the start of a heap, before TLSF's


@dataclass(frozen=True)
class HeapState:
    """One heap: address, capabilities, and its free blocks according to a heap walk.

    `free` is the sum of the free blocks. `largest` is the exact size of the largest free block, not its size class.
    """

    start: int
    length: int
    caps: frozenset[str]
    free: int
    largest: int

    def serves(self, caps: Iterable[str]) -> bool:
        """Whether this heap has all of the capabilities."""
        return self.caps.issuperset(caps)


def serving(regions: Iterable[HeapState], caps: Iterable[str]) -> list[HeapState]:
    """The heaps that have all of the capabilities."""
    wanted = frozenset(caps)
    return [region for region in regions if region.serves(wanted)]


def subclasses(heap_length: int) -> int:
    """Number of TLSF size classes per power of two in a heap of this length."""
    pool = heap_length - HEAP_HEADER
    if pool <= 16 * 1024:
        return 8
    return 16 if pool <= 256 * 1024 else 32


def class_step(size: int, heap_length: int) -> int:
    """Width in bytes of the size class that contains `size`."""
    classes = subclasses(heap_length)
    if size < classes * ALIGNMENT:
        return ALIGNMENT
    return max(ALIGNMENT, (1 << (size.bit_length() - 1)) // classes)


def class_floor(size: int, heap_length: int) -> int:
    """The size class that lists a free block of this size. A query for the largest free block returns this value."""
    step = class_step(size, heap_length)
    return size // step * step


def class_ceil(size: int, heap_length: int) -> int:
    """The size class for a request: any free block of this class or above can serve it."""
    wanted = max(MINIMUM_BLOCK, -(-size // ALIGNMENT) * ALIGNMENT)
    step = class_step(wanted, heap_length)
    return -(-wanted // step) * step


def fits_one(regions: Iterable[HeapState], size: int) -> bool:
    """Whether one of these heaps can serve a block of `size` bytes now."""
    return any(
        region.largest and class_ceil(size, region.length) <= class_floor(region.largest, region.length)
        for region in regions
    )


def largest_request(regions: Iterable[HeapState]) -> int:
    """The largest single request that these heaps can serve now, bytes; 0 if none."""
    return max((class_floor(region.largest, region.length) for region in regions), default=0)


def fragmentation_percent(regions: Sequence[HeapState]) -> int:
    """Percentage of the free bytes outside the largest free block of their heap, rounded to a whole number.

    Separate heaps do not count as fragmentation: the result is 0 if each heap has a single free block. It is also 0
    if no memory is free.
    """
    free = sum(region.free for region in regions)
    if free == 0:
        return 0
    largest = sum(region.largest for region in regions)
    return ((free - largest) * 200 + free) // (2 * free)


def placeable(free_blocks: Iterable[tuple[int, int]], sizes: Iterable[int]) -> bool:
    """Whether free blocks can serve all requests together.

    Like the allocator, it serves requests in order, each from the smallest class that fits. The rest of a block stays
    available if it is large enough to form a free block.

    Args:
        free_blocks: (size of the block, length of its heap), bytes.
        sizes: the requests, bytes.
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
