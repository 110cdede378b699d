"""`heap_trace_dump`: the allocations that were not freed, by caller."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TypeVar

from hotpin_hil.logs.sink import EventSink
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.log import ConsoleLine

_ROW = re.compile(
    r"\s{0,12}(\d{1,10}) bytes \(@ 0x[0-9a-f]{1,8}.{0,20}?\) allocated CPU \d "
    r"ccount 0x[0-9a-f]{1,8} caller (0x[0-9a-f]{1,8})((?::0x[0-9a-f]{1,8}){0,31}):?( freed$)?"
)
_FREED = "freed by "
"""Start of the line after the row of a freed allocation, which HEAP_TRACE_ALL also lists."""
_TOTAL = re.compile(r"(\d{1,10}) bytes (?:'leaked'|alive) in trace \((\d{1,10})")
_CALLERS_MAX = 256

_Key = TypeVar("_Key")


class HeapTraceLines:
    """Adds up the rows of a dump, and emits an event at its total."""

    def __init__(self, sink: EventSink) -> None:
        self._sink = sink
        self._callers: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
        self._chains: defaultdict[tuple[int, ...], list[int]] = defaultdict(lambda: [0, 0])
        self._last: tuple[str, tuple[int, ...], int] | None = None
        """Caller, chain of callers and bytes of the last row."""

    def take(self, line: ConsoleLine, t_ms: int | None) -> None:
        """Add the row of a dump, or emit its total."""
        if line.text.startswith(_FREED):
            if self._last is not None:
                caller, chain, size = self._last
                _remove(self._callers, caller, size)
                _remove(self._chains, chain, size)
            self._last = None
        elif (row := _ROW.match(line.text.rstrip())) is not None:
            self._last = None
            if not row[4]:
                chain = tuple(int(address, 16) for address in f"{row[2]}{row[3]}".split(":"))
                self._last = row[2], chain, int(row[1])
                _add(self._callers, row[2], int(row[1]))
                _add(self._chains, chain, int(row[1]))
        elif (total := _TOTAL.match(line.text.strip())) is not None:
            callers, chains = _largest_first(self._callers), _largest_first(self._chains)
            self._callers.clear()
            self._chains.clear()
            place = self._sink.place(line.number, t_ms)
            self._sink.emit(
                ev.HeapTrace(
                    *place,
                    bytes=int(total[1]),
                    allocations=int(total[2]),
                    callers=callers,
                    chains=chains,
                )
            )


def _add(sums: defaultdict[_Key, list[int]], key: _Key, size: int) -> None:
    if key in sums or len(sums) < _CALLERS_MAX:
        sums[key][0] += 1
        sums[key][1] += size


def _remove(sums: defaultdict[_Key, list[int]], key: _Key, size: int) -> None:
    if key in sums:
        sums[key][0] -= 1
        sums[key][1] -= size


def _largest_first(sums: dict[_Key, list[int]]) -> tuple[tuple[_Key, int, int], ...]:
    ordered = sorted(sums.items(), key=lambda entry: -entry[1][1])
    return tuple((key, count, size) for key, (count, size) in ordered if count)
