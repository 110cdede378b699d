"""Reads truncated, doubled, garbled and interleaved logs: the reader must not fail, must not invent a box, and must
find every intact box."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from hotpin_hil.analysis.analyze import analyze
from hotpin_hil.logs.blocks import LINE_MAX
from hotpin_hil.logs.reader import LogReader, read_events
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.box import render
from hotpin_hil.protocol.fields import DELTA_LABELS, MemoryStats
from hotpin_hil.protocol.records import encode

BOX_LINES = 28


def box_lines(number: int, t_ms: int) -> list[bytes]:
    """A box whose context and figures contain its number, so that no two are equal."""
    stats = MemoryStats(t_ms, *(1000 * number + place for place in range(11)))
    lines = render(f"Context {number}", stats, dict.fromkeys(DELTA_LABELS, -number))
    return [f"I ({t_ms}) MEM_MGR: {line}".encode() for line in lines]


def log_lines(boxes: int) -> list[tuple[int, bytes]]:
    """A log. Each line comes with the number of the box to which it belongs, or 0."""
    lines: list[tuple[int, bytes]] = [
        (0, b"ets Jul 29 2019 12:21:46"),
        (0, b""),
        (0, b"rst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)"),
        (0, b"I (29) boot: ESP-IDF v5.4.2 2nd stage bootloader"),
        (0, b"I (560) cpu_start: Multicore app"),
        (0, b"I (1590) main_task: Calling app_main()"),
    ]
    for number in range(1, boxes + 1):
        t_ms = 2_000 + 300 * number
        lines += [(0, b"W (%d) APP: something (took 3 ms) happened: %d" % (t_ms - 5, number))]
        lines += [(number, line) for line in box_lines(number, t_ms)]
        lines += [(0, encode("!", {"event": "boot", "t": t_ms, "b": "0a0b0c0d", "n": number})[:-1])]
        lines += [(0, b"Backtrace: 0x400d:0x3ffb |<-CORRUPTED"), (0, b"")]
    return lines


FOREIGN = st.sampled_from(
    [
        b"I (2400) AUDIO: Free DMA-capable: 100 bytes",
        b"E (2400) STATE_MGR: \xe2\x95\x94\xe2\x95\x90\xe2\x95\x90",
        b"wifi:state: init -> auth (0xb0)",
        b"",
        b"I (2401) MEM_MGR: \xe2\x95\x91   Free:                  1 bytes (  0 KB)",
        b'@! {"event":"boot"}*0000',
        b"Guru Meditation Error: Core  1 panic'ed (LoadStoreError). Exception was unhandled.",
        b"\xff\xfe\x00\x1b[31m\x1b]0;title\x07",
        b"I (2400) MEM_MGR: \xe2\x95\x9a" + b"\xe2\x95\x90" * 59,
        b"I (99999999) APP: a damaged stamp",
        b"rst:41 (POWERON_RESET)/boot:8x13",
    ]
)


@st.composite
def damaged(draw: st.DrawFn) -> tuple[list[tuple[int, bytes]], set[int]]:
    """A damaged log, and the numbers of the boxes that are still intact."""
    lines = log_lines(draw(st.integers(1, 4)))
    whole = {number for number, _ in lines if number}
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(lines) - 1))
        number, text = lines[at]
        what = draw(st.sampled_from(["cut", "drop", "double", "garble", "join", "swap"]))
        if number:
            whole.discard(number)
        if what == "cut":
            lines[at] = (number, text[: draw(st.integers(0, len(text)))])
        elif what == "drop":
            del lines[at]
        elif what == "double":
            lines.insert(at, (number, text))
        elif what == "garble" and text:
            place = draw(st.integers(0, len(text) - 1))
            # If a changed digit leaves the figure in KB the same, the box is valid and the damage is not detectable.
            new = bytes([draw(st.integers(0, 255).filter(lambda value: value not in b"\n 0123456789+-"))])
            lines[at] = (number, text[:place] + new + text[place + 1 :])
        elif what == "join" and at + 1 < len(lines):
            following, behind = lines.pop(at + 1)
            whole.discard(following)
            lines[at] = (number, text + behind)
        elif what == "swap" and at + 1 < len(lines):
            whole.discard(lines[at + 1][0])
            lines[at], lines[at + 1] = lines[at + 1], lines[at]
        if not lines:
            lines = [(0, b"")]
    return lines, whole


def boxes_in(log: bytes) -> list[ev.Sample]:
    return [event for event in read_events(log) if isinstance(event, ev.Sample) and event.source == "box"]


def figures(box: ev.Sample) -> tuple[object, ...]:
    return (box.context, box.stats.memory("dma"), box.stats.total_free, tuple(box.delta.items()))


REAL = {
    (
        f"Context {number}",
        MemoryStats(0, *(1000 * number + place for place in range(11))).memory("dma"),
        1000 * number + 9,
        tuple(dict.fromkeys(DELTA_LABELS, -number).items()),
    )
    for number in range(1, 5)
}


@settings(max_examples=300, deadline=None)
@given(damaged(), st.integers(1, 4000), st.booleans())
def test_damage_neither_fails_nor_invents_nor_hides_a_box(
    damage: tuple[list[tuple[int, bytes]], set[int]], chunk: int, ends: bool
) -> None:
    lines, whole = damage
    log = b"\n".join(text for _, text in lines) + (b"\n" if ends else b"")
    found = boxes_in(log)
    seen = [figures(box) for box in found]
    assert {f"Context {number}" for number in whole} <= {box.context for box in found}
    # Any other box that is found must have the figures of a real box; only its title may be damaged.
    assert {box_figures[1:] for box_figures in seen} <= {box_figures[1:] for box_figures in REAL}
    pieces = [log[at : at + chunk] for at in range(0, len(log), chunk)]
    reader = LogReader()
    events = [event for piece in pieces for event in reader.feed(piece)] + reader.close()
    assert events == read_events(log)
    analyze(pieces, "log")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 200), FOREIGN), max_size=20), st.integers(1, 3))
def test_whole_lines_of_other_tasks_hide_no_box(foreign: list[tuple[int, bytes]], boxes: int) -> None:
    """Lines with the box's own tag are left out, because they do damage a box."""
    lines = [text for _, text in log_lines(boxes)]
    for at, text in foreign:
        if b"MEM_MGR" not in text:
            lines.insert(min(at, len(lines)), text)
    found = boxes_in(b"\n".join(lines) + b"\n")
    assert {figures(box) for box in found} == {
        box_figures for box_figures in REAL if int(str(box_figures[0])[-1]) <= boxes
    }
    assert len(found) == boxes


