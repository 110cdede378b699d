"""Facts from the statistics boxes of a log."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from hotpin_hil.analysis.matched_state import same_figures
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.fields import DELTA_LABELS, MEMORIES, MemoryStats

KEPT = 1_000
"""Maximum number of details kept, and of contexts counted separately."""
OTHERS = "(others)"

_TRANSITION = re.compile(r"(Before|After) (\w+) Transition")


class BoxFacts:
    """Counts boxes and keeps their lowest figures."""

    def __init__(self) -> None:
        self.not_kept: Counter[str] = Counter()
        """Per list: number of entries dropped after its first KEPT."""
        self._by_context: Counter[str] = Counter()
        self._complete = self._truncated = self._corrupted = self._interleaved = self._most_foreign = 0
        self._corrupted_detail: list[dict[str, Any]] = []
        self._before: tuple[str, MemoryStats] | None = None
        self._pairs: Counter[str] = Counter()
        self._stale_pairs: Counter[str] = Counter()
        self._first: ev.Sample | None = None
        self._lowest: dict[str, tuple[int, ev.Sample]] = {}
        self._reserve: list[int] = []

    def end_boot(self) -> None:
        """Forget the last "before" box, because the boxes of a pair belong to the same boot."""
        self._before = None

    def take_broken(self, box: ev.BoxBroken) -> None:
        """Count a truncated box."""
        self._truncated += 1
        self._count_context(box.context)
        if box.corrupted:
            self._corrupt(box.line, box.context, box.reason)

    def take(self, box: ev.Sample) -> None:
        """Count a complete box, and keep its figures if they are the lowest so far."""
        self._complete += 1
        self._count_context(box.context)
        self._interleaved += box.foreign > 0
        self._most_foreign = max(self._most_foreign, box.foreign)
        if box.corrupted:
            self._corrupt(box.line, box.context, "another line split a line; the parts were joined again")
        self._first = self._first or box
        stats = box.stats
        for name in ("dma_free", "dma_largest", "internal_free", "psram_free"):
            value = getattr(stats, name)
            if name not in self._lowest or value < self._lowest[name][0]:
                self._lowest[name] = (value, box)
        # `total_free` includes neither the DMA reserve pool nor the IRAM heap.
        self._reserve = _widened(self._reserve, stats.dma_free + stats.psram_free - stats.total_free)
        found = _TRANSITION.fullmatch(box.context)
        if found is not None:
            self._pair(found[1], found[2].lower(), stats)

    def counts(self) -> dict[str, Any]:
        """The keys `boxes` and `before_after_pairs…` of the facts."""
        return {
            "boxes": {
                "total": self._complete + self._truncated,
                "by_context": dict(self._by_context),
                "complete": self._complete,
                "truncated": self._truncated,
                "corrupted": self._corrupted,
                "corrupted_detail": self._corrupted_detail,
                "interleaved_by_other_tasks": self._interleaved,
                "max_foreign_lines": self._most_foreign,
            },
            "before_after_pairs": dict(self._pairs),
            "before_after_pairs_identical_snapshot": {to: n for to, n in self._stale_pairs.items() if n},
        }

    def minima(self) -> dict[str, Any]:
        """The lowest figures and the figures of the first box; empty without boxes."""
        if self._first is None:
            return {}
        found: dict[str, Any] = {}
        for name, (value, box) in self._lowest.items():
            entry = {"bytes": value, "line": box.line, "box_ts_ms": box.t_ms, "context": box.context}
            if name.startswith("dma"):
                entry["boot"] = box.boot
            if name == "dma_free":
                entry |= {"title_ts_ms": box.title_ms, "largest": box.stats.dma_largest}
            found[f"min_{name}_box"] = entry
        first = self._first
        values: dict[str, int] = {}
        for memory in MEMORIES:
            free, largest, fragmentation = first.stats.memory(memory)
            values |= {
                f"{memory}.free": free,
                f"{memory}.largest": largest,
                f"{memory}.frag": fragmentation,
            }
        values |= {"total.free": first.stats.total_free, "total.min": first.stats.total_minimum_free}
        values |= {f"delta.{memory}": first.delta[memory] for memory in DELTA_LABELS}
        return {**found, "first_box_values": values, "dma_reserve_free_range": self._reserve}

    def _count_context(self, context: str) -> None:
        known = context in self._by_context or len(self._by_context) < KEPT
        self._by_context[context if known else OTHERS] += 1

    def _corrupt(self, line: int, context: str, what: str) -> None:
        self._corrupted += 1
        if len(self._corrupted_detail) < KEPT:
            self._corrupted_detail.append({"line": line, "context": context, "what": what})
        else:
            self.not_kept["corrupted_detail"] += 1

    def _pair(self, moment: str, to: str, stats: MemoryStats) -> None:
        if moment == "Before":
            self._before = (to, stats)
        elif self._before is not None and self._before[0] == to:
            self._pairs[to] += 1
            self._stale_pairs[to] += same_figures(self._before[1], stats)
            self._before = None


def _widened(known: list[int], value: int) -> list[int]:
    return [min(known[0], value), max(known[1], value)] if known else [value, value]
