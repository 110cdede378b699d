"""Replies of the console commands, as frozen dataclasses. Sizes are in bytes unless the name has another unit."""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from hotpin_hil.protocol.errors import ProtocolError
from hotpin_hil.protocol.fields import MemoryStats

A = TypeVar("A")


@dataclass(frozen=True)
class Event:
    """One event with all its records joined: `data` has every field, `index` is its index on the channel."""

    name: str
    data: dict[str, Any]
    t_ms: int
    boot: str
    n: int
    index: int


@dataclass(frozen=True)
class BoardInfo:
    """The reply to `sys.info`; the `boot` event has the same fields."""

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
    """Time of the reply, ms since boot."""
    commit: str = ""
    """Commit that the firmware was built from; empty if its sources were not in git."""
    dirty: str = ""
    """Start of the hash of the uncommitted changes; empty if there were none."""


@dataclass(frozen=True)
class Probe:
    """A reading of one capability set that bypasses the memory manager."""

    free: int
    largest: int
    minimum: int


@dataclass(frozen=True)
class Sandwich:
    """The reply to a command, and a Probe of each capability set before and after it.

    The reply can be compared with the readings only if both readings agree (`stable`).
    """

    before: dict[str, Probe]
    reply: dict[str, Any]
    after: dict[str, Probe]

    @property
    def stable(self) -> bool:
        """Whether the readings before and after the command are equal."""
        return self.before == self.after

    @property
    def stats(self) -> MemoryStats:
        """The reply as a memory sample, if the command was `mem.stats`."""
        return parse_answer(MemoryStats, self.reply, "mem.stats in heap.probe")


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
        """First address after the heap."""
        return self.start + self.length


@dataclass(frozen=True)
class HeapMap:
    """Every block of one heap, or of a part of it, in address order."""

    heap: int
    """Address of the heap."""
    at: int
    """Address of the first block. The next address is higher by the size of the block + 4."""
    blocks: tuple[int, ...]
    """Sizes in bytes; negative for free blocks."""
    truncated: bool = False
    """The heap has more blocks than the firmware could list."""


@dataclass(frozen=True)
class HeapCensus:
    """Used blocks of one heap. All fields but `heap` can be added up over several heaps."""

    heap: int
    """Address of the heap."""
    blocks: int
    bytes: int
    """Usable bytes of the blocks."""
    sum: int
    """Checksum over the sizes of the blocks, regardless of their order."""


@dataclass(frozen=True)
class Resources:
    """Resources that the firmware holds: `sys.resources`. Fields are counts of objects unless stated otherwise."""

    mode: str
    busy: bool
    """A mode change is in progress."""
    heaps: tuple[HeapCensus, ...]
    pool_blocks: int
    """Blocks in use from all memory pools, including those that a pool allocated from the heap because it was empty."""
    tasks: int
    queues: int
    """Queues, semaphores and mutexes."""
    watched: int
    """Tasks that have subscribed to the task watchdog."""
    idle_hooks: int
    """Registered idle hooks of both cores; ESP-IDF has room for eight on each."""
    frames: int
    """Camera frames obtained by the firmware and not yet returned."""
    i2s_channels: int
    i2s_running: int
    warning_calls: int
    """Registered callbacks for warnings."""
    recovery_calls: int
    reclaimers: int
    camera: bool
    camera_power_down: int
    """Level of the camera's power-down line: 1 is off, -1 unknown."""
    audio: bool
    stt: bool
    stream: str
    """State of the TTS stream."""
    drivers_free: bool
    """No task holds the lock on the drivers."""
    interval_ms: int
    """Monitoring interval, 0: stopped."""
    thresholds: tuple[int, ...]
    """In the order of `Thresholds`."""
    settle_down_ms: int
    settle_up_ms: int
    holds: int
    """Number of holds by `heap.hold` and `heap.split`."""
    held: int
    """Bytes allocated by these holds."""
    armed: int
    """Number of armed failures and crashes that wait for their allocation, step or call."""


@dataclass(frozen=True)
class Hold:
    """Memory that a test holds; `free` and `largest` are read after the allocation."""

    id: int
    held: int
    """Usable bytes of the blocks; the heap needs 4 more for each."""
    blocks: int
    free: int
    largest: int


