"""Replies of `mem.profile`: memory in use, by call site and by task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hotpin_hil.protocol.answers import parse_answer
from hotpin_hil.protocol.errors import ProtocolError


@dataclass(frozen=True)
class AllocationSite:
    """Blocks that one task allocated at one call site from one memory type.

    If the request had `since=mark`, the counters are changes since the mark; bytes and blocks may be negative.
    """

    task: str
    memory: str
    """"internal" or "psram"."""
    bytes: int
    """In use, as heap_caps counts them: with padding, without headers."""
    blocks: int
    peak: int
    """Maximum of the bytes in use since boot."""
    allocations: int
    frames: tuple[int, ...] = ()
    """Return addresses, the allocator's wrappers first; empty if the site is unknown."""


@dataclass(frozen=True)
class TaskAllocations:
    """Blocks that one task allocated."""

    task: str
    bytes: int
    blocks: int
    peak: int
    allocations: int


@dataclass(frozen=True)
class AllocationLoss:
    """Size of the profile's tables, and the memory that has no entry in them."""

    lost_internal: int
    """Bytes in use in blocks that are not in the table."""
    lost_psram: int
    lost_blocks: int
    no_slot: int
    """Allocations without a slot in the table of blocks."""
    no_site: int
    no_task: int
    unknown_frees: int
    """Calls that freed a block that the profile has not recorded; must be 0."""
    static_bytes: int
    marked_ms: int


@dataclass(frozen=True)
class AllocationProfile:
    """All sites, and the memory outside the tables."""

    sites: tuple[AllocationSite, ...]
    loss: AllocationLoss

    @property
    def total(self) -> int:
        """Bytes in use in all heaps."""
        return sum(site.bytes for site in self.sites) + self.loss.lost_internal + self.loss.lost_psram

    @property
    def blocks(self) -> int:
        """Blocks in use in all heaps."""
        return sum(site.blocks for site in self.sites) + self.loss.lost_blocks


@dataclass(frozen=True)
class AllocationCost:
    """Time that one allocation plus its free takes, with the profile and without it."""

    with_ns: int
    without_ns: int

    @property
    def added_ns(self) -> int:
        """Time that the profile adds to one allocation plus its free."""
        return self.with_ns - self.without_ns


def parse_allocation_profile(reply: dict[str, Any], what: str) -> AllocationProfile:
    """Parse a `mem.profile` reply with one row per call site.

    Raises:
        ProtocolError: a row has too few or too many values, or a value of another type.
    """
    return AllocationProfile(
        tuple(_site(row, what) for row in reply.get("sites", [])), parse_answer(AllocationLoss, reply, what)
    )


def parse_task_allocations(reply: dict[str, Any], what: str) -> tuple[TaskAllocations, ...]:
    """Parse a `mem.profile` reply with one row per task.

    Raises:
        ProtocolError: a row has too few or too many values, or a value of another type.
    """
    names = ("task", "bytes", "blocks", "peak", "allocations")
    rows = reply.get("tasks", [])
    for row in rows:
        if len(row) != len(names):
            raise ProtocolError(f"{what}: a task has {len(row)} values for {len(names)} fields")
    return tuple(parse_answer(TaskAllocations, dict(zip(names, row, strict=True)), what) for row in rows)


def _site(row: list[Any], what: str) -> AllocationSite:
    names = ("task", "memory", "bytes", "blocks", "peak", "allocations")
    if len(row) < len(names):
        raise ProtocolError(f"{what}: a site has only {len(row)} values")
    try:
        frames = tuple(int(frame, 16) for frame in row[len(names) :])
    except (TypeError, ValueError) as error:
        raise ProtocolError(f"{what}: {row[len(names) :]} are not addresses") from error
    values = dict(zip(names, row[: len(names)], strict=True))
    return parse_answer(AllocationSite, {**values, "frames": frames}, what)
