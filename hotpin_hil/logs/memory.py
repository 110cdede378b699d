"""Log lines about memory: boxes, warnings, and readings that components print themselves."""

from __future__ import annotations

import re

from hotpin_hil.logs.build import BuildCollector
from hotpin_hil.logs.sink import EventSink
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.box import Box, BoxFinder, BrokenBox, box_values
from hotpin_hil.protocol.fields import MEMORIES
from hotpin_hil.protocol.log import ConsoleLine, LogLine

_FREE = re.compile(r"\s*Free (DMA-capable|PSRAM|internal RAM|heap)(?: before| after)?: (\d+) bytes")
_DMA_FREE = re.compile(r"DMA memory free (\d+)(?: -> (\d+))? bytes")
_FREE_NAMES = {"DMA-capable": "dma", "PSRAM": "psram", "internal RAM": "internal", "heap": "heap"}
_FIRST_MAIN = "HOTPIN_MAIN"
"""Tag of the original firmware's main task, which prints the free heap itself."""
_WARNING = re.compile(r"(WARNING|CRITICAL): (.*)")
_WARNING_WORDS = dict(zip(MEMORIES, ("Internal", "DMA", "PSRAM"), strict=True))
_BYTES = re.compile(r"(\d+) bytes")
_THRESHOLD = re.compile(r"threshold: (\d+)")
_PERCENT = re.compile(r"(\d+)%")


class MemoryLines:
    """Turns lines about memory into events."""

    def __init__(self, sink: EventSink, build: BuildCollector) -> None:
        self._sink = sink
        self._build = build
        self._boxes = BoxFinder()

    @property
    def is_waiting(self) -> bool:
        """Whether a box is being printed, so that the next line matters regardless of its text."""
        return self._boxes.is_waiting

    # --- Boxes ---

    def take_box_line(self, line: LogLine | ConsoleLine) -> None:
        """Add a line to the open box, if it continues or interrupts one."""
        for box in self._boxes.add(line):
            self._box(box)

    def take_whole_box(self, number: int, t_ms: int, title_ms: int, context: str, figures: list[int]) -> None:
        """Emit the sample of an uninterrupted box.

        Args:
            number: line number of its top.
            t_ms: time of its first line.
            title_ms: time of its second line.
            context: the context in its title.
            figures: its figures, in the order of the box.
        """
        stats, delta = box_values(t_ms, figures)
        self._sink.emit(
            ev.Sample(
                number + 1,
                self._sink.boot,
                t_ms,
                source="box",
                context=ev.quote(context),
                stats=stats,
                delta=delta,
                title_ms=title_ms,
            )
        )

    def close(self) -> None:
        """End the log: emit the boxes that it cuts off."""
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
            return
        self._sink.emit(ev.HeapPrint(line.number, self._sink.boot, line.t_ms, line.tag, memory, free))
