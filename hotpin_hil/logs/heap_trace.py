"""`heap_trace_dump`: the allocations that were not freed, by caller."""

from __future__ import annotations

import re
from collections import defaultdict

from hotpin_hil.logs.sink import EventSink
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.log import ConsoleLine

_ROW = re.compile(
    r"\s{0,12}(\d{1,10}) bytes \(@ 0x[0-9a-f]{1,8}.{0,20}?\) allocated CPU \d "
    r"ccount 0x[0-9a-f]{1,8} caller (0x[0-9a-f]{1,8})(?:.{0,400}?(\bfreed)$)?"
)
_FREED = "freed by "
"""Begins the line after the row of a freed allocation, which HEAP_TRACE_ALL lists like the others."""
_TOTAL = re.compile(r"(\d{1,10}) bytes (?:'leaked'|alive) in trace \((\d{1,10})")
_CALLERS_MAX = 256


class HeapTraceLines:
    """Adds up the rows of a dump, and emits an event at its total."""

    def __init__(self, sink: EventSink) -> None:
        self._sink = sink
        self._callers: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
        self._last: tuple[str, int] | None = None
        """Caller and bytes of the last row."""

    def take(self, line: ConsoleLine, t_ms: int | None) -> None:
        """Add the row of a dump, or emit its total."""
        if line.text.startswith(_FREED):
            if self._last is not None:
                self._add(self._last[0], -1, -self._last[1])
            self._last = None
        elif (row := _ROW.match(line.text.rstrip())) is not None:
            self._last = None
            if not row[3] and (row[2] in self._callers or len(self._callers) < _CALLERS_MAX):
                self._last = row[2], int(row[1])
                self._add(row[2], 1, int(row[1]))
        elif (total := _TOTAL.match(line.text.strip())) is not None:
            alive = [(caller, sums) for caller, sums in self._callers.items() if sums[0]]
            callers = sorted(alive, key=lambda entry: -entry[1][1])
            self._callers.clear()
            place = self._sink.place(line.number, t_ms)
            self._sink.emit(
                ev.HeapTrace(
                    *place,
                    bytes=int(total[1]),
                    allocations=int(total[2]),
                    callers=tuple((caller, count, size) for caller, (count, size) in callers),
                )
            )

    def _add(self, caller: str, count: int, size: int) -> None:
        sums = self._callers[caller]
        sums[0] += count
        sums[1] += size
