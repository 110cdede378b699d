"""Tests which events the reader finds: boots with and without a banner, damaged time stamps, records, interrupted
lines."""

from __future__ import annotations

from typing import Any

import pytest

from hotpin_hil.analysis.analyze import analyze
from hotpin_hil.analysis.diagnosis import diagnose
from hotpin_hil.analysis.matched_state import READINGS_KEPT, MatchedStates, Readings
from hotpin_hil.logs.blocks import LINE_MAX
from hotpin_hil.logs.format import LogFormat
from hotpin_hil.logs.reader import LogReader, read_events
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.box import render
from hotpin_hil.protocol.fields import DELTA_LABELS, MemoryStats
from hotpin_hil.protocol.records import encode
from hotpin_hil.report.log_text import text_lines

MARKS = ("Multicore app", "Pro cpu start user code")
APP = b"I (560) cpu_start: Multicore app\nI (1600) main_task: Calling app_main()\n"
BANNER = b"rst:0x%x (%s),boot:0x%x (%s)\n"
FLASH, DOWNLOAD = b"SPI_FAST_FLASH_BOOT", b"DOWNLOAD_BOOT(UART0/UART1/SDIO_REI_REO_V2)"


def lines(*times: int) -> bytes:
    return b"".join(b"I (%d) APP: tick\n" % time for time in times)


def boots(log: bytes) -> list[tuple[int, str, str]]:
    """Index, sign and cause of each boot in the log."""
    return [
        (event.boot, event.sign, event.cause)
        for event in read_events(log)
        if isinstance(event, ev.BootStarted)
    ]


class Firmware:
    """Writes records as the firmware does."""

    def __init__(self, boot: str = "0a0b0c0d") -> None:
        self.boot = boot
        self.n = 0

    def event(self, name: str, t: int = 2_000, **fields: Any) -> bytes:
        self.n += 1
        return encode("!", {"event": name, **fields, "t": t, "b": self.boot, "n": self.n})

    def sample(self, context: str, free: int, t: int = 2_000, **fields: Any) -> bytes:
        stats = dict.fromkeys(("internal_free", "dma_free", "psram_free", "total_free"), free)
        stats |= dict.fromkeys(
            ("internal_largest", "dma_largest", "psram_largest", "total_minimum_free"), 900
        )
        stats |= dict.fromkeys(("internal_fragmentation", "dma_fragmentation", "psram_fragmentation"), 0)
        return self.event("mem.sample", t, context=context, timestamp_ms=t, **(stats | fields))


# --- Boots ---


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (BANNER % (1, b"POWERON_RESET", 0x13, FLASH) + APP, [(0, "reset banner", "POWERON_RESET")]),
        (APP, [(0, "application", "")]),
        (APP + lines(5_000) + APP, [(0, "application", ""), (1, "application", "")]),
        (lines(5_000, 5_010, 300, 310, 320), [(1, "time stamps", "")]),
        (
            lines(9_000) + b"I (29) boot: ESP-IDF v5.4 2nd stage bootloader\n" + APP,
            [(1, "boot loader", "")],
        ),
        (
            BANNER % (1, b"POWERON_RESET", 3, DOWNLOAD) + BANNER % (1, b"POWERON_RESET", 0x13, FLASH) + APP,
            [(0, "reset banner", "POWERON_RESET"), (0, "reset banner", "POWERON_RESET")],
        ),
        (
            Firmware("00000001").event("boot") + Firmware("00000002").event("x"),
            [(1, "boot record", "")],
        ),
        # Before the application runs, log lines use another clock.
        (b"I (32416) boot: ESP-IDF v5.4 2nd stage bootloader\nI (32691) cpu_start: Multicore app\n"
         b"I (21530) cpu_start: GPIO 3 and 1 are used as console UART I/O pins\n" + lines(21_600),
         [(0, "boot loader", "")]),
    ],
    ids=["banner", "app", "twice", "no_banner", "loader", "download", "record", "two_clocks"],
)  # fmt: skip
def test_boots_are_detected_by_any_of_their_signs(log: bytes, expected: list[tuple[int, str, str]]) -> None:
    assert boots(log) == expected