@settings(max_examples=200, deadline=None)
@given(st.integers(0, BOX_LINES - 1), st.data())
def test_interrupted_line_is_joined(line: int, data: st.DataObject) -> None:
    lines = box_lines(1, 2_300)
    place = data.draw(st.integers(0, len(lines[line])))
    inserted = data.draw(
        st.sampled_from(
            [
                b"I (2310) AUDIO: hello",
                encode("!", {"event": "x", "t": 1, "b": "0a0b0c0d", "n": 1})[:-1],
            ]
        )
    )
    head, tail = lines[line][:place], lines[line][place:]
    lines[line : line + 1] = [head + inserted, tail] if tail else [head + b"\n" + inserted]
    (box,) = boxes_in(b"\n".join(lines) + b"\n")
    assert figures(box) in REAL
    assert box.corrupted == (0 < place < len(head + tail))


KNOWN = st.sampled_from(
    [
        b"rst:0xc (SW_CPU_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)",
        b"I (29) boot: ESP-IDF v5.4.2 2nd stage bootloader",
        b"I (560) cpu_start: Multicore app",
        b"I (566) app_init: App version:      0.1.0",
        b"I (579) heap_init: At 3FFAE6E0 len 00001920 (6 KiB): DRAM",
        b"I (590) esp_psram: Found 8MB PSRAM device",
        b"I (1600) HOTPIN_MAIN: Free heap: 4321 bytes",
        b"I (2400) TTS: Free PSRAM: 100 bytes",
        b"I (2500) STATE_MGR: === TRANSITION TO VOICE MODE ===",
        b"E (2600) STATE_MGR: Failed to init audio: ESP_ERR_NO_MEM",
        b"I (2700) STATE: camera -> voice in 400 ms",
        b"W (2800) MEM_MGR: WARNING: DMA memory low: 900 bytes (threshold: 1000)",
        b"E (2900) TTS: Failed to allocate memory for audio chunk (4096 bytes)",
        b"E (2950) i2s_common: i2s_alloc_dma_desc(440): allocate DMA buffer failed",
        b"E (3000) task_wdt: Task watchdog got triggered. The following tasks did not reset:",
        b"E (3000) task_wdt:  - IDLE0 (CPU 0)",
        b"abort() was called at PC 0x400d1234 on core 0",
        b"I (3100) APP: halfGuru Meditation Error: Core  0 panic'ed (LoadProhibited). Exception was unhandled.",
        b"I (3200) APP: an hour later",
        b"I (3603200) APP: nothing (at all) happened",
        b"CORRUPT HEAP: Bad head at 0x3ffb1234. Expected 0xabba1234 got 0x00000000",
        encode("!", {"event": "boot", "t": 1, "b": "0a0b0c0d", "n": 1})[:-1],
        b"",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(KNOWN, st.integers(0, 2_000)), max_size=30), st.integers(1, 600))
