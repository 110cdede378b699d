"""Models memory figures: direct readings of the allocator, low-water marks, the minimum ever, baselines and deltas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.model.levels import fragmentation

CAPS = {"internal": "INTERNAL,8BIT", "dma": "DMA", "psram": "SPIRAM", "total": "DEFAULT"}
"""Capability set of each figure, as a console argument."""
REGION_CAPS = {"internal": {"INTERNAL", "8BIT"}, "dma": {"DMA"}, "psram": {"SPIRAM"}}
FIELDS = (
    "timestamp_ms", "internal_free", "internal_largest", "internal_fragmentation", "dma_free", "dma_largest",
    "dma_fragmentation", "psram_free", "psram_largest", "psram_fragmentation", "total_free",
    "total_minimum_free", "iram_free", "internal_watermark", "dma_watermark", "psram_watermark",
    "total_watermark",
)  # fmt: skip

Figures = Mapping[str, int]


class Disagreement(AssertionError):
    """Firmware and model disagree."""


def expect(condition: bool, text: str) -> None:
    """Raise Disagreement with this text unless the condition holds."""
    if not condition:
        raise Disagreement(text)


def expect_rows(said: Sequence[Any], wanted: Sequence[Any], source: str) -> None:
    """Raise Disagreement with the first difference unless both lists are equal."""
    for number, (row, good) in enumerate(zip(said, wanted, strict=False)):
        expect(row == good, f"{source}: row {number} has {_unlike(row, good)}, expected {_unlike(good, row)}")
    expect(len(said) == len(wanted), f"{source}: {len(said)} rows, expected {len(wanted)}")


def _unlike(row: Any, other: Any) -> Any:
    """The members of a row that differ from the other row or do not exist there."""
    if isinstance(row, dict) and isinstance(other, dict):
        return {name: value for name, value in row.items() if name not in other or other[name] != value}
    return row


class Memory:
    """The model's current data about the heaps."""

    def __init__(self) -> None:
        self.known: dict[str, int] | None = None
        """Free bytes, largest block and fragmentation, read from the allocator; None while memory may change."""
        self.baseline: dict[str, int] | None = None
        """Free bytes of each memory type when the baseline was set."""
        self._low: dict[str, int] | None = None
        """Lowest number of free bytes of each memory type in this window; None until the first sample."""
        self._may_sink = False
        """Whether a block of unknown size was allocated and freed, so that a low-water mark may be below `_low`."""
        self._minimum: int | None = None
        self._iram: int | None = None

    def changes(self) -> None:
        """Note that memory changes by an unknown amount; the figures are unknown until the next direct reading.

        The low-water marks may also fall: ESP-IDF adds up the lowest free memory of each heap, even if from different
        times.
        """
        self.known = None
        self._may_sink = True

    def sinks(self) -> None:
        """Note that a task is created and deleted again, so that only the low-water marks may change."""
        self._may_sink = True

    def read(self, before: Mapping[str, Any], after: Mapping[str, Any], reported: Figures,
             regions: list[dict[str, Any]]) -> dict[str, int]:  # fmt: skip
        """Check the manager's figures against the direct readings before and after them; returns the figures."""
        expect(before == after, f"memory changed within one command: {before}, then {after}")
        direct = {"total_free": before[CAPS["total"]]["free"]}
        for memory, caps in REGION_CAPS.items():
            reading = before[CAPS[memory]]
            direct[f"{memory}_free"], direct[f"{memory}_largest"] = reading["free"], reading["largest"]
            direct[f"{memory}_fragmentation"] = fragmentation(regions, caps)
        lows = {memory: before[caps]["minimum"] for memory, caps in CAPS.items()}
        if self._low is not None and self.known is None:
            self._low = {memory: min(low, direct[f"{memory}_free"]) for memory, low in self._low.items()}
        self._check_lows(lows, "heap.probe")
        self._low = lows
        self._may_sink = False
        expect(
            self.known is None or self.known == direct, f"memory changed by itself: {self.known} to {direct}"
        )
        self.known = direct
        self.check(reported, "mem.stats", direct)
        return direct

    def _check_lows(self, lows: Figures, source: str) -> None:
        if self._low is None:
            return
        good = all(low <= self._low[memory] for memory, low in lows.items())
        if not self._may_sink:
            good = lows == self._low
        expect(good, f"{source}: low-water marks {lows}, the lowest free memory was {self._low}")

    def check(self, stats: Figures, source: str, figures: Figures | None) -> None:
        """Check a sample against the current figures, if they are known, and against earlier samples."""
        for name, value in (figures or {}).items():
            expect(stats[name] == value, f"{source}: {name} is {stats[name]}, the allocator says {value}")
        for memory in REGION_CAPS:
            expect(
                stats[f"{memory}_largest"] <= stats[f"{memory}_free"], f"{source}: {memory}_largest {stats}"
            )
        lows = {memory: stats[f"{memory}_watermark"] for memory in CAPS}
        frees = {memory: stats[f"{memory}_free"] for memory in CAPS}
        expect(
            all(lows[memory] <= frees[memory] for memory in CAPS), f"{source}: watermark above free: {stats}"
        )
        self._check_lows(lows, source)
        self._low = lows
        lowest = lows["total"] if self._minimum is None else min(self._minimum, lows["total"])
        said = stats["total_minimum_free"]
        expect(said == lowest or (self._minimum is None and said < lowest),
               f"{source}: minimum ever {said} instead of {lowest}")  # fmt: skip
        self._minimum = said
        expect(self._iram in (None, stats["iram_free"]), f"{source}: iram_free {stats['iram_free']}")
        self._iram = stats["iram_free"]

    def new_window(self, stats: Figures) -> None:
        """Note that a periodic sample was taken: the low-water marks restart from the free memory."""
        self._low = {memory: stats[f"{memory}_free"] for memory in CAPS}

    def check_delta(self, stats: Mapping[str, Any], source: str) -> None:
        """Check the reported differences from the baseline, to the byte."""
        said = {memory: stats[f"delta_{memory}"] for memory in CAPS}
        if self.baseline is None:
            self.baseline = {memory: stats[f"{memory}_free"] - said[memory] for memory in CAPS}
        wanted = {memory: stats[f"{memory}_free"] - free for memory, free in self.baseline.items()}
        expect(said == wanted, f"{source}: deltas {said} instead of {wanted}")
