"""Log lines about memory: boxes, warnings, and readings that components print themselves."""

from __future__ import annotations

import re
from dataclasses import replace

from hotpin_hil.logs.build import BuildCollector
from hotpin_hil.logs.sink import EventSink
from hotpin_hil.logs.whole_box import WholeBox
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.box import Box, BoxFinder, BrokenBox, box_values
from hotpin_hil.protocol.fields import MEMORIES
from hotpin_hil.protocol.log import ConsoleLine, LogLine
from hotpin_hil.protocol.readings import find_readings, find_task_use
from hotpin_hil.protocol.shortages import CAPS, memory_of_caps

_FREE = re.compile(r"\s{0,8}Free (DMA-capable|PSRAM|internal RAM|heap)(?: before| after)?: (\d{1,10}) bytes")
_DMA_FREE = re.compile(r"DMA memory free (\d{1,10})(?: -> (\d{1,10}))? bytes")
_FREE_NAMES = {"DMA-capable": "dma", "PSRAM": "psram", "internal RAM": "internal", "heap": "heap"}
_OWN_TAGS = ("MEM_MGR", "STATE", "STATE_MGR", "heap_init")
"""Tags whose lines have separate handlers."""
_SUMMARY = re.compile(r"Heap summary for capabilities 0x([0-9a-fA-F]{1,8})")
_TOTALS = re.compile(r"\s{1,8}free \d{1,10} allocated \d{1,10} min_free ")
_SUMMARY_LINES = 200
_HEAP = re.compile(r"\s{1,8}At 0x([0-9a-f]{1,8}) len (\d{1,10}) free (\d{1,10}) allocated ")
_HEAP_LARGEST = re.compile(r"\s{1,8}largest_free_block (\d{1,10}) alloc_blocks ")
_HEAPS_MAX = 32
_FIRST_MAIN = "HOTPIN_MAIN"
"""Tag of the original firmware's main task, which prints the free heap itself."""
_WARNING = re.compile(r"(WARNING|CRITICAL): (.*)")
_WARNING_WORDS = dict(zip(MEMORIES, ("Internal", "DMA", "PSRAM"), strict=True))
_BYTES = re.compile(r"\b(\d{1,10}) bytes")
_THRESHOLD = re.compile(r"threshold: (\d{1,10})")
_PERCENT = re.compile(r"\b(\d{1,10})%")


