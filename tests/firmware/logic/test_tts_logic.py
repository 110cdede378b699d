"""Tests two decisions of the TTS decoder: whether to allocate 64 KB of PSRAM, and whether a write still fits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.c_build import build

TTS = build("tts_logic", ["tts_decoder/src/tts_logic.c"], ["tts_logic.h", "tts_decoder.h"])

BUFFER, MARGIN = 65536, 32768  # figures from the guide
ADMITTED, TOO_LITTLE, NO_BLOCK = TTS.lib.TTS_ADMITTED, TTS.lib.TTS_TOO_LITTLE, TTS.lib.TTS_NO_BLOCK


def test_buffer_and_margin_are_the_guides() -> None:
    assert TTS.const("TTS_STREAM_BUFFER_SIZE") == BUFFER
    assert TTS.const("TTS_SAFETY_MARGIN") == MARGIN
    assert TTS.const("TTS_REQUIRED_PSRAM") == BUFFER + MARGIN


@pytest.mark.parametrize(
    ("free", "block", "verdict"),
    [
        (BUFFER + MARGIN, True, ADMITTED),
        (BUFFER + MARGIN - 1, True, TOO_LITTLE),
        (BUFFER + MARGIN - 4, True, TOO_LITTLE),
        (BUFFER + MARGIN, False, NO_BLOCK),
        (4_000_000, False, NO_BLOCK),
        (0, False, TOO_LITTLE),
        (0xFFFFFFFF, True, ADMITTED),
    ],
)
def test_safety_margin_refuses_below_required_and_not_at_it(free: int, block: bool, verdict: int) -> None:
    assert TTS.lib.tts_admit(free, block) == verdict


@pytest.mark.parametrize(
    ("written", "stream", "room", "size", "fits"),
    [
        (0, 0, BUFFER, BUFFER, True),
        (0, 0, BUFFER, BUFFER + 1, False),
        (BUFFER, 0, 0, 1, False),
        (60, 100, BUFFER, 40, True),
        (60, 100, BUFFER, 41, False),
        (BUFFER - 1, 2 * BUFFER, 1, 1, True),
        (BUFFER - 1, 2 * BUFFER, 1, 2, False),
        (2 * BUFFER, 3 * BUFFER, BUFFER, BUFFER, True),
    ],
)
def test_write_is_refused_one_byte_beyond_the_room(
    written: int, stream: int, room: int, size: int, fits: bool
) -> None:
    assert TTS.lib.tts_write_fits(written, stream, room, size) == fits


@given(st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFF), st.integers(0, BUFFER), st.integers(0, 2**32))
def test_write_fits_into_the_room_and_the_announced_length(
    stream: int, written: int, room: int, size: int
) -> None:
    limit = room if stream == 0 else min(room, max(stream - written, 0))
    assert TTS.lib.tts_write_fits(written, stream, room, size) == (size <= limit)
