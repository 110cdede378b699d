"""Python interface of the ESP32 heap model.

The model itself is C (`firmware/native/heap`); the same code runs inside the firmware built for the host.
Sizes are in bytes. Addresses are the chip's. Capability sets are comma-separated lists without `MALLOC_CAP_`
("INTERNAL,8BIT").
"""

from __future__ import annotations

import ctypes as ct
from dataclasses import dataclass
from typing import Any

from hotpin_hil.errors import UsageError
from hotpin_hil.virtual.heap_library import (
    BACKING_PRIVATE,
    STATUS_TEXT,
    WALKER,
    CBlock,
    CDescription,
    CFigures,
    library,
)

MALLOC_INTERNAL_LIMIT = 16384
"""Largest size that `malloc` takes from internal memory first: default of CONFIG_SPIRAM_MALLOC_ALWAYSINTERNAL."""

ALL_HEAPS = "INVALID"
"""Capability set for all heaps, in a walk or a check."""


class HeapError(UsageError):
    """A request that would make the chip panic, or a model that cannot be set up."""


def caps_bits(caps: str) -> int:
    """Convert capability names to MALLOC_CAP_ bits."""
    bits = ct.c_uint32()
    if not library().heap_caps_from_names(caps.encode(), ct.byref(bits)):
        names = (library().heap_cap_name(bit) for bit in range(32))
        known = ", ".join(name.decode() for name in names if name)
        raise HeapError(f"unknown capability in {caps!r}", f"known: {known}")
    return bits.value


def caps_names(bits: int) -> str:
    """Convert MALLOC_CAP_ bits to names, lowest bit first."""
    return ",".join(library().heap_cap_name(bit).decode() for bit in range(32) if bits >> bit & 1)


def _type_number(name: str) -> int:
    number = ct.c_int()
    if not library().heap_type_from_name(name.encode(), ct.byref(number)):
        raise HeapError(f"unknown memory type {name!r}", "known: DRAM, DIRAM, IRAM, SPIRAM, POOL, POOL_V542")
    return number.value


def type_at(address: int) -> str | None:
    """Memory type at an address in the ESP32's map; None where there is no heap memory."""
    name: str = library().heap_type_name(library().heap_type_at(address)).decode()
    return None if name == "?" else name


@dataclass(frozen=True)
class Figures:
    """Figures of one or several heaps; `largest` is rounded down to its size class, as ESP-IDF reports it."""

    free: int
    allocated: int
    largest: int
    minimum: int
    allocated_blocks: int
    free_blocks: int
    total_blocks: int

    @classmethod
    def _of(cls, figures: CFigures) -> Figures:
        return cls(
            free=figures.free_bytes,
            allocated=figures.allocated_bytes,
            largest=figures.largest_free_block,
            minimum=figures.minimum_free_bytes,
            allocated_blocks=figures.allocated_blocks,
            free_blocks=figures.free_blocks,
            total_blocks=figures.total_blocks,
        )


@dataclass(frozen=True)
class Heap:
    """One heap. `caps` are its capabilities by priority; `end` is the first address after it."""

    start: int
    length: int
    type: str
    caps: tuple[str, str, str]
    figures: Figures

    @property
    def end(self) -> int:
        return self.start + self.length


@dataclass(frozen=True)
class Block:
    """One block; `address` of its data, `size` without the 4-byte header."""

    heap_start: int
    heap_end: int
    address: int
    size: int
    used: bool


