"""Collects the identity of the firmware from the lines that it prints at boot."""

from __future__ import annotations

import re
from typing import Any

from hotpin_hil.logs.sink import EventSink
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.log import LogLine

_HEAP_REGION = re.compile(r"At ([0-9A-Fa-f]{8}) len ([0-9A-Fa-f]{8}) \(\d{1,10} KiB\): (\S{1,40})")
_REGIONS_MAX = 32
_PSRAM = re.compile(r"Found (\d{1,5})(MB PSRAM|MBit SPI RAM) device")
_APP_INFO = {
    "Project name": "project",
    "App version": "app_version",
    "ELF file SHA256": "elf",
    "ESP-IDF": "idf",
    "Chip rev": "chip_rev",
}
APP_INFO = tuple(_APP_INFO)
"""Prefixes of the lines that `take_app_info` reads."""


class BuildCollector:
    """Collects the fields of a boot's BuildSeen event and emits it when the boot ends."""

    def __init__(self, sink: EventSink) -> None:
        self._sink = sink
        self._line: int | None = None
        self._fields: dict[str, Any] = {}
        self._regions: tuple[ev.HeapInitRegion, ...] = ()

    @property
    def regions(self) -> tuple[ev.HeapInitRegion, ...]:
        """The heap regions that this boot has printed."""
        return self._regions

    def take_app_info(self, line: LogLine) -> None:
        """Store a fact about the build or chip from a line of `app_init` or `efuse_init`."""
        name, _, value = line.text.partition(":")
        key = _APP_INFO.get(name)
        if key is not None:
            self._add(line.number, key, value.strip())

    def take_heap_region(self, line: LogLine) -> None:
        """Store a heap region from a line of `heap_init`."""
        found = _HEAP_REGION.fullmatch(line.text)
        if found is not None:
            region = ev.HeapInitRegion(int(found[1], 16), int(found[2], 16), found[3])
            self._regions = (*self._regions[: _REGIONS_MAX - 1], region)
            self._note_line(line.number)

    def take_psram(self, line: LogLine) -> None:
        """Store the size of the PSRAM from a line of its driver."""
        found = _PSRAM.fullmatch(line.text)
        if found is not None:
            size = int(found[1])
            self._add(line.number, "psram_mb", size // 8 if "Bit" in found[2] else size)

    def note_elf(self, line: int, sha256: str) -> None:
        """Store the ELF hash that a panic prints, unless the application has already printed it at boot."""
        if "elf" not in self._fields:
            self._add(line, "elf", sha256)

    def note_free_at_main(self, line: int, free: int, *, keep_first: bool) -> None:
        """Store the free heap at `app_main`.

        Args:
            line: number of the line that printed it.
            free: bytes.
            keep_first: whether to keep an earlier figure, if there is one.
        """
        if not (keep_first and "free_heap_at_main" in self._fields):
            self._add(line, "free_heap_at_main", free)

    def end_boot(self) -> None:
        """Emit the BuildSeen event of the finished boot, if any, and reset."""
        if self._line is not None:
            place = self._sink.place(self._line, None)
            self._sink.emit(ev.BuildSeen(*place, regions=self._regions, **self._fields))
        self._line, self._fields, self._regions = None, {}, ()

    def _add(self, line: int, key: str, value: Any) -> None:
        self._note_line(line)
        self._fields[key] = value

    def _note_line(self, line: int) -> None:
        if self._line is None:
            self._line = line