@dataclass(frozen=True)
class Thresholds:
    """The eight warning levels, in bytes and percent."""

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
    """State of periodic monitoring."""

    interval_ms: int
    running: bool
    samples: int


@dataclass(frozen=True)
class Placement:
    """Whether a set of blocks fits into the free memory."""

    placeable: bool
    missing: int
    """Size of the first block that does not fit, 0 if all fit."""
    placed: int | None = None
    """Number of leading blocks that fit."""
    largest: int | None = None
    """Largest free block left for the block that does not fit."""


@dataclass(frozen=True)
class SelfCost:
    """Memory and CPU time used by the memory manager itself."""

    bytes_internal: int
    stack_size: int
    stack_unused: int
    cpu_us_per_sample: int
    samples: int
    bytes_static: int | None = None
    bytes_task: int | None = None
    bytes_rtc: int | None = None
    """Bytes in RTC memory, which is not part of any heap."""


@dataclass(frozen=True)
class TtsState:
    """State of the TTS stream."""

    state: str
    psram_free: int
    required: int | None = None
    largest: int | None = None
    written: int | None = None
    room: int | None = None
    samples: int | None = None
    """Number of frames played, and their duration; both are set only after `tts.play wait=1`."""
    duration_ms: int | None = None


@dataclass(frozen=True)
class ModeFailure:
    """The last failed mode transition: the step, and the missing block of memory, if any."""

    to: str
    err: str
    step: str | None = None
    block: str | None = None
    missing: int | None = None
    largest: int | None = None


@dataclass(frozen=True)
class Mode:
    """The mode, the number of transitions since boot, and the duration of the last transition."""

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
    """One step of a mode transition, or its rollback, with the free bytes before and after."""

    step: str
    undo: bool
    err: str
    internal_before: int
    internal_after: int
    psram_before: int
    psram_after: int


@dataclass(frozen=True)
class Settle:
    """Pauses in a mode transition: after the old mode's drivers stop, and after the new mode's drivers start."""

    down_ms: int
    up_ms: int


@dataclass(frozen=True)
class Frame:
    """A captured picture; `soi` and `eoi` tell whether its JPEG start and end markers are present."""

    width: int
    height: int
    bytes: int
    soi: bool
    eoi: bool
    duration_ms: int


@dataclass(frozen=True)
class Capture:
    """The microphone's samples since the capture started."""

    running: bool
    samples: int
    dropped: int
    read_errors: int
    ring_bytes: int
    peak: int
    time_ms: int
    """Board time of the counts. The reply's `t` is later if another task was writing."""


@dataclass(frozen=True)
class Pin:
    """A pin that the firmware has set."""

    is_high: bool
    changes: int
    """Changes of the level, including the first setting."""
    high_ms: int
    """Length of the pin's last high pulse, ms; 0 if there was none."""


@dataclass(frozen=True)
class Sound:
    """Digests of the sound: counts since the start of the driver, and the CRC-32 of each channel's samples."""

    frames: int
    left: int
    right: int
    samples: int
    """Recorded samples."""
    recorded: int


@dataclass(frozen=True)
class Snapshot:
    """One entry of the manager's history."""

    sequence: int
    context: str
    stats: MemoryStats


@dataclass(frozen=True)
class LastBoot:
    """Reply to `sys.last`: snapshots that survived the last reset; empty if no data of the previous boot survived."""

    reset_reason: str
    snapshots: tuple[Snapshot, ...]
    boot_count: int | None = None
    boot_id: str | None = None


@dataclass(frozen=True)
class MemoryEvent:
    """An event that the manager recorded: `warning` or `recovered` (type, value, threshold), or `alloc_failed`."""

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
    """Advice of the memory manager, and the bytes freed by its reclaimers."""

    advice: tuple[str, ...]
    reclaimed: int


@dataclass(frozen=True)
class AutoOptimization:
    """`mem.optimize auto=…`: automatic optimisation, and its attempts since boot."""

    auto: bool
    gave_up: bool
    """The last attempt did not help, and its cause is still present."""
    attempts: int
    helped: int
    check_us: int
    """Duration of the longest check after a sample."""
    bytes_static: int


