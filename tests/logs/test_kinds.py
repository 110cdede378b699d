"""Checks that counting lines in bulk gives the same result as scanning each line, and that lines counted in bulk have
no events."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Any

import pytest

from hotpin_hil.logs.format import LEVELS
from hotpin_hil.logs.kinds import (
    BOX,
    DECODED_ADDRESS,
    KNOWN_MAX,
    MONITOR_NOTE,
    NOT_PLAIN,
    OTHER,
    PLAIN_TEXT,
    SHAPE_MAX,
    TRACE,
    WANTED,
    LineKinds,
)
from hotpin_hil.logs.reader import LogReader
from hotpin_hil.logs.scan import LineScanner
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.records import encode
from tests.conftest import shared_data
from tests.logs.test_properties import box_lines

TIME = re.compile(rb"^([EWIDV]) \(\d+\)")
COLOURED = "\x1b[0;32mI (%d) app: green\x1b[0m"
FRAGMENTS = """\
I (%d) app: tick 7
D (%d) app: detail
V (%d) app: more
W (%d) net: sock 5 errno 12
E (%d) app: code 0x101
E (%d) app: code 0x102
E (%d) tls: -32512
E (%d) tls: -12345
E (%d) app: failed to start task
E (%d) i2s_common: i2s_alloc_dma_desc(440): allocate DMA buffer failed
W (%d) app: task 7 is late
E (%d) app: failed to allocate 300 bytes
I (%d) app: Free heap: %d bytes
I (%d) app: feed the tree 12
I (%d) cpu_start: Multicore app
I (%d) boot: ESP-IDF v5.4 2nd stage bootloader
I (%d) STATE: camera -> voice in 4 ms
I (%d) main_task: Calling app_main()
I (%d) AUDIO: ╔{rule}
I (%d) AUDIO: ║ 16000 Hz
I (%d) x: a I (%d) y: b
W (%d) MEM_MGR: WARNING: DMA memory low: 900 bytes (threshold: 1000)
[ %d][E][main.cpp:3] f(): out of memory
E (%d) task_wdt: Task watchdog got triggered. The following tasks did not reset:
E (%d) task_wdt:  - IDLE0 (CPU 0)
I (12345678901) app: no time
I (%d) no colon here
 (%d) tag: level lost
