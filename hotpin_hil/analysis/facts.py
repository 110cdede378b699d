"""The facts of a log: counts and line numbers (`facts` in docs/analyze.md).

Each list keeps its first KEPT entries; `not_kept` has the number of entries dropped from it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import asdict
from typing import Any

from hotpin_hil.analysis.box_facts import BoxFacts
from hotpin_hil.logs.reader import LogReader
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.reset import is_download

KEPT = 1_000
"""Maximum number of entries per list."""


class FactsBuilder:
    """Collects the facts of a log from its events. Tests compare `result` with the facts of recordings."""

    def __init__(self) -> None:
        self.not_kept: Counter[str] = Counter()
        self._resets: list[dict[str, Any]] = []
        self._reset_reasons: Counter[str] = Counter()
        self._download_boots = 0
        self._garbled: list[int] = []
        self._builds: list[dict[str, Any]] = []
        self._boxes = BoxFacts()
        self._transitions: dict[str, Counter[str]] = defaultdict(Counter)
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
        """Count the next event of the log, and keep its details."""
        match event:
            case ev.HeapPrint():
                self._prints += event.memory == "dma"
                if event.memory == "dma" and (
                    self._lowest_print is None or event.free < self._lowest_print.free
                ):
                    self._lowest_print = event
            case ev.Sample(source="box"):
                self._boxes.take(event)
            case ev.BoxBroken():
                self._boxes.take_broken(event)
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
        self._boxes.end_boot()
        self._download_boots += is_download(event.mode)
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
                {"addr": f"0x{region.start:08X}", "len": region.length, "type": region.type}
                for region in event.regions
            ],
        }
        if build not in self._builds:
            self._keep("builds", self._builds, build)

    # --- Result ---

    def result(self, name: str, reader: LogReader) -> dict[str, Any]:
        """Return the facts.

        Args:
            name: name of the log.
            reader: the reader that has read the log.
        """
        scan = reader.scan
        self.not_kept += scan.tally.not_kept + self._boxes.not_kept
        facts: dict[str, Any] = {
            "file": name,
            "bytes": scan.blocks.bytes,
            "lines": reader.lines,
            "ends_with_newline": scan.blocks.ends_with_newline,
            "format": asdict(scan.tally.format),
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
            **self._boxes.counts(),
            "transitions": {to: dict(results) for to, results in self._transitions.items()},
        }
        facts |= self._boxes.minima()
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
            "log_levels": {level: count for level, count in scan.tally.levels.items() if count},
            "errors_by_tag": dict(scan.tally.complaints[b"E"]),
            "panics": self._panics,
            "task_wdt_triggers": self._watchdogs,
            "i2s_no_mem_failures": self._i2s,
            "camera_init_failures": self._camera,
            "alloc_failure_lines": self._failed,
        }
        return facts


def _panic(event: ev.PanicSeen) -> dict[str, Any]:
    panic = event.panic
    entry: dict[str, Any] = {"line": event.line, "core": panic.core, "kind": panic.cause}
    registers = panic.registers
    cause = registers.get("EXCCAUSE", registers.get("MCAUSE"))
    for key, value in (("pc", panic.pc), ("excvaddr", panic.excvaddr), ("exccause", cause)):
        if value is not None:
            entry[key] = f"0x{value:08x}"
    entry["rebooting"] = panic.is_complete
    return entry