@dataclass(frozen=True)
class Reclaimer:
    """A registered reclaimer, and the memory that its runs freed."""

    name: str
    cost: int
    from_: str
    """Mildest trigger at which the reclaimer runs."""
    runs: int
    gained: int
    skipped: bool
    task: str = ""
    """Task of the reclaimer's last run; only for reclaimers that the test added."""
    took: bool = False
    """The reclaimer requested memory while it ran, and got it."""


@dataclass(frozen=True)
class ReclaimUse:
    """One run of a reclaimer."""

    name: str
    trigger: str
    gain: int
    timestamp_ms: int


@dataclass(frozen=True)
class Reclaimers:
    """The reclaimers, in the order in which they run, and their last runs, newest first."""

    reclaimers: tuple[Reclaimer, ...]
    uses: tuple[ReclaimUse, ...]
    bytes_static: int
    available: bool | None = None
    """Whether a requested block can be allocated; None without a request."""

    def __getitem__(self, name: str) -> Reclaimer:
        return next(reclaimer for reclaimer in self.reclaimers if reclaimer.name == name)


def parse_reclaimers(reply: dict[str, Any]) -> Reclaimers:
    """Parse the reply to `mem.reclaim`. Raises ProtocolError if a field is missing or has another type."""
    what = "mem.reclaim"
    rows = [{**row, "from_": row.get("from")} for row in reply.get("reclaimers", ())]
    reclaimers = tuple(parse_answer(Reclaimer, row, what) for row in rows)
    uses = tuple(parse_answer(ReclaimUse, row, what) for row in reply.get("uses", ()))
    return parse_answer(Reclaimers, {**reply, "reclaimers": reclaimers, "uses": uses}, what)


@dataclass(frozen=True)
class Pool:
    """A memory pool. Sizes are bytes, the other figures are blocks or calls."""

    name: str
    block_size: int
    count: int
    used: int
    high_water: int
    from_heap: int
    """Blocks that came from the heap because the pool was empty."""
    heap_used: int
    refused: int
    misused: int
    """Calls that tried to free something other than a block in use."""
    bytes: int


@dataclass(frozen=True)
class Pools:
    """The memory pools, and the result of the request to the test's own pool."""

    pools: tuple[Pool, ...]
    bytes_static: int
    at: tuple[int, ...] = ()
    """Addresses of the allocated blocks."""
    err_free: str = ""
    """Result of the wrong call of memory_pool_free."""
    served: int = 0
    """Interrupts that got a block."""
    failed: int = 0
    kept: int = 0
    """Objects that the plays left allocated."""
    pool_us: int = 0
    heap_us: int = 0

    def __getitem__(self, name: str) -> Pool:
        return next(pool for pool in self.pools if pool.name == name)


def parse_pools(reply: dict[str, Any]) -> Pools:
    """Parse the reply to `mem.pool`. Raises ProtocolError if a field is missing or has another type."""
    pools = tuple(parse_answer(Pool, row, "mem.pool") for row in reply.get("pools", ()))
    return parse_answer(Pools, {**reply, "pools": pools, "at": tuple(reply.get("at", ()))}, "mem.pool")


@dataclass(frozen=True)
class TaskPriority:
    """A task whose priority changes under memory pressure."""

    name: str
    normal: int
    pressed: int
    now: int
    is_pressed: bool


@dataclass(frozen=True)
class TaskPriorities:
    """The tasks with a priority that depends on memory pressure, and the test's worker."""

    registered: tuple[TaskPriority, ...]
    pressed: bool
    """A critical level was active at the last sample."""
    rounds: int
    """Rounds of the worker since boot."""
    bytes_static: int
    waited_ms: int = 0
    lowest: int = 0
    """The worker's lowest priority while the console waited for its mutex."""
    unregistered: int = 0
    """The worker's priority after it was unregistered."""

    def now(self, name: str) -> int:
        """Current priority of a task; 0 (reserved for the idle task) if it is not registered or has ended."""
        return next((task.now for task in self.registered if task.name == name), 0)


def parse_priorities(reply: dict[str, Any]) -> TaskPriorities:
    """Parse the reply to `mem.priority`. Raises ProtocolError if a field is missing or has another type."""
    tasks = tuple(parse_answer(TaskPriority, row, "mem.priority") for row in reply.get("registered", ()))
    return parse_answer(TaskPriorities, {**reply, "registered": tasks}, "mem.priority")


