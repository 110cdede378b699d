"""The allocation profile: memory in use, by task and by call site.

These tests flash the image with the allocation profile. The next test of another file flashes the usual image again.
"""

from __future__ import annotations

from collections import Counter

import pytest

from fixtures import api_cases
from fixtures.audio import RATE_HZ, tone
from fixtures.measure import Measure
from fixtures.memory import INTERNAL, KB, PSRAM, Heaps, Memory, fill_small_holes
from fixtures.modes import CAMERA, VOICE, Modes
from fixtures.profile import Profiler
from hotpin_hil.analysis.heap_layout import BLOCK_OVERHEAD
from hotpin_hil.device import Device, DeviceError
from hotpin_hil.device.images import PROFILE
from hotpin_hil.errors import BenchError, BuildError
from hotpin_hil.paths import FIRMWARE_DIR
from hotpin_hil.protocol.allocations import AllocationProfile
from hotpin_hil.pytest_plugin.plugin import BoardInUse

PSRAM_START, PSRAM_END = 0x3F80_0000, 0x3FC0_0000
QUIET_TRIES = 5
QUIET_MS = 600_000
"""Monitoring interval. While the monitor is running, the manager needs no short-lived task to write statistics."""


@pytest.fixture
def image() -> str:
    return PROFILE


@pytest.fixture
def build_dir(board: BoardInUse) -> str:
    """The build that pytest-embedded flashes for the tests of this file."""
    try:
        return str(board.build_of(PROFILE).folder)
    except BuildError as error:
        # Only these tests need the build, so the others continue.
        raise BenchError(f"no build with the allocation profile: {error.message}", error.remedy) from error


def held(device: Device) -> dict[str, int]:
    """Bytes in use per memory type, and blocks in use, according to the allocator's own walk of all heaps."""
    found: Counter[str] = Counter()
    for heap in device.resources().heaps:
        memory = "psram" if PSRAM_START <= heap.heap < PSRAM_END else "internal"
        found[f"{memory} bytes"] += heap.bytes
        found["blocks"] += heap.blocks
    return dict(found)


def counted(profile: AllocationProfile) -> dict[str, int]:
    """The same figures as `held`, according to the profile."""
    sums = {
        f"{memory} bytes": sum(site.bytes for site in profile.sites if site.memory == memory)
        for memory in ("internal", "psram")
    }
    sums["internal bytes"] += profile.loss.lost_internal
    sums["psram bytes"] += profile.loss.lost_psram
    return {**sums, "blocks": profile.blocks}


def read_quietly(device: Device) -> tuple[AllocationProfile, dict[str, int]]:
    """Reads the profile between two equal heap walks, so that nothing was allocated in between; returns both."""
    for _ in range(QUIET_TRIES):
        before = held(device)
        profile = device.profile()
        if held(device) == before:
            return profile, before
    raise AssertionError(f"the heap changed during each of {QUIET_TRIES} readings")


def measure_sum(device: Device, measure: Measure, when: str) -> AllocationProfile:
    profile, walked = read_quietly(device)
    for name, value in counted(profile).items():
        measure(f"{when}: {name}", value, exact=walked[name], source="walk of all heaps: sys.resources")
    by_task = sum(task.bytes for task in device.profile_tasks())
    sites = sum(site.bytes for site in profile.sites)
    measure(f"{when}: bytes by task", by_task, "B", exact=sites, source="the same blocks by site")
    return profile


CYCLES = 12


