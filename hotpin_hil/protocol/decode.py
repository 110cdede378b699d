"""Decodes the fields of firmware events and replies into typed events; the only module that contains their keys.

All functions raise KeyError, TypeError or ValueError if a field is missing or has another type or value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.fields import FIELDS, MemoryStats

SAMPLE, WARNING, RECOVERED = "mem.sample", "mem.warning", "mem.recovered"
ALLOC_FAILED, MODE, BOOT = "mem.alloc_failed", "mode", "boot"
"""Names of the events."""

FRAGMENTATION_CRITICAL = 50
"""The guide's default threshold, in %. A fragmentation warning does not contain its level; the threshold
identifies it."""
_WARNING_TYPES = {
    "INTERNAL_LOW": ("WARN", "internal"),
    "INTERNAL_CRITICAL": ("CRIT", "internal"),
    "DMA_LOW": ("WARN", "dma"),
    "DMA_CRITICAL": ("CRIT", "dma"),
    "PSRAM_LOW": ("WARN", "psram"),
    "PSRAM_CRITICAL": ("CRIT", "psram"),
}
_REQUIRED = tuple(
    field.name for field in dataclasses.fields(MemoryStats) if field.default is dataclasses.MISSING
)
_OPTIONAL = tuple(field.name for field in FIELDS if field.name not in _REQUIRED)
_DELTA = "delta_"

Fields = Mapping[str, Any]


class Place(NamedTuple):
    """Position of an event in a log: line (from 1), boot (from 0), board time in ms."""

    line: int
    boot: int
    t_ms: int | None


def decode_event(name: str, data: Fields, place: Place) -> ev.LogEvent | None:
    """Decode a complete firmware event.

    Args:
        name: value of its `event` field.
        data: its fields, with all its records joined.
        place: position of the event. Samples and warnings contain their own time.

    Returns:
        The typed event; None for an event that is not about memory, modes or boots.
    """
    decode = _DECODERS.get(name)
    return None if decode is None else decode(data, place)


def decode_stats(data: Fields) -> MemoryStats:
    """The statistics in the fields of a sample or a snapshot."""
    optional = (_optional_integer(data, name) for name in _OPTIONAL)
    return MemoryStats(*(_integer(data, name) for name in _REQUIRED), *optional)


def decode_heaps(rows: Sequence[Fields]) -> list[ev.MappedHeap]:
    """Heaps of a `heap.regions` reply, from its `regions` field."""
    return [
        ev.MappedHeap(
            start=_integer(row, "start"),
            length=_integer(row, "length"),
            caps=str(row["caps"]),
            free=_integer(row, "free"),
            largest=_integer(row, "largest"),
        )
        for row in rows
    ]


def decode_survived(names: Sequence[str], row: Sequence[Any], place: Place) -> ev.Survived:
    """The newest snapshot of a `sys.last` reply, from a row of its table and the column names."""
    data = dict(zip(names, row, strict=True))
    return ev.Survived(*place, context=ev.quote(str(data["context"])), stats=decode_stats(data))


def _integer(data: Fields, key: str) -> int:
    value = data[key]
    if type(value) is not int:  # bool is a subclass of int
        raise ValueError(f"{key!r} is {value!r}, expected an integer")
    return value


def _optional_integer(data: Fields, key: str) -> int | None:
    return None if data.get(key) is None else _integer(data, key)


def _sample(data: Fields, place: Place) -> ev.Sample:
    stats = decode_stats(data)
    delta = {name[len(_DELTA) :]: _integer(data, name) for name in data if name.startswith(_DELTA)}
    return ev.Sample(
        place.line,
        place.boot,
        stats.timestamp_ms,
        source="record",
        context=ev.quote(str(data["context"])),
        stats=stats,
        delta=delta,
    )


def _warning(data: Fields, place: Place, *, recovered: bool = False) -> ev.MemoryWarning:
    kind, value, threshold = str(data["type"]), _integer(data, "value"), _integer(data, "threshold")
    if kind == "FRAGMENTATION_HIGH":
        level, memory = "CRIT" if threshold >= FRAGMENTATION_CRITICAL else "WARN", "frag"
    else:
        level, memory = _WARNING_TYPES[kind]
    return ev.MemoryWarning(
        place.line,
        place.boot,
        _integer(data, "timestamp_ms"),
        level=level,
        memory=memory,
        text=f"{kind}: {value} against {threshold}",
        value=value,
        threshold=threshold,
        recovered=recovered,
        source="record",
        type=kind,
    )


def _recovered(data: Fields, place: Place) -> ev.MemoryWarning:
    return _warning(data, place, recovered=True)


def _alloc_failed(data: Fields, place: Place) -> ev.AllocationFailed:
    size, function = _integer(data, "size"), str(data["function"])
    return ev.AllocationFailed(
        *place,
        kind="hook",
        text=f"{function} of {size} bytes",
        size=size,
        caps=_integer(data, "caps"),
        function=function,
    )


def _mode(data: Fields, place: Place) -> ev.ModeChange:
    return ev.ModeChange(
        *place,
        start=str(data["from"]),
        to=str(data["to"]),
        ok=data["ok"] is True,
        duration_ms=_integer(data, "duration_ms"),
        step=str(data.get("step") or ""),
        error=str(data.get("err") or ""),
        block=str(data.get("block") or ""),
        missing=_optional_integer(data, "missing"),
        largest=_optional_integer(data, "largest"),
        mode=str(data.get("mode") or ""),
    )


def _boot(data: Fields, place: Place) -> ev.ResetReason:
    return ev.ResetReason(
        *place,
        reason=str(data["reset_reason"]),
        boot_count=_integer(data, "boot_count"),
        free_at_main=_integer(data, "free_at_main"),
    )


_DECODERS: dict[str, Callable[[Fields, Place], ev.LogEvent]] = {
    SAMPLE: _sample,
    WARNING: _warning,
    RECOVERED: _recovered,
    ALLOC_FAILED: _alloc_failed,
    MODE: _mode,
    BOOT: _boot,
}
