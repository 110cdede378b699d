"""The board announces falling memory before the warning, with the right time, and announces no other changes in memory.

`heap.leak` allocates a block of real memory at each sample. The host tests of the firmware's logic measure how many of
hundreds of simulated falls get a correct interval (tests/firmware/logic/test_predict_logic.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fixtures.device import context_is
from fixtures.measure import Measure
from fixtures.memory import DMA, INTERNAL, KB, PSRAM, Heaps, Memory, Monitor, only
from fixtures.modes import CAMERA, VOICE, Modes
from fixtures.poll import poll
from fixtures.variables import static_bytes
from hotpin_hil.analysis.heap_layout import BLOCK_OVERHEAD
from hotpin_hil.device import Device, Event
from hotpin_hil.link.channel import Cursor
from hotpin_hil.pytest_plugin.plugin import BoardInUse

INTERVAL_MS = 200
"""Monitoring interval. It is short, because a prediction needs dozens of samples."""
AHEAD_MIN = 10
WINDOWS_TO_WARNING = 40
FALL_BUDGET_S = 60.0
WARM_UP, SERIES, SETTLED = 4, 32, 24
"""Numbers of windows (predict_logic.h): ignored at the start; in a series; before the firmware trusts a fall for the
whole horizon."""
SOURCE = "requirement FUT-02"
COST_MAX = 1_569
"""Maximum internal memory in bytes on the chip (firmware/README.md, Memory budget). In a host build the component may
use HOST_MORE bytes more, because pointers are longer."""
HOST_MORE = 128
CHIP_MAX_US = 20_000
"""Maximum CPU time in µs for one window while all three memory types fall: 0.13 % of the default interval."""


@dataclass(frozen=True)
class Planted:
    """A steady loss of memory that the test causes with `heap.leak`."""

    memory: Memory
    size: int
    """Bytes lost at each sample."""


def limits(memory: Memory, warning: int) -> dict[str, Any]:
    """Thresholds at which only this memory type's warning can be reached."""
    return only(**{f"{memory.thresholds}_warning": warning})


def predicted(event: Event, memory: Memory) -> bool:
    return event.data["memory"] == memory.name and not event.data["critical"]


def wait_prediction(device: Device, start: Cursor, memory: Memory) -> Event:
    """Waits for the first prediction of this memory type's warning since the mark."""
    return device.wait_event(
        "mem.predicted", FALL_BUDGET_S, since=start, where=lambda event: predicted(event, memory)
    )


def predictions(device: Device, start: Cursor, memory: Memory) -> int:
    """Number of predictions of this memory type's warning since the mark."""
    found = device.events("mem.predicted", since=start, where=lambda event: predicted(event, memory))
    return len(found)


def is_warning_of(memory: Memory) -> Any:
    return lambda event: str(event.data["type"]).startswith(memory.warning)


