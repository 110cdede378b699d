"""Tests the pure C parts of the drivers: the sound ring between two tasks, and the search for JPEG markers."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.support.c_build import build

RING = build("audio_ring", ["audio_driver/src/audio_ring.c"], ["audio_ring.h"])
JPEG = build("jpeg_markers", ["camera_controller/src/jpeg_markers.c"], ["jpeg_markers.h"])
SIZE = 16
NEAR_OVERFLOW = 2**32 - 20


class RingMachine(RuleBasedStateMachine):
    """Compares the ring with a byte string while its counters wrap at 2^32."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = RING.new("uint8_t[]", SIZE)
        self.ring = RING.new("audio_ring_t *")
        RING.lib.audio_ring_init(self.ring, self.memory, SIZE)
        self.ring.written = self.ring.read = NEAR_OVERFLOW
        self.model = b""
        self.next = 0

    @rule(size=st.integers(0, 2 * SIZE))
    def write(self, size: int) -> None:
        data = bytes((self.next + i) % 251 for i in range(size))
        taken = RING.lib.audio_ring_write(self.ring, RING.new("uint8_t[]", data), size)
        assert taken == min(size, SIZE - len(self.model))
        self.model += data[:taken]
        self.next += taken

    @rule(size=st.integers(0, 2 * SIZE))
    def read(self, size: int) -> None:
        out = RING.new("uint8_t[]", max(size, 1))
        got = RING.lib.audio_ring_read(self.ring, out, size)
        assert bytes(out)[:got] == self.model[:size]
        self.model = self.model[got:]

    @invariant()
    def used_and_room_add_up(self) -> None:
        assert RING.lib.audio_ring_used(self.ring) == len(self.model)
        assert RING.lib.audio_ring_room(self.ring) == SIZE - len(self.model)


TestRing = RingMachine.TestCase

THIRD_TASK = """
#define audio_ring_init third_init
#define audio_ring_used third_used
#define audio_ring_room third_room
#define audio_ring_read third_read
#define audio_ring_write third_write
static audio_ring_t s_ring = {.size = 64};
static audio_ring_t s_next; /* the counters after the first load */
static uint32_t load(const uint32_t *counter)
{
    uint32_t value = *counter;
    s_ring.read = s_next.read;
    s_ring.written = s_next.written;
    return value;
}
#define __atomic_load_n(counter, order) load(counter)
#include "audio_ring.c"
uint32_t used_while(uint32_t read, uint32_t written, uint32_t next_read, uint32_t next_written)
{
    s_ring.read = read;
    s_ring.written = written;
    s_next.read = next_read;
    s_next.written = next_written;
    return third_used(&s_ring);
}
"""


@pytest.mark.parametrize(
    ("before", "after", "used"),
    [
        ((0, 64), (64, 88), 24),
        ((0, 64), (64, 65), 1),
        ((NEAR_OVERFLOW, NEAR_OVERFLOW + 10), (10, 50), 40),
        ((7, 20), (7, 0), 0),  # audio_ring_init() has cleared only one of the two counters
    ],
)
def test_third_task_reads_a_level_that_the_ring_had(
    before: tuple[int, int], after: tuple[int, int], used: int
) -> None:
    """A third task reads the level; both counters change after it has loaded the first and before it loads the
    second."""
    third = build(
        "audio_ring_third",
        ["audio_driver/src/audio_ring.c"],
        ["audio_ring.h"],
        extra_source=THIRD_TASK,
        extra_cdef="uint32_t used_while(uint32_t, uint32_t, uint32_t, uint32_t);",
    )
    assert third.lib.used_while(*before, *after) == used


