"""Any console log → typed events: of this project's firmware or the first one, from a board or an `idf.py monitor`.

    reader = LogReader()
    for chunk in chunks:
        for event in reader.feed(chunk): ...
    for event in reader.close(): ...

What it keeps does not grow with the log. It never guesses: what began like something it knows and could not be read
becomes an `Unreadable` event.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from hotpin_hil.link.records import Corrupt, Record, RecordScanner, read_record
from hotpin_hil.telemetry import events as ev
from hotpin_hil.telemetry.box import BORDERS, TOP, Box, BoxFinder, BrokenBox, box_values
from hotpin_hil.telemetry.fields import FIELDS, MEMORIES, MemoryStats
from hotpin_hil.telemetry.log import Line, LogLine
from hotpin_hil.telemetry.panic import OTHER_TRACES, Panic, PanicFinder
from hotpin_hil.telemetry.scan import LineScanner

CHUNK = 64 * 1024
"""Bytes to read at once: as fast as it gets. Larger blocks are fresh pages from the system each time."""
QUOTE_MAX = 200

_RESET = re.compile(r"rst:(0x[0-9a-f]+) \(([A-Z0-9_]+)\),boot:0x[0-9a-f]+ \(([A-Z0-9_]+)")
_RESET_RUIN = re.compile(r"rst:|\([A-Z0-9_]*_RESET\)|[A-Z0-9]+_RESET\)[,/]boot|\(SPI_FAST_FLASH_BOOT\)")
_ROM = re.compile(r"ets [A-Z][a-z]{2} +\d+ \d{4} \d\d:\d\d:\d\d")
_BOOT_LOADER = re.compile(r"ESP-IDF (\S+) 2nd stage bootloader")
_HEAP_REGION = re.compile(r"At ([0-9A-Fa-f]{8}) len ([0-9A-Fa-f]{8}) \(\d+ KiB\): (\S+)")
_PSRAM = re.compile(r"Found (\d+)MB PSRAM device")
_FREE = re.compile(r"\s*Free (DMA-capable|PSRAM|internal RAM|heap)(?: before| after)?: (\d+) bytes")
_DMA_FREE = re.compile(r"DMA memory free (\d+)(?: -> (\d+))? bytes")
_FREE_NAMES = {"DMA-capable": "dma", "PSRAM": "psram", "internal RAM": "internal", "heap": "heap"}
_WARNING = re.compile(r"(WARNING|CRITICAL): (.*)")
_BYTES = re.compile(r"(\d+) bytes")
_THRESHOLD = re.compile(r"threshold: (\d+)")
_PERCENT = re.compile(r"(\d+)%")
_TO_MODE = re.compile(r"=== TRANSITION TO (CAMERA|VOICE) MODE ===")
_MODE_DONE = re.compile(r"(Camera|Voice) mode transition complete")
_MODE_FAILED = re.compile(
    r"Failed to (?:acquire I2S mutex|(?:de)?init\w* (?:camera|audio)|transition)|"
    r"(?:Camera|Voice) mode transition failed"
)
_CHANGED = re.compile(r"(init|camera|voice|error|shutdown) -> (camera|voice) in (\d+) ms")
_NO_ROOM = re.compile(
    r"No room for (camera|voice) mode: (.+) block \d+, (\d+) bytes, is missing; "
    r"the largest free block is (\d+) of (\d+) bytes free"
)
_ERR_NAME = re.compile(r"\bESP_(?:ERR_\w+|FAIL)\b")
_TASK = re.compile(r" ?- (.+?) \((?:CPU [\d/]+|any)\)")

_OTHER_TRACES = tuple(trace.decode() for trace in OTHER_TRACES)
# Allocations that failed, by the shapes that recorded boards and this project's firmware print.
_I2S_NO_MEM = re.compile(r"allocate DMA buffer failed")
_ALLOC_FAILED = re.compile(r"(?i)alloc(?:ation)? failed|failed to allocate")
_NO_PSRAM = re.compile(r"Insufficient PSRAM: need (\d+) bytes, have (\d+) bytes")
_BLOCK_FAILED = re.compile(r"[Bb](?:uffer|lock) of (\d+) bytes failed despite (\d+) bytes")
_SIZE = re.compile(r"\b(\d+)[ -]bytes?\b")
_CAMERA_FAILED = re.compile(
    r"Detected camera not supported|[Cc]amera (?:probe|init)\w* failed|Camera.*ESP_ERR_NOT_SUPPORTED"
)

_APP_MARKS = {
    ("cpu_start", "Multicore app"): 3,
    ("cpu_start", "Pro cpu start user code"): 4,
    ("app_init", "Application information:"): 5,
    ("main_task", "Started on CPU0"): 6,
    ("main_task", "Calling app_main()"): 7,
}
"""What each application start prints, in this order; the number is the stage of the boot."""
_DOWNLOAD = "DOWNLOAD_BOOT"
_HEAPS_MAX = 32
_STAGE_BANNER, _STAGE_LOADER, _STAGE_RUNNING = 1, 2, 7
_REQUIRED = tuple(one.name for one in dataclasses.fields(MemoryStats) if one.default is dataclasses.MISSING)
_OPTIONAL = tuple(one.name for one in FIELDS if one.name not in _REQUIRED)
_WARNING_TYPES = {
    "INTERNAL_LOW": ("WARN", "internal"),
    "INTERNAL_CRITICAL": ("CRIT", "internal"),
    "DMA_LOW": ("WARN", "dma"),
    "DMA_CRITICAL": ("CRIT", "dma"),
    "PSRAM_LOW": ("WARN", "psram"),
    "PSRAM_CRITICAL": ("CRIT", "psram"),
}
_FRAGMENTATION_CRITICAL = 50
"""%; the guide's default: which level a fragmentation warning is of shows only in its threshold."""


