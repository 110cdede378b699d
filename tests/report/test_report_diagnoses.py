"""Tests that the report diagnoses memory defects from notes that resemble a board's notes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from hotpin_hil.evidence import lines
from hotpin_hil.report.diagnoses import diagnoses_of
from hotpin_hil.report.story import read_stories
from tests.report.test_report import TEST, Tags, page_of, results_with

FIGURES = {
    "internal_free": 98_663,
    "internal_largest": 73_728,
    "internal_fragmentation": 3,
    "dma_free": 98_663,
    "dma_largest": 73_728,
    "dma_fragmentation": 3,
    "psram_free": 3_992_368,
    "psram_largest": 3_932_160,
    "psram_fragmentation": 0,
    "total_free": 4_091_031,
    "total_minimum_free": 4_000_000,
}
PANIC = """Guru Meditation Error: Core  1 panic'ed (LoadStoreError). Exception was unhandled.

Backtrace: 0x400d1234:0x3ffb1230

Rebooting...
"""


class Board:
    """Makes the notes that the plugin would make from a board's records, one second apart."""

    def __init__(self) -> None:
        self.t, self.boot, self.notes = 1_000, "00c0ffee", list[lines.ResultsLine]()

    def event(self, name: str, **data: Any) -> None:
        self.t += 1_000
        moment = lines.Moment(TEST, "24:0a:c4:00:00:01", self.boot, self.t)
        self.notes.append(lines.EventNote(moment, None, name, data))

    def sample(self, context: str, **figures: int) -> None:
        self.event("mem.sample", context=context, timestamp_ms=self.t + 900, **{**FIGURES, **figures})

    def cycle(self, lost: int) -> None:
        """A cycle to voice mode, which needs less memory, and back, with `lost` bytes leaked so far."""
        for to, start, more in (("Voice", 0, 3_252), ("Camera", 3_252, 0)):
            self.sample(f"Before {to} Transition", **self._figures(start - lost))
            self.change(to.lower())
            self.sample(f"After {to} Transition", **self._figures(more - lost))

    @staticmethod
    def _figures(more: int) -> dict[str, int]:
        return {name: FIGURES[name] + more for name in ("internal_free", "dma_free", "total_free")}

    def change(self, to: str, **failure: Any) -> None:
        start = "voice" if to == "camera" else "camera"
        done = {"ok": not failure, "duration_ms": 400, "step": None, **failure}
        self.event("mode", **{"from": start}, to=to, **done)


def leak() -> Iterator[lines.ResultsLine]:
    board = Board()
    for cycle in range(40):
        board.cycle(lost=16 * cycle)
    yield from board.notes


def fragmentation() -> Iterator[lines.ResultsLine]:
    board = Board()
    board.sample("After Camera Transition")
    for _ in range(3):
        board.sample("Periodic", dma_largest=3_456, dma_fragmentation=62, internal_fragmentation=62)
    board.event("mem.warning", type="FRAGMENTATION_HIGH", value=62, threshold=50, timestamp_ms=board.t)
    yield from board.notes


def psram_exhaustion() -> Iterator[lines.ResultsLine]:
    board = Board()
    board.sample("Periodic")
    board.sample("Before TTS Allocation", psram_free=98_000, psram_largest=61_440)
    board.event("mem.warning", type="PSRAM_CRITICAL", value=98_000, threshold=204_800, timestamp_ms=board.t)
    yield from board.notes


def fragmentation_with_a_map() -> Iterator[lines.ResultsLine]:
    """Adds the heap map, which the harness requests after a failure."""
    yield from fragmentation()
    heaps = [
        {
            "start": 0x3FFB0000,
            "length": 90_000,
            "caps": "DMA,8BIT,INTERNAL",
            "free": 98_000,
            "largest": 3_456,
        },
        {"start": 0x3FFE0440, "length": 15_072, "caps": "DMA,8BIT,INTERNAL", "free": 663, "largest": 663},
    ]
    moment = lines.Moment(TEST, "24:0a:c4:00:00:01", "00c0ffee", 9_000)
    yield lines.ReplyNote(moment, None, "heap.regions", {"regions": heaps})