@pytest.mark.requirement("FUT-02")
@pytest.mark.parametrize(
    "planted", [Planted(INTERNAL, KB), Planted(PSRAM, 4 * KB)], ids=["internal-1KB", "psram-4KB"]
)
def test_fall_is_announced_in_time_and_the_warning_comes_in_the_interval(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure, planted: Planted
) -> None:
    """Lets memory fall by the same number of bytes at each sample. The time until the warning is counted in samples,
    because a sample that an emulator or a busy host delays also delays the fall."""
    memory, size = planted.memory, planted.size
    monitor.stop()
    level = 300 * KB if memory is PSRAM else 60 * KB  # half of the free memory on a small memory map
    warning = memory.reachable(min(level, heaps.free(memory.caps) // 2))
    heaps.leave(memory, warning + WINDOWS_TO_WARNING * size)
    device.thresholds(**limits(memory, warning))
    start = device.mark()
    device.leak(memory.caps, bytes=size - BLOCK_OVERHEAD, every="sample")
    monitor.start(INTERVAL_MS)
    announced = device.wait_event(
        "mem.predicted", FALL_BUDGET_S, since=start, where=lambda event: predicted(event, memory)
    )
    warned = device.wait_event("mem.warning", FALL_BUDGET_S, since=start, where=is_warning_of(memory))
    device.leak(off=True)
    monitor.samples(1)  # so that all samples until the warning have arrived
    found = announced.data
    periodic = device.events("mem.sample", since=start, where=context_is("Periodic"))
    stamps = [event.data["timestamp_ms"] for event in periodic]
    samples = sum(found["timestamp_ms"] < stamp <= warned.data["timestamp_ms"] for stamp in stamps)
    left_ms = samples * INTERVAL_MS
    measure("samples from the announcement to the warning", samples, min=AHEAD_MIN, source=SOURCE)
    measure("announced at a sample", found["timestamp_ms"] in stamps, exact=True, source="mem.sample")
    measure("true time - earliest", left_ms - found["earliest_ms"], "ms", min=0, source=SOURCE)
    measure("latest - true time", found["latest_ms"] - left_ms, "ms", min=0, source=SOURCE)
    measure(
        "expected time / true time",
        found["expected_ms"] / left_ms,
        low=0.8,
        high=1.25,
        source="a steady fall",
    )
    measure("threshold", found["threshold"], "B", exact=warning, source="set by the test")
    measure("state", found["state"], exact=CAMERA, source="the board's mode")
    per_sample = found["loss_per_hour"] * INTERVAL_MS / 3_600_000
    measure("loss per sample / planted loss", per_sample / size, low=0.8, high=1.25, source="heap.leak")


@pytest.mark.requirement("FUT-02")
def test_noise_widens_the_interval_on_both_sides(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    """Leaks PSRAM at each sample, and holds blocks of other sizes for some samples each. The expected time must be
    between the earliest and the latest one."""
    size = 4 * KB
    monitor.stop()
    warning = PSRAM.reachable(300 * KB)
    heaps.leave(PSRAM, warning + 2 * WINDOWS_TO_WARNING * size)
    device.thresholds(**limits(PSRAM, warning))
    start = device.mark()
    device.leak(PSRAM.caps, bytes=size - BLOCK_OVERHEAD, every="sample")
    monitor.start(INTERVAL_MS)
    number = 0
    while not predictions(device, start, PSRAM):
        noise = heaps.hold(PSRAM, (1 + 5 * number % 7) * 2 * KB)
        monitor.samples(1)
        heaps.release(noise)
        assert not monitor.warnings(start), "the warning came before any prediction"
        number += 1
    device.leak(off=True)
    found = wait_prediction(device, start, PSRAM).data
    measure("earliest < expected", found["earliest_ms"] < found["expected_ms"], exact=True, source=SOURCE)
    measure("expected < latest", found["expected_ms"] < found["latest_ms"], exact=True, source=SOURCE)


SLOW = pytest.mark.parametrize(
    "planted", [Planted(INTERNAL, 256), Planted(PSRAM, 2 * KB)], ids=["internal-256B", "psram-2KB"]
)


def prepare(device: Device, heaps: Heaps, planted: Planted, windows: int) -> None:
    """Fill memory so that the fall reaches the warning after `windows` windows."""
    memory = planted.memory
    warning = memory.reachable(min(300 * KB, heaps.free(memory.caps) // 4))
    heaps.leave(memory, warning + windows * planted.size)
    device.thresholds(**limits(memory, warning))


@pytest.mark.requirement("FUT-02")
@SLOW
def test_fall_is_announced_once_although_it_pauses(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure, planted: Planted
) -> None:
    """Interrupts an announced fall with two rises. The small one lasts less than 12 windows and must cause no second
    announcement. The large one lasts longer and must cause a second announcement."""
    memory, size = planted.memory, planted.size
    monitor.stop()
    small, large = (heaps.hold(memory, rise * size - BLOCK_OVERHEAD) for rise in (1, 16))
    prepare(device, heaps, planted, windows=150)
    start = device.mark()
    device.leak(memory.caps, bytes=size - BLOCK_OVERHEAD, every="sample")
    monitor.start(INTERVAL_MS)
    wait_prediction(device, start, memory)
    start = device.mark()
    heaps.release(small)
    monitor.samples(SETTLED + 4)
    measure("predictions after the small rise", predictions(device, start, memory), exact=0, source=SOURCE)
    heaps.release(large)
    wait_prediction(device, start, memory)
    device.leak(off=True)
    measure("predictions after the large rise", predictions(device, start, memory), exact=1, source=SOURCE)


@pytest.mark.requirement("FUT-02")
@SLOW
def test_fall_is_not_announced_while_memory_was_as_low_before(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure, planted: Planted
) -> None:
    """Keeps memory low in the first windows, releases it, and lets it fall again. The board must not announce this fall
    while its series still remembers the earlier low, that is, until the series has been renewed three times."""
    memory, size = planted.memory, planted.size
    monitor.stop()
    low = heaps.hold(memory, 128 * size)
    prepare(device, heaps, planted, windows=16)
    start = device.mark()
    monitor.start(INTERVAL_MS)
    monitor.samples(WARM_UP + 2)
    heaps.release(low)
    device.leak(memory.caps, bytes=size - BLOCK_OVERHEAD, every="sample")
    announced = wait_prediction(device, start, memory)
    device.leak(off=True)
    windows = [
        event
        for event in device.events("mem.sample", since=start, where=lambda event: event.n < announced.n)
        if event.data["context"] == "Periodic"
    ]
    measure("windows until the announcement", len(windows), min=WARM_UP + 5 * SERIES // 2, source=SOURCE)
    measure("memory", announced.data["memory"], exact=memory.name, source="heap.leak")


@pytest.mark.requirement("FUT-02")
@pytest.mark.parametrize("memory", [INTERNAL, PSRAM], ids=lambda memory: memory.name)
def test_each_threshold_has_its_own_prediction(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure, memory: Memory
) -> None:
    """Lets memory fall while no two thresholds are equal. Each threshold must have its own prediction. The warning
    threshold is above the free memory, so it is reached "now"."""
    monitor.stop()
    falling = (PSRAM,) if memory is PSRAM else (INTERNAL, DMA)
    levels: dict[str, int] = {}
    for number, each in enumerate(falling):
        free = heaps.free(each.caps)
        levels[f"{each.thresholds}_warning"] = free + (8 + number) * KB
        levels[f"{each.thresholds}_critical"] = free - (40 + number) * KB
    device.thresholds(**only(**levels))
    device.leak(memory.caps, bytes=KB - BLOCK_OVERHEAD, every="sample")
    start = device.mark()
    monitor.start(INTERVAL_MS)
    wanted = 2 * len(falling)
    rows = poll(
        lambda: device.predict().predictions, lambda found: len(found) == wanted, f"{wanted} predictions"
    )
    monitor.stop()
    device.leak(off=True)
    newest = max(int(event.data["timestamp_ms"]) for event in device.events("mem.sample", since=start))
    rows = device.predict().predictions
    found = {f"{row.memory} {'critical' if row.critical else 'warning'}": row for row in rows}
    for each in falling:
        for severity in ("warning", "critical"):
            row = found[f"{each.name} {severity}"]
            what = f"{each.name}, {severity}"
            threshold = levels[f"{each.thresholds}_{severity}"]
            off = row.threshold - threshold
            measure(f"{what}: threshold - set one", off, "B", exact=0, source=f"{threshold} B")
            is_now = (row.expected_ms, row.earliest_ms) == (0, 0)
            measure(f"{what}: is reached now", is_now, exact=severity == "warning", source="free memory")
            late = row.timestamp_ms - newest
            measure(f"{what}: time - that of the last sample", late, "ms", exact=0, source="mem.sample")


@pytest.mark.requirement("FUT-02")
def test_fall_is_announced_for_each_threshold_once(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    size = 4 * KB
    monitor.stop()
    critical = PSRAM.reachable(200 * KB)
    heaps.leave(PSRAM, critical + 60 * size)
    device.thresholds(**only(psram_warning=critical + 20 * size, psram_critical=critical))
    start = device.mark()
    device.leak(PSRAM.caps, bytes=size - BLOCK_OVERHEAD, every="sample")
    monitor.start(INTERVAL_MS)
    device.wait_event(
        "mem.warning", FALL_BUDGET_S, since=start, where=lambda event: event.data["type"] == "PSRAM_CRITICAL"
    )
    device.leak(off=True)
    announced = [event.data["critical"] for event in device.events("mem.predicted", since=start)]
    measure("announced: critical", str(announced), exact="[False, True]", source="memory_predict.h")


@pytest.mark.requirement("FUT-02")
def test_modes_steps_and_dips_are_no_fall(
    device: Device, heaps: Heaps, monitor: Monitor, modes: Modes, measure: Measure
) -> None:
    """Alternates the modes, then holds a block, then allocates and frees a block in each window. The board must
    announce nothing.

    The thresholds are just below free memory, so that any fall would reach them soon.
    """
    monitor.start(INTERVAL_MS)
    device.thresholds(
        internal_ram_warning=heaps.free(INTERNAL.caps) - 48 * KB,
        psram_warning=heaps.free(PSRAM.caps) - 200 * KB,
    )
    start = device.mark()
    for mode in (VOICE, CAMERA, VOICE, CAMERA):
        modes.to(mode)
        monitor.samples(8)
    heaps.hold(INTERNAL, 24 * KB)
    for number in range(12):
        dip = heaps.hold(PSRAM, (4 + 8 * (number % 4)) * KB)
        monitor.samples(1)
        heaps.release(dip)
    found = device.predict()
    measure("falls that stand at the end", len(found.predictions), exact=0, source=SOURCE)
    measure("predictions", len(device.events("mem.predicted", since=start)), exact=0, source=SOURCE)
    measure("windows judged", found.windows, min=30, source="two modes in turn, then one")


@pytest.mark.requirement("FUT-02")
def test_fall_in_one_mode_is_found_though_the_modes_alternate(
    device: Device, heaps: Heaps, monitor: Monitor, modes: Modes, measure: Measure
) -> None:
    """Leaks 8 KB of PSRAM per sample while the modes alternate. PSRAM differs by 62 KB between the modes. The fall must
    be found in both modes."""
    size = 8 * KB
    monitor.stop()
    heaps.leave(PSRAM, 1_200 * KB)
    device.thresholds(**only(psram_warning=500 * KB))
    start = device.mark()
    device.leak(PSRAM.caps, bytes=size - BLOCK_OVERHEAD, every="sample")
    monitor.start(INTERVAL_MS)
    falls: set[str] = set()
    while len(falls) < 2:
        monitor.samples(5)
        falls |= {row.state for row in device.predict().predictions if row.memory == PSRAM.name}
        modes.to(VOICE if device.mode().mode == CAMERA else CAMERA)
        assert not monitor.warnings(start), "the warning came before any prediction"
    device.leak(off=True)
    events = device.events("mem.predicted", since=start)
    per_sample = events[0].data["loss_per_hour"] * INTERVAL_MS / 3_600_000
    measure("loss per sample / planted loss", per_sample / size, low=0.7, high=1.3, source="heap.leak")
    measure(
        "modes with a fall",
        ", ".join(sorted(falls)),
        exact="camera, voice",
        source="the leak continues in both modes",
    )


@pytest.mark.requirement("FUT-02")
def test_prediction_stays_within_its_cost(
    dut: Any, device: Device, monitor: Monitor, measure: Measure, board: BoardInUse
) -> None:
    """Compares the reported static memory with the ELF file's symbols. While memory falls, the CPU time of a window
    must stay below its limit on a real chip."""
    monitor.stop()
    device.leak(PSRAM.caps, bytes=KB, every="sample")
    monitor.start(INTERVAL_MS)
    monitor.samples(20)
    device.leak(off=True)
    cost = device.predict()
    variables = static_bytes(Path(dut.app.elf_file), "memory_predict.c", "predict_logic.c", "trend.c")
    measure(
        "static bytes, as reported", cost.bytes_static, "B", exact=variables, source="the ELF file's symbols"
    )
    budget = COST_MAX if board.runs_chip_code else COST_MAX + HOST_MORE
    measure("static bytes", variables, "B", max=budget, source="firmware/README.md, Memory budget")
    if board.is_real_chip:  # on other boards the time depends on the host
        measure(
            "longest time of a window",
            cost.cpu_us_max,
            "us",
            max=CHIP_MAX_US,
            source="firmware/README.md, Memory budget",
        )
