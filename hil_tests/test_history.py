"""The history in flash: its rows are correct and complete, survive a loss of power, and wear the flash no more than
documented."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fixtures.board import Supply, needs_boot_loader, read_partition, write_partition
from fixtures.device import start_over
from fixtures.measure import Measure
from fixtures.memory import INTERNAL, KB, MEMORIES, PSRAM, TOTAL_CAPS, Heaps, Memory, Monitor, only
from fixtures.modes import CAMERA, VOICE, Modes
from fixtures.poll import poll
from hotpin_hil.device import Device, DeviceError
from hotpin_hil.evidence.board_notes import HISTORY
from hotpin_hil.protocol.memory_history import ROWS_MIN, FlashHistory, HistoryRow, rows_in_flash
from hotpin_hil.protocol.nvs import read_nvs
from hotpin_hil.protocol.request import HARNESS_ID_MAX, encode_request
from hotpin_hil.pytest_plugin.plugin import BoardInUse, notes_of

pytestmark = [
    pytest.mark.requirement("FUT-01"),
    pytest.mark.leaves("NVS keeps an index of its entries on the heap, and the history its handle", "heaps"),
]

FAILING_STEPS = {
    "refused": ["admission"],
    "undone": ["{last}"],
    "recovered": ["{last}", "undo:{start}"],
}
"""Failing steps of a mode change: before the first driver stops; at the last step; at the last step and at the undo of
a start."""
NAMES = {
    CAMERA: {"start": "camera.start", "last": "settle.up"},
    VOICE: {"start": "audio.start", "last": "stt.start"},
}
INTERVAL_MS = 100
SLOW_MS = 2000
"""Monitoring interval long enough that no sample is taken while the test holds its blocks."""
LONG_S = 3600
LONGEST_S = 4_294_967
"""Longest interval that the firmware accepts: 2^32 ms."""
OWN_BYTES = 512
"""Maximum number of heap bytes that writing a row uses temporarily: for NVS's index, for the handle, and for an item of
NVS's list."""
DIP = 16 * KB
PAGES_PER_1000_ROWS = 115
"""Maximum number of flash pages erased per 1,000 rows, including the pages that NVS moves (README.md of memory_history:
110)."""
BURST = 60
CUTS = 4
CUT_S = 0.03
"""Increment of the delay from one power cut to the next in s, so that each cut hits another place."""
CUT_LAST_S = 2
"""Longest delay in s; every board has written rows by then."""
REQUEST = HARNESS_ID_MAX + 1
"""Id of the first request that never gets a reply."""
STACK_SPARE = 0.25


@pytest.fixture
def history(device: Device) -> Device:
    """The board, with an empty history."""
    device.flash_history(last=0, erase=True)
    return device


def written(device: Device, more_than: int) -> FlashHistory:
    """Wait until the newest row has a number above `more_than`; returns the history."""
    found = poll(
        lambda: device.flash_history(last=1), lambda reply: reply.newest > more_than, "a row in flash"
    )
    return found


def measure_row(measure: Measure, row: HistoryRow, memory: Memory, least: int, largest: int) -> None:
    free = getattr(row, f"{memory.name}_free")
    measure(
        f"{memory.name}: least free in the row, minus that of the heap",
        free - least,
        "B",
        low=-OWN_BYTES,
        high=0,
        source="heap.probe",
    )
    biggest = getattr(row, f"{memory.name}_largest")
    measure(
        f"{memory.name}: no larger block was seen", biggest <= largest, exact=True, source="heap.probe now"
    )


