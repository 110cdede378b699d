"""The memory story in a core dump: the data that `memory_crash` recorded before the crash (crash_story.h)."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from hotpin_hil.protocol.core_dump import find_core_dump
from hotpin_hil.protocol.fields import MemoryStats

_MAGIC = b"HOTPIN MEMORY 1\0"
_HEAD = struct.Struct("<16s5I12s20s")
_WARNING = struct.Struct("<5I")
_FAILURE = struct.Struct("<4I6I24s16s")
_STATS = struct.Struct(f"<{len(fields(MemoryStats))}I")
_SNAPSHOT = struct.Struct(f"<I{_STATS.size}s4i32s")
_WARNINGS, _FAILURES, _SNAPSHOTS = 8, 8, 16
SIZE = _HEAD.size + _WARNINGS * _WARNING.size + _FAILURES * _FAILURE.size + _SNAPSHOTS * _SNAPSHOT.size
"""Size of the record in bytes, which must equal the size in the firmware."""
_DUMP_HEADER = 24
_ELF = b"\x7fELF"

WARNING_TYPES = (
    "INTERNAL_LOW",
    "INTERNAL_CRITICAL",
    "DMA_LOW",
    "DMA_CRITICAL",
    "PSRAM_LOW",
    "PSRAM_CRITICAL",
    "FRAGMENTATION_HIGH",
)
"""memory_warning_type_t"""
CAPS = {
    1 << 0: "EXEC",
    1 << 1: "32BIT",
    1 << 2: "8BIT",
    1 << 3: "DMA",
    1 << 10: "SPIRAM",
    1 << 11: "INTERNAL",
    1 << 12: "DEFAULT",
}
"""Names of the capabilities that firmware requests (esp_heap_caps.h)."""


@dataclass(frozen=True)
class StoryWarning:
    """A warning of the memory manager."""

    sequence: int
    timestamp_ms: int
    type: str
    value: int
    threshold: int


@dataclass(frozen=True)
class StoryFailure:
    """A failed allocation."""

    sequence: int
    timestamp_ms: int
    size: int
    caps: int
    frames: tuple[int, ...]
    """Return addresses, innermost first; on Xtensa as they are on the stack."""
    function: str
    """Heap function that failed; empty if the flash cache was off."""
    task: str

    @property
    def caps_names(self) -> str:
        """The capabilities by name."""
        known = [name for bit, name in CAPS.items() if self.caps & bit]
        rest = self.caps & ~sum(CAPS)
        return ",".join([*known, f"0x{rest:x}"] if rest or not known else known)


@dataclass(frozen=True)
class StorySnapshot:
    """A logged sample."""

    sequence: int
    context: str
    stats: MemoryStats


@dataclass(frozen=True)
class MemoryStory:
    """All recorded entries, oldest first, without entries that were being written at the crash."""

    boot_id: str
    boot_count: int
    state: str
    """State of the application; empty if a change was in progress."""
    step: str
    """Step of that change; empty if no step had started."""
    warnings: tuple[StoryWarning, ...]
    failures: tuple[StoryFailure, ...]
    snapshots: tuple[StorySnapshot, ...]


def read_story(core: bytes) -> MemoryStory | None:
    """Find the story in a core dump.

    Args:
        core: the dump as it is in flash, with its partition or without, or its ELF.

    Returns:
        The story; None if the dump has none, for example because the firmware does not record it.
    """
    for segment in _segments(core):
        at = segment.find(_MAGIC)
        if at >= 0 and len(segment) - at >= SIZE:
            return _story(segment[at : at + SIZE])
    return None


def _segments(core: bytes) -> Iterator[bytes]:
    """The content of each memory region in the dump; empty if the dump is damaged."""
    from elftools.elf.elffile import ELFFile

    if not core.startswith(_ELF):
        dump = find_core_dump(core)
        core = dump.content[_DUMP_HEADER:] if dump is not None else b""
    if not core.startswith(_ELF):
        return
    try:
        loaded = [
            segment.data()
            for segment in ELFFile(io.BytesIO(core)).iter_segments()
            if segment["p_type"] == "PT_LOAD"
        ]
    except Exception:  # a damaged file makes pyelftools raise any exception
        return
    yield from loaded


def _story(data: bytes) -> MemoryStory | None:
    _, size, boot_id, boot_count, _, _, state, step = _HEAD.unpack_from(data)
    if size != SIZE:
        return None
    at = _HEAD.size
    parts = []
    for count, entry in ((_WARNINGS, _WARNING), (_FAILURES, _FAILURE), (_SNAPSHOTS, _SNAPSHOT)):
        rows = list(entry.iter_unpack(data[at : at + count * entry.size]))
        parts.append([row for place, row in enumerate(rows) if row[0] and row[0] % count == place])
        at += count * entry.size
    warnings, failures, snapshots = (sorted(rows) for rows in parts)
    return MemoryStory(
        f"{boot_id:08x}",
        boot_count,
        _text(state),
        _text(step),
        tuple(_warning(*row) for row in warnings),
        tuple(_failure(row) for row in failures),
        tuple(_snapshot(row) for row in snapshots),
    )


def _warning(sequence: int, at_ms: int, type_: int, value: int, threshold: int) -> StoryWarning:
    name = WARNING_TYPES[type_] if type_ < len(WARNING_TYPES) else str(type_)
    return StoryWarning(sequence, at_ms, name, value, threshold)


def _failure(row: tuple[Any, ...]) -> StoryFailure:
    sequence, at_ms, size, caps, *frames, function, task = row
    return StoryFailure(
        sequence,
        at_ms,
        size,
        caps,
        tuple(frame for frame in frames if frame),
        _text(function),
        _text(task),
    )


def _snapshot(row: tuple[Any, ...]) -> StorySnapshot:
    sequence, stats, *_, context = row
    return StorySnapshot(sequence, _text(context), MemoryStats(*_STATS.unpack(stats)))


def _text(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode("utf-8", "replace")