def test_interrupted_lines_are_read_the_same_in_any_chunking(
    inserted: list[tuple[bytes, int]], chunk: int
) -> None:
    log = b""
    for line, at in inserted:  # beyond the end: appended
        log = log[:at] + line + b"\n" + log[at:]
    pieces = [log[at : at + chunk] for at in range(0, len(log), chunk)]
    reader = LogReader()
    events = [event for piece in pieces for event in reader.feed(piece)] + reader.close()
    assert events == read_events(log)
    analyze(pieces, "log")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=3_000))
def test_any_bytes_are_accepted(junk: bytes) -> None:
    analysis = analyze([junk, b"\n", *(bytes([byte]) for byte in junk)], "junk")
    assert analysis.facts["boxes"]["complete"] == 0
    assert analysis.facts["bytes"] == 2 * len(junk) + 1


def test_recorded_shape_cut_within_a_character_and_a_colour() -> None:
    """Another task's line interrupts a border inside a UTF-8 character, and a colour code."""
    lines = box_lines(1, 2_300)
    lines[5] = b"\x1b[0;32m" + lines[5] + b"\x1b[0m"
    at = lines[7].index(b"\xe2\x95\x90") + 1
    lines[7:8] = [lines[7][:at] + b"W (2305) WIFI: weak", lines[7][at:]]
    (box,) = boxes_in(b"\r\n".join(lines) + b"\r\n")
    assert box.corrupted


def test_overlong_line_is_one_line_and_costs_no_memory() -> None:
    long = b"x" * (3 * LINE_MAX)
    log = b"I (1) A: first\n" + long + b"\nI (2) A: last\n"
    for chunk in (len(log), 1000, 65_537):
        analysis = analyze([log[at : at + chunk] for at in range(0, len(log), chunk)], "long")
        assert analysis.facts["lines"] == 3
        assert analysis.facts["log_levels"] == {"I": 2}
        assert analysis.unreadable["overlong line"] == 1


def test_shuffled_lines_give_no_box() -> None:
    lines = [line for number in (1, 2, 3) for line in box_lines(number, 2_300)]
    random.Random(1).shuffle(lines)
    assert boxes_in(b"\n".join(lines)) == []
    assert Counter(type(event) for event in read_events(b"\n".join(lines)))[ev.Sample] == 0