@pytest.mark.parametrize(
    ("times", "odd"),
    [
        ((5_000, 5_010, 50, 5_020, 5_030), [3]),  # digits lost
        ((5_000, 5_010, 505_020, 5_030, 5_040), [3]),  # a digit too many
        # not odd: tasks take the time stamp before they wait for the lock
        ((5_000, 5_566, 5_000, 5_600), []),
        ((5_000, 65_000, 65_010), []),  # a pause
    ],
)
def test_damaged_time_stamp_is_not_a_boot(times: tuple[int, ...], odd: list[int]) -> None:
    reader = LogReader()
    events = [*reader.feed(lines(*times)), *reader.close()]
    assert events == []
    assert reader.scan.tally.odd_stamps == odd


def test_damaged_time_stamp_before_an_event_is_not_a_boot() -> None:
    reader = LogReader()
    log = lines(5_000, 5_010, 505_020) + b"E (5030) APP: x\n" + lines(5_040, 5_050)
    assert [*reader.feed(log), *reader.close()] == []
    assert reader.scan.tally.odd_stamps == [3]


def test_damaged_banner_is_counted_and_quoted() -> None:
    log = b"\xff\xfd rst:41 (POWERON_RESET)/boot:8x13\n" + APP
    analysis = analyze([log], "log")
    assert analysis.facts["boots"]["garbled_reset_lines"] == [1]
    assert analysis.unreadable["reset banner"] == 1
    assert analysis.quotes[0].line == 1


# --- Lines in lines ---


def test_quoted_line_is_not_taken_for_a_line_of_another_task() -> None:
    """A text within a line that looks like a log line, but has a different time stamp, is a quotation."""
    log = b"I (90000) HTTP: server said E (533) TTS: Failed to allocate memory\n"
    reader = LogReader()
    assert [*reader.feed(log), *reader.close()] == []
    assert reader.scan.tally.levels["E"] == 0


def test_line_in_a_line_is_counted_with_both_headers() -> None:
    reader = LogReader()
    reader.feed(b"I (7817) wifi:I (7845) TTS: Free DMA-capable: 5 bytes\n<ba-add>idx:0\n")
    (printed,) = reader.close()
    assert isinstance(printed, ev.HeapPrint)
    assert (printed.tag, printed.free, printed.line) == ("TTS", 5, 1)
    assert reader.scan.tally.levels["I"] == 2
    assert reader.scan.tally.format.lines_with_second_header == [1]


def test_endless_line_is_dropped_as_it_arrives() -> None:
    """A gigabyte without a newline must not fill the host's memory."""
    reader = LogReader()
    for _ in range(100):
        reader.feed(b"\0" * LINE_MAX)
        assert len(reader.scan.blocks._carry) <= LINE_MAX
    reader.feed(b"\n")
    reader.close()
    assert (reader.scan.lines, reader.scan.blocks.overlong_lines) == (1, 1)


def test_boxes_without_an_end_are_dropped() -> None:
    top = render("x", MemoryStats(*[0] * 12), dict.fromkeys(DELTA_LABELS, 0))[:2]
    endless = "".join(f"I ({number}) MEM_MGR: ║ more\n" for number in range(1_000))
    started = "".join(f"I (1) TAG{tag}: {line}\n" for tag in range(100) for line in top)
    reader = LogReader()
    begun = "".join(f"I (1) MEM_MGR: {line}\n" for line in top)
    reader.feed((begun + endless).encode())
    assert not reader._lines._memory.is_waiting
    reader.feed((begun + started).encode())
    assert len(reader._lines._memory._boxes._open) <= 8