@dataclass(frozen=True)
class LearnedState:
    """Warning thresholds that are learned from one mode."""

    state: str
    windows: int
    """Number of windows learned from so far."""
    learned: bool
    """Whether enough windows were learned from, so that the thresholds apply."""
    internal: int
    dma: int
    psram: int


@dataclass(frozen=True)
class Adaptation:
    """`mem.adapt`: whether thresholds are learned and applied, the learned values, and the memory used for learning."""

    enabled: bool
    states: tuple[LearnedState, ...]
    bytes_static: int
    bytes_rtc: int


@dataclass(frozen=True)
class Prediction:
    """The predicted time when falling memory reaches a threshold; times in ms from `timestamp_ms`."""

    memory: str
    state: str
    critical: bool
    """Whether the threshold is the critical one."""
    threshold: int
    timestamp_ms: int
    """End of the newest window."""
    free: int
    loss_per_hour: int
    windows: int
    """Duration of the fall so far, in windows."""
    expected_ms: int
    earliest_ms: int
    latest_ms: int


@dataclass(frozen=True)
class Predictions:
    """`mem.predict`: all falls in the newest windows, and the memory and CPU time of the prediction."""

    predictions: tuple[Prediction, ...]
    bytes_static: int
    windows: int
    """Windows evaluated since boot."""
    cpu_us_mean: int
    """Per window."""
    cpu_us_max: int


@dataclass(frozen=True)
class BenchTimes:
    """Result of a benchmark on the board, µs."""

    min_us: int
    median_us: int
    max_us: int


def parse_answer(cls: type[A], data: dict[str, Any], what: str) -> A:
    """Build a dataclass from a reply's fields; unknown fields are ignored.

    Args:
        cls: the dataclass.
        data: the fields.
        what: name of the reply, for the error.

    Raises:
        ProtocolError: a field is missing or has another type.
    """
    hints = _hints(cls)  # type: ignore[arg-type]
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
    """Parse a table of snapshots: `fields` names the columns of each row of `snapshots`.

    Raises:
        ProtocolError: a row does not fit the columns.
    """
    names = reply.get("fields", [])
    found = []
    for row in reply.get("snapshots", []):
        if len(row) != len(names):
            raise ProtocolError(f"{what}: a snapshot has {len(row)} values for {len(names)} fields")
        values = dict(zip(names, row, strict=True))
        stats = parse_answer(MemoryStats, values, what)
        found.append(parse_answer(Snapshot, {**values, "stats": stats}, what))
    return tuple(found)


def parse_resources(reply: dict[str, Any], what: str) -> Resources:
    """Parse `sys.resources`, which lists each heap as a row of four numbers.

    Raises:
        ProtocolError: a field is missing or has another type.
    """
    try:
        heaps = tuple(HeapCensus(*row) for row in reply["heaps"])
        thresholds = tuple(int(level) for level in reply["thresholds"])
    except (KeyError, TypeError) as error:
        raise ProtocolError(f"{what}: heaps or thresholds are missing or malformed in {reply}") from error
    return parse_answer(Resources, {**reply, "heaps": heaps, "thresholds": thresholds}, what)


def parse_heap_maps(records: list[dict[str, Any]]) -> list[HeapMap]:
    """Join the records of a `heap.blocks` reply; each record has consecutive blocks of one heap.

    Raises:
        ProtocolError: a field is missing or has another type.
    """
    maps: dict[int, HeapMap] = {}
    for record in records:
        run = parse_answer(HeapMap, {**record, "blocks": tuple(record.get("blocks", ()))}, "heap.blocks")
        before = maps.get(run.heap)
        if before is not None:
            run = dataclasses.replace(run, at=before.at, blocks=before.blocks + run.blocks)
        maps[run.heap] = run
    return list(maps.values())


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _fits(value: Any, hint: Any) -> bool:
    if isinstance(hint, types.UnionType):
        return any(_fits(value, option) for option in typing.get_args(hint))
    return type(value) is (typing.get_origin(hint) or hint)  # bool is a subclass of int


def merge_parts(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Join the records of one reply: concatenate lists, merge objects, keep the last of any other value."""
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