--- 0x400d1234: app_main at main.c:7
--- note
PS C:\\> idf.py monitor
E early: text I (%d) x: y
I (10:15:01.120) app: a
free heap: %d
wifi:state: init -> auth
Backtrace: 0x400d1234:0x3ffb0000
abort() was called at PC 0x400d1234 on core 0
terminate called after throwing
CORRUPT HEAP: Bad head at 0x3ffb1234. Expected 0xabba1234 got 0x00000000
I (%d) app: @1 {
Rebooting...
rst:0xc (SW_CPU_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)
Heap summary for capabilities 0x00001800:
    free 1000 allocated 20 min_free 30 largest_free_block 40
�
""".replace("{rule}", "═" * 59).split("\n")


def mixture(seed: int) -> bytes:
    """A random log of fragments, interrupted boxes and damaged lines. Its times advance, jump and go back."""
    choice = random.Random(seed)
    time = choice.choice([0, 500, 90_000])
    lines: list[bytes] = []
    for _ in range(choice.randint(1, 60)):
        kind = choice.random()
        time = max(0, time + choice.choice([0, 1, 7, 30, 900, 5_000, -200, -60_000]))
        text = choice.choice([*FRAGMENTS, COLOURED])
        line = text.replace("%d", str(time)).encode()
        if kind < 0.1:
            box = box_lines(choice.randint(1, 9), time)
            for _ in range(choice.choice([0, 0, 1, 3])):
                box.insert(choice.randint(1, len(box)), line)
            lines += box
        elif kind < 0.8:
            lines += [line] * choice.choice([1, 1, 1, 2, 12])
        elif kind < 0.9 and lines:
            at = choice.randrange(len(lines))
            cut = choice.randint(0, len(lines[at]))
            lines[at : at + 1] = [lines[at][:cut] + line, lines[at][cut:]]
        else:
            lines.append(encode("!", {"event": "x", "t": time, "b": "0a0b0c0d", "n": len(lines)})[:-1])
    return b"\n".join(lines) + b"\n"


def reading(log: bytes, chunk: int = 1 << 16) -> tuple[Any, ...]:
    reader = LogReader()
    events = [event for at in range(0, len(log), chunk) for event in reader.feed(log[at : at + chunk])]
    events += reader.close()
    tally = reader.scan.tally
    counts = (tally.levels, tally.format, tally.complaints, tally.odd_stamps, tally.hidden_headers)
    return events, counts, reader.scan.lines, reader.scan.high_ms, reader.records


@pytest.mark.parametrize("seeds", [range(at, at + 20) for at in range(0, 100, 20)], ids=str)
def test_counting_in_bulk_equals_line_by_line(seeds: range, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = [mixture(seed) for seed in seeds]
    in_bulk = [reading(log) for log in logs]
    in_chunks = [reading(log, chunk) for log, chunk in zip(logs, (13, 701) * len(logs), strict=False)]
    monkeypatch.setattr(LineScanner, "_count_plain", lambda *_: False)
    monkeypatch.setattr(LineScanner, "_take_box", lambda *_: 0)
    line_by_line = [reading(log) for log in logs]
    different = [
        seed
        for seed, *results in zip(seeds, in_bulk, in_chunks, line_by_line, strict=True)
        if not results[0] == results[1] == results[2]
    ]
    assert different == []


def plain_lines(log: bytes) -> Iterator[bytes]:
    """The different lines of a log that the reader counts in bulk."""
    kinds = LogReader().scan.line_kinds
    for line in set(log.split(b"\n")):
        if b"\x1b" not in line and b"\r" not in line and not NOT_PLAIN.match(kinds.of_lines(line + b"\n")):
            yield line


def events_of(lines: list[bytes], monkeypatch: pytest.MonkeyPatch) -> list[ev.LogEvent]:
    """The events that these lines give if none of them is counted in bulk."""
    monkeypatch.setattr(LineKinds, "of_lines", lambda _, text: b"t" * text.count(b"\n"))
    return reading(b"\n".join(lines))[0]


def test_plain_lines_have_no_event(monkeypatch: pytest.MonkeyPatch) -> None:
    logs = [mixture(seed) for seed in range(60)]
    logs += [path.read_bytes() for path in sorted(shared_data("real_logs").glob("*.txt"))]
    lines = sorted({line for log in logs for line in plain_lines(log)})
    assert len(lines) > 1_000
    at_one_time = [TIME.sub(rb"\1 (1000)", line) for line in lines if not line.startswith(b"--- ")]
    assert events_of(at_one_time, monkeypatch) == []


def test_no_kind_of_line_is_also_a_level() -> None:
    others = OTHER + WANTED + TRACE + BOX + PLAIN_TEXT + MONITOR_NOTE + DECODED_ADDRESS
    assert not set(others).intersection(b"".join(LEVELS))
    kinds = LogReader().scan.line_kinds
    lines = b"".join(b"%s (1) app: x\n" % level for level in LEVELS)
    assert kinds.of_lines(lines) == b"".join(LEVELS)
    assert not NOT_PLAIN.search(kinds.of_lines(lines))


def test_shapes_take_bounded_memory() -> None:
    kinds = LogReader().scan.line_kinds
    for number in range(3):
        letters = [format(number * 20_000 + at, "b").translate({48: "a", 49: "b"}) for at in range(20_000)]
        kinds.of_lines("".join(f"I (1) t: {letter}\n" for letter in letters).encode())
        assert 0 < len(kinds) <= KNOWN_MAX
    known = len(kinds)
    kinds.of_lines(b"x" * (SHAPE_MAX + 1) + b"\n")
    assert len(kinds) == known
