"""The core dump contains the state of memory before the crash. The tests make real allocations, cause real panics, and
read the dump from the flash."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from fixtures.board import data_partition, read_partition
from fixtures.measure import Measure
from fixtures.memory import KB, PSRAM, Heaps, Monitor, survivors
from fixtures.modes import VOICE
from hotpin_hil.device import BoardReset, Device, DeviceError, budgets
from hotpin_hil.protocol.core_dump import find_core_dump
from hotpin_hil.protocol.memory_story import MemoryStory, read_story
from hotpin_hil.pytest_plugin.plugin import BoardInUse
from hotpin_hil.symbols.decoder import AddressDecoder
from hotpin_hil.symbols.firmware_elf import read_elf
from hotpin_hil.symbols.machine import call_address

pytestmark = pytest.mark.requirement("FUT-03")

SOURCE = "requirement FUT-03"
INTERVAL_MS = 100
PANICS = ("abort", "null", "stack", "heap", "wdt")
"""Kinds of panic. They include a stack overflow, a corrupt heap, and a hang with interrupts off."""
SPARE = re.compile(rb"Core dump used \d+ bytes on stack\. (\d+) bytes left free")
SPARE_MIN = 256
"""Minimum number of bytes left unused on the core dump's stack: a margin, because the call depth depends on ESP-IDF's
version."""


ReadStory = Callable[[], MemoryStory]


@pytest.fixture
def read(dut: Any, device: Device, tmp_path: Path, measure: Measure) -> ReadStory:
    """A function that checks the core dump of the last crash and returns the memory story in it."""

    def read_it() -> MemoryStory:
        content = read_partition(dut, device, tmp_path, data_partition("coredump"))
        dump = find_core_dump(content)
        measure("a core dump is in flash", dump is not None, exact=True, source=SOURCE)
        assert dump is not None
        measure("its checksum is right", dump.is_sound, exact=True, source="esp_core_dump_types.h")
        story = read_story(content)
        assert story is not None, "the core dump contains no memory story"
        return story

    return read_it


def crash(device: Device, **how: Any) -> None:
    """Crash the firmware and wait until it is ready again."""
    start = device.mark()
    device.command("sys.panic", **how)
    device.channel.wait(lambda: device.channel.resets(start) or None, budgets.BOOT_S)
    device.wait_ready()


Names = Callable[[Sequence[int]], str]


@pytest.fixture
def names(dut: Any) -> Names:
    """Decodes return addresses with the build's ELF: functions, files and lines."""
    decoder = AddressDecoder(read_elf(Path(dut.app.elf_file)))

    def decode(frames: Sequence[int]) -> str:
        decoded = decoder.decode([call_address(frame, decoder.elf.machine) for frame in frames])
        return " ".join(place.short for address in decoded for place in address.places)

    return decode


@pytest.mark.parametrize("kind", PANICS)
def test_core_dump_of_each_panic_has_the_snapshots(
    device: Device, read: ReadStory, measure: Measure, kind: str
) -> None:
    info = device.info()
    for number in range(3):
        device.log(f"Before {kind} {number}")
    before = survivors(device.history())
    crash(device, kind=kind)
    story = read()
    measure("boot id", story.boot_id, exact=info.b, source="sys.info before")
    measure("boot count", story.boot_count, exact=info.boot_count, source="sys.info before")
    measure("state", story.state, exact="camera", source="mode.get before")
    measure("step", story.step, exact="", source="no change was in progress")
    found = [(row.context, row.stats, row.sequence) for row in reversed(story.snapshots)]
    measure("newest snapshot", found[0][0] if found else "", exact=f"Before {kind} 2", source="mem.log")
    measure("same snapshots", found[: len(before)] == before, exact=True, source="mem.history before")


