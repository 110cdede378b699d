"""Critical fragmentation makes the board run its reclaimers and restart its drivers, if nothing uses them.

To fragment memory, the tests hold blocks, make the firmware allocate between them, and then release the held blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fixtures.audio import tone
from fixtures.clock import BoardClock
from fixtures.device import context_is
from fixtures.measure import Measure
from fixtures.memory import DMA, KB, PSRAM, Heaps, Monitor, only
from fixtures.modes import CAMERA, VOICE, Modes
from fixtures.pace import HostPace
from fixtures.poll import poll
from fixtures.variables import static_bytes
from hotpin_hil.analysis.heap_layout import BLOCK_OVERHEAD, class_floor
from hotpin_hil.device import Device
from hotpin_hil.link.channel import Cursor
from hotpin_hil.pytest_plugin.plugin import BoardInUse

INTERVAL_MS = 500
CRITICAL_PERCENT = 12
HOLE_MIN = 4 * KB
"""Minimum size of a hole in bytes. Smaller holes are ignored, because no block of the firmware's drivers fits into
them."""
BLOCK = 24 * KB
"""Size of the reclaimer's block: too large for the remainders of the holes that a test fills."""
PIECE, PIECES = 9 * KB, 8
"""Size and number of pieces. Every second piece is freed, to make a hole for a block of voice mode, of at most 8 KB."""
BETWEEN = {CAMERA: 24 * KB, VOICE: 4 * KB}
"""Free DMA memory in bytes, by the current mode; less than the other mode's drivers need in total."""
SPLIT_MIN = 3
"""Minimum fragmentation in percent that the drivers' blocks can cause on any memory map."""
SLACK = 12
"""Bytes by which a block may exceed the requested size: the allocator leaves a remainder that is too small for another
block in the block before it."""
BUDGET_S = 10.0
PAUSE_MS = 300_000
UNREAD_SAMPLES = 8
"""Number of monitor samples after which a ring that nobody reads is full: the ring holds 2 s of sound."""
RING = 64 * KB
SOURCE = "requirement FUT-05"
CHECK_MAX_US = 5_000

pytestmark = pytest.mark.requirement("FUT-05")


def optimized(device: Device, start: Cursor) -> dict[str, Any]:
    """The board's report of the first attempt since the mark."""
    return device.wait_event("mem.optimized", BUDGET_S, since=start).data


def attempts(device: Device, start: Cursor) -> int:
    return len(device.events("mem.optimized", since=start))


def critical(device: Device) -> None:
    device.thresholds(**only(fragmentation_warning=CRITICAL_PERCENT, fragmentation_critical=CRITICAL_PERCENT))


def fragment_for_good(device: Device, heaps: Heaps) -> int:
    """Fragment DMA memory with the test's own blocks, which no driver restart can move; returns the id to release."""
    critical(device)
    blocks = heaps.split(DMA, block=KB, count=80)
    percent = heaps.fragmentation(DMA)
    assert percent >= CRITICAL_PERCENT, f"the test's blocks fragment DMA memory by only {percent} %"
    return blocks


