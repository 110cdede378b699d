"""The fields of a memory sample: the only list of their names, labels and units on the host.

Records, boxes and reports derive from `MemoryStats`; the firmware defines the same list in one place.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

MEMORIES = ("internal", "dma", "psram")
"""Prefixes of the three memory types with free size, largest block and fragmentation."""


def _field(unit: str, section: str = "", label: str = "", **kwargs: Any) -> Any:
    return dataclasses.field(metadata={"unit": unit, "section": section, "label": label}, **kwargs)


@dataclass(frozen=True)
class MemoryStats:
    """One sample of all memory types, as in `mem.stats` and `mem.sample`. Sizes in bytes."""

    timestamp_ms: int = _field("ms")
    internal_free: int = _field("B", "Internal RAM", "Free")
    internal_largest: int = _field("B", "Internal RAM", "Largest Block")
    internal_fragmentation: int = _field("%", "Internal RAM", "Fragmentation")
    dma_free: int = _field("B", "DMA-capable RAM", "Free")
    dma_largest: int = _field("B", "DMA-capable RAM", "Largest Block")
    dma_fragmentation: int = _field("%", "DMA-capable RAM", "Fragmentation")
    psram_free: int = _field("B", "PSRAM", "Free")
    psram_largest: int = _field("B", "PSRAM", "Largest Block")
    psram_fragmentation: int = _field("%", "PSRAM", "Fragmentation")
    total_free: int = _field("B", "Total Heap", "Free")
    total_minimum_free: int = _field("B", "Total Heap", "Minimum Ever")
    # Never in the box, and only some builds have it in the record.
    iram_free: int | None = _field("B", default=None)
    internal_watermark: int | None = _field("B", default=None)
    dma_watermark: int | None = _field("B", default=None)
    psram_watermark: int | None = _field("B", default=None)
    total_watermark: int | None = _field("B", default=None)

    def memory(self, name: str) -> tuple[int, int, int]:
        """(free bytes, largest block in bytes, fragmentation in %) of one of MEMORIES."""
        values: tuple[int, int, int] = _OF_MEMORY[name](self)
        return values


_OF_MEMORY = {
    name: attrgetter(f"{name}_free", f"{name}_largest", f"{name}_fragmentation") for name in MEMORIES
}


@dataclass(frozen=True)
class MemoryField:
    """Name, unit and label of one field of MemoryStats."""

    name: str
    unit: str
    section: str
    """Heading of the box section that has this field; empty if the box does not have it."""
    label: str


FIELDS: tuple[MemoryField, ...] = tuple(
    MemoryField(field.name, **field.metadata) for field in dataclasses.fields(MemoryStats)
)
BOX_FIELDS: tuple[MemoryField, ...] = tuple(field for field in FIELDS if field.section)

DELTA_LABELS = {"internal": "Internal RAM", "dma": "DMA-capable", "psram": "PSRAM", "total": "Total Heap"}
"""Labels of the box's differences from the baseline, in free bytes."""
