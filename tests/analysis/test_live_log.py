"""Follows a log that is still being written: checks state and news after each line, and at the end the same findings as
for a finished log."""

from __future__ import annotations

from itertools import cycle

import pytest

from hotpin_hil.analysis.analyze import analyze
from hotpin_hil.analysis.live import NEWS_MAX, LiveLog
from hotpin_hil.analysis.news import News, NewsKind
from tests.conftest import shared_data
from tests.logs.test_capture import LOGS
from tests.logs.test_reader import APP, BANNER, FLASH, Firmware

PANIC = (
    b"Guru Meditation Error: Core  1 panic'ed (LoadProhibited). Exception was unhandled.\n\n"
    b"Core  1 register dump:\nPC      : 0x400d1234  PS      : 0x00060030\n"
    b"EXCVADDR: 0x00000000\n\nBacktrace: 0x400d1231:0x3ffb0000 0x400d2231:0x3ffb0020\n\n\n"
)
SAMPLE_BEFORE = "Before Camera Transition"


def watch(log: LiveLog, data: bytes, *sizes: int) -> list[News]:
    """Feed a log in chunks of these sizes, repeated as often as necessary; returns all news."""
    news, at = [], 0
    for size in cycle(sizes):
        if at >= len(data):
            return news
        news += log.feed(data[at : at + size])
        at += size
    return news


def kinds(news: list[News]) -> list[str]:
    return [str(piece.kind) for piece in news]


@pytest.mark.parametrize("name", LOGS)
def test_findings_are_those_of_the_finished_log(name: str) -> None:
    data = shared_data(f"real_logs/{name}").read_bytes()
    log, other = LiveLog(), LiveLog()
    news = watch(log, data, 4_099) + log.close()
    assert sorted(map(repr, log.findings)) == sorted(map(repr, analyze([data], "log").diagnoses))
    assert watch(other, data, 1 << 20) + other.close() == news
    told = [piece.text for piece in news if piece.kind is NewsKind.DIAGNOSIS]
    assert len(told) == len(set(told))


def test_state_does_not_depend_on_the_chunks() -> None:
    board = Firmware()
    data = BANNER % (1, b"POWERON_RESET", 0x13, FLASH) + APP
    for number in range(3):
        data += board.sample("Periodic", 90_000 - 1_000 * number, t=2_000 + number)
    data += (
        b"I (3000) STATE: init -> camera in 411 ms\nW (3100) MEM_MGR: WARNING: DMA memory low: 900 bytes\n"
        + PANIC
    )
    whole, bytewise = LiveLog(), LiveLog()
    assert watch(whole, data, len(data)) == watch(bytewise, data, 1)
    for log in (whole, bytewise):
        assert [(gauge.memory, gauge.free, list(gauge.course)) for gauge in log.gauges.read] == [
            (memory, 88_000, [90_000, 89_000, 88_000]) for memory in ("internal", "dma", "psram")
        ]
        assert log.mode == "camera"
        assert {gauge.memory: gauge.level for gauge in log.gauges.read}["dma"] == "WARN"
        assert log.boot is not None
        assert (log.boot.cause, log.boot.warnings) == ("POWERON_RESET", 1)


def test_a_panic_is_diagnosed_with_its_last_line() -> None:
    """DIAG-04 must also come at once, although the diagnoser normally waits until the next boot has reported its
    reset."""
    board, log = Firmware(), LiveLog()
    figures = dict.fromkeys(("internal_largest", "dma_largest", "psram_free", "psram_largest"), 3_000_000)
    log.feed(APP + board.sample(SAMPLE_BEFORE, 3_000_000, **figures))
    assert log.feed(PANIC) == []
    news = log.feed(b"Rebooting...\n")
    assert kinds(news) == ["panic", "diagnosis", "diagnosis"]
    assert [piece.diagnosis.id for piece in news[1:] if piece.diagnosis] == ["deleted-object", "DIAG-04"]
    assert [found.id for found in log.findings] == ["deleted-object", "DIAG-04"]
    again = log.feed(BANNER % (12, b"SW_CPU_RESET", 0x13, FLASH) + APP)
    assert kinds(again + log.close()) == ["boot"]
    assert [found.id for found in log.findings] == ["deleted-object", "DIAG-04"]


def test_a_reset_ends_mode_and_warnings() -> None:
    board, log = Firmware(), LiveLog()
    log.feed(APP + board.sample("Periodic", 90_000) + b"I (3000) STATE: init -> voice in 411 ms\n")
    log.feed(b"W (3100) MEM_MGR: WARNING: DMA memory low: 900 bytes (threshold: 1000)\n")
    assert log.mode == "voice"
    log.feed(BANNER % (1, b"POWERON_RESET", 0x13, FLASH))
    assert log.mode == ""
    assert {gauge.level for gauge in log.gauges.read} == {""}


def test_a_warning_that_a_record_repeats_is_told_once() -> None:
    board, log = Firmware(), LiveLog()
    record = board.event(
        "mem.warning",
        type="DMA_LOW",
        value=900,
        threshold=1000,
        free=900,
        largest=800,
        timestamp_ms=3_100,
        t=3_100,
    )
    news = log.feed(b"W (3100) MEM_MGR: WARNING: DMA memory low: 900 bytes (threshold: 1000)\n" + record)
    assert [piece.text for piece in news] == ["DMA-capable memory: low, 900 bytes free, threshold 1,000"]


def test_a_storm_of_failures_is_thinned_out() -> None:
    log, failures = LiveLog(), 3_000
    news = log.feed(b"".join(b"E (%d) app: malloc failed\n" % (5_000 + 10 * n) for n in range(failures)))
    told = [piece for piece in news if piece.kind is NewsKind.FAILURE]
    assert NEWS_MAX < len(told) < NEWS_MAX + 10
    assert "number 2,048 of this boot" in told[-1].text


def test_a_leak_is_found_while_the_board_runs() -> None:
    log = LiveLog()
    news = log.feed(
        b"".join(b"I (%d) app: Free heap: %d bytes\n" % (1_000 * n, 200_000 - 500 * n) for n in range(1, 40))
    )
    (leak,) = [piece.diagnosis for piece in news if piece.diagnosis]
    assert leak.id == "DIAG-03"
    assert [found.id for found in log.findings] == ["DIAG-03"]


def test_an_early_verdict_is_withdrawn_when_later_readings_contradict_it() -> None:
    log = LiveLog()
    falling = [200_000 - 500 * number for number in range(40)]
    readings = [*falling, *[200_000] * 400]
    news = log.feed(
        b"".join(
            b"I (%d) app: Free heap: %d bytes\n" % (1_000 * n, free) for n, free in enumerate(readings, 1)
        )
    )
    assert [piece.diagnosis.id for piece in news if piece.diagnosis] == ["DIAG-03"]
    assert log.findings == []
    assert log.close() == []


def test_the_end_of_the_log_overrules_an_early_verdict() -> None:
    log = LiveLog()
    readings = [*(200_000 - 500 * number for number in range(40)), *[200_000] * 20]
    data = b"".join(
        b"I (%d) app: Free heap: %d bytes\n" % (1_000 * n, free) for n, free in enumerate(readings, 1)
    )
    log.feed(data)
    assert [found.id for found in log.findings] == ["DIAG-03"]
    log.close()
    assert log.findings == list(analyze([data], "log").diagnoses) == []