def place_in_the_middle(device: Device, heaps: Heaps, allocate: Callable[[], object]) -> int:
    """Fragment DMA memory with a block that `allocate` makes the firmware allocate; returns the percentage.

    Fills all holes, the largest first, which works on any memory map. Then releases the block in the largest hole and
    fills a third of that hole, so that the firmware's block comes after that third.
    """
    lengths = {region.start: region.length for region in heaps.regions(DMA)}
    found = [
        class_floor(-size, lengths[heap.heap])
        for heap in device.blocks(DMA.caps)
        for size in heap.blocks
        if -size >= HOLE_MIN
    ]
    largest, *others = sorted(found, reverse=True)
    first, *held = [heaps.hold(DMA, size) for size in (largest, *others)]
    heaps.release(first)
    held.append(heaps.hold(DMA, largest // 3))
    allocate()
    for identifier in held:
        heaps.release(identifier)
    return heaps.fragmentation(DMA)


def fragment_by_a_reclaimer(device: Device, heaps: Heaps) -> None:
    """Fragment DMA memory with a block that a reclaimer frees."""
    critical(device)
    percent = place_in_the_middle(
        device, heaps, lambda: device.reclaimers(DMA.caps, add="cache", size=BLOCK, start="request")
    )
    assert percent >= CRITICAL_PERCENT, f"the block fragments DMA memory by only {percent} %"


def split_by_the_camera(device: Device, heaps: Heaps, modes: Modes) -> int:
    """Fragment DMA memory with the camera's block; returns the percentage."""
    modes.to(VOICE)
    return place_in_the_middle(device, heaps, lambda: modes.to(CAMERA))


def split_by_voice(_device: Device, heaps: Heaps, modes: Modes) -> int:
    """Fragment DMA memory with the blocks of voice mode; returns the percentage."""
    modes.to(CAMERA)
    pieces = heaps.split(DMA, block=PIECE, count=PIECES)
    modes.to(VOICE)
    heaps.release(pieces)
    return heaps.fragmentation(DMA)


def split_by_drivers(device: Device, heaps: Heaps, modes: Modes) -> tuple[str, int]:
    """Fragment DMA memory with a mode's blocks and set the critical threshold to the resulting percentage; returns the
    mode and the percentage.

    The memory map decides which mode's blocks can fragment memory: the allocator uses the first heap with room, and a
    mode's blocks may fill that heap almost completely.
    """
    percents = {}
    for mode, split in ((CAMERA, split_by_the_camera), (VOICE, split_by_voice)):
        percents[mode] = percent = split(device, heaps, modes)
        if percent >= SPLIT_MIN:
            device.thresholds(**only(fragmentation_warning=percent, fragmentation_critical=percent))
            return mode, percent
    raise AssertionError(f"the drivers' blocks fragment DMA memory too little: by {percents} %")


def test_drivers_restart_and_memory_moves_together(
    device: Device, heaps: Heaps, monitor: Monitor, modes: Modes, measure: Measure
) -> None:
    modes.warm_up()
    mode, before = split_by_drivers(device, heaps, modes)
    start = device.mark()
    device.auto_optimize(True)
    monitor.start(INTERVAL_MS)
    found = optimized(device, start)
    after = heaps.fragmentation(DMA)
    (change,) = modes.changes(start)
    measure(
        "restart", f"{change.data['from']} to {change.data['to']}", exact=f"{mode} to {mode}", source=SOURCE
    )
    measure("cause", found["cause"], exact="fragmented", source=SOURCE)
    measure(
        "fragmentation before, as reported", found["fragmentation_before"], "%", exact=before, source=SOURCE
    )
    measure("fragmentation after, as reported", found["fragmentation_after"], "%", exact=after, source=SOURCE)
    measure("fragmentation after", after, "%", max=before - 1, source=SOURCE)
    measure("error", found["err"], exact="ESP_OK", source=SOURCE)
    measure("gave up", found["gave_up"], exact=False, source=SOURCE)
    measure("mode after the restart", modes.settled().mode, exact=mode, source="the mode before it")
    if mode == CAMERA:
        device.capture()
    else:
        measure("samples after the restart", modes.record(0.1), min=1_600, source="0.1 s of sound")

    start = device.mark()
    split_by_drivers(device, heaps, modes)
    monitor.complete_checks(3)
    measure("attempts within 300 s", attempts(device, start), exact=0, source=SOURCE)
    state = device.auto_optimize(False)
    measure("attempts, and those that helped", f"{state.attempts}, {state.helped}", exact="1, 1")


def test_reclaimers_run_first_and_can_be_enough(
    device: Device, heaps: Heaps, monitor: Monitor, modes: Modes, measure: Measure
) -> None:
    fragment_by_a_reclaimer(device, heaps)
    start = device.mark()
    device.auto_optimize(True)
    monitor.start(INTERVAL_MS)
    found = optimized(device, start)
    least = BLOCK + BLOCK_OVERHEAD
    measure(
        "bytes reclaimed",
        found["reclaimed"],
        "B",
        low=least,
        high=least + SLACK,
        source="the reclaimer's block",
    )
    measure("drivers restarted", found["restarted"], exact=False, source="the reclaimer was enough")
    measure("changes of mode", len(modes.changes(start)), exact=0, source="the reclaimer was enough")
    measure("gave up", found["gave_up"], exact=False, source=SOURCE)
    measure("fragmentation after", heaps.fragmentation(DMA), "%", max=CRITICAL_PERCENT - 1, source=SOURCE)


def test_it_gives_up_when_a_restart_does_not_help(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    fragment_for_good(device, heaps)
    start = device.mark()
    device.auto_optimize(True)
    monitor.start(INTERVAL_MS)
    measure("gave up", optimized(device, start)["gave_up"], exact=True, source=SOURCE)
    device.wait_line("no other attempt", since=start)
    monitor.complete_checks(3)
    measure("attempts", attempts(device, start), exact=1, source=SOURCE)
    state = device.auto_optimize(False)
    measure("gave up, as long as the cause stands", state.gave_up, exact=True, source=SOURCE)
    measure("attempts that helped", state.helped, exact=0, source=SOURCE)


def test_cause_that_returns_waits_for_the_pause_after_an_attempt_in_vain(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    blocks = fragment_for_good(device, heaps)
    start = device.mark()
    device.auto_optimize(True)
    monitor.start(INTERVAL_MS)
    measure("gave up", optimized(device, start)["gave_up"], exact=True, source=SOURCE)
    heaps.release(blocks)
    monitor.complete_checks(2)
    gave_up = device.auto_optimize(True).gave_up
    measure("gave up, after the cause has ended", gave_up, exact=False, source=SOURCE)
    fragment_for_good(device, heaps)
    monitor.complete_checks(3)
    measure("attempts within 300 s", attempts(device, start), exact=1, source=SOURCE)


@pytest.mark.parametrize("helps", [False, True], ids=["in-vain", "helped"])
def test_attempts_are_300_s_apart(
    device: Device, heaps: Heaps, monitor: Monitor, clock: BoardClock, measure: Measure, *, helps: bool
) -> None:
    """Fragments memory; the first attempt ends the fragmentation (`helped`), or the test ends it afterwards
    (`in-vain`). Then it fragments memory again: the next attempt must come 300 s after the first."""
    blocks = None if helps else fragment_for_good(device, heaps)
    if helps:
        fragment_by_a_reclaimer(device, heaps)
    start = device.mark()
    device.auto_optimize(True)
    monitor.start(INTERVAL_MS)
    first = device.wait_event("mem.optimized", BUDGET_S, since=start)
    measure("gave up", first.data["gave_up"], exact=not helps, source=SOURCE)
    if blocks is not None:
        heaps.release(blocks)
    monitor.complete_checks(2)
    start = device.mark()
    fragment_for_good(device, heaps)
    clock.jump_to(first.t_ms + PAUSE_MS - 4 * INTERVAL_MS)
    second = device.wait_event("mem.optimized", BUDGET_S, since=start)
    measure(
        "time between the attempts",
        second.t_ms - first.t_ms,
        "ms",
        low=PAUSE_MS,
        high=PAUSE_MS + 3 * INTERVAL_MS,
        source="FUT-05, and the interval of the samples",
    )


def test_scattered_memory_for_the_other_mode_is_a_cause(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    """Sets thresholds that cannot be reached, and splits DMA memory into holes smaller than the blocks of voice mode.
    This must cause an attempt."""
    device.thresholds(**only())
    heaps.split(DMA, block=3 * KB)
    start = device.mark()
    device.auto_optimize(True)
    monitor.start(INTERVAL_MS)
    found = optimized(device, start)
    measure("cause", found["cause"], exact="scattered", source=SOURCE)
    measure("drivers restarted", found["restarted"], exact=True, source=SOURCE)
    measure(
        "gave up", found["gave_up"], exact=True, source="the test's own blocks, which a restart cannot move"
    )


@pytest.mark.parametrize("mode", [CAMERA, VOICE])
def test_too_little_memory_for_the_other_mode_is_no_cause(
    device: Device, heaps: Heaps, monitor: Monitor, modes: Modes, measure: Measure, *, mode: str
) -> None:
    """Leaves less free DMA memory than the other mode's drivers need in total, so a restart of the drivers cannot
    help."""
    modes.to(mode)
    device.thresholds(**only())
    heaps.leave(DMA, DMA.reachable(BETWEEN[mode]))
    start = device.mark()
    device.auto_optimize(True)
    monitor.start(INTERVAL_MS)
    monitor.complete_checks(4)
    measure("attempts", attempts(device, start), exact=0, source=SOURCE)


def test_warning_level_of_fragmentation_is_no_cause(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    fragment_for_good(device, heaps)
    device.thresholds(**only(fragmentation_warning=CRITICAL_PERCENT, fragmentation_critical=100))
    start = device.mark()
    device.auto_optimize(True)
    monitor.start(INTERVAL_MS)
    monitor.warning(start, "FRAGMENTATION_HIGH")
    monitor.complete_checks(3)
    measure("attempts", attempts(device, start), exact=0, source=SOURCE)


def test_fragmented_psram_is_a_cause(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    heaps.split(PSRAM, block=64 * KB)
    percent = heaps.fragmentation(PSRAM)
    device.thresholds(**only(fragmentation_warning=percent, fragmentation_critical=percent))
    start = device.mark()
    device.auto_optimize(True)
    monitor.start(INTERVAL_MS)
    found = optimized(device, start)
    measure("fragmentation before", found["fragmentation_before"], "%", exact=percent, source="heap.probe")
    measure("other memory types are fragmented less", heaps.fragmentation(DMA) < percent, exact=True)


def test_nothing_happens_when_it_is_off_or_while_the_drivers_are_locked(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    fragment_for_good(device, heaps)
    monitor.start(INTERVAL_MS)
    start = device.mark()
    monitor.complete_checks(3)
    measure("attempts when off", attempts(device, start), exact=0, source=SOURCE)
    device.hold_lock("drivers", 4_000)
    device.auto_optimize(True)
    monitor.complete_checks(3)
    measure("attempts while locked", attempts(device, start), exact=0, source=SOURCE)
    optimized(device, start)


def test_nothing_happens_while_a_stream_is_open_or_sound_is_read(
    device: Device, heaps: Heaps, monitor: Monitor, modes: Modes, measure: Measure
) -> None:
    """In voice mode with critical fragmentation, keeps a stream open and then reads the recording. Meanwhile the board
    must not restart the drivers. It must restart them once they are idle, that is, no stream is open and nobody has
    read the recording for 2 s."""
    modes.to(VOICE)
    fragment_for_good(device, heaps)
    monitor.start(INTERVAL_MS)
    modes.play(tone(1_600))
    cycles = device.mode().cycles
    monitor.complete_checks(UNREAD_SAMPLES)
    start = device.mark()
    device.auto_optimize(True)
    monitor.complete_checks(3)
    measure("attempts while a stream is open", attempts(device, start), exact=0, source=SOURCE)
    device.read_recording(RING, skip=True)
    device.tts_close()
    for _ in range(UNREAD_SAMPLES):
        monitor.samples(1)
        device.read_recording(RING, skip=True)
    measure("attempts while sound is read", attempts(device, start), exact=0, source=SOURCE)
    found = optimized(device, start)
    (change,) = modes.changes(start)
    measure("restart", f"{change.data['from']} to {change.data['to']}", exact="voice to voice", source=SOURCE)
    measure("error", found["err"], exact="ESP_OK", source=SOURCE)
    now = modes.settled()
    measure("mode after the restart", now.mode, exact=VOICE, source="the mode before it")
    measure("cycles counted", now.cycles - cycles, exact=0, source="no return to camera mode")
    measure("samples after the restart", modes.record(0.1), min=1_600, source="0.1 s of sound")


def test_ring_that_was_read_only_partly_does_not_count_as_read(
    device: Device, heaps: Heaps, monitor: Monitor, modes: Modes, measure: Measure
) -> None:
    """Lets the ring overflow and reads one sample. The ring still has no room for new sound, so nobody uses the
    recording, and the board must restart the drivers."""
    modes.to(VOICE)
    poll(device.recording, lambda heard: heard.dropped > 0, "a full ring")
    device.read_recording(2)
    fragment_for_good(device, heaps)
    start = device.mark()
    device.auto_optimize(True)
    monitor.start(INTERVAL_MS)
    measure("drivers restarted", optimized(device, start)["restarted"], exact=True, source=SOURCE)


def test_board_is_busy_until_a_request_during_the_restart_is_done(
    device: Device,
    heaps: Heaps,
    monitor: Monitor,
    modes: Modes,
    *,
    host_pace: HostPace,
    measure: Measure,
) -> None:
    """Requests a mode while the drivers restart. The board must report that it is busy until that change has ended,
    not only until the restart has."""
    blocks = fragment_for_good(device, heaps)
    start = device.mark()
    device.auto_optimize(True)
    with host_pace():
        monitor.start(INTERVAL_MS)
        device.wait_event("mem.sample", BUDGET_S, since=start, where=context_is("Before Driver Restart"))
        heaps.release(blocks)  # so that voice mode has room on any memory map
        device.set_mode(VOICE, wait=False)
        device.wait_event("mode", BUDGET_S, since=start)
        reached = modes.settled().mode
    measure("mode when the board is no longer busy", reached, exact=VOICE, source="the request")
    changes = [f"{change.data['from']} to {change.data['to']}" for change in modes.changes(start)]
    measure("changes", ", ".join(changes), exact="camera to camera, camera to voice", source=SOURCE)


@pytest.mark.parametrize(
    ("steps", "states"),
    [
        pytest.param("camera.start", "camera to camera: camera", id="undone"),
        pytest.param(
            "camera.start,undo:camera.stop", "camera to camera: error, error to camera: ok", id="recovered"
        ),
    ],
)
def test_failed_restart_leaves_the_mode_as_it_was(
    device: Device, heaps: Heaps, monitor: Monitor, modes: Modes, measure: Measure, *, steps: str, states: str
) -> None:
    """Makes a step of the drivers' restart fail, alone or together with its undo. After the undo, or after the recovery
    from the error state, the board must be in its former mode."""
    fragment_for_good(device, heaps)
    device.fail(step=steps)
    start = device.mark()
    device.auto_optimize(True)
    monitor.start(INTERVAL_MS)
    found = optimized(device, start)
    changes = [
        f"{change.data['from']} to {change.data['to']}: {'ok' if change.data['ok'] else change.data['mode']}"
        for change in modes.changes(start)
    ]
    measure("changes", ", ".join(changes), exact=states, source=SOURCE)
    measure("error", found["err"], exact="ESP_FAIL", source="heap.fail")
    measure("gave up", found["gave_up"], exact=True, source=SOURCE)
    device.wait_line("The drivers' restart failed: ESP_FAIL", since=start)
    measure("mode", modes.settled().mode, exact=CAMERA, source=SOURCE)
    device.capture()


def test_optimisation_reports_its_cost(
    dut: Any, board: BoardInUse, device: Device, monitor: Monitor, measure: Measure
) -> None:
    state = device.auto_optimize(True)
    variables = static_bytes(Path(dut.app.elf_file), "memory_optimize.c", "optimize_logic.c")
    measure("static bytes, as reported", state.bytes_static, "B", exact=variables, source="the ELF's symbols")
    if board.is_real_chip:  # on other boards the time depends on the host
        monitor.start(INTERVAL_MS)
        monitor.complete_checks(3)
        longest = device.auto_optimize(False).check_us
        measure(
            "longest check",
            longest,
            "us",
            low=1,
            high=CHECK_MAX_US,
            source="firmware/README.md, Memory budget",
        )