def test_row_has_the_lowest_memory_since_the_last_row(
    history: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    """Holds and releases blocks between two samples: the row must have the low-water mark, not only the figures of the
    samples."""
    monitor.start(SLOW_MS)
    history.flash_history(last=0, every_s=1, pause=False)
    before = written(history, 0)
    monitor.samples(1)  # a sample was just taken, so the next sample comes after the release
    held = {memory: heaps.hold(memory, DIP) for memory in (INTERNAL, PSRAM)}
    least = {memory: history.probe(memory.caps) for memory in MEMORIES}
    for identifier in held.values():
        heaps.release(identifier)
    rows = written(history, before.newest + 1).rows + history.flash_history().rows
    for memory in MEMORIES:
        row = min(rows, key=lambda row: int(getattr(row, f"{memory.name}_free")))
        measure_row(measure, row, memory, least[memory].free, history.probe(memory.caps).largest)
    measure("reason", rows[0].reason, exact="regular", source="every=1")
    measure("state", rows[0].state, exact="camera", source="mode.get")
    measure("boot count", rows[0].boot_count, exact=history.info().boot_count, source="sys.info")


@pytest.mark.needs("camera")
@pytest.mark.requirement("TRN-05")
@pytest.mark.parametrize("steps", FAILING_STEPS.values(), ids=FAILING_STEPS)
def test_row_names_the_mode_after_a_change_that_failed(
    history: Device, modes: Modes, monitor: Monitor, measure: Measure, steps: list[str]
) -> None:
    """Makes a mode change fail at different steps: the next row must name the mode in which the board is afterwards.
    The prediction and the learned thresholds get the mode from the same call."""
    monitor.start(INTERVAL_MS)
    for mode, other in ((CAMERA, VOICE), (VOICE, CAMERA)):
        modes.to(mode)
        history.fail(step=[step.format(**NAMES[other]) for step in steps])
        modes.refused(other)
        now = modes.settled().mode
        history.fail(off=True)
        history.flash_history(last=0, erase=True)
        history.flash_history(last=0, every_s=1, pause=False)
        rows = written(history, 0).rows
        history.flash_history(last=0, every_s=LONG_S, pause=True)
        measure(f"{mode} mode: after the failed change", now, exact=mode, source="mode.get")
        measure(f"{mode} mode: state of the next row", rows[0].state, exact=mode, source="mode.get")


@pytest.mark.needs("camera")
def test_rows_name_the_modes_in_turn(
    history: Device, modes: Modes, monitor: Monitor, measure: Measure
) -> None:
    """Writes rows while the modes alternate. A row has the name of one mode, even if both were sampled for it."""
    monitor.start(INTERVAL_MS)
    history.flash_history(last=0, every_s=1, pause=False)
    for mode in (VOICE, CAMERA, VOICE):
        newest = history.flash_history(last=1).newest
        modes.to(mode)
        rows = written(history, newest + 1).rows
        measure(f"{mode} mode: state of the newest row", rows[0].state, exact=mode, source="mode.get")
    states = sorted({row.state for row in history.flash_history().rows})
    measure("states of all rows", ", ".join(states), exact="camera, voice", source="the modes of the test")


def test_longest_interval_writes_no_row_before_its_end(
    history: Device, monitor: Monitor, measure: Measure
) -> None:
    """Sets the longest permitted interval. A row must not be written at each sample."""
    monitor.start(INTERVAL_MS)
    history.flash_history(last=0, every_s=LONGEST_S, pause=False)
    monitor.samples(2)
    first = history.flash_history(last=1).newest
    monitor.samples(5)
    later = history.flash_history(last=1).newest - first
    measure("rows during five samples", later, exact=0, source=f"a row every {LONGEST_S} s")


def test_critical_warning_writes_a_row_with_its_counts(
    history: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    """Raises a warning of the first level, which must write no row. Then makes allocations fail and raises a critical
    warning, which must write a row at once, with the number of failed allocations."""
    monitor.start(INTERVAL_MS)
    history.flash_history(last=0, every_s=LONG_S, pause=False)
    monitor.complete_checks(1)
    start = history.mark()
    low = heaps.leave(PSRAM, PSRAM.reachable(300 * KB))
    monitor.warning(start, "PSRAM_LOW")
    monitor.complete_checks(1)
    measure("rows after PSRAM_LOW", history.flash_history().newest, exact=0, source="only critical warnings")
    for _ in range(3):
        with pytest.raises(DeviceError, match="NO_MEM"):
            history.hold(PSRAM.caps, size=PSRAM.reachable(1024 * KB))
    heaps.release(low)
    heaps.leave(PSRAM, PSRAM.reachable(100 * KB))
    monitor.warning(start, "PSRAM_CRITICAL")
    (row,) = written(history, 0).rows
    measure("reason", row.reason, exact="critical", source="PSRAM_CRITICAL")
    measure("failed allocations", row.failed_allocations, exact=3, source="three blocks refused")
    warnings = len(monitor.warnings(start))
    measure("warnings", row.warnings, exact=warnings, source="mem.warning")
    psram = history.probe(PSRAM.caps)
    measure_row(measure, row, PSRAM, psram.free, psram.largest)
    uptime_s = history.command("mem.stats")["timestamp_ms"] // 1000
    measure("age of the row", uptime_s - row.uptime_s, "s", low=0, high=30, source="mem.stats")


@pytest.mark.parametrize("level", [*(memory.thresholds for memory in MEMORIES), "fragmentation"])
def test_each_critical_level_writes_a_row(
    history: Device, heaps: Heaps, monitor: Monitor, measure: Measure, level: str
) -> None:
    """Sets the thresholds so that the current memory first reaches only the warning level, which must write no row, and
    then the critical level, which must write a row."""
    heaps.split(PSRAM, block=64 * KB)
    reached, beyond = (1, 100) if level == "fragmentation" else (heaps.free(TOTAL_CAPS) + KB, 0)
    history.thresholds(**only())
    monitor.start(INTERVAL_MS)
    history.flash_history(last=0, every_s=LONG_S, pause=False)
    for severity, critical in (("warning", beyond), ("critical", reached)):
        start = history.mark()
        history.thresholds(**only(**{f"{level}_warning": reached, f"{level}_critical": critical}))
        monitor.warning(start)
        monitor.complete_checks(2)
        rows = [row.reason for row in history.flash_history().rows]
        expected = ["critical"] if severity == "critical" else []
        measure(f"rows after the {severity} level", str(rows), exact=str(expected), source="docs: FUT-01")
        history.thresholds(**only())


def test_failed_write_is_reported_and_hinders_no_later_one(history: Device, measure: Measure) -> None:
    """Makes a write to flash fail, once without and once with rows in flash: the request must report NVS's error, and
    the next write must succeed. The history is paused, so no sample writes a row."""
    full = "ESP_ERR_NVS_NOT_ENOUGH_SPACE"
    for written_before in range(2):
        # With rows in flash, the first failure makes the firmware start a new history and write again.
        calls = 1 + written_before
        history.fail_call("nvs_commit", count=calls)
        with pytest.raises(DeviceError) as refused:
            history.flash_history(last=0, write=1)
        measure(f"write after {written_before} rows", refused.value.err, exact=full, source="NVS's own error")
        history.fail_call(off=True)
        history.flash_history(last=0, write=1)
        numbers = [row.sequence for row in history.flash_history().rows]
        measure("rows of the next write", str(numbers), exact="[1]", source="memory_history.h")


def test_row_that_waits_for_its_next_attempt_is_erased_too(
    history: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    """Makes the write of a critical warning's row fail, pauses the history so that no sample retries the write, and
    erases the history. The waiting row must not be written afterwards."""
    monitor.start(SLOW_MS)
    history.flash_history(last=0, every_s=LONG_S, pause=False)
    history.fail_call("nvs_commit", count=2)
    start = history.mark()
    heaps.leave(PSRAM, PSRAM.reachable(100 * KB))
    monitor.warning(start, "PSRAM_CRITICAL")
    poll(history.fail_call, lambda state: state["failed"] > 0, "the first attempt")
    history.flash_history(last=0, pause=True)
    history.fail_call(off=True)
    history.flash_history(last=0, erase=True)
    history.flash_history(last=0, write=1)
    reasons = [row.reason for row in history.flash_history().rows]
    measure(
        "rows after erasing and one write", str(reasons), exact="['requested']", source="memory_history.h"
    )


def test_row_that_cannot_be_written_is_tried_again_at_the_next_samples(
    history: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    """Raises three critical warnings, each of which causes a row, and makes 3, 1 and 2 of the attempts to write these
    rows fail. The firmware tries to write a row three times, then drops it; the next row has three attempts again.

    If there are rows in flash, an attempt whose first write fails starts a new history and writes again, so two
    failures use up one attempt.
    """
    monitor.start(INTERVAL_MS)
    history.flash_history(last=0, every_s=LONG_S, pause=False)
    monitor.complete_checks(1)
    for failures, newest in ((3, 0), (1, 1), (2, 1)):
        history.fail_call("nvs_commit", count=failures)
        start = history.mark()
        held = heaps.leave(PSRAM, PSRAM.reachable(100 * KB))
        monitor.warning(start, "PSRAM_CRITICAL")
        monitor.complete_checks(5)
        heaps.release(held)
        monitor.recovery(start, "PSRAM_CRITICAL")
        found = history.flash_history()
        measure(
            f"newest row after {failures} failures", found.newest, exact=newest, source="memory_history.h"
        )


def test_critical_rows_are_limited(history: Device, heaps: Heaps, monitor: Monitor, measure: Measure) -> None:
    """Enters the critical level 12 times: only the documented number of rows may be written, but every warning must be
    counted, and the next row must tell that a critical level was entered. After a regular row, the count starts
    again."""
    monitor.start(INTERVAL_MS)
    entered, limit = 12, 8
    for when in ("at first", "after a regular row"):
        history.flash_history(last=0, every_s=LONG_S, pause=False)
        monitor.complete_checks(1)
        before = history.flash_history(last=0).newest
        begin = history.mark()
        for _ in range(entered):
            start = history.mark()
            held = heaps.leave(PSRAM, PSRAM.reachable(100 * KB))
            monitor.warning(start, "PSRAM_CRITICAL")
            heaps.release(held)
            monitor.recovery(start, "PSRAM_CRITICAL")
        monitor.complete_checks(1)
        found = history.flash_history()
        source = "CONFIG_HOTPIN_MEM_HISTORY_CRITICAL_ROWS"
        measure(f"rows {when}", found.newest - before, exact=limit, source=source)
        history.flash_history(last=0, every_s=1)
        rows = [row for row in (*written(history, found.newest).rows, *found.rows) if row.sequence > before]
        (following,) = [row.reason for row in rows if row.sequence == found.newest + 1]
        measure(f"reason of the next row {when}", following, exact="critical", source="memory_history.h")
        warnings = sum(row.warnings for row in rows)
        sent = len(monitor.warnings(begin))
        measure(
            f"warnings in all rows {when}", warnings, exact=sent, source="mem.warning, without recoveries"
        )


def test_row_after_a_pause_has_no_value_from_before_it(
    history: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    """Fills PSRAM while a row is in progress, and pauses the history before the row is written."""
    history.thresholds(**only())
    monitor.start(INTERVAL_MS)
    history.flash_history(last=0, every_s=LONG_S, pause=False)
    held = heaps.leave(PSRAM, PSRAM.reachable(200 * KB))
    monitor.samples(3)
    history.flash_history(last=0, pause=True)
    heaps.release(held)
    monitor.samples(3)
    free = heaps.free(PSRAM.caps)
    history.flash_history(last=0, every_s=1, pause=False)
    first = written(history, 0).rows[-1]
    measure(
        "free - least free in the row", free - first.psram_free, "B", low=0, high=OWN_BYTES, source=PSRAM.caps
    )


def test_row_repeats_no_value_of_an_earlier_row(
    history: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    """Fills and splits memory until a row is written, then releases that memory. A later row must have only the worst
    values of its own samples."""
    history.thresholds(**only())
    monitor.start(INTERVAL_MS)
    filled = heaps.leave(PSRAM, PSRAM.reachable(400 * KB))
    split = [heaps.split(memory, block=2 * KB, count=40) for memory in (INTERNAL, PSRAM)]
    worst = {memory: heaps.fragmentation(memory) for memory in MEMORIES}
    history.flash_history(last=0, every_s=1, pause=False)
    written(history, 0)
    for identifier in (*split, filled):
        heaps.release(identifier)
    # A row may still be waiting to be written, and the row after it may include samples from before the release.
    calm = written(history, history.flash_history(last=0).newest + 2).rows[0]
    disturbed = history.flash_history(pause=True).rows[-1]
    for memory in MEMORIES:
        now, probe = heaps.fragmentation(memory), history.probe(memory.caps)
        assert worst[memory] >= now + 3, f"{memory.name} could only be fragmented to {worst[memory]} %"
        seen = {row: getattr(row, f"{memory.name}_fragmentation") for row in (disturbed, calm)}
        name = f"{memory.name} fragmentation"
        measure(
            f"{name} in the disturbed row", seen[disturbed], "%", min=worst[memory] - 1, source="heap then"
        )
        measure(f"{name} in the later row", seen[calm], "%", max=now + 1, source="heap now")
        for value, least in (("free", probe.free - OWN_BYTES), ("largest", probe.largest * 7 // 8)):
            found = getattr(calm, f"{memory.name}_{value}")
            measure(f"{memory.name} {value} in the later row", found, "B", min=least, source="heap now")


def kept(device: Device) -> tuple[HistoryRow, ...]:
    return device.flash_history().rows


def test_rows_survive_resets_and_a_loss_of_power(
    request: pytest.FixtureRequest, history: Device, heaps: Heaps, supply: Supply, measure: Measure
) -> None:
    for how, restart in {
        "sys.reboot": history.reboot,
        "a panic": lambda: history.panic("abort"),
        supply.what: lambda: (supply.cycle(), history.wait_ready()),
    }.items():
        for size in range(0, 2 * DIP, DIP // 2):
            held = heaps.hold(INTERNAL, DIP + size)
            history.flash_history(last=0, write=1)
            heaps.release(held)
        before = kept(history)
        boot = history.info().boot_count
        restart()
        after = kept(history)
        measure(f"{how}: same rows", after == before, exact=True, source="mem.history before")
        measure(
            f"{how}: boot count of the newest row", after[0].boot_count, exact=boot, source="sys.info before"
        )
        history.flash_history(last=0, write=1)
        (row,) = history.flash_history(last=1).rows
        measure(f"{how}: next number", row.sequence, exact=before[0].sequence + 1, source="the newest row")
        measure(f"{how}: its boot count", row.boot_count, exact=boot + 1, source="sys.info")
        measure(f"{how}: its state", row.state, exact="camera", source="mode.get")
    notes_of(request.node).keep_reply(HISTORY, history.command(HISTORY, store="flash"))


def test_interrupted_write_leaves_whole_rows(history: Device, supply: Supply, measure: Measure) -> None:
    """Cuts the power while the board writes row after row. Each row must be complete or absent, and no earlier row may
    be lost."""
    endless = {"store": "flash", "write": 100_000, "last": 0}
    cuts, request, pause_s = 0, REQUEST, CUT_S
    while cuts < CUTS:
        before = {row.sequence: row for row in kept(history)}
        history.channel.send(encode_request(request, "mem.history", endless))
        history.channel.wait(lambda: None, pause_s)
        supply.cycle()
        history.wait_ready()
        found = history.flash_history()
        numbers = [row.sequence for row in found.rows]
        when = f"cut {cuts + 1}: "
        measure(f"{when}damaged groups", found.damaged, exact=0, source="NVS writes before it erases")
        lost = max(0, min(found.newest, ROWS_MIN) - len(numbers))
        measure(f"{when}rows lost", lost, exact=0, source="the newest number")
        gapless = numbers == list(range(found.newest, found.newest - len(numbers), -1))
        measure(f"{when}no row is missing", gapless, exact=True, source="consecutive numbers")
        same = all(before.get(row.sequence, row) == row for row in found.rows)
        measure(f"{when}earlier rows are unchanged", same, exact=True, source="mem.history before")
        # An emulated board on a busy machine may not have written a row yet. Such a cut does not count.
        cuts += found.newest > max(before, default=0)
        request, pause_s = request + 1, pause_s + CUT_S
        assert pause_s < CUT_LAST_S, f"{cuts} of {CUTS} cuts came while rows were being written"


def test_repeated_request_to_write_is_executed_once(history: Device, measure: Measure) -> None:
    """Sends a request to write a row twice, as after a damaged reply. The board must repeat its reply and write one
    row, so it must refuse a request whose reply could be too long to be stored."""
    history.flash_history(last=0, write=BURST)
    before = history.flash_history(last=0)
    request = encode_request(REQUEST, HISTORY, {"store": "flash", "write": 1})
    history.channel.send(2 * request)
    history.barrier()
    after = history.flash_history(last=0)
    measure("rows written", after.newest - before.newest, exact=1, source="PROTOCOL.md §3")
    for change in ({"write": 1}, {"erase": True}):
        with pytest.raises(DeviceError) as info:
            history.flash_history(last=1, **change)
        measure(f"{change} with rows", info.value.err, exact="BAD_ARGUMENT", source="firmware/README.md")
    more = history.flash_history(last=0).newest - after.newest
    measure("rows written by a refused request", more, exact=0, source="refused")


def test_a_day_of_rows_is_kept_and_wears_the_flash_as_stated(
    history: Device, dut: Any, tmp_path: Path, measure: Measure
) -> None:
    rows = 2 * ROWS_MIN + 20
    history.flash_history(last=0, write=1)
    first = read_nvs(read_partition(dut, history, tmp_path), "mem_history").sequence
    for _ in range(rows // BURST):
        history.flash_history(last=0, write=BURST)
    history.flash_history(last=0, write=rows % BURST)
    found = kept(history)
    content = read_partition(dut, history, tmp_path)
    numbers = [row.sequence for row in found]
    measure("rows kept", len(numbers), min=ROWS_MIN, source="one row per 10 minutes for 24 h")
    newest = rows + 1
    measure(
        "the newest rows, without a gap",
        numbers == list(range(newest, newest - len(numbers), -1)),
        exact=True,
        source="rows written",
    )
    in_flash = tuple(reversed(rows_in_flash(content)))
    measure("rows read from the flash itself", in_flash == found, exact=True, source="mem.history")
    begun = read_nvs(content, "mem_history").sequence - first
    measure(
        "pages of flash begun per 1,000 rows",
        round(1000 * begun / rows),
        max=PAGES_PER_1000_ROWS,
        source="README.md of memory_history: wear",
    )
    history.reboot()
    measure("same rows after a reset", kept(history) == found, exact=True, source="mem.history before")


@needs_boot_loader
def test_damaged_and_foreign_contents_begin_a_new_history(
    history: Device, dut: Any, tmp_path: Path, measure: Measure
) -> None:
    """Changes the format number of all rows in flash, as if other firmware had written them: the board must ignore and
    report them, and start a new history. Then fills the partition with foreign data, which must also start a new
    history."""
    history.flash_history(last=0, write=14)
    before = kept(history)
    content = read_partition(dut, history, tmp_path)
    changed = other_format(content)
    write_partition(dut, changed, tmp_path)
    start = history.mark()
    start_over(dut, history)
    found = history.flash_history()
    measure("groups reported as foreign", found.damaged, exact=3, source="three groups changed")
    measure("rows of another format", len(found.rows), exact=0, source="their format is unknown")
    said = history.wait_line("damaged or written by other firmware", since=start).level
    measure("the log says so", said, exact="W", source="FUT-01")
    history.flash_history(last=0, write=1)
    measure("first row of the new history", kept(history)[0].sequence, exact=1, source="a new history")
    write_partition(dut, bytes(range(256)) * (len(content) // 256), tmp_path)
    start_over(dut, history)
    history.flash_history(last=0, write=2)
    measure("rows after a foreign partition", len(kept(history)), exact=2, source="a new history")
    measure("rows before", len(before), exact=14, source="rows written")


def other_format(content: bytes) -> bytes:
    """The partition's content with the same rows, but another format number."""
    changed = bytearray(content)
    at = 0
    while (at := content.find(struct.pack("<H", 0x4D48), at)) >= 0:
        entry = at - 32  # the NVS item of the blob; its last word is the CRC of the data
        size = struct.unpack_from("<H", content, entry + 24)[0]
        is_blob = at % 32 == 0 and content[entry + 1] == 0x42
        if (
            is_blob
            and zlib.crc32(content[at : at + size], 0xFFFFFFFF)
            == struct.unpack_from("<I", content, entry + 28)[0]
        ):
            struct.pack_into("<H", changed, at, 0x4D49)
            struct.pack_into("<I", changed, entry + 28, zlib.crc32(changed[at : at + size], 0xFFFFFFFF))
            struct.pack_into(
                "<I",
                changed,
                entry + 4,
                zlib.crc32(bytes(changed[entry : entry + 4] + changed[entry + 8 : entry + 32]), 0xFFFFFFFF),
            )
        at += 1
    return bytes(changed)


def test_cost_is_within_the_budget(
    history: Device, heaps: Heaps, monitor: Monitor, board: BoardInUse, measure: Measure
) -> None:
    """Checks the memory of the task and of the variables, the unused stack after real writes, and the heap used for
    NVS's index. On a host board the stack's figure is only modelled, because the host cannot measure the chip's stack
    use."""
    monitor.start(INTERVAL_MS)
    before = heaps.free(INTERNAL.caps)
    history.flash_history(last=0, every_s=1, pause=False, write=2 * BURST)
    found = written(history, 2 * BURST)
    history.flash_history(last=0, pause=True)
    index = before - heaps.free(INTERNAL.caps)
    measure(
        "heap for the index of NVS",
        index,
        "B",
        max=6 * 2 * 132 + 80,
        source="NVS: 132 B per 29 items of a page",
    )
    spare = history.stack_unused()["mem_history"]
    measure(
        "stack never used",
        spare,
        "B",
        min=found.stack_size * STACK_SPARE,
        source="a quarter, as the guide requires",
        klass="measured" if board.runs_chip_code else "modelled",
    )
    measure("internal memory", found.bytes_internal, "B", max=4 * KB, source="budget in firmware/README.md")
    rows: Sequence[HistoryRow] = found.rows
    assert rows


@pytest.mark.boards("hardware", needs="the chip's clock")
def test_sample_takes_less_than_1_ms(history: Device, monitor: Monitor, measure: Measure) -> None:
    monitor.start(INTERVAL_MS)
    history.flash_history(last=0, every_s=1, pause=False, write=BURST)
    found = written(history, BURST)
    measure(
        "longest time of a sample in the monitor",
        found.observe_us,
        "us",
        max=1000,
        source="guide: a sample < 1 ms",
    )