def test_core_dump_names_failed_allocations_and_warnings(
    device: Device, heaps: Heaps, read: ReadStory, names: Names, measure: Measure
) -> None:
    """Fills PSRAM to the critical level twice and requests blocks that really do not fit, then crashes. The core dump
    must have the warnings, but no recovery between them, and the failed allocations; the test finds their callers in
    the ELF file."""
    monitor = Monitor(device)
    monitor.start(INTERVAL_MS)
    start = device.mark()
    left = heaps.leave(PSRAM, PSRAM.reachable(100 * KB))
    monitor.warning(start, "PSRAM_CRITICAL")
    heaps.release(left)
    monitor.recovery(start, "PSRAM_CRITICAL")
    again = device.mark()
    heaps.leave(PSRAM, PSRAM.reachable(100 * KB))
    monitor.warning(again, "PSRAM_CRITICAL")
    sizes = [PSRAM.reachable(size * KB) for size in (200, 300, 400)]
    for size in sizes:
        with pytest.raises(DeviceError, match="NO_MEM"):
            device.hold(PSRAM.caps, size=size)
    warnings = [event.data for event in monitor.warnings(start)]
    crash(device, kind="abort")
    story = read()
    failures = story.failures[-3:]
    measure("sizes", str([row.size for row in failures]), exact=str(sizes), source="heap.hold")
    for row in failures:
        when = f"{row.size} B"
        measure(f"{when}: capabilities", row.caps_names, exact="SPIRAM", source="heap.hold")
        measure(f"{when}: task", row.task, exact="hil_console", source="the command's task")
        measure(f"{when}: function", row.function.startswith("heap_caps_"), exact=True, source=row.function)
        callers = names(row.frames)
        for caller in ("heap_caps_malloc", "heap_hold"):
            measure(f"{when}: {caller}() is named", f"{caller} (" in callers, exact=True, source=callers)
    found = [(row.type, row.value, row.threshold) for row in story.warnings]
    wanted = [(event["type"], event["value"], event["threshold"]) for event in warnings]
    measure("warnings", found[-len(wanted) :] == wanted, exact=True, source="mem.warning")


@pytest.mark.parametrize("step", ["audio.start", "stt.start", "undo:audio.start", "undo:camera.stop"])
def test_core_dump_names_the_step_of_a_change(
    device: Device, read: ReadStory, measure: Measure, step: str
) -> None:
    """Crashes in a step, or in the undoing of a step after stt.start was made to fail."""
    if step.startswith("undo:"):
        device.fail(step="stt.start")
    device.panic_at("abort", step)
    start = device.mark()
    with pytest.raises(BoardReset):
        device.set_mode(VOICE)
    device.channel.wait(lambda: device.channel.resets(start) or None, budgets.BOOT_S)
    device.wait_ready()
    story = read()
    measure("step", story.step, exact=step, source="sys.panic step=")
    measure("state", story.state, exact="", source="a change was in progress")


def test_core_dump_of_a_panic_in_the_monitor_has_its_warning(
    device: Device, monitor: Monitor, board: BoardInUse, read: ReadStory, measure: Measure
) -> None:
    """Crashes in a warning callback. It runs on the monitor's stack, which is too small for the code that saves the
    core dump; the dump must still have the snapshot of the warning."""
    monitor.start(INTERVAL_MS)
    device.callbacks(add=1, call="panic")
    start = device.mark()
    device.hold(PSRAM.caps, leave=PSRAM.reachable(100 * KB))
    device.channel.wait(lambda: device.channel.resets(start) or None, budgets.BOOT_S)
    device.wait_ready()
    if board.runs_chip_code:
        spare = SPARE.search(device.channel.text(start))
        assert spare is not None, "ESP-IDF did not report the stack of the core dump"
        measure("stack of the core dump never used", int(spare[1]), "B", min=SPARE_MIN, source=SOURCE)
    story = read()
    free = story.snapshots[-1].stats.psram_free if story.snapshots else 0
    measure(
        "the warning has the newest snapshot",
        story.snapshots[-1].context,
        exact="Memory Warning",
        source=SOURCE,
    )
    measure("free PSRAM in it", free, "B", exact=PSRAM.reachable(100 * KB), source="heap.hold")
