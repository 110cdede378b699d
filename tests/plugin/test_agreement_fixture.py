"""Tests the check after each test that finds contradictory reports of the firmware (fixtures/agreement.py)."""

from __future__ import annotations

from typing import Any

import pytest

from fixtures.agreement import RECORD_MAX, Agreement
from hotpin_hil.device import Device
from hotpin_hil.link.channel import Channel
from hotpin_hil.protocol.box import render
from hotpin_hil.protocol.fields import DELTA_LABELS, FIELDS, MemoryStats
from hotpin_hil.protocol.records import encode

BOOT = "0123abcd"
STATS = MemoryStats(*range(len(FIELDS)))
DELTA = {name: -number for number, name in enumerate(DELTA_LABELS)}
MODE = {"event": "mode", "from": "camera", "to": "voice", "ok": True, "duration_ms": 322, "step": None}


class Line:
    """Fake serial line; the test adds the records and text that arrive."""

    def __init__(self) -> None:
        self.channel = Channel()
        self.record({"event": "boot"}, 1)
        self.agreement = Agreement(Device(self.channel))

    def record(self, data: dict[str, Any], n: int, t: int = 5) -> None:
        self.channel.feed(encode("!", {**data, "t": t, "b": BOOT, "n": n}))

    def text(self, tag: str, *lines: str) -> None:
        self.channel.feed("".join(f"I (5) {tag}: {line}\r\n" for line in lines).encode())


@pytest.fixture
def line() -> Line:
    return Line()


def sample(context: str) -> dict[str, Any]:
    stats = {field.name: getattr(STATS, field.name) for field in FIELDS}
    deltas = {f"delta_{name}": delta for name, delta in DELTA.items()}
    return {"event": "mem.sample", "context": context, **stats, **deltas}


def test_records_lines_and_boxes_that_agree(line: Line) -> None:
    line.record(MODE, 2)
    line.text("STATE", "camera -> voice in 322 ms")
    line.record(sample("Here"), 3)
    line.text("MEM_MGR", *render("Here", STATS, DELTA))
    assert line.agreement.disagreements() == []


def test_number_that_is_left_out_or_used_twice(line: Line) -> None:
    line.record(MODE, 3)
    assert line.agreement.disagreements() == []  # the first record of the test may have any number
    line.record(MODE, 5)
    line.record({**MODE, "to": "camera"}, 3)
    assert line.agreement.disagreements() == [
        "record 5 follows record 3, instead of record 4",
        "two records have the number 3",
    ]


def test_record_that_is_too_long(line: Line) -> None:
    length = len(encode("!", {"event": "e", "text": "", "t": 5, "b": BOOT, "n": 2}).strip())
    line.record({"event": "e", "text": "x" * (RECORD_MAX - length)}, 2)
    assert line.agreement.disagreements() == []
    line.record({"event": "e", "text": "x" * (RECORD_MAX - length + 1)}, 3)
    assert line.agreement.disagreements() == ["record 3 is 481 bytes long, more than 480"]


def test_time_that_goes_back(line: Line) -> None:
    line.record(MODE, 2, t=9)
    line.record(MODE, 3, t=8)
    assert line.agreement.disagreements() == ["record 3 has t=8 ms, earlier than record 2 (9 ms)"]


def test_line_with_other_figures_than_its_event(line: Line) -> None:
    line.record(MODE, 2)
    line.text("STATE", "camera -> voice in 323 ms")
    assert line.agreement.disagreements() == [
        "no event 'mode' has the figures of the line 'camera -> voice in 323 ms'"
    ]


def test_line_that_is_written_twice(line: Line) -> None:
    line.record(MODE, 2)
    line.text("STATE", *["camera -> voice in 322 ms"] * 2)
    assert len(line.agreement.disagreements()) == 1


def test_box_without_its_record(line: Line) -> None:
    line.record({**sample("Here"), "delta_dma": 77}, 2)
    line.text("MEM_MGR", *render("Here", STATS, DELTA))
    assert line.agreement.disagreements() == ["the box 'Here' has figures that no record has"]
