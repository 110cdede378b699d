"""Reads a log while it is being written: the events must be the same as afterwards, each as soon as its lines have
arrived."""

from __future__ import annotations

from itertools import cycle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotpin_hil.logs.reader import LogReader, read_events
from hotpin_hil.protocol import events as ev
from tests.conftest import shared_data
from tests.logs.captures import VARIANTS
from tests.logs.test_capture import LOGS, SHORT
from tests.logs.test_properties import damaged

APP = b"I (%d) app: tick\n"


def live_events(log: bytes, *sizes: int) -> list[ev.LogEvent]:
    """The events of a log that arrives in chunks of these sizes, repeated as often as necessary."""
    reader, events, at = LogReader(is_live=True), [], 0
    for size in cycle(sizes):
        if at >= len(log):
            break
        events += reader.feed(log[at : at + size])
        at += size
    return events + reader.close()


@pytest.mark.parametrize("name", LOGS)
def test_events_are_those_of_the_finished_log(name: str) -> None:
    log = shared_data(f"real_logs/{name}").read_bytes()
    expected = read_events(log)
    assert live_events(log, 1 << 20) == expected
    assert live_events(log, 7, 1_999, 64) == expected


@settings(max_examples=60, deadline=None)
@given(damaged(), st.lists(st.integers(1, 400), min_size=1, max_size=5))
def test_chunks_of_a_damaged_log_do_not_matter(
    damage: tuple[list[tuple[int, bytes]], set[int]], sizes: list[int]
) -> None:
    log = b"\n".join(text for _, text in damage[0]) + b"\n"
    assert live_events(log, *sizes) == live_events(log, len(log))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_capture_is_read_line_by_line(variant: str) -> None:
    log = VARIANTS[variant](SHORT)
    starts = [event for event in live_events(log, 1) if isinstance(event, ev.BootStarted)]
    readings = [event for event in live_events(log, 1) if isinstance(event, ev.HeapPrint)]
    assert [boot.cause for boot in starts] == ["POWERON_RESET"]
    assert [(reading.free, reading.t_ms) for reading in readings] == [(181_220, 5_200)]


def test_an_event_comes_with_its_last_line() -> None:
    reader = LogReader(is_live=True)
    assert reader.feed(b"I (900) app: Free heap: 4321 byt") == []
    (reading,) = reader.feed(b"es\n")
    assert isinstance(reading, ev.HeapPrint)
    abort = b"abort() was called at PC 0x400d1234 on core 0\n\nBacktrace: 0x400d1231:0x3ffb0000\n"
    assert reader.feed(abort) == []
    (panic,) = reader.feed(b"\nRebooting...\n")
    assert isinstance(panic, ev.PanicSeen)
    assert panic.panic.is_complete


def test_a_falling_time_waits_until_a_restart_is_certain() -> None:
    reader = LogReader(is_live=True)
    assert reader.feed(APP % 50_000 + APP % 300) == []
    assert reader.feed(APP % 310) == []
    ended, started = reader.feed(APP % 320)
    assert isinstance(ended, ev.BootEnded)
    assert isinstance(started, ev.BootStarted)
    assert started.line == 2


def test_a_damaged_time_is_no_restart() -> None:
    reader = LogReader(is_live=True)
    assert reader.feed(APP % 50_000 + APP % 300 + APP % 50_010 + APP % 50_020) == []
    assert reader.scan.tally.odd_stamps == [2]