def test_box_is_the_same_in_one_chunk_and_line_by_line() -> None:
    stats = MemoryStats(100, *[5] * 11)

    def box(context: str, times: list[int]) -> bytes:
        text = render(context, stats, dict.fromkeys(DELTA_LABELS, 0))
        lines = (f"I ({time}) MEM_MGR: {line}" for time, line in zip(times, text, strict=True))
        return "\n".join([*lines, *["I (200) APP: after"] * 9, ""]).encode()

    def read(log: bytes, chunk: int) -> tuple[list[ev.LogEvent], dict[str, int], LogFormat]:
        reader = LogReader()
        events = [event for at in range(0, len(log), chunk) for event in reader.feed(log[at : at + chunk])]
        return [*events, *reader.close()], reader.scan.tally.levels, reader.scan.tally.format

    for log, boxes, count in (
        (box("Quiet", [100] * 28), 1, 37),
        (box("Cut I (101) AUDIO: hello", [100] * 28), 1, 38),
        (lines(5_000) + box("Late", [4_900] * 28), 1, 38),
        (box("Reset", [5_000] * 20 + [100] * 8), 1, 37),
    ):
        whole, levels, form = read(log, len(log))
        assert (whole, levels, form) == read(log, 7)
        assert sum(isinstance(event, ev.Sample) for event in whole) == boxes
        assert levels["I"] == count
    assert [event.sign for event in whole if isinstance(event, ev.BootStarted)] == ["time stamps"]


def test_panic_after_a_truncated_line_is_detected() -> None:
    log = b"I (90) APP: stI (95) TTS: Free PSRAM: 5 bytes\narting Guru Meditation Error: Core  0 panic'ed (X).\n"
    assert any(isinstance(event, ev.PanicSeen) for event in read_events(log))


def test_task_watchdog_belongs_to_the_boot_that_printed_it() -> None:
    report = b"E (9000) task_wdt: Task watchdog got triggered.\nE (9000) task_wdt:  - stt (CPU 1)\n"
    first, second = Firmware("00000001"), Firmware("00000002")
    events = read_events(first.event("x") + report + second.event("x"))
    (watchdog,) = (event for event in events if isinstance(event, ev.TaskWatchdog))
    assert (watchdog.boot, watchdog.tasks) == (0, ("stt",))


# --- Records ---


def test_sample_needs_both_of_its_records() -> None:
    firmware = Firmware()
    first = firmware.sample("A", 1_000, more=True)
    second = firmware.event("mem.sample", dma_watermark=7)
    (sample,) = read_events(first + second)
    assert isinstance(sample, ev.Sample)
    assert (sample.context, sample.stats.dma_watermark) == ("A", 7)
    firmware.n += 1
    other = firmware.event("mem.sample", dma_watermark=8)
    assert [type(event).__name__ for event in read_events(first + other)] == ["Unreadable", "Unreadable"]
    assert [type(event).__name__ for event in read_events(first)] == ["Unreadable"]
    assert [type(event).__name__ for event in read_events(second)] == ["Unreadable"]


def test_sample_after_a_lost_half_has_its_own_line() -> None:
    firmware = Firmware()
    half = firmware.sample("A", 1_000, more=True)
    *_, sample = read_events(half + lines(5_000, 5_010) + firmware.sample("B", 1_000))
    assert isinstance(sample, ev.Sample)
    assert (sample.context, sample.line) == ("B", 4)


def test_missing_and_damaged_records_are_counted() -> None:
    firmware = Firmware()
    first = firmware.event("x")
    firmware.n += 3
    damaged = firmware.event("x").replace(b'"x"', b'"y"')
    reader = LogReader()
    events = [*reader.feed(first + damaged + firmware.event("x")), *reader.close()]
    assert [event.what for event in events if isinstance(event, ev.Unreadable)] == ["record"]
    assert (reader.records, reader.records_lost) == (2, 4)


def test_transition_in_record_and_log_line_counts_once() -> None:
    record = Firmware().event("mode", **{"from": "camera"}, to="voice", ok=True, duration_ms=417, step=None)
    line = b"I (2000) STATE: camera -> voice in 417 ms\n"
    for log in (record + line, record, line):
        transitions = [event for event in read_events(log) if isinstance(event, ev.Transition)]
        assert [(event.to, event.result, event.duration_ms) for event in transitions] == [
            ("voice", "complete", 417)
        ]


