"""What the commands answer, as frozen dataclasses. Sizes are bytes unless a name says otherwise."""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass
from typing import Any, TypeVar

from hotpin_hil.protocol.errors import ProtocolError
from hotpin_hil.protocol.fields import MemoryStats

A = TypeVar("A")


@dataclass(frozen=True)
class Event:
    """One event, all its records joined: `data` holds every field, `index` is its place on the channel."""

    name: str
    data: dict[str, Any]
    t_ms: int
    boot: str
    n: int
    index: int


@dataclass(frozen=True)
class BoardInfo:
    """`sys.info` and the `boot` event."""

    project: str
    version: str
    elf_sha256: str
    idf: str
    chip: str
    rev: str | int
    mac: str
    psram: int
    flash: int
    reset_reason: str
    boot_count: int
    free_at_main: int
    build: str
    b: str
    """Boot id."""
    t: int
    """ms since boot, when this was said."""


@dataclass(frozen=True)
class Probe:
    """Direct reading of one capability set, past the memory manager."""

    free: int
    largest: int
    minimum: int


@dataclass(frozen=True)
class Sandwich:
    """A claim between two direct readings per capability set; it counts only if both agree (`stable`)."""

    before: dict[str, Probe]
    claim: dict[str, Any]
    after: dict[str, Probe]

    @property
    def stable(self) -> bool:
        return self.before == self.after

    @property
    def stats(self) -> MemoryStats:
        """The claim as a memory sample, when it was `mem.stats`."""
        return parse_answer(MemoryStats, self.claim, "claim of heap.probe")


@dataclass(frozen=True)
class Region:
    """One heap of the board."""

    start: int
    length: int
    caps: str
    free: int
    largest: int
    blocks: int

    @property
    def end(self) -> int:
        return self.start + self.length


@dataclass(frozen=True)
class HeapMap:
    """Every block of one heap, or of a part of it, in the order of their addresses."""

    heap: int
    """Where the heap starts."""
    at: int
    """Address of the first block; the next one's is its size + 4 further."""
    blocks: tuple[int, ...]
    """Sizes in bytes, free ones negative."""
    truncated: bool = False
    """The heap has more blocks than there was room for."""


@dataclass(frozen=True)
class Hold:
    """Memory taken on purpose; `free` and `largest` are read after it."""

    id: int
    held: int
    """Usable bytes of the blocks; each costs the heap 4 more."""
    blocks: int
    free: int
    largest: int


@dataclass(frozen=True)
class Thresholds:
    """The eight levels at which warnings are raised; bytes and percent."""

    internal_ram_warning: int
    internal_ram_critical: int
    dma_capable_warning: int
    dma_capable_critical: int
    psram_warning: int
    psram_critical: int
    fragmentation_warning: int
    fragmentation_critical: int


@dataclass(frozen=True)
class Monitor:
    interval_ms: int
    running: bool
    samples: int


@dataclass(frozen=True)
class Placement:
    placeable: bool
    missing: int
    """Size of the first block that cannot be had, 0 if all can."""
    placed: int | None = None
    """How many of the blocks, from the front, can be had."""
    largest: int | None = None
    """The largest block that is left for the missing one."""


@dataclass(frozen=True)
class SelfCost:
    """What the memory manager itself takes."""

    bytes_internal: int
    stack_size: int
    stack_unused: int
    cpu_us_per_sample: int
    samples: int
    bytes_static: int | None = None
    bytes_task: int | None = None
    bytes_rtc: int | None = None
    """Kept in RTC memory, which is no heap."""


@dataclass(frozen=True)
class TtsState:
    state: str
    psram_free: int
    required: int | None = None
    largest: int | None = None
    written: int | None = None
    room: int | None = None
    samples: int | None = None
    """Played frames and their time; after `tts.play wait=1`."""
    duration_ms: int | None = None


@dataclass(frozen=True)
class ModeFailure:
    """The last change of mode that failed: where, and which block of memory was missing, if one was."""

    to: str
    err: str
    step: str | None = None
    block: str | None = None
    missing: int | None = None
    largest: int | None = None


@dataclass(frozen=True)
class Mode:
    """The mode, what changed since boot, and how long the last change took."""

    mode: str
    previous: str
    transitions: int
    cycles: int
    failures: int
    duration_ms: int
    busy: bool
    failed: ModeFailure | None = None