@pytest.mark.requirement("FUT-04", "TRN-04")
def test_no_line_leaks_from_cycle_to_cycle(
    device: Device, modes: Modes, profiler: Profiler, measure: Measure
) -> None:
    """Runs cycles that record, play and take a picture, so that every component allocates. No source line may leak.

    This is the first test of the file, so that the first failure caused by a leak names the leaking line.
    """
    device.monitor(start=QUIET_MS)
    modes.warm_up()
    profiler.mark()
    for _ in range(CYCLES):
        modes.to(VOICE)
        modes.record(0.1)
        modes.play(tone(RATE_HZ // 10))
        device.tts_close()
        modes.to(CAMERA)
        device.capture()
    leaks = profiler.leaks(CYCLES)
    measure("lines that leak", "; ".join(map(str, leaks)), exact="", source="profile since the mark")


@pytest.mark.requirement("FUT-04")
def test_sum_over_sites_is_what_the_heap_reports(
    device: Device, modes: Modes, profiler: Profiler, measure: Measure
) -> None:
    """Compares the profile's sums with a walk of all heaps, to the byte, in each mode and over several cycles."""
    profile = measure_sum(device, measure, "after start-up")
    measure(
        "allocations that found no site", profile.loss.no_site, exact=0, source="the table is large enough"
    )
    measure(
        "allocations that found no slot", profile.loss.no_slot, exact=0, source="the table is large enough"
    )
    for mode in (VOICE, CAMERA, VOICE, CAMERA):
        modes.to(mode)
        profile = measure_sum(device, measure, f"{mode} mode")
        profiler.keep(f"{mode} mode")
    measure("frees of unknown blocks", profile.loss.unknown_frees, exact=0, source="every block is known")


HOLDS, HOLD = 5, 1_000
HOLD_SOURCE = FIRMWARE_DIR / "components/hil_console/src/hooks/heap_hold.c"


def place_of(function: str, call: str) -> str:
    """`function` and the source line of the only call of `call` in heap_hold.c, in the format of a named site."""
    lines = HOLD_SOURCE.read_text(encoding="utf-8").splitlines()
    (number,) = [number for number, line in enumerate(lines, 1) if f"{call}(" in line]
    return f"{function}, {HOLD_SOURCE.name}:{number}"


OF_HOLD = place_of("heap_hold_size", "heap_caps_malloc")
OF_LEAK = place_of("push", "heap_fail_quiet_malloc")


@pytest.mark.requirement("FUT-04")
@pytest.mark.parametrize("memory", [INTERNAL, PSRAM], ids=["internal", "psram"])
def test_blocks_count_at_the_line_that_allocates_them(
    device: Device, heaps: Heaps, profiler: Profiler, measure: Measure, memory: Memory
) -> None:
    """Holds and frees blocks, all of which the console allocates in the same source line. The profile must count them
    at that line, while they are in use and after they are freed."""
    heaps.release(heaps.hold(memory, HOLD))
    profiler.mark()
    tasks_before = {task.task: task for task in device.profile_tasks()}
    before = heaps.free(memory.caps)
    held = [heaps.hold(memory, HOLD) for _ in range(HOLDS)]
    taken = before - heaps.free(memory.caps) - HOLDS * BLOCK_OVERHEAD
    (site,) = [site for site in device.profile(since_mark=True).sites if site.blocks > 0]
    measure("line", str(profiler.name(site)), exact=OF_HOLD, source=HOLD_SOURCE.name)
    measure("task", site.task, exact="hil_console", source="the test console allocates")
    measure("memory", site.memory, exact=memory.name, source="the capabilities of the blocks")
    measure("bytes in use", site.bytes, "B", exact=taken, source="heap.probe, without the headers")
    measure("blocks in use", site.blocks, exact=HOLDS, source="the test")
    task = {task.task: task for task in device.profile_tasks()}["hil_console"]
    measure(
        "bytes of the task",
        task.bytes - tasks_before["hil_console"].bytes,
        "B",
        exact=taken,
        source="heap.probe, without the headers",
    )

    for block in held:
        heaps.release(block)
    (site,) = [site for site in device.profile(since_mark=True).sites if str(profiler.name(site)) == OF_HOLD]
    measure("bytes in use after the release", site.bytes, "B", exact=0, source="the test")
    measure("blocks in use after the release", site.blocks, exact=0, source="the test")
    measure("peak", site.peak, "B", exact=taken, source="all blocks at once")
    measure("allocations since the mark", site.allocations, exact=HOLDS, source="the test")


LEAKED = 16


@pytest.mark.requirement("FUT-04", "DIAG-03")
def test_leak_is_traced_to_the_line_that_allocates(
    device: Device, modes: Modes, profiler: Profiler, measure: Measure
) -> None:
    device.monitor(start=QUIET_MS)
    modes.warm_up()
    fill_small_holes(device, INTERNAL.caps, LEAKED)
    profiler.mark()
    device.leak(INTERNAL.caps, bytes=LEAKED, every="cycle")
    for _ in range(CYCLES):
        modes.cycle()
    leaks = profiler.leaks(CYCLES)
    measure(
        "lines that leak",
        "; ".join(map(str, leaks)),
        exact=f"{LEAKED} B per cycle from {OF_LEAK}, task hil_console",
        source="planted by heap.leak",
    )


MORE_BLOCKS = 2_000


@pytest.mark.requirement("FUT-04")
def test_blocks_beyond_the_table_are_counted(device: Device, heaps: Heaps, measure: Measure) -> None:
    """Holds more blocks than the table has slots. The sums of bytes and blocks must stay correct, although some blocks
    have no slot and thus no site. After all are freed, the profile must count no blocks without a slot."""
    split = heaps.split(PSRAM, block=64, count=MORE_BLOCKS)
    profile = measure_sum(device, measure, "table full")
    measure("blocks that found no slot", profile.loss.lost_blocks, min=1, source="the table is full")
    measure("allocations that found no slot", profile.loss.no_slot, min=1, source="the table is full")
    heaps.release(split)
    profile = measure_sum(device, measure, "table no longer full")
    measure("blocks that found no slot", profile.loss.lost_blocks, exact=0, source="all were freed")
    measure("frees of unknown blocks", profile.loss.unknown_frees, exact=0, source="every block is known")


@pytest.mark.requirement("FUT-04")
@pytest.mark.parametrize("memory", [INTERNAL, PSRAM], ids=["internal", "psram"])
def test_sites_beyond_the_table_count_together(
    device: Device, heaps: Heaps, profiler: Profiler, measure: Measure, memory: Memory
) -> None:
    """Fills the table of sites. After that, one row per memory type must count the allocations of all other sites.
    Since a mark, this row must count only the allocations after the mark."""
    device.profile_fill()
    heaps.hold(memory, HOLD)
    profile = measure_sum(device, measure, "table full")
    measure("allocations that found no site", profile.loss.no_site, min=1, source="the table is full")
    profiler.mark()
    before = heaps.free(memory.caps)
    for _ in range(HOLDS):
        heaps.hold(memory, HOLD)
    taken = before - heaps.free(memory.caps) - HOLDS * BLOCK_OVERHEAD
    (site,) = [site for site in device.profile(since_mark=True).sites if site.blocks > 0]
    measure("memory", site.memory, exact=memory.name, source="the capabilities of the blocks")
    measure("return addresses", len(site.frames), exact=0, source="the site has no row")
    (task,) = [task for task in device.profile_tasks(since_mark=True) if task.blocks > 0]
    for what, row in (("site", site), ("task", task)):
        measure(f"{what}: task", row.task, exact="(other)", source="the site has no row")
        measure(
            f"{what}: bytes in use", row.bytes, "B", exact=taken, source="heap.probe, without the headers"
        )
        measure(f"{what}: blocks in use", row.blocks, exact=HOLDS, source="the test")


SIZES = (3_000, 9_000, 500, 500, 12_000)


@pytest.mark.requirement("FUT-04")
@pytest.mark.parametrize("memory", [INTERNAL, PSRAM], ids=lambda memory: memory.name)
def test_block_that_changes_its_size_stays_in_the_profile(
    device: Device, heaps: Heaps, measure: Measure, memory: Memory
) -> None:
    """Resizes a block, which grows, shrinks and moves. A size larger than the memory must be refused. After each step
    the profile must equal a walk of all heaps."""
    device.monitor(start=QUIET_MS)
    held_id = heaps.hold(memory, 1_000)
    behind = heaps.hold(memory, 100)  # so that the block cannot grow in place
    for size in SIZES:
        device.resize(held_id, size)
        measure_sum(device, measure, f"{size} bytes")
    with pytest.raises(DeviceError) as refused:
        device.resize(held_id, 8 * KB * KB)
    measure("impossible size", refused.value.err, exact="ESP_ERR_NO_MEM", source="heap_caps_realloc")
    profile = measure_sum(device, measure, "after the failure")
    heaps.release(held_id)
    heaps.release(behind)
    after = measure_sum(device, measure, "released")
    unknown = after.loss.unknown_frees - profile.loss.unknown_frees
    measure("frees of unknown blocks", unknown, exact=0, source="each block was known")


PAIRS = 1_000
COST_MAX_NS = 5_000


@pytest.mark.boards("hardware", needs="the chip's clock")
@pytest.mark.requirement("FUT-04")
def test_profile_adds_5_us_to_allocation_and_free_at_most(device: Device, measure: Measure) -> None:
    cost = device.profile_cost(PAIRS)
    measure(
        "time that the profile adds per pair of allocation and free",
        cost.added_ns,
        "ns",
        low=1,
        high=COST_MAX_NS,
        source=f"{cost.with_ns} ns with the profile, {cost.without_ns} ns without",
    )


@pytest.mark.requirement("FUT-04")
def test_every_edge_case_of_the_profile_gives_the_documented_error(
    device: Device, board: BoardInUse, measure: Measure
) -> None:
    api_cases.measure_cases(device, board.build_of(PROFILE), measure, api_cases.PROFILE)