TWO_THREADS = """
#include <pthread.h>
static audio_ring_t s_ring;
static uint8_t s_memory[64];
static void *produce(void *count)
{
    uint8_t piece[13];
    for (uint32_t at = 0; at < *(uint32_t *)count;) {
        for (unsigned i = 0; i < sizeof piece; i++) {
            piece[i] = (uint8_t)((at + i) * 7);
        }
        at += (uint32_t)audio_ring_write(&s_ring, piece, sizeof piece);
    }
    return 0;
}
uint32_t ring_two_threads(uint32_t count)
{
    pthread_t writer;
    uint8_t piece[17];
    uint32_t wrong = 0;
    audio_ring_init(&s_ring, s_memory, sizeof s_memory);
    pthread_create(&writer, 0, produce, &count);
    for (uint32_t at = 0; at < count;) {
        size_t got = audio_ring_read(&s_ring, piece, sizeof piece);
        for (size_t i = 0; i < got; i++) {
            wrong += piece[i] != (uint8_t)((at + i) * 7);
        }
        at += (uint32_t)got;
    }
    pthread_join(writer, 0);
    return wrong;
}
"""


def test_ring_between_two_threads_loses_and_mixes_nothing() -> None:
    threads = build(
        "audio_ring_threads",
        ["audio_driver/src/audio_ring.c"],
        ["audio_ring.h"],
        extra_source=TWO_THREADS,
        extra_cdef="uint32_t ring_two_threads(uint32_t count);",
    )
    assert threads.lib.ring_two_threads(2_000_000) == 0


def segment(code: int, body: bytes) -> bytes:
    return bytes([0xFF, code]) + struct.pack(">H", len(body) + 2) + body


def frame_header(width: int, height: int, code: int = 0xC0) -> bytes:
    return segment(code, struct.pack(">BHHB", 8, height, width, 1) + b"\1\x22\0")


SOI, EOI = b"\xff\xd8", b"\xff\xd9"
APP0 = segment(0xE0, b"JFIF\0" + 9 * b"\0")
SCAN = segment(0xDA, b"\1\1\0\0\x3f\0") + b"noise\xff\0noise"
FRAME = (
    SOI + APP0 + segment(0xDB, 65 * b"\1") + frame_header(640, 480) + segment(0xC4, 20 * b"\2") + SCAN + EOI
)


def markers(data: bytes) -> tuple[bool, bool, int, int]:
    found = JPEG.lib.jpeg_find_markers(JPEG.new("uint8_t[]", data or b"\0"), len(data))
    return found.soi, found.eoi, found.width, found.height


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (FRAME, (True, True, 640, 480)),
        (FRAME + 100 * b"\0", (True, True, 640, 480)),
        (FRAME[:-1], (True, False, 640, 480)),
        (FRAME + b"\1", (True, False, 640, 480)),
        (b"\0" + FRAME, (False, True, 0, 0)),
        (b"\xff\xd7" + FRAME[2:], (False, True, 0, 0)),
        (b"\xff\xd9" + FRAME[2:], (False, True, 0, 0)),
        (SOI + APP0 + frame_header(800, 600, 0xC2) + SCAN + EOI, (True, True, 800, 600)),
        (SOI + segment(0xC4, frame_header(1, 1)) + SCAN + EOI, (True, True, 0, 0)),
        (SOI + SCAN + frame_header(640, 480) + EOI, (True, True, 0, 0)),
        (SOI + b"\xff\xe0\0\1" + EOI, (True, True, 0, 0)),
        (SOI + b"\xff\xe0\xff\xff" + EOI, (True, True, 0, 0)),
        (SOI + b"\xff\xe0\0\5" + b"ab", (True, False, 0, 0)),
        (SOI + b"\xff\xc0\0\5\x08\1\xe0", (True, False, 0, 0)),
        (b"", (False, False, 0, 0)),
        (SOI, (False, False, 0, 0)),
        (EOI, (False, True, 0, 0)),
        (50 * b"\0", (False, False, 0, 0)),
    ],
)
def test_markers_are_found_where_they_belong(data: bytes, expected: tuple[bool, bool, int, int]) -> None:
    assert markers(data) == expected


@given(st.integers(0, len(FRAME)), st.binary(max_size=6))
def test_any_cut_or_damaged_frame_is_read_within_its_bounds(cut: int, damage: bytes) -> None:
    data = FRAME[:cut] + damage + FRAME[cut + len(damage) :]
    markers(data)
    markers(FRAME[:cut])
    markers(FRAME[:cut] + damage)