class HeapSystem:
    """The heaps of one chip. Address 0 is NULL: the allocation failed."""

    def __init__(self) -> None:
        self._c = library()
        self._system: int | None = self._c.heap_system_create(BACKING_PRIVATE)
        if not self._system:
            raise HeapError("the host has no memory for a heap model")

    def __del__(self) -> None:
        if getattr(self, "_system", None):
            self._c.heap_system_destroy(self._system)
            self._system = None

    # set-up

    def _require(self, done: bool) -> None:
        if not done:
            raise HeapError(self._c.heap_system_error(self._system).decode())

    def boot_line(self, line: str) -> None:
        """Perform one step of the boot, a `key=value` line; see `heap_system_boot_line` in esp_heap_model.h."""
        key, _, value = line.partition("=")
        self._require(self._c.heap_system_boot_line(self._system, key.encode(), value.encode()))

    def boot_block(self, name: str, index: int = 0) -> int:
        """Address of the block that the `startup=` line with this name allocated; 0 if there is none."""
        return int(self._c.heap_system_boot_block(self._system, name.encode(), index))

    def add_heap(self, start: int, length: int, type: str) -> None:
        """Add a heap that is known at reset; it is searched after the heaps added earlier."""
        self._require(self._c.heap_system_add_heap(self._system, start, length, _type_number(type)))

    def add_region(self, start: int, length: int, type: str) -> None:
        """Add a heap that is searched first; the model also allocates the heap's record of 36 bytes."""
        self._require(self._c.heap_system_add_region(self._system, start, length, _type_number(type)))

    def reserve_pool(self, size: int, default_caps: bool, no_minimum: bool = False) -> None:
        """Add the DMA pool, which is allocated from internal memory."""
        self._require(self._c.heap_system_reserve_pool(self._system, size, default_caps, no_minimum))

    def add_recorded(self, start: int, length: int, type: str, blocks: list[Block]) -> None:
        """Add a heap in a recorded state, blocks in address order; it is searched before the heaps added earlier."""
        array = (CBlock * len(blocks))(
            *(CBlock(b.heap_start, b.heap_end, b.address, b.size, b.used) for b in blocks)
        )
        self._require(
            self._c.heap_system_add_recorded(
                self._system, start, length, _type_number(type), array, len(blocks)
            )
        )

    # allocating

    def malloc(self, size: int, caps: str) -> int:
        """`heap_caps_malloc`."""
        return self._sound(self._c.heap_system_malloc(self._system, _u32(size), caps_bits(caps)))

    def malloc_default(self, size: int, internal_limit: int = MALLOC_INTERNAL_LIMIT) -> int:
        """The firmware's `malloc()`: internal memory first up to the limit, PSRAM first above."""
        first = "DEFAULT,INTERNAL" if size <= internal_limit else "DEFAULT,SPIRAM"
        return self.malloc(size, first) or self.malloc(size, "DEFAULT")

    def aligned_alloc(self, alignment: int, size: int, caps: str) -> int:
        """`heap_caps_aligned_alloc`."""
        function = self._c.heap_system_aligned_alloc
        return self._sound(function(self._system, _u32(alignment), _u32(size), caps_bits(caps)))

    def realloc(self, address: int, size: int, caps: str) -> int:
        """`heap_caps_realloc`; 0 for a non-zero size means no memory, and the old block is unchanged."""
        if address:
            self._require_block(address, self._c.heap_system_status(self._system, address))
        return self._sound(self._c.heap_system_realloc(self._system, address, _u32(size), caps_bits(caps)))

    def free(self, address: int) -> None:
        """`heap_caps_free`. Raises HeapError where the chip would panic."""
        self._require_block(address, self._c.heap_system_free(self._system, address))
        self._sound(0)

    def allocated_size(self, address: int) -> int:
        """Size of the allocated block that starts at `address`; 0 if there is none."""
        return int(self._c.heap_system_allocated_size(self._system, address))

    def _require_block(self, address: int, status: int) -> None:
        if status:
            raise HeapError(f"address 0x{address:08x} {STATUS_TEXT[status]}", "the chip would panic here")

    def _sound(self, result: int) -> int:
        fault = self._c.heap_system_fault(self._system)
        if fault:
            raise HeapError(
                fault.decode(), "something overwrote the heap's own words; the chip would panic here"
            )
        return int(result)

    # queries

    def stats(self, caps: str) -> Figures:
        """`heap_caps_get_info`: all heaps that have all of `caps`."""
        figures = CFigures()
        self._c.heap_system_figures(self._system, caps_bits(caps), ct.byref(figures))
        return Figures._of(figures)

    def total_size(self, caps: str) -> int:
        """`heap_caps_get_total_size`."""
        return int(self._c.heap_system_total_size(self._system, caps_bits(caps)))

    def heaps(self) -> list[Heap]:
        """All heaps in search order."""
        found = []
        description, figures = CDescription(), CFigures()
        index = 0
        while self._c.heap_system_describe(self._system, index, ct.byref(description), ct.byref(figures)):
            first, second, third = (caps_names(bits) for bits in description.caps)
            name = self._c.heap_type_name(description.type).decode()
            caps = (first, second, third)
            found.append(Heap(description.start, description.length, name, caps, Figures._of(figures)))
            index += 1
        return found

    def reset_minimum(self, index: int) -> int:
        """Reset the minimum of heap `index` (of `heaps()`) from now; returns the old minimum."""
        return int(self._c.heap_system_reset_minimum(self._system, index))

    def lower_minimum(self, index: int, minimum: int) -> None:
        """Restore an older minimum of heap `index` if it was lower."""
        self._c.heap_system_lower_minimum(self._system, index, minimum)

    def blocks(self, caps: str = ALL_HEAPS) -> list[Block]:
        """`heap_caps_walk`: every block of the heaps that have all of `caps`, heaps in search order."""
        found: list[Block] = []

        def add(pointer: Any, _context: Any) -> bool:
            block = pointer.contents
            found.append(Block(block.heap_start, block.heap_end, block.address, block.size, block.used))
            return True

        self._c.heap_system_walk(self._system, caps_bits(caps), WALKER(add), None)
        return found

    def check(self, caps: str = ALL_HEAPS) -> str | None:
        """`heap_caps_check_integrity`: None if intact, else the first error."""
        if self._c.heap_system_check(self._system, caps_bits(caps)):
            return None
        return str(self._c.heap_system_fault(self._system).decode())

    def write(self, address: int, data: bytes) -> None:
        """Write to the chip's memory without checks, as the firmware can."""
        ct.memmove(self._host(address, len(data)), data, len(data))

    def read(self, address: int, size: int) -> bytes:
        """Read the chip's memory."""
        return ct.string_at(self._host(address, size), size)

    def _host(self, address: int, size: int) -> int:
        first = self._c.heap_system_host(self._system, address)
        last = self._c.heap_system_host(self._system, address + max(size, 1) - 1)
        if not first or not last:
            raise HeapError(f"no memory at 0x{address:08x} for {size} bytes", "see heaps() for the map")
        return int(first)


def _u32(size: int) -> int:
    """`size` as the chip's size_t; a larger size is clipped, because no heap is that large."""
    return size if 0 <= size < 1 << 32 else (1 << 32) - 1


class SingleHeap:
    """A single heap, like `multi_heap_*`: without capabilities; every size goes to the allocator unchanged."""

    def __init__(self, start: int, length: int) -> None:
        self.start = start
        self.system = HeapSystem()
        self.system.add_heap(start, length, "SPIRAM")
        self._c = self.system._c
        self._handle = self.system._system

    def malloc(self, size: int) -> int:
        return int(self._c.heap_single_malloc(self._handle, 0, _u32(size)))

    def aligned_alloc(self, size: int, alignment: int) -> int:
        return int(self._c.heap_single_aligned_alloc(self._handle, 0, _u32(size), alignment))

    def realloc(self, address: int, size: int) -> int:
        return int(self._c.heap_single_realloc(self._handle, 0, address, _u32(size)))

    def free(self, address: int) -> None:
        self.system._require_block(address, self._c.heap_single_free(self._handle, 0, address))

    def stats(self) -> Figures:
        return self.system.stats("SPIRAM")