def read_events(data: bytes) -> list[ev.Event]:
    """All events of a log, or of a piece of one."""
    reader = LogReader()
    return [*reader.feed(data), *reader.close()]


class _Begun(NamedTuple):
    """A transition whose end has not come yet."""

    to: str
    line: int
    t_ms: int | None


class LogReader:
    """Feed it a log in any chunks: the events do not depend on them."""

    def __init__(self) -> None:
        self.records = 0
        """Undamaged records."""
        self.records_lost = 0
        """Those whose number is missing between two of the same boot."""
        self.rom_banners = 0
        self.boot_loader_starts = 0
        self.app_starts = 0
        self._boxes = BoxFinder()
        self._panics = PanicFinder()
        self._out: list[ev.Event] = []
        self._boot = 0
        self._stage: int | None = None
        """How far the present boot had come when it last said so; None where the log began within it, 0 when only
        its times show it."""
        self._boot_id = ""
        self._newest = 0
        """The number of the newest record of this boot."""
        self._saw_anything = False
        self._is_download = False
        """The chip waits to be flashed: what comes next is the boot that counts."""
        self._build: dict[str, Any] = {}
        self._begun: _Begun | None = None
        self._last_change: tuple[str, int] = ("", -1)
        """Target and duration of the transition that a record has told: the line behind it says the same."""
        self._watchdog: tuple[int, int, list[str]] | None = None
        self._half_sample: tuple[int, Record] | None = None
        self._heaps: tuple[int | None, list[ev.MappedHeap]] | None = None
        self._last_reply: tuple[int | None, list[str]] | None = None
        """Id of the answer to `sys.last` and the names of its fields, until its newest snapshot has come."""
        self._by_tag: dict[str, Callable[[LogLine], None]] = {
            "boot": self._boot_loader,
            "cpu_start": self._app_start,
            "app_init": self._app_info,
            "main_task": self._app_start,
            "efuse_init": self._app_info,
            "heap_init": self._heap_region,
            "esp_psram": self._psram,
            "quad_psram": self._psram,
            "psram": self._psram,
            "MEM_MGR": self._memory_manager,
            "STATE_MGR": self._first_state_manager,
            "STATE": self._state_manager,
            "task_wdt": self._task_watchdog,
        }
        wanted: dict[str, tuple[str, ...]] = dict.fromkeys(self._by_tag, ()) | {
            "STATE_MGR": ("=== T", "mode transition", "Failed to"),
            "boot": ("2nd stage",),
            "esp_psram": ("Found",),
        }
        self.scan = LineScanner(wanted, self._take, self._take_whole_box)
        """Counts lines, levels, times and what the file is like."""

    def feed(self, data: bytes) -> list[ev.Event]:
        """The events that `data` completes."""
        self.scan.feed(data)
        return self._taken()

    def close(self) -> list[ev.Event]:
        """What the end of the log brings to its end."""
        self.scan.close()
        self._flush_panics()
        for box in self._boxes.flush():
            self._out.append(self._box(box))
        self._end_watchdog()
        self._end_boot()
        return self._taken()

    def _taken(self) -> list[ev.Event]:
        out, self._out = self._out, []
        return out

    def _flush_panics(self) -> None:
        for panic in self._panics.flush():
            self._out.append(self._panic(panic))

    def _at(self, line: int, t_ms: int | None) -> dict[str, Any]:
        return {"line": line, "boot": self._boot, "t_ms": t_ms}

    # --- Lines ---

    def _take(self, line: LogLine | Line) -> None:
        if isinstance(line, LogLine):
            if line.is_fall or line.text[:1] not in BORDERS:
                self._log_line(line)
            self._saw_anything = True
        else:
            self._headless(line)
        if self.scan.attentive or line.text[:1] == TOP[0] or self._has_trace(line):
            self._take_part(line)

    def _has_trace(self, line: LogLine | Line) -> bool:
        """Whether it starts a panic or tells of one to come."""
        if line.number in self.scan.traces:
            return True
        is_own = not isinstance(line, LogLine) or line.tag == "task_wdt"
        return is_own and any(trace in line.text for trace in _OTHER_TRACES)

    def _take_whole_box(
        self, number: int, t_ms: int, title_ms: int, context: str, figures: list[int]
    ) -> None:
        self._saw_anything = True
        stats, delta = box_values(t_ms, figures)
        at = self._at(number + 1, t_ms)
        self._out.append(
            ev.Sample(
                **at, source="box", context=_quote(context), stats=stats, delta=delta, title_ms=title_ms
            )
        )

    def _take_part(self, line: LogLine | Line) -> None:
        """A line that is part of something longer, or stands within it."""
        for box in self._boxes.add(line):
            self._out.append(self._box(box))
        if self._panics.is_waiting or self._has_trace(line):
            for panic in self._panics.feed(Line(line.whole, 0, line.number)):
                self._out.append(self._panic(panic))
        self.scan.attentive = self._boxes.is_waiting or self._panics.is_waiting

    def _log_line(self, line: LogLine) -> None:
        if self._watchdog is not None and line.tag != "task_wdt":
            self._end_watchdog()
        handler = self._by_tag.get(line.tag)
        if line.is_fall and self._is_restart(line):
            self._new_boot(line.number, line.t_ms, "time stamps", 0)
        if handler is not None:
            handler(line)
        if "ree " in line.text:
            self._heap_print(line)
        if line.level in "EW":
            self._failure(line)

    def _is_restart(self, line: LogLine) -> bool:
        """Whether a fall of the time shows a boot that nothing else shows. Until the application runs, and in the
        panic handler, lines have the time of another clock, which an emulator does not keep in step."""
        is_starting = self._stage is not None and 0 < self._stage < _STAGE_RUNNING
        is_sign = (line.tag, line.text) in _APP_MARKS or _BOOT_LOADER.search(line.text)
        return not is_starting and not is_sign and not self._panics.is_waiting

    def _headless(self, line: Line) -> None:
        text = line.text
        if "@" in text:
            self._records_in(line)
        if _ROM.search(text):
            self.rom_banners += 1
        if "rst:" in text or "_RESET)" in text or "BOOT)" in text:
            self._reset(line)

    def _reset(self, line: Line) -> None:
        found = _RESET.search(line.text)
        if found is not None:
            self._end_watchdog()
            cause = {"cause": found[2], "code": int(found[1], 16), "mode": found[3]}
            self._new_boot(line.number, None, "reset banner", _STAGE_BANNER, **cause)
        elif _RESET_RUIN.search(line.text):
            self._out.append(self._unreadable("reset banner", "damaged", line))

    def _unreadable(self, what: str, reason: str, line: Line | LogLine) -> ev.Unreadable:
        return ev.Unreadable(
            **self._at(line.number, None), what=what, reason=reason, quote=_quote(line.whole)
        )

    # --- Boots ---

    def _new_boot(self, number: int, t_ms: int | None, sign: str, stage: int, **banner: Any) -> None:
        """The chip has started; every sign of it but the first only says how far it has come."""
        self._flush_panics()
        self._end_boot()
        # Lines that say nothing are only counted: the line at hand is one of them, but for banners and records.
        before = sum(self.scan.levels.values()) - (sign in ("time stamps", "boot loader", "application"))
        if (self._saw_anything or before > 0) and not self._is_download:
            self._boot += 1
        self._saw_anything = True
        self._is_download = banner.get("mode") == _DOWNLOAD
        self._stage, self._boot_id = stage, ""
        if sign != "time stamps":
            self.scan.restart_clock()
        self._out.append(ev.BootStarted(**self._at(number, t_ms), sign=sign, **banner))

    def _advance(self, line: LogLine, sign: str, stage: int) -> None:
        """A sign of a boot; those of one boot come in the order of their stages."""
        if self._stage is None or stage <= self._stage:
            self._new_boot(line.number, line.t_ms, sign, stage)
        self._stage = stage

    def _end_boot(self) -> None:
        if self._begun is not None:
            begun, self._begun = self._begun, None
            self._out.append(
                ev.Transition(
                    **self._at(begun.line, begun.t_ms),
                    to=begun.to,
                    result="unfinished",
                    start_line=begun.line,
                )
            )
        if self._half_sample is not None:
            self._lose_half()
        if self._build:
            build, self._build = self._build, {}
            build["regions"] = tuple(build.get("regions", ()))
            self._out.append(ev.BuildSeen(boot=self._boot, t_ms=None, **build))

    def _boot_loader(self, line: LogLine) -> None:
        found = _BOOT_LOADER.search(line.text)
        if found is not None:
            self.boot_loader_starts += 1
            self._advance(line, "boot loader", _STAGE_LOADER)
            self.scan.restart_clock()

    def _app_start(self, line: LogLine) -> None:
        stage = _APP_MARKS.get((line.tag, line.text))
        if stage is not None:
            before = self._boot
            was_running = self._stage is not None and self._stage >= min(_APP_MARKS.values())
            self._advance(line, "application", stage)
            self.app_starts += not was_running or self._boot != before

    def _app_info(self, line: LogLine) -> None:
        self._app_start(line)
        name, _, value = line.text.partition(":")
        key = {
            "Project name": "project",
            "App version": "app_version",
            "ELF file SHA256": "elf",
            "ESP-IDF": "idf",
            "Chip rev": "chip_rev",
        }.get(name)
        if key is not None:
            self._add_build(line, key, value.strip())

    def _add_build(self, line: LogLine, key: str, value: Any) -> None:
        self._build.setdefault("line", line.number)
        self._build[key] = value

    def _heap_region(self, line: LogLine) -> None:
        found = _HEAP_REGION.fullmatch(line.text)
        if found is not None:
            region = ev.HeapRegion(int(found[1], 16), int(found[2], 16), found[3])
            self._add_build(line, "regions", [*self._build.get("regions", [])[:31], region])

    def _psram(self, line: LogLine) -> None:
        found = _PSRAM.fullmatch(line.text)
        if found is not None:
            self._add_build(line, "psram_mb", int(found[1]))

    # --- Memory ---

    def _memory_manager(self, line: LogLine) -> None:
        found = _WARNING.search(line.text) if line.level in "EW" else None
        if found is None:
            return
        text = found[2]
        if "ragmentation" in text:
            memory, value = "frag", max((int(percent) for percent in _PERCENT.findall(text)), default=None)
        else:
            known = [
                name
                for name, word in zip(MEMORIES, ("Internal", "DMA", "PSRAM"), strict=True)
                if word in text
            ]
            size = _BYTES.search(text)
            if not known or size is None:
                self._out.append(self._unreadable("warning", "neither memory nor value in it", line))
                return
            memory, value = known[0], int(size[1])
        threshold = _THRESHOLD.search(text)
        self._out.append(
            ev.MemoryWarning(
                **self._at(line.number, line.t_ms),
                level="CRIT" if found[1] == "CRITICAL" else "WARN",
                memory=memory,
                text=_quote(line.text),
                value=value,
                threshold=int(threshold[1]) if threshold else None,
            )
        )

    def _heap_print(self, line: LogLine) -> None:
        found = _FREE.match(line.text)
        if found is not None:
            is_at_main = line.tag == "HOTPIN_MAIN" and found[1] == "heap"  # the first firmware's
            if is_at_main and "free_heap_at_main" not in self._build:
                self._add_build(line, "free_heap_at_main", int(found[2]))
            memory, free = _FREE_NAMES[found[1]], found[2]
        elif (found := _DMA_FREE.search(line.text)) is not None:
            memory, free = "dma", found[2] or found[1]
        else:
            return
        self._out.append(ev.HeapPrint(line.number, self._boot, line.t_ms, line.tag, memory, int(free)))

    def _box(self, box: Box | BrokenBox) -> ev.Event:
        lines = box.lines if isinstance(box, Box) else box.own
        top, title = lines[0], lines[1]
        joined = any(line.is_joined for line in lines)
        at = self._at(title.number, top.t_ms)
        if isinstance(box, BrokenBox):
            return ev.BoxBroken(
                **at, context=_quote(box.context), reason=_quote(box.reason), corrupted=joined
            )
        return ev.Sample(
            **at,
            source="box",
            context=_quote(box.context),
            stats=box.stats,
            delta=box.delta,
            title_ms=title.t_ms,
            foreign=len(box.foreign),
            corrupted=joined,
        )

    # --- Transitions ---

    def _first_state_manager(self, line: LogLine) -> None:
        if (found := _TO_MODE.search(line.text)) is not None:
            self._begin(line, found[1].lower())
        elif (found := _MODE_DONE.search(line.text)) is not None:
            self._out.append(self._end_transition(line, found[1].lower(), "complete"))
        elif self._begun is not None and line.level == "E" and _MODE_FAILED.search(line.text):
            self._out.append(self._end_transition(line, self._begun.to, "failed"))

    def _begin(self, line: LogLine, to: str) -> None:
        if self._begun is not None:
            begun = self._begun
            self._out.append(
                ev.Transition(
                    **self._at(begun.line, begun.t_ms),
                    to=begun.to,
                    result="unfinished",
                    start_line=begun.line,
                )
            )
        self._begun = _Begun(to, line.number, line.t_ms)
        self._out.append(ev.TransitionStarted(**self._at(line.number, line.t_ms), to=to))

    def _end_transition(self, line: LogLine, to: str, result: str) -> ev.Transition:
        begun, self._begun = self._begun, None
        duration = start = None
        if begun is not None and begun.to == to and begun.t_ms is not None:
            duration, start = max(0, line.t_ms - begun.t_ms), begun.line
        error = _ERR_NAME.search(line.text)
        return ev.Transition(
            **self._at(line.number, line.t_ms),
            to=to,
            result=result,
            duration_ms=duration,
            start_line=start,
            text=_quote(line.text) if result != "complete" else "",
            error=error[0] if error else "",
        )

    def _state_manager(self, line: LogLine) -> None:
        """The lines of this project's firmware, for a log without its records (a release build has none of them)."""
        if (found := _CHANGED.fullmatch(line.text)) is not None:
            to, duration = found[2], int(found[3])
            if self._last_change != (to, duration):
                self._begun = None
                self._out.append(
                    ev.Transition(
                        **self._at(line.number, line.t_ms), to=to, result="complete", duration_ms=duration
                    )
                )
            self._last_change = ("", -1)
        elif (found := _NO_ROOM.fullmatch(line.text)) is not None:
            self._out.append(
                ev.AllocationFailed(
                    **self._at(line.number, line.t_ms),
                    kind="transition",
                    text=_quote(line.text),
                    size=int(found[3]),
                    have=int(found[5]),
                )
            )

    # --- Failures ---

    def _failure(self, line: LogLine) -> None:
        at = self._at(line.number, line.t_ms)
        text = line.text
        if (found := _NO_PSRAM.search(text) or _BLOCK_FAILED.search(text)) is not None:
            self._out.append(
                ev.AllocationFailed(
                    **at, kind="psram", text=_quote(text), size=int(found[1]), have=int(found[2])
                )
            )
        elif line.tag == "i2s_common" and _I2S_NO_MEM.search(text):
            self._out.append(ev.AllocationFailed(**at, kind="i2s", text=_quote(text)))
        elif _ALLOC_FAILED.search(text):
            size = _SIZE.search(text)
            kind = "tts" if line.tag == "TTS" else "other"
            self._out.append(
                ev.AllocationFailed(**at, kind=kind, text=_quote(text), size=int(size[1]) if size else None)
            )
        elif _CAMERA_FAILED.search(text):
            self._out.append(ev.CameraFailed(**at, text=_quote(text)))

    def _task_watchdog(self, line: LogLine) -> None:
        if line.text.startswith("Task watchdog got triggered"):
            self._end_watchdog()
            self._watchdog = (line.number, line.t_ms, [])
        elif self._watchdog is not None:
            found = _TASK.match(line.text)
            if found is not None and len(self._watchdog[2]) < 100:
                self._watchdog[2].append(found[1])
            elif line.text.startswith("Tasks currently running"):
                self._end_watchdog()

    def _end_watchdog(self) -> None:
        if self._watchdog is not None:
            number, t_ms, tasks = self._watchdog
            self._watchdog = None
            self._out.append(ev.TaskWatchdog(**self._at(number, t_ms), tasks=tuple(tasks)))

    def _panic(self, panic: Panic) -> ev.PanicSeen:
        regions = tuple(self._build.get("regions", ()))
        return ev.PanicSeen(**self._at(panic.number, self.scan.high_ms), panic=panic, regions=regions)

    # --- Records ---

    def _records_in(self, line: Line) -> None:
        raw = line.text.encode("utf-8", errors="replace")
        record = read_record(raw)
        if record is not None:
            self.records += 1
            self._record(line.number, record)
            return
        for item in RecordScanner().feed(raw + b"\n"):
            if isinstance(item, Corrupt):
                self._out.append(
                    ev.Unreadable(
                        **self._at(line.number, None),
                        what="record",
                        reason=_quote(item.reason),
                        quote=_quote(item.raw.decode("latin-1")),
                    )
                )
            else:
                self.records += 1
                self._record(line.number, item)

    def _record(self, number: int, record: Record) -> None:
        if self._boot_id not in ("", record.boot):
            self._new_boot(number, record.t_ms, "boot record", _STAGE_RUNNING)
        elif self._boot_id and record.n > self._newest + 1:
            self.records_lost += record.n - self._newest - 1
        self._newest = max(self._newest, record.n) if self._boot_id == record.boot else record.n
        self._boot_id = record.boot
        self._saw_anything = True
        data = record.data
        try:
            if self._half_sample is not None and record.event != "mem.sample":
                self._lose_half()
            if record.event == "mem.sample":
                self._sample_record(number, record)
            elif record.event in ("mem.warning", "mem.recovered"):
                self._out.append(self._warning_record(number, record))
            elif record.event == "mem.alloc_failed":
                self._out.append(
                    ev.AllocationFailed(
                        **self._at(number, record.t_ms),
                        kind="hook",
                        text=f"{data['function']} of {int(data['size'])} bytes",
                        size=int(data["size"]),
                        caps=int(data["caps"]),
                    )
                )
            elif record.event == "mode":
                self._out.append(self._mode_record(number, record))
            elif record.event == "boot" and not record.more:  # long texts of the build come in one before
                self._boot_record(number, record)
            elif record.kind == "reply" and isinstance(data.get("regions"), list):
                self._heap_map(number, record)
            elif record.kind == "reply" and "boot_id" in data:
                self._last_reply = (record.id, list(data.get("fields", ())))
            elif record.kind == "reply" and self._last_reply is not None and record.id == self._last_reply[0]:
                self._survived(number, record)
        except (KeyError, TypeError, ValueError) as error:
            self._out.append(
                ev.Unreadable(
                    **self._at(number, record.t_ms),
                    what="record",
                    reason=f"checksum right, field missing or wrong: {error}",
                    quote=_quote(record.raw.decode("latin-1")),
                )
            )

    def _sample_record(self, number: int, record: Record) -> None:
        if self._half_sample is not None:
            number, first = self._half_sample
            if "context" not in record.data and record.n == first.n + 1:
                self._half_sample = None
                self._out.append(self._sample(number, {**first.data, **record.data}))
                return
            self._lose_half()
        if "context" not in record.data:
            raise ValueError("the second half of a sample whose first is missing")
        if record.more:
            self._half_sample = (number, record)
        else:
            self._out.append(self._sample(number, record.data))

    def _sample(self, number: int, data: dict[str, Any]) -> ev.Sample:
        stats = _stats(data)
        delta = {name[6:]: int(value) for name, value in data.items() if name.startswith("delta_")}
        context = _quote(str(data["context"]))
        return ev.Sample(
            **self._at(number, stats.timestamp_ms), source="record", context=context, stats=stats, delta=delta
        )

    def _lose_half(self) -> None:
        assert self._half_sample is not None
        number, first = self._half_sample
        self._half_sample = None
        self._out.append(
            ev.Unreadable(
                **self._at(number, first.t_ms),
                what="record",
                reason="the second half of a sample is missing",
                quote=_quote(first.raw.decode("latin-1")),
            )
        )

    def _warning_record(self, number: int, record: Record) -> ev.MemoryWarning:
        data = record.data
        kind, value, threshold = str(data["type"]), int(data["value"]), int(data["threshold"])
        if kind == "FRAGMENTATION_HIGH":
            level, memory = "CRIT" if threshold >= _FRAGMENTATION_CRITICAL else "WARN", "frag"
        else:
            level, memory = _WARNING_TYPES[kind]
        return ev.MemoryWarning(
            **self._at(number, int(data["timestamp_ms"])),
            level=level,
            memory=memory,
            text=f"{kind}: {value} against {threshold}",
            value=value,
            threshold=threshold,
            recovered=record.event == "mem.recovered",
            source="record",
        )

    def _mode_record(self, number: int, record: Record) -> ev.Transition:
        data = record.data
        to, duration = str(data["to"]), int(data["duration_ms"])
        self._begun = None
        is_ok = data["ok"] is True
        if is_ok:
            self._last_change = (to, duration)
        return ev.Transition(
            **self._at(number, record.t_ms),
            to=to,
            result="complete" if is_ok else "failed",
            duration_ms=duration,
            text="" if is_ok else _failed_text(data),
            step=str(data.get("step") or ""),
            error="" if is_ok else str(data.get("err") or ""),
            block=str(data.get("block") or ""),
            missing=int(data["missing"]) if data.get("missing") else None,
            largest=int(data["largest"]) if data.get("largest") else None,
        )

    def _boot_record(self, number: int, record: Record) -> None:
        data = record.data
        self._build.setdefault("line", number)
        self._build["free_heap_at_main"] = int(data["free_at_main"])
        self._out.append(
            ev.ResetReason(
                **self._at(number, record.t_ms),
                reason=str(data["reset_reason"]),
                boot_count=int(data["boot_count"]),
            )
        )

    def _survived(self, number: int, record: Record) -> None:
        assert self._last_reply is not None
        fields = self._last_reply[1]
        fields += record.data.get("fields", ())
        rows = record.data.get("snapshots", [])
        if rows:
            self._last_reply = None
            newest = dict(zip(fields, rows[0], strict=True))
            context, stats = str(newest.pop("context")), _stats(newest)
            self._out.append(
                ev.Survived(**self._at(number, record.t_ms), context=_quote(context), stats=stats)
            )

    def _heap_map(self, number: int, record: Record) -> None:
        """The heaps come in several records of one answer."""
        if not self._heaps or self._heaps[0] != record.id:
            self._heaps = (record.id, [])
        heaps = self._heaps[1]
        for one in record.data["regions"]:
            start, length, free, largest = (int(one[key]) for key in ("start", "length", "free", "largest"))
            heaps.append(ev.MappedHeap(start, length, str(one["caps"]), free, largest))
        if not record.more or len(heaps) > _HEAPS_MAX:
            self._heaps = None
            self._out.append(ev.HeapMap(**self._at(number, record.t_ms), heaps=tuple(heaps)))


def _stats(data: dict[str, Any]) -> MemoryStats:
    values = [int(data[name]) for name in _REQUIRED]
    known = [data.get(name) for name in _OPTIONAL]
    return MemoryStats(*values, *(None if value is None else int(value) for value in known))


def _failed_text(data: dict[str, Any]) -> str:
    """A mode record of a failed transition, to be read."""
    text = f"{data['from']} -> {data['to']} failed at step {data.get('step')}: {data.get('err')}"
    if data.get("missing"):
        text += f", {data['missing']} bytes missing"
    if data.get("block"):
        text += f" for {data['block']}, largest free block {data.get('largest')}"
    return _quote(text)


def _quote(text: str) -> str:
    return text if len(text) <= QUOTE_MAX else text[: QUOTE_MAX - 3] + "..."
