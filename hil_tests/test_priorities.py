"""Registered tasks have another priority while memory is critical, and their normal priority afterwards.

Most tests fill PSRAM until it is critical. One test makes each critical level active by its threshold instead.
"""

from __future__ import annotations

import pytest

from fixtures.measure import Measure
from fixtures.memory import DMA, INTERNAL, KB, PSRAM, SMALLEST_STEP, Heaps, Monitor, only
from fixtures.modes import CAMERA, VOICE, Modes
from fixtures.poll import poll
from hotpin_hil.boards.qemu import at_chip_speed
from hotpin_hil.device import Device, DeviceError

SOURCE = "requirement FUT-07"
CAPTURE, CAPTURE_PRIORITY, CAPTURE_PRESSED = "stt_capture", 10, 12
"""CONFIG_HOTPIN_STT_TASK_PRIORITY and _PRESSED."""
WORKER = "worker"
LOW, CRITICAL = 600 * KB, 300 * KB
CONSOLE_PRIORITY = 5
SAMPLES_PER_MS = 16
BUSY_MS = 400
"""Time for which the worker uses the CPU in each round of 500 ms. It is longer than the 190 ms that the microphone's
buffers hold."""
MEASURED_MS = 3_000
STATIC_MAX = 256
"""Maximum size in bytes of the component's internal memory. It is 124 on the chip; the host has longer pointers and
smaller locks."""


@pytest.fixture
def qemu_extra_args(qemu_extra_args: str | None) -> str | None:
    """QEMU's arguments for running at about the chip's speed; on a slower core the watchdogs would not be fed in
    time."""
    return at_chip_speed(qemu_extra_args) if qemu_extra_args else qemu_extra_args


class Pressure:
    """Fills PSRAM so that it becomes critical, and releases it again."""

    def __init__(self, device: Device, heaps: Heaps, monitor: Monitor) -> None:
        self._device, self._heaps, self._monitor = device, heaps, monitor
        self._held = 0
        device.thresholds(**only(psram_warning=LOW, psram_critical=CRITICAL))
        monitor.start()

    def begin(self, below: int = CRITICAL) -> None:
        self._held = self._heaps.leave(PSRAM, below - SMALLEST_STEP)
        self._monitor.complete_checks(1)

    def end(self) -> None:
        self._heaps.release(self._held)
        self._monitor.complete_checks(1)


@pytest.fixture
def pressure(device: Device, heaps: Heaps, monitor: Monitor) -> Pressure:
    """Fills and releases PSRAM: `pressure.begin()` and `pressure.end()` return when the monitor has detected the
    change."""
    return Pressure(device, heaps, monitor)


def capture_rate(device: Device) -> float:
    """Number of samples that the capture reads per ms of the board's clock."""
    first = device.recording()
    last = poll(
        device.recording,
        lambda now: now.time_ms >= first.time_ms + MEASURED_MS,
        f"{MEASURED_MS} ms of capture",
    )
    return (last.samples - first.samples) / (last.time_ms - first.time_ms)


@pytest.mark.requirement("FUT-07")
def test_priorities_change_with_the_critical_level(
    device: Device, modes: Modes, pressure: Pressure, measure: Measure
) -> None:
    modes.to(VOICE)
    device.task_priorities(work=6, under=2)
    for number in (1, 2):
        for name, normal, pressed in ((CAPTURE, CAPTURE_PRIORITY, CAPTURE_PRESSED), (WORKER, 6, 2)):
            now = device.task_priorities().now(name)
            measure(f"{name} before pressure {number}", now, exact=normal, source=SOURCE)
            pressure.begin()
            answer = device.task_priorities()
            measure(f"{name} under pressure {number}", answer.now(name), exact=pressed, source=SOURCE)
            measure(f"{name}: pressure {number} is reported", answer.pressed, exact=True, source=SOURCE)
            pressure.end()
            now = device.task_priorities().now(name)
            measure(f"{name} after pressure {number}", now, exact=normal, source="restored")
    pressure.begin()
    measure(
        "sys.tasks",
        device.priorities()[CAPTURE],
        exact=CAPTURE_PRESSED,
        source="the same priority, read from FreeRTOS",
    )
    unregistered = device.task_priorities(off=True).unregistered
    measure("worker unregistered under pressure", unregistered, exact=6, source="its normal priority again")
    measure("task that is unregistered", device.task_priorities().now(WORKER), exact=0, source="forgotten")
    device.task_priorities(work=6, under=2)
    now = device.task_priorities()
    measure("task registered under pressure", now.now(WORKER), exact=2, source="at once")
    measure("own memory", now.bytes_static, "B", max=STATIC_MAX, source="firmware/README.md, Memory budget")


@pytest.mark.requirement("FUT-07")
@pytest.mark.parametrize("level", ["internal_ram", "dma_capable", "psram", "fragmentation"])
def test_each_critical_level_changes_the_priorities(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure, level: str
) -> None:
    """Sets the thresholds so that only this level is critical with the memory as it is, and then so that none is."""
    heaps.split(DMA, block=KB, count=80)
    device.task_priorities(work=6, under=2)
    memories = {"internal_ram": INTERNAL, "dma_capable": DMA, "psram": PSRAM}
    if level == "fragmentation":
        warning, critical = 1, heaps.fragmentation(DMA) - 1
        assert critical > warning, "DMA memory is not fragmented"
    else:
        free = heaps.free(memories[level].caps)
        warning, critical = free + 32 * KB, free + 16 * KB
    device.thresholds(**only(**{f"{level}_warning": warning, f"{level}_critical": critical}))
    monitor.start()
    monitor.complete_checks(1)
    measure("worker under pressure", device.task_priorities().now(WORKER), exact=2, source=SOURCE)
    device.thresholds(**only())
    monitor.complete_checks(1)
    measure("worker afterwards", device.task_priorities().now(WORKER), exact=6, source="restored")


