"""Tests the memory story in core dumps: the data that the firmware writes, and the host's reader."""

from __future__ import annotations

import io
import struct
from typing import Any

import pytest

from hotpin_hil.protocol import memory_story
from hotpin_hil.protocol.memory_story import MemoryStory, read_story
from hotpin_hil.report.memory_story import story_lines
from tests.support.c_build import build

MODULE = build(
    "mem_crash", ["memory_crash/src/crash_story.c", "memory_manager/src/mem_observe.c"], ["crash_story.h"]
)
ffi, lib, new = MODULE.ffi, MODULE.lib, MODULE.new
PROGRAM_HEADER = struct.Struct("<8I")


def begun() -> Any:
    story = new("crash_story_t *")
    lib.crash_story_begin(story, 0xABC, 7)
    return story


def core_of(memory: bytes) -> bytes:
    """A core file with this memory as one of its segments."""
    header = (
        b"\x7fELF\x01\x01\x01"
        + bytes(9)
        + struct.pack("<HHIIIIIHHHHHH", 4, 94, 1, 0, 52, 0, 0, 52, 32, 2, 40, 0, 0)
    )
    out = io.BytesIO()
    out.write(header)
    start = 52 + 2 * 32
    out.write(PROGRAM_HEADER.pack(1, start, 0x3FFB0000, 0, 8, 8, 6, 0))
    out.write(PROGRAM_HEADER.pack(1, start + 8, 0x50000000, 0, len(memory), len(memory), 6, 0))
    out.write(b"\xa5" * 8 + memory)
    return out.getvalue()


def read(story: Any) -> MemoryStory:
    found = read_story(core_of(b"\0" * 12 + bytes(ffi.buffer(story)) + b"\xff" * 8))
    assert found is not None
    return found


def snapshot(story: Any, sequence: int, context: str = "Periodic", free: int = 1000) -> None:
    made = new("memory_snapshot_t *")
    made.sequence, made.context = sequence, context.encode()
    made.stats.timestamp_ms, made.stats.internal_free, made.stats.total_watermark = sequence * 10, free, 5
    lib.crash_story_snapshot(story, made)


def warning(story: Any, sequence: int, kind: int = 1) -> None:
    made = new("memory_warning_t *")
    made.type, made.timestamp_ms, made.current_value, made.threshold_value = kind, 3, 4, 5
    lib.crash_story_warning(story, sequence, made)


def failure(story: Any, sequence: int, **values: Any) -> None:
    made = new("crash_failure_t *")
    for name, value in values.items():
        setattr(made, name, value)
    lib.crash_story_failure(story, sequence, made)


def test_host_and_firmware_agree_on_the_layout() -> None:
    assert ffi.sizeof("crash_story_t") == memory_story.SIZE
    assert read(begun()) == MemoryStory("00000abc", 7, "", "", (), (), ())


def test_beginning_removes_an_earlier_story() -> None:
    story = begun()
    snapshot(story, 1)
    lib.crash_story_begin(story, 1, 2)
    assert read(story) == MemoryStory("00000001", 2, "", "", (), (), ())


def test_snapshots_keep_the_newest_16_in_order() -> None:
    story = begun()
    for sequence in range(1, 19):
        snapshot(story, sequence, f"number {sequence}", sequence)
    found = read(story).snapshots
    assert [row.sequence for row in found] == list(range(3, 19))
    assert [row.context for row in found] == [f"number {sequence}" for sequence in range(3, 19)]
    last = found[-1].stats
    assert (last.timestamp_ms, last.internal_free, last.total_watermark) == (180, 18, 5)


def test_warnings_keep_the_newest_8() -> None:
    story = begun()
    for sequence in range(1, 11):
        warning(story, sequence, kind=sequence % 7)
    found = read(story).warnings
    assert [row.sequence for row in found] == list(range(3, 11))
    assert (found[0].type, found[0].timestamp_ms, found[0].value, found[0].threshold) == (
        "DMA_CRITICAL",
        3,
        4,
        5,
    )


def test_failures_keep_the_newest_8_with_caller_and_task() -> None:
    story = begun()
    for sequence in range(1, 10):
        failure(
            story,
            sequence,
            timestamp_ms=1,
            size=sequence,
            caps=1 << 3 | 1 << 20,
            frames=[1, 2, 3, 4, 5, 6],
            function=b"heap_caps_malloc",
            task=b"state",
        )
    found = read(story).failures
    assert [row.size for row in found] == list(range(2, 10))
    assert found[0].frames == (1, 2, 3, 4, 5, 6)
    assert (found[0].function, found[0].task, found[0].caps_names) == (
        "heap_caps_malloc",
        "state",
        "DMA,0x100000",
    )


@pytest.mark.parametrize("text", ["", "x" * 23, "x" * 24, "x" * 60])
def test_texts_are_cut_to_their_fields(text: str) -> None:
    out = new("char[24]", b"\xff" * 23)
    source = new("char[]", text.encode())
    lib.crash_copy(out, 24, source)
    assert ffi.string(out).decode() == text[:23]


def test_step_lasts_until_a_state_is_set() -> None:
    story = begun()
    lib.crash_story_state(story, b"camera")
    lib.crash_story_state(story, b"")
    lib.crash_story_step(story, b"audio.start", False)
    assert (read(story).state, read(story).step) == ("", "audio.start")
    lib.crash_story_step(story, b"audio.start", True)
    assert read(story).step == "undo:audio.start"
    lib.crash_story_step(story, b"a" * 40, True)
    assert read(story).step == "undo:" + "a" * 14
    lib.crash_story_state(story, b"voice")
    assert (read(story).state, read(story).step) == ("voice", "")


def test_torn_entries_are_left_out() -> None:
    story = begun()
    snapshot(story, 1)
    snapshot(story, 2)
    warning(story, 1)
    failure(story, 1, size=1)
    story.snapshots[1].sequence = 0
    story.warnings[1].sequence = 0
    story.failures[1].sequence = 0
    found = read(story)
    assert ([row.sequence for row in found.snapshots], found.warnings, found.failures) == ([2], (), ())


@pytest.mark.parametrize("damage", ["magic", "size", "cut", "none"])
def test_dump_without_a_story_is_told_apart(damage: str) -> None:
    content = bytearray(ffi.buffer(begun()))
    if damage == "magic":
        content[0] ^= 1
    elif damage == "size":
        content[16] ^= 1
    elif damage == "cut":
        content.pop()
    assert (read_story(core_of(bytes(content))) is None) == (damage != "none")
    assert read_story(b"\x7fELF damaged") is None
    assert read_story(b"") is None


def test_story_in_words() -> None:
    story = begun()
    lib.crash_story_step(story, b"stt.start", False)
    snapshot(story, 1, "Before Voice", 20 * 1024)
    warning(story, 1)
    failure(
        story, 1, timestamp_ms=1500, size=4096, caps=1 << 3, frames=[0x400D0003, 9, 0, 0, 0, 0], task=b"state"
    )
    text = "\n".join(story_lines(read(story), lambda frame: "stt_start (stt.c:88)" if frame == 9 else ""))
    assert "boot 7 (id 00000abc)" in text
    assert "state: a change was in progress\nstep: stt.start" in text
    assert "1.500 s  4096 B of DMA by the heap, task state" in text
    assert "from 0x400d0003\n" in text
    assert "from stt_start (stt.c:88)" in text
    assert "INTERNAL_CRITICAL: 4 (threshold 5)" in text
    assert "internal 20 / 0, 0 %" in text
    assert text.endswith("Before Voice")