class MemoryLines:
    """Turns lines about memory into events."""

    def __init__(self, sink: EventSink, build: BuildCollector) -> None:
        self._sink = sink
        self._build = build
        self._boxes = BoxFinder()
        self._summary = (-_SUMMARY_LINES, 0)
        """Line of the last `heap_caps_print_heap_info`, and its capabilities."""
        self._heaps: list[ev.MappedHeap] = []
        """The heaps of this dump so far."""

    @property
    def is_waiting(self) -> bool:
        """Whether a box is being printed, so that the next line matters regardless of its text."""
        return self._boxes.is_waiting

    # --- Boxes ---

    def take_box_line(self, line: LogLine | ConsoleLine) -> None:
        """Add a line to the open box, if it continues or interrupts one."""
        for box in self._boxes.add(line):
            self._box(box)

    def take_whole_box(self, number: int, box: WholeBox) -> None:
        """Emit the sample of a whole box.

        Args:
            number: number of its first line.
            box: the box.
        """
        t_ms = int(box.stamps[0])
        stats, delta = box_values(t_ms, box.figures)
        self._sink.emit(
            ev.Sample(
                number + box.title - box.top,
                self._sink.boot,
                t_ms,
                source="box",
                context=ev.quote(box.context),
                stats=stats,
                delta=delta,
                title_ms=int(box.stamps[1]),
                foreign=len(box.foreign),
            )
        )

    def close(self) -> None:
        """End the log: emit the boxes that are cut off at its end."""
        for box in self._boxes.flush():
            self._box(box)

    def _box(self, box: Box | BrokenBox) -> None:
        lines = box.lines if isinstance(box, Box) else box.own
        top, title = lines[0], lines[1]
        joined = any(line.is_joined for line in lines)
        place = self._sink.place(title.number, top.t_ms)
        context = ev.quote(box.context)
        if isinstance(box, BrokenBox):
            reason = ev.quote(box.reason)
            self._sink.emit(ev.BoxBroken(*place, context=context, reason=reason, corrupted=joined))
            return
        self._sink.emit(
            ev.Sample(
                *place,
                source="box",
                context=context,
                stats=box.stats,
                delta=box.delta,
                title_ms=title.t_ms,
                foreign=len(box.foreign),
                corrupted=joined,
            )
        )

    # --- Single lines ---

    def take_manager(self, line: LogLine) -> None:
        """Emit the warning that a line of the memory manager contains, if any."""
        found = _WARNING.search(line.text) if line.level in "EW" else None
        if found is None:
            return
        text = found[2]
        if "ragmentation" in text:
            memory, value = "frag", max((int(percent) for percent in _PERCENT.findall(text)), default=None)
        else:
            known = [name for name, word in _WARNING_WORDS.items() if word in text]
            size = _BYTES.search(text)
            if not known or size is None:
                self._sink.emit_unreadable("warning", "it names no memory or no value", line)
                return
            memory, value = known[0], int(size[1])
        threshold = _THRESHOLD.search(text)
        self._sink.emit(
            ev.MemoryWarning(
                *self._sink.place(line.number, line.t_ms),
                level="CRIT" if found[1] == "CRITICAL" else "WARN",
                memory=memory,
                text=ev.quote(line.text),
                value=value,
                threshold=int(threshold[1]) if threshold else None,
            )
        )

    def take_reading(self, line: LogLine) -> None:
        """Emit a component's own reading of free memory, if the line has one."""
        found = _FREE.match(line.text)
        if found is not None:
            memory, free = _FREE_NAMES[found[1]], int(found[2])
            if line.tag == _FIRST_MAIN and memory == "heap":
                self._build.note_free_at_main(line.number, free, keep_first=True)
        elif (found := _DMA_FREE.search(line.text)) is not None:
            memory, free = "dma", int(found[2] or found[1])
        else:
            if line.tag not in _OWN_TAGS:
                self._readings(line, line.t_ms, line.tag)
            return
        self._sink.emit(ev.HeapPrint(line.number, self._sink.boot, line.t_ms, line.tag, memory, free))

    def take_text_reading(self, line: ConsoleLine, t_ms: int | None) -> bool:
        """Emit the readings in a line without a header.

        A record in the line is ignored: its figures are read elsewhere.

        Args:
            line: the line.
            t_ms: latest time before it.

        Returns:
            Whether the line is about free memory.
        """
        if line.text.startswith("@"):
            return False
        found = _SUMMARY.search(line.text)
        if found is not None:
            self._summary, self._heaps = (line.number, int(found[1], 16)), []
            return True
        if (use := find_task_use(line.text)) is not None:
            place = self._sink.place(line.number, t_ms)
            self._sink.emit(ev.TaskMemory(*place, task=use.task, used=use.used, peak=use.peak))
            return True
        number, caps = self._summary
        is_dump = line.number - number <= _SUMMARY_LINES
        if self._take_heap(line.text, caps, is_dump=is_dump):
            return True
        is_total = _TOTALS.match(line.text) is not None
        memory = memory_of_caps(caps) if is_dump and is_total else ""
        has_reading = self._readings(line, t_ms, "", memory)
        if is_dump and is_total:
            self._end_dump(line.number, t_ms)
        return has_reading or is_total

    def _take_heap(self, text: str, caps: int, *, is_dump: bool) -> bool:
        """Keep a heap of `heap_caps_print_heap_info`; returns whether the line has one."""
        if (heap := _HEAP.match(text)) is not None:
            names = ",".join(name for bit, name in CAPS.items() if caps & bit)
            mapped = ev.MappedHeap(int(heap[1], 16), int(heap[2]), names, int(heap[3]), 0)
            self._heaps = [*self._heaps[: _HEAPS_MAX - 1], mapped] if is_dump else []
        elif (largest := _HEAP_LARGEST.match(text)) is not None:
            if self._heaps:
                self._heaps[-1] = replace(self._heaps[-1], largest=int(largest[1]))
        else:
            return False
        return True

    def _end_dump(self, number: int, t_ms: int | None) -> None:
        if self._heaps:
            self._sink.emit(ev.HeapsReported(*self._sink.place(number, t_ms), heaps=tuple(self._heaps)))
        self._summary, self._heaps = (-_SUMMARY_LINES, 0), []

    def _readings(self, line: LogLine | ConsoleLine, t_ms: int | None, tag: str, memory: str = "") -> bool:
        place = self._sink.place(line.number, t_ms)
        readings = find_readings(line.text, memory)
        for found in readings:
            if found.free is not None:
                self._sink.emit(
                    ev.HeapPrint(*place, tag, found.memory, found.free, found.largest, found.minimum)
                )
            elif found.largest is not None:
                self._sink.emit(ev.LargestPrint(*place, tag, found.memory, found.largest))
        return bool(readings)