def refused_stream() -> Iterator[lines.ResultsLine]:
    """Adds a refused stream, which only a log line reports."""
    board = Board()
    board.sample("Before Voice Transition")
    board.sample("After Voice Transition", psram_free=57_484, psram_largest=57_344)
    moment = lines.Moment(TEST, "24:0a:c4:00:00:01", board.boot, board.t + 500)
    board.sample("Before TTS Allocation", psram_free=57_484, psram_largest=57_344)
    text = f"E ({moment.t}) TTS: Insufficient PSRAM: need 98304 bytes, have 57484 bytes"
    board.boot, board.t = "0badcafe", 500
    board.sample("System Boot")
    yield from board.notes
    yield lines.ComplaintNote(moment, text)


def no_memory() -> Iterator[lines.ResultsLine]:
    board = Board()
    board.sample("Before Voice Transition", dma_free=27_267, dma_largest=3_456)
    failure = {"ok": False, "step": "admission", "err": "ESP_ERR_NO_MEM", "mode": "camera"}
    board.change("voice", **failure, block="I2S DMA", missing=4_080, largest=3_456)
    yield from board.notes


def crash_in_a_transition() -> Iterator[lines.ResultsLine]:
    board = Board()
    board.sample("Before Voice Transition")
    board.boot, board.t = "0badcafe", 500
    board.sample("System Boot")
    board.event("boot", free_at_main=200_000, reset_reason="PANIC", boot_count=2)
    yield from board.notes
    yield lines.PanicLog(
        TEST,
        None,
        headline="Guru Meditation Error: Core  1 panic'ed (LoadStoreError)",
        cause="LoadStoreError",
        core=1,
        details=(),
        backtrace=("0x400d1234:0x3ffb1230",),
        calls=(),
        is_host=False,
        text=PANIC,
        core_dump=None,
        file="dut.log",
    )


def healthy() -> Iterator[lines.ResultsLine]:
    board = Board()
    for _ in range(40):
        board.cycle(lost=0)
    yield from board.notes


@pytest.mark.parametrize(
    ("planted", "name"),
    [
        (no_memory, "DIAG-01 ESP_ERR_NO_MEM: no room for voice mode"),
        (fragmentation, "DIAG-02 High fragmentation"),
        (fragmentation_with_a_map, "heap 0x3FFB0000: 98,000 bytes free, largest block 3,456"),
        (refused_stream, "DIAG-01 ESP_ERR_NO_MEM: PSRAM exhausted"),
        (leak, "DIAG-03 Memory slowly decreasing"),
        (crash_in_a_transition, "DIAG-04 Crash during a mode transition"),
        (psram_exhaustion, "psram-exhausted PSRAM exhausted"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_planted_defect_is_named_in_the_report_of_its_failure(planted: Any, name: str) -> None:
    text = " ".join(Tags(page_of(results_with("free", "too little", more=planted()))).text.split())
    detail = text[text.index("Failures in detail") :]
    assert name in detail
    assert "Cause" in detail
    assert "Remedy" in detail


def test_complaint_is_placed_at_its_time_in_its_boot() -> None:
    """The log line must be sorted by time among the records of its boot, because the sample before it gives the free
    memory."""
    (story,) = read_stories(refused_stream()).values()
    diagnosis = next(found for found in diagnoses_of(story) if found.id == "DIAG-01")
    assert diagnosis.boot == 0
    assert "0.6 s before the failure 57,484 bytes of PSRAM were free" in diagnosis.finding
    assert diagnosis.cause.startswith(
        "3,934,884 bytes of PSRAM were lost during the transition to voice mode"
    )


def test_complaints_are_listed_with_the_failure() -> None:
    text = " ".join(Tags(page_of(results_with("free", "too little", more=refused_stream()))).text.split())
    assert "warnings in the board's log E (3500) TTS: Insufficient PSRAM: need 98304 bytes" in text


def test_repeated_log_line_is_listed_once_with_its_count() -> None:
    moment = lines.Moment(TEST, "24:0a:c4:00:00:01", "00c0ffee", 9_000)
    notes = [lines.ComplaintNote(moment, f"W ({t}) APP: too hot") for t in (7, 8, 9)]
    text = " ".join(Tags(page_of(results_with("free", "x", more=notes))).text.split())
    assert text.count("too hot") == 1
    assert "W (7) APP: too hot (3 times)" in text


def test_healthy_board_has_no_diagnosis() -> None:
    (story,) = read_stories(healthy()).values()
    assert diagnoses_of(story) == []
