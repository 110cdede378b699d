"""Tests the decoding of the fields of firmware events into typed events."""

from __future__ import annotations

from typing import Any

import pytest

from hotpin_hil.protocol import decode
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.decode import Place, decode_event
from hotpin_hil.protocol.fields import FIELDS

PLACE = Place(line=7, boot=1, t_ms=2_000)
SAMPLE = {"context": "Periodic"} | {field.name: number for number, field in enumerate(FIELDS[:12])}
WARNING = {"type": "DMA_CRITICAL", "value": 5, "threshold": 20_480, "timestamp_ms": 1_990}
MODE = {"from": "camera", "to": "voice", "ok": True, "duration_ms": 417, "step": None}
ALLOC = {"size": 4_080, "caps": 8, "function": "heap_caps_malloc"}
BOOT = {"reset_reason": "PANIC", "boot_count": 2, "free_at_main": 4_300_000}
EVENTS = {
    decode.SAMPLE: SAMPLE,
    decode.WARNING: WARNING,
    decode.RECOVERED: WARNING,
    decode.MODE: MODE,
    decode.ALLOC_FAILED: ALLOC,
    decode.BOOT: BOOT,
}


@pytest.mark.parametrize("name", EVENTS)
def test_event_has_its_line_and_boot(name: str) -> None:
    event = decode_event(name, EVENTS[name], PLACE)
    assert event is not None
    assert (event.line, event.boot) == (7, 1)


def test_sample_and_warning_have_the_time_of_their_reading() -> None:
    """The time of the reading is not the time of the record, which may be written later."""
    sample = decode_event(decode.SAMPLE, SAMPLE | {"timestamp_ms": 1_900}, PLACE)
    warning = decode_event(decode.WARNING, WARNING, PLACE)
    assert sample is not None
    assert warning is not None
    assert (sample.t_ms, warning.t_ms) == (1_900, 1_990)


@pytest.mark.parametrize(
    ("kind", "threshold", "level", "memory"),
    [
        ("DMA_CRITICAL", 20_480, "CRIT", "dma"),
        ("PSRAM_LOW", 512_000, "WARN", "psram"),
        ("FRAGMENTATION_HIGH", 30, "WARN", "frag"),
        ("FRAGMENTATION_HIGH", 50, "CRIT", "frag"),
    ],
)
def test_type_of_a_warning_is_level_and_memory(kind: str, threshold: int, level: str, memory: str) -> None:
    event = decode_event(decode.WARNING, WARNING | {"type": kind, "threshold": threshold}, PLACE)
    assert isinstance(event, ev.MemoryWarning)
    assert (event.level, event.memory, event.recovered) == (level, memory, False)


def test_largest_block_of_0_bytes_is_a_valid_figure() -> None:
    failure = MODE | {"ok": False, "missing": 4_080, "largest": 0}
    event = decode_event(decode.MODE, failure, PLACE)
    assert isinstance(event, ev.ModeChange)
    assert (event.missing, event.largest) == (4_080, 0)


def test_event_without_memory_figures_is_none() -> None:
    assert decode_event("tts", {"state": "open"}, PLACE) is None


@pytest.mark.parametrize(
    ("name", "field"), [(name, field) for name, data in EVENTS.items() for field in data]
)
def test_missing_field_is_an_error(name: str, field: str) -> None:
    if (name, field) == (decode.MODE, "step"):
        return  # optional: only failures have this field
    data = {key: value for key, value in EVENTS[name].items() if key != field}
    with pytest.raises(KeyError, match=field):
        decode_event(name, data, PLACE)


@pytest.mark.parametrize("wrong", ["5", 5.0, True, [5]])
def test_figure_of_another_type_is_an_error_with_its_name(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"'size' is .*, expected an integer"):
        decode_event(decode.ALLOC_FAILED, ALLOC | {"size": wrong}, PLACE)
