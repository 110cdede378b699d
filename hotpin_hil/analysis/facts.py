"""The facts of a log, with the keys and meanings of `facts/log_analysis.md`.

Lists keep their first entries; how many were left out is told by the name of the list in `not_kept`.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import asdict
from typing import Any

from hotpin_hil.analysis.matched_state import same_figures
from hotpin_hil.logs.reader import LogReader
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.fields import DELTA_LABELS, MEMORIES, MemoryStats

KEPT = 1_000
"""Entries kept of each list, and contexts told apart."""
OTHERS = "(others)"

_TRANSITION = re.compile(r"(Before|After) (\w+) Transition")


class FactsBuilder:
    """Feed it every event of a log; `result` is the dictionary that is compared with a recording's."""

    def __init__(self) -> None:
        self.not_kept: Counter[str] = Counter()
        self._resets: list[dict[str, Any]] = []
        self._reset_reasons: Counter[str] = Counter()
        self._download_boots = 0
        self._garbled: list[int] = []
        self._builds: list[dict[str, Any]] = []
        self._by_context: Counter[str] = Counter()
        self._complete = self._truncated = self._corrupted = self._interleaved = self._most_foreign = 0
        self._corrupted_detail: list[dict[str, Any]] = []
        self._before: tuple[str, MemoryStats] | None = None
        self._pairs: Counter[str] = Counter()
        self._stale_pairs: Counter[str] = Counter()
        self._transitions: dict[str, Counter[str]] = defaultdict(Counter)
        self._first: ev.Sample | None = None
        self._lowest: dict[str, tuple[int, ev.Sample]] = {}
        self._reserve: list[int] = []
        self._prints = 0
        self._lowest_print: ev.HeapPrint | None = None
        self._warnings: Counter[str] = Counter()
        self._warning_lines: list[dict[str, Any]] = []
        self._panics: list[dict[str, Any]] = []
        self._watchdogs: list[dict[str, Any]] = []
        self._i2s: list[dict[str, Any]] = []
        self._camera: list[dict[str, Any]] = []
        self._failed: list[int] = []

    def feed(self, event: ev.LogEvent) -> None:
        match event:
            case ev.HeapPrint():
                self._prints += event.memory == "dma"
                if event.memory == "dma" and (
                    self._lowest_print is None or event.free < self._lowest_print.free
                ):
                    self._lowest_print = event
            case ev.Sample(source="box"):
                self._box(event)
            case ev.BoxBroken():
                self._truncated += 1
                self._count_context(event.context)
                if event.corrupted:
                    self._corrupt(event.line, event.context, event.reason)
            case ev.BootStarted():
                self._boot(event)
            case ev.Unreadable(what="reset banner"):
                self._keep("garbled_reset_lines", self._garbled, event.line)
            case ev.BuildSeen():
                self._build(event)
            case ev.Transition():
                self._transitions[event.to][event.result] += 1
            case ev.MemoryWarning(recovered=False):
                kind = f"{event.level} {event.memory}"
                self._warnings[kind] += 1
                entry = {"line": event.line, "ts_ms": event.t_ms, "kind": kind}
                self._keep("memory_warning_lines", self._warning_lines, entry)
            case ev.PanicSeen():
                self._keep("panics", self._panics, _panic(event))
            case ev.TaskWatchdog():
                tasks = list(event.tasks)
                self._keep(
                    "task_wdt_triggers",
                    self._watchdogs,
                    {"line": event.line, "ts_ms": event.t_ms, "tasks": tasks},
                )
            case ev.CameraFailed():
                entry = {"line": event.line, "ts_ms": event.t_ms, "text": event.text}
                self._keep("camera_init_failures", self._camera, entry)
            case ev.AllocationFailed(kind="i2s"):
                entry = {"line": event.line, "ts_ms": event.t_ms, "text": event.text}
                self._keep("i2s_no_mem_failures", self._i2s, entry)
            case ev.AllocationFailed(kind="tts" | "other"):
                self._keep("alloc_failure_lines", self._failed, event.line)

    def _keep(self, name: str, kept: list[Any], entry: Any) -> None:
        if len(kept) < KEPT:
            kept.append(entry)
        else:
            self.not_kept[name] += 1

    def _boot(self, event: ev.BootStarted) -> None:
        self._before = None
        is_download = event.mode == "DOWNLOAD_BOOT"
        self._download_boots += is_download
        if event.cause:
            assert event.code is not None
            entry: dict[str, Any] = {
                "line": event.line,
                "reason": f"0x{event.code:x}",
                "name": event.cause,
                "boot": event.mode,
            }
            self._keep("rom_resets", self._resets, entry)
            self._reset_reasons[event.cause] += 1

    def _build(self, event: ev.BuildSeen) -> None:
        build = {
            "app_version": event.app_version,
            "elf": event.elf,
            "idf": event.idf,
            "chip_rev": event.chip_rev,
            "psram_mb_found": event.psram_mb,
            "free_heap_at_main": event.free_heap_at_main,
            "heap_regions": [
                {"addr": f"0x{one.start:08X}", "len": one.length, "type": one.type} for one in event.regions
            ],
        }
        if build not in self._builds:
            self._keep("builds", self._builds, build)

    # --- Boxes ---

    def _count_context(self, context: str) -> None:
        known = context in self._by_context or len(self._by_context) < KEPT
        self._by_context[context if known else OTHERS] += 1

    def _corrupt(self, line: int, context: str, what: str) -> None:
        self._corrupted += 1
        self._keep(
            "corrupted_detail", self._corrupted_detail, {"line": line, "context": context, "what": what}
        )

    def _box(self, box: ev.Sample) -> None:
        self._complete += 1
        self._count_context(box.context)
        self._interleaved += box.foreign > 0
        self._most_foreign = max(self._most_foreign, box.foreign)
        if box.corrupted:
            self._corrupt(box.line, box.context, "a line was cut by another and put together again")
        self._first = self._first or box
        stats = box.stats
        for name in ("dma_free", "dma_largest", "internal_free", "psram_free"):
            value = getattr(stats, name)
            if name not in self._lowest or value < self._lowest[name][0]:
                self._lowest[name] = (value, box)
        # Total counts neither the pool that is kept for DMA nor the IRAM heap.
        self._reserve = _widened(self._reserve, stats.dma_free + stats.psram_free - stats.total_free)
        found = _TRANSITION.fullmatch(box.context)
        if found is not None:
            self._pair(found[1], found[2].lower(), stats)

    def _pair(self, moment: str, to: str, stats: MemoryStats) -> None:
        if moment == "Before":
            self._before = (to, stats)
        elif self._before is not None and self._before[0] == to:
            self._pairs[to] += 1
            self._stale_pairs[to] += same_figures(self._before[1], stats)
            self._before = None

    # --- Result ---

    def result(self, name: str, reader: LogReader) -> dict[str, Any]:
        scan = reader.scan
        self.not_kept += scan.not_kept
        facts: dict[str, Any] = {
            "file": name,
            "bytes": scan.bytes,
            "lines": scan.lines,
            "ends_with_newline": scan.ends_with_newline,
            "format": asdict(scan.format),
            "boots": {
                "bootloader_starts": reader.boot_loader_starts,
                "app_starts": reader.app_starts,
                "rom_resets": self._resets,
                "garbled_reset_lines": self._garbled,
                "rom_banners": reader.rom_banners,
                "reset_reasons": dict(self._reset_reasons),
                "download_boots": self._download_boots,
            },
            "builds": self._builds,
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
            "transitions": {to: dict(results) for to, results in self._transitions.items()},
        }
        facts |= self._minima()
        if self._lowest_print is not None:
            lowest = self._lowest_print
            facts["min_dma_free_direct"] = {
                "bytes": lowest.free,
                "line": lowest.line,
                "ts_ms": lowest.t_ms,
                "tag": lowest.tag,
                "samples": self._prints,
            }
        facts |= {
            "memory_warnings": dict(self._warnings),
            "memory_warning_lines": self._warning_lines,
            "log_levels": {level: count for level, count in scan.levels.items() if count},
            "errors_by_tag": dict(scan.errors_by_tag),
            "panics": self._panics,
            "task_wdt_triggers": self._watchdogs,
            "i2s_no_mem_failures": self._i2s,
            "camera_init_failures": self._camera,
            "alloc_failure_lines": self._failed,
        }
        return facts

    def _minima(self) -> dict[str, Any]:
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


def _widened(known: list[int], value: int) -> list[int]:
    return [min(known[0], value), max(known[1], value)] if known else [value, value]


def _panic(event: ev.PanicSeen) -> dict[str, Any]:
    panic = event.panic
    entry: dict[str, Any] = {"line": event.line, "core": panic.core, "kind": panic.cause}
    for key, register in (("pc", "PC"), ("excvaddr", "EXCVADDR"), ("exccause", "EXCCAUSE")):
        if register in panic.registers:
            entry[key] = f"0x{panic.registers[register]:08x}"
    entry["rebooting"] = panic.is_complete
    return entry
