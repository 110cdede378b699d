"""Models warning levels, advice and fragmentation as specified by the guide and memory_manager.h.

Written from those documents, not from the C code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

MEMORIES = {"internal": "internal_ram", "dma": "dma_capable", "psram": "psram"}
"""Prefix of a memory type's statistics → prefix of its thresholds, in the order in which a check reads the types."""
HYSTERESIS_BYTES, HYSTERESIS_POINTS = 1024, 5
AUDIO_RESTART_PERCENT = 40

Stats = Mapping[str, int]
Thresholds = Mapping[str, int]


@dataclass(frozen=True)
class Change:
    """A level that was entered, or left (`recovered`)."""

    recovered: bool
    type: str
    value: int
    threshold: int


@dataclass
class _Level:
    """The warning and critical levels of one quantity. While the critical level is active, the warning level is not."""

    warned: bool = False
    critical: bool = False


def _below(value: int, threshold: int) -> bool:
    return value < threshold


def _above_margin(value: int, threshold: int) -> bool:
    return value >= threshold + max(threshold // 10, HYSTERESIS_BYTES)


def _at_or_above(value: int, threshold: int) -> bool:
    return value >= threshold


def _below_margin(value: int, threshold: int) -> bool:
    return value <= max(threshold - HYSTERESIS_POINTS, 0) and value < threshold


@dataclass
class Levels:
    """Levels of the three memory types and of fragmentation."""

    levels: dict[str, _Level] = field(default_factory=dict)

    def check(self, stats: Stats, thresholds: Thresholds) -> list[Change]:
        """The levels that a check of this sample enters or leaves, in the order in which the firmware announces
        them."""
        changes = []
        for memory, prefix in MEMORIES.items():
            names = (f"{memory.upper()}_LOW", f"{memory.upper()}_CRITICAL")
            changes += self._check(prefix, stats[f"{memory}_free"], thresholds, names, low_is_bad=True)
        worst = max(stats[f"{memory}_fragmentation"] for memory in MEMORIES)
        names = ("FRAGMENTATION_HIGH", "FRAGMENTATION_HIGH")
        return changes + self._check("fragmentation", worst, thresholds, names, low_is_bad=False)

    def _check(
        self, name: str, value: int, thresholds: Thresholds, types: tuple[str, str], low_is_bad: bool
    ) -> list[Change]:
        level = self.levels.setdefault(name, _Level())
        warning, critical = thresholds[f"{name}_warning"], thresholds[f"{name}_critical"]
        entered, left = (_below, _above_margin) if low_is_bad else (_at_or_above, _below_margin)
        changes = []
        if level.critical != (not left(value, critical) if level.critical else entered(value, critical)):
            level.critical = not level.critical
            changes.append(Change(not level.critical, types[1], value, critical))
        if level.warned and left(value, warning):
            level.warned = False
            changes.append(Change(True, types[0], value, warning))
        elif not level.warned and not level.critical and entered(value, warning):
            level.warned = True
            changes.append(Change(False, types[0], value, warning))
        return changes


def are_valid(thresholds: Thresholds) -> bool:
    """Whether the firmware must accept these thresholds."""
    ordered = all(
        thresholds[f"{name}_critical"] <= thresholds[f"{name}_warning"] for name in MEMORIES.values()
    )
    return ordered and thresholds["fragmentation_warning"] <= thresholds["fragmentation_critical"] <= 100


def fragmentation(regions: Iterable[Mapping[str, Any]], caps: set[str]) -> int:
    """Fragmentation in percent, from the free bytes and the largest block of each heap."""
    chosen = [region for region in regions if caps <= set(region["caps"].split(","))]
    free = sum(region["free"] for region in chosen)
    outside = free - sum(region["largest"] for region in chosen)
    return (100 * outside + free // 2) // free if free else 0


def advice(stats: Stats, thresholds: Thresholds) -> list[str]:
    """The first words of each piece of advice that `mem.optimize` must give, in the order of the reply."""
    high = thresholds["fragmentation_warning"]
    applies = {
        "internal RAM is low": stats["internal_free"] < thresholds["internal_ram_warning"],
        "DMA-capable RAM is low": stats["dma_free"] < thresholds["dma_capable_warning"],
        "PSRAM is low": stats["psram_free"] < thresholds["psram_warning"],
        "internal RAM is fragmented": stats["internal_fragmentation"] >= high,
        "DMA-capable RAM is fragmented": stats["dma_fragmentation"] >= AUDIO_RESTART_PERCENT,
        "PSRAM is fragmented": stats["psram_fragmentation"] >= high,
    }
    return [text for text, given in applies.items() if given]