@pytest.mark.requirement("FUT-07")
def test_warning_level_changes_no_priority(
    device: Device, modes: Modes, monitor: Monitor, pressure: Pressure, measure: Measure
) -> None:
    modes.to(VOICE)
    start = device.mark()
    pressure.begin(LOW)
    monitor.warning(start, "PSRAM_LOW")
    answer = device.task_priorities()
    measure("capture", answer.now(CAPTURE), exact=CAPTURE_PRIORITY, source="only the critical level counts")
    measure("pressure is reported", answer.pressed, exact=False, source=SOURCE)
    pressure.end()


@pytest.mark.requirement("FUT-07")
def test_task_that_ends_under_pressure_does_no_harm(
    device: Device, modes: Modes, pressure: Pressure, measure: Measure
) -> None:
    """Deletes registered tasks while memory is critical: the worker without unregistering it, the capture after
    unregistering it. In both cases, the priorities of other tasks, and of the task's next run, must still follow the
    pressure."""
    modes.to(VOICE)
    device.task_priorities(work=6, under=2)
    pressure.begin()
    device.task_priorities(end=True)
    measure("deleted task", device.task_priorities().now(WORKER), exact=0, source="the task was deleted")
    measure("other task", device.task_priorities().now(CAPTURE), exact=CAPTURE_PRESSED, source=SOURCE)
    pressure.end()
    measure("other task, afterwards", device.task_priorities().now(CAPTURE), exact=CAPTURE_PRIORITY)
    pressure.begin()
    modes.to(CAMERA)
    pressure.end()
    modes.to(VOICE)
    measure("capture in its next run", device.task_priorities().now(CAPTURE), exact=CAPTURE_PRIORITY)
    pressure.begin()
    measure("in its next run, under pressure", device.task_priorities().now(CAPTURE), exact=CAPTURE_PRESSED)


@pytest.mark.requirement("FUT-07")
def test_idle_priority_is_refused(device: Device, heaps: Heaps, monitor: Monitor, measure: Measure) -> None:
    monitor.stop()
    tasks = device.tasks()
    for priority, under in ((6, 0), (0, 6), (6, 25), (6, 4_000_000_000)):
        with pytest.raises(DeviceError) as refused:
            device.task_priorities(work=priority, under=under)
        measure(f"{priority}, {under} under pressure", refused.value.err, exact="ESP_ERR_INVALID_ARG")
    measure("tasks", device.tasks(), exact=tasks, source="no refused task remains")


@pytest.mark.requirement("FUT-07")
def test_inherited_priority_is_kept(
    device: Device, heaps: Heaps, monitor: Monitor, pressure: Pressure, measure: Measure
) -> None:
    """Makes memory critical while the console waits for a mutex that the worker holds: the worker must keep the
    priority inherited from the console until the wait ends."""
    device.task_priorities(work=3, under=2)
    monitor.start(600_000)
    heaps.leave(PSRAM, CRITICAL - SMALLEST_STEP)
    monitor.start()
    answer = device.task_priorities(wait=2_000)
    measure("memory is critical", answer.pressed, exact=True, source="during the wait")
    measure("least priority during the wait", answer.lowest, exact=CONSOLE_PRIORITY, source="the console's")
    measure("after the wait", answer.now(WORKER), exact=2, source="the priority under pressure")
    answer = device.task_priorities(wait=100)
    measure(
        "second wait: least priority",
        answer.lowest,
        exact=CONSOLE_PRIORITY,
        source="inherited by a task of priority 2",
    )
    measure("after the second wait", answer.now(WORKER), exact=2, source="the priority under pressure")


@pytest.mark.needs("mic")
@pytest.mark.requirement("FUT-07")
def test_capture_keeps_its_rate_under_pressure(
    device: Device, modes: Modes, pressure: Pressure, measure: Measure
) -> None:
    """Runs a worker that has a higher priority than the capture and uses the CPU for 400 of 500 ms. Under pressure the
    worker's priority is lower than the capture's, and the capture must reach its full rate."""
    modes.to(VOICE)
    device.task_priorities(work=13, under=2, busy=BUSY_MS)
    measure("before", capture_rate(device), "/ms", max=0.9 * SAMPLES_PER_MS, source="the worker uses the CPU")
    pressure.begin()
    rounds = device.task_priorities().rounds
    measure("under pressure", capture_rate(device), "/ms", min=0.97 * SAMPLES_PER_MS, source="16 kHz")
    measure(
        "rounds of the worker",
        device.task_priorities().rounds - rounds,
        min=1,
        source="the worker still runs",
    )
    pressure.end()
    measure("afterwards", capture_rate(device), "/ms", max=0.9 * SAMPLES_PER_MS, source="as before")