def test_late_record_of_a_finished_transition_opens_none() -> None:
    """The record "Before …" may arrive after the end of its transition, because the monitor task writes statistics with
    a delay."""
    firmware = Firmware()
    log = firmware.event("mode", 2_500, **{"from": "camera"}, to="voice", ok=True, duration_ms=400, step=None)
    log += firmware.sample("Before Voice Transition", 5_000, t=2_100, psram_free=4_000_000)
    log += b"abort() was called at PC 0x400d70f4 on core 0\n\nBacktrace: 0x400d:0x3ffb\n\nRebooting...\n"
    assert {diagnosis.name for diagnosis in diagnose(read_events(log))} == {"Panic: abort"}


def test_psram_warning_is_psram_exhausted() -> None:
    log = b"E (9000) MEM_MGR: CRITICAL: PSRAM very low! 100000 bytes (threshold: 204800 bytes)\n"
    (diagnosis,) = diagnose(read_events(log))
    assert diagnosis.name == "PSRAM exhausted"
    record = Firmware().event(
        "mem.warning", type="PSRAM_CRITICAL", value=5, threshold=204_800, timestamp_ms=9
    )
    (diagnosis,) = diagnose(read_events(record))
    assert "5 bytes are free" in diagnosis.finding


# --- Matched states ---


def test_leaks_are_judged_by_records_or_fresh_boxes_only() -> None:
    firmware = Firmware()
    log = b""
    for cycle in range(20):
        log += firmware.sample("Before Voice Transition", 9_000, t=2_000 + cycle)
        log += firmware.sample(
            "After Voice Transition", 9_000, t=2_000 + cycle
        )  # stale: the same figures as the previous sample
    states = MatchedStates()
    for event in read_events(log):
        states.feed(event)
    assert states.end_boot(0) == []
    stats = MemoryStats(1, 5, 5, 0, 5, 5, 0, 5, 5, 0, 5, 5)
    box = ev.Sample(1, 0, 1, "box", "After Voice Transition", stats)
    record = ev.Sample(2, 0, 1, "record", "After Voice Transition", stats)
    for event in (box, record, record):
        states.feed(event)
    assert {state.readings for state in states.end_boot(0)} == {2}
    states.feed(box)
    assert {state.readings for state in states.end_boot(0)} == {1}


def test_long_series_is_thinned_and_its_leak_stays_per_cycle() -> None:
    readings = Readings()
    for cycle in range(5 * READINGS_KEPT):
        readings.add(10_000_000 - 16 * cycle, cycle)
    assert len(readings.values) < READINGS_KEPT
    assert readings.stride == 8
    assert readings.values[1] - readings.values[0] == -16 * 8


# --- What reaches the terminal ---


def test_hostile_log_reaches_the_terminal_escaped() -> None:
    hostile = "<script>alert(1)</script>\x1b]0;gone\x07\x9b31m\x00"
    box = render(f"Before {hostile}", MemoryStats(1, *[5] * 11), dict.fromkeys(DELTA_LABELS, 0))
    log = "".join(f"I (100) MEM_MGR: {line}\n" for line in box)
    log += f"E (100) {hostile[:6]}x: Failed to allocate memory {hostile}\n"
    log += f"I (100) T\x1bAG:   Free DMA-capable: 5 bytes\nrst:0x99 {hostile}\n@! {{{hostile}\n"
    log += "abort() was called at PC 0x1 on core 0\n" + hostile + "\nx" + "\x1b[2J" * LINE_MAX + "\n"
    text = "\n".join(text_lines(analyze([log.encode()], hostile)))
    assert "\\x1b" in text
    assert [char for char in text if not char.isprintable() and char != "\n"] == []
    assert max(map(len, text.splitlines())) < 500
