"""What results.jsonl says beside measurements and verdicts: the one place that knows the shapes of these lines.

All have `kind` ("note" or "log") and `about`. Those of a test have `test` (its node id). Those of a moment on a
board have `board` (MAC, null until the board has said it), `boot` (boot id) and `t` (ms since boot).

    note board      board: what a board said of itself (sys.info, PROTOCOL.md §3)
    note selection  text: which tests of the suite the run leaves out
    note left_out   text: what the run can't show on this kind of board, though another could
    note sizes      class: "measured" | "modelled" (a board profile's), image: "with test console" | "release",
                    elf_sha256, source: "ELF file" | "profile NAME", first_heap: address, static_dram: bytes in front
                    of it, data, bss, iram, flash_code, flash_data, image_size: bytes, iram_end: address, idf_size:
                    {tool, total, memory: {type: {used, total}}}, not_measured: [what is null, and why]. Once for each
                    image that was on a board, at the end of the run.
    note fault      test, board, fault: name, arguments and seed of what the test made go wrong (docs/faults.md)
    note plan       tests: {node id: [requirement ids]}, every test that the run was to run
    note started    test, requirement: [ids], worker: "gw0" | "main". A test that has no verdict line was
                    running when the run, or its worker, ended. A second one of the same test is a rerun.
    note event      test, board, boot, t, mode: "camera" | "voice" | … | null (not known yet), event: its name,
                    data: its fields. Names and fields as in PROTOCOL.md §3: "mem.sample" has context, timestamp_ms
                    (when it was measured) and all of MemoryStats; "mode" has from, to, ok, duration_ms, step;
                    "mem.warning", "mem.recovered", "mem.alloc_failed", "tts", "boot", "log.dropped".
    note reply      test, board, boot, t, mode, command: "mode.ledger" | "mem.thresholds" | "heap.regions", data: the
                    answer's fields. A ledger is that of the newest transition: {"ledger": [{step, undo, err,
                    internal_before, internal_after, psram_before, psram_after}]}. Thresholds are those in force
                    from then on: the eight of `memory_thresholds_t`. Regions come with a heap note.
    note complaint  test, board, boot, t, text: a line that the board logged as an error or a warning, and
                    is no known noise. Only of a test that failed.
    note heap       test, board, boot, t, why: text, caps: "INTERNAL,8BIT", wanted: bytes of the block that was
                    not to be had | null, heaps: [{heap: its start, at: address of the first block, blocks:
                    [sizes in address order, free ones negative; the next block's address is size + 4 further],
                    truncated}]. Taken when a test failed for lack of memory or for fragmentation.
    note series     test, board, name, unit, values: one per cycle, in the same state, budget: allowed loss per
                    cycle | null. `analysis.leak.find_leak(values, budget)` is what the test judged.
    note noise      test, board, damaged, lost, repeated: records; garbled: lines with bytes that no firmware
                    sends. Only of tests in which there was any.
    note known_noise test, text: what of logs/known_noise.toml the board logged as an error, count, reason: why
                    that is no complaint
    note emulator   test, board, text: a known fault of the emulator that stopped a start of the firmware, count: how
                    often the emulator was started again for it
    log  panic      test, board, file, headline, cause, core, details: [text], backtrace: ["0x400d1234:0x3ffb…"],
                    calls: [decoded text, innermost first; empty without addr2line], is_host, text: all of it,
                    core_dump: null | {file, size, sha256, sound: bool | null (not checked), text}
    log  slice      test, board, file, text: the console's last lines at the failure, left_out: lines before them
    log  raw        test, board, file, size, sha256: all that came from the board in this test

`file` is relative to the folder of results.jsonl where it lies below it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hotpin_hil.device import images
from hotpin_hil.evidence.model import MeasurementClass

Line = dict[str, Any]

NOTE = "note"
LOG = "log"

BOARD = "board"
SELECTION = "selection"
LEFT_OUT = "left_out"
SIZES = "sizes"
FAULT = "fault"
PLAN = "plan"
STARTED = "started"
EVENT = "event"
REPLY = "reply"
COMPLAINT = "complaint"
HEAP = "heap"
SERIES = "series"
NOISE = "noise"
KNOWN_NOISE = "known_noise"
EMULATOR = "emulator"
PANIC = "panic"
SLICE = "slice"
RAW = "raw"

WITH_CONSOLE, RELEASE = images.WITH_CONSOLE, images.RELEASE
"""`image` in notes about boards and sizes: the images of the firmware that a board can run."""


@dataclass(frozen=True)
class Moment:
    """When and where on a board something was said."""

    test: str
    board: str | None
    boot: str | None
    t: int | None

    def as_json(self) -> Line:
        return {"test": self.test, "board": self.board, "boot": self.boot, "t": self.t}


def board(said: Mapping[str, Any]) -> Line:
    return {"kind": NOTE, "about": BOARD, "board": dict(said)}


def selection(text: str) -> Line:
    return {"kind": NOTE, "about": SELECTION, "text": text}


def left_out(text: str) -> Line:
    return {"kind": NOTE, "about": LEFT_OUT, "text": text}


def sizes(found: Mapping[str, Any]) -> Line:
    """found: the fields of hotpin_hil.boards.sizes.ImageSizes."""
    fields = {name: value for name, value in found.items() if name != "is_modelled"}
    klass = MeasurementClass.MODELLED if found["is_modelled"] else MeasurementClass.MEASURED
    return {
        "kind": NOTE,
        "about": SIZES,
        "class": klass.value,
        **fields,
        "not_measured": list(found["not_measured"]),
    }


def fault(test: str, board: str | None, fault: str) -> Line:
    return {"kind": NOTE, "about": FAULT, "test": test, "board": board, "fault": fault}


def known_noise(test: str, text: str, count: int, reason: str) -> Line:
    return {
        "kind": NOTE,
        "about": KNOWN_NOISE,
        "test": test,
        "text": text,
        "count": count,
        "reason": reason,
    }


def emulator(test: str, board: str | None, text: str, count: int) -> Line:
    return {"kind": NOTE, "about": EMULATOR, "test": test, "board": board, "text": text, "count": count}


def plan(tests: Mapping[str, Sequence[str]]) -> Line:
    return {"kind": NOTE, "about": PLAN, "tests": {test: list(ids) for test, ids in tests.items()}}


def started(test: str, requirement: Sequence[str], worker: str) -> Line:
    return {
        "kind": NOTE,
        "about": STARTED,
        "test": test,
        "requirement": list(requirement),
        "worker": worker or "main",
    }


def event(moment: Moment, mode: str | None, name: str, data: Mapping[str, Any]) -> Line:
    return {
        "kind": NOTE,
        "about": EVENT,
        **moment.as_json(),
        "mode": mode,
        "event": name,
        "data": dict(data),
    }


def reply(moment: Moment, mode: str | None, command: str, data: Mapping[str, Any]) -> Line:
    return {
        "kind": NOTE,
        "about": REPLY,
        **moment.as_json(),
        "mode": mode,
        "command": command,
        "data": dict(data),
    }


def complaint(moment: Moment, text: str) -> Line:
    return {"kind": NOTE, "about": COMPLAINT, **moment.as_json(), "text": text}


def heap(moment: Moment, why: str, caps: str, heaps: Sequence[Mapping[str, Any]], wanted: int | None) -> Line:
    return {
        "kind": NOTE,
        "about": HEAP,
        **moment.as_json(),
        "why": why,
        "caps": caps,
        "wanted": wanted,
        "heaps": [dict(one) for one in heaps],
    }


def series(
    test: str, board: str | None, *, name: str, unit: str, values: Sequence[float], budget: float | None
) -> Line:
    return {
        "kind": NOTE,
        "about": SERIES,
        "test": test,
        "board": board,
        "name": name,
        "unit": unit,
        "values": list(values),
        "budget": budget,
    }


def noise(test: str, board: str | None, counts: Mapping[str, int]) -> Line:
    return {"kind": NOTE, "about": NOISE, "test": test, "board": board, **counts}


def panic(test: str, board: str | None, **found: Any) -> Line:
    return {"kind": LOG, "about": PANIC, "test": test, "board": board, **found}


def log_slice(test: str, board: str | None, file: str | None, text: str, left_out: int) -> Line:
    return {
        "kind": LOG,
        "about": SLICE,
        "test": test,
        "board": board,
        "file": file,
        "text": text,
        "left_out": left_out,
    }


def raw_log(test: str, board: str | None, file: str, size: int, sha256: str) -> Line:
    return {
        "kind": LOG,
        "about": RAW,
        "test": test,
        "board": board,
        "file": file,
        "size": size,
        "sha256": sha256,
    }
