"""The memory story of a core dump as text."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hotpin_hil.printable import printable
from hotpin_hil.protocol.fields import MEMORIES
from hotpin_hil.protocol.memory_story import MemoryStory, StoryFailure, StorySnapshot

KB = 1024

Place = Callable[[int], str]
"""Decodes a return address; returns an empty string if it is unknown."""


def story_lines(story: MemoryStory, place: Place | None = None) -> list[str]:
    """The state of memory before the crash.

    Args:
        story: the story.
        place: decodes the callers of failed allocations; None: they are shown as addresses.
    """
    return [printable(line) for line in _lines(story, place)]


def _lines(story: MemoryStory, place: Place | None) -> Iterator[str]:
    yield f"memory before the crash of boot {story.boot_count} (id {story.boot_id})"
    yield f"state: {story.state or 'a change was in progress'}"
    if story.step:
        yield f"step: {story.step}"
    yield from _failure_lines(story, place)
    yield "warnings:" if story.warnings else "warnings: none"
    for warning in story.warnings:
        yield f"  {_time(warning.timestamp_ms)}  {warning.type}: {warning.value} (threshold {warning.threshold})"
    yield "snapshots, free / largest block, KB, fragmentation:" if story.snapshots else "snapshots: none"
    for snapshot in story.snapshots:
        yield f"  {_time(snapshot.stats.timestamp_ms)}  {_memories(snapshot)}  {snapshot.context}"


def _failure_lines(story: MemoryStory, place: Place | None) -> Iterator[str]:
    yield "failed allocations:" if story.failures else "failed allocations: none"
    for failure in story.failures:
        who = f"task {failure.task}" if failure.task else "unknown task"
        yield (
            f"  {_time(failure.timestamp_ms)}  {failure.size} B of {failure.caps_names} "
            f"by {failure.function or 'the heap'}, {who}"
        )
        for caller in _callers(failure, place):
            yield f"      from {caller}"


def _callers(failure: StoryFailure, place: Place | None) -> Iterator[str]:
    for frame in failure.frames:
        found = place(frame) if place is not None else ""
        yield found or f"0x{frame:08x}"


def _time(at_ms: int) -> str:
    return f"{at_ms / 1000:10.3f} s"


def _memories(snapshot: StorySnapshot) -> str:
    parts = []
    for name in MEMORIES:
        free, largest, fragmentation = snapshot.stats.memory(name)
        parts.append(f"{name} {free // KB} / {largest // KB}, {fragmentation} %")
    return "; ".join(parts)