@dataclass(frozen=True)
class LedgerEntry:
    """One step of a change of mode, or its undoing, with the free memory around it."""

    step: str
    undo: bool
    err: str
    internal_before: int
    internal_after: int
    psram_before: int
    psram_after: int


@dataclass(frozen=True)
class Settle:
    """Pauses in a change of mode: after the old mode's drivers are down, after the new one's are up."""

    down_ms: int
    up_ms: int


@dataclass(frozen=True)
class Frame:
    """A captured picture; `soi` and `eoi` tell whether it begins and ends as a JPEG does."""

    width: int
    height: int
    bytes: int
    soi: bool
    eoi: bool
    duration_ms: int


@dataclass(frozen=True)
class Capture:
    """What the microphone's samples came to since the capture began."""

    running: bool
    samples: int
    dropped: int
    read_errors: int
    ring_bytes: int
    peak: int
    time_ms: int
    """Board's time of the count. The answer's own is later where another task was writing."""


@dataclass(frozen=True)
class Snapshot:
    """One entry of the manager's history."""

    sequence: int
    context: str
    stats: MemoryStats


@dataclass(frozen=True)
class LastBoot:
    """`sys.last`: what survived the last reset. Without snapshots, of the boot before nothing is known."""

    reset_reason: str
    snapshots: tuple[Snapshot, ...]
    boot_count: int | None = None
    boot_id: str | None = None


@dataclass(frozen=True)
class MemoryEvent:
    """What the manager recorded: a `warning` or `recovered` (type, value, threshold), or an
    `alloc_failed`."""

    sequence: int
    timestamp_ms: int
    kind: str
    type: str | None = None
    value: int | None = None
    threshold: int | None = None
    size: int | None = None
    caps: int | None = None
    function: str | None = None


@dataclass(frozen=True)
class Optimization:
    advice: tuple[str, ...]
    reclaimed: int


@dataclass(frozen=True)
class BenchTimes:
    min_us: int
    median_us: int
    max_us: int


def parse_answer(cls: type[A], data: dict[str, Any], what: str) -> A:
    """Build `cls` from a reply's fields; fields it does not know are left out.

    ProtocolError names the field that is missing or of another type.
    """
    hints = typing.get_type_hints(cls)
    values = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if field.name not in data:
            if field.default is dataclasses.MISSING:
                raise ProtocolError(f"{what} has no field '{field.name}', only {', '.join(sorted(data))}")
            continue
        value = data[field.name]
        if not _fits(value, hints[field.name]):
            raise ProtocolError(f"{what}: '{field.name}' is {value!r}, expected {hints[field.name]}")
        values[field.name] = value
    return cls(**values)


def parse_snapshots(reply: dict[str, Any], what: str) -> tuple[Snapshot, ...]:
    """Snapshots from their table: `fields` names the columns of each row of `snapshots`."""
    names = reply.get("fields", [])
    found = []
    for row in reply.get("snapshots", []):
        if len(row) != len(names):
            raise ProtocolError(f"{what}: a snapshot has {len(row)} values for {len(names)} fields")
        values = dict(zip(names, row, strict=True))
        stats = parse_answer(MemoryStats, values, what)
        found.append(parse_answer(Snapshot, {**values, "stats": stats}, what))
    return tuple(found)


def parse_heap_maps(records: list[dict[str, Any]]) -> list[HeapMap]:
    """The heaps of `heap.blocks`, whose records each hold a run of blocks of one heap."""
    maps: dict[int, HeapMap] = {}
    for record in records:
        run = parse_answer(HeapMap, {**record, "blocks": tuple(record.get("blocks", ()))}, "heap.blocks")
        before = maps.get(run.heap)
        if before is not None:
            run = dataclasses.replace(run, at=before.at, blocks=before.blocks + run.blocks)
        maps[run.heap] = run
    return list(maps.values())


def _fits(value: Any, hint: Any) -> bool:
    if isinstance(hint, types.UnionType):
        return any(_fits(value, option) for option in typing.get_args(hint))
    return type(value) is (typing.get_origin(hint) or hint)  # a bool is no int here


def merge_parts(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """One answer from the records it came in: lists joined, objects merged, else the last one's word."""
    merged: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            known = merged.get(key)
            if isinstance(known, list) and isinstance(value, list):
                merged[key] = known + value
            elif isinstance(known, dict) and isinstance(value, dict):
                merged[key] = merge_parts([known, value])
            else:
                merged[key] = value
    if len(parts) > 1:
        merged.pop("more", None)
        merged.pop("part_of", None)
    return merged
