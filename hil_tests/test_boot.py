"""The board boots in the guide's order, reports its identity correctly, and raises no warning in a healthy boot."""

from __future__ import annotations

import re
from typing import Any

import pytest

from fixtures.board import needs_boot_loader, read_chip
from fixtures.device import boot_start, measure_boot_event_is_last, start_over
from fixtures.measure import Measure
from fixtures.memory import DEFAULT_THRESHOLDS, PSRAM, Heaps, Monitor
from hotpin_hil.device import Device
from hotpin_hil.logs.noise import errors
from hotpin_hil.pytest_plugin.plugin import BoardInUse

MB = 1024 * 1024
INTERVAL_MS = 15_000
LOG_BUDGET_S = 30

HEALTHY_SAMPLES = 5


@pytest.mark.requirement("BOOT-01")
def test_boots_in_the_guides_order(dut: Any, measure: Measure) -> None:
    """Waits for the log lines that the guide lists for the boot; each must come after the previous one."""
    order = ["Initializing memory manager", "Memory Statistics - System Boot"]
    for text in order:
        dut.expect(re.compile(re.escape(text).encode()), timeout=LOG_BUDGET_S)
    measure(
        "log lines in the guide's order", len(order), exact=len(order), source="guide, Integration Points"
    )


@pytest.mark.requirement("BOOT-01")
def test_memory_manager_is_up_before_the_board_is_ready(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    """Checks not only the log but also the state after boot: default thresholds, monitoring every 15 s, "System Boot",
    4 MB of PSRAM."""
    start = boot_start(device)
    (logged,) = device.events(
        "mem.sample", since=start, where=lambda event: event.data["context"] == "System Boot"
    )
    (ready,) = device.events("boot", since=start)
    measure(
        "'System Boot' comes before the boot event", logged.n < ready.n, exact=True, source="guide, main.c"
    )
    device.wait_line("HotPin ready", since=start)
    texts = [line.text for line in device.log_lines(start)]
    initialising = next(number for number, text in enumerate(texts) if "Initializing memory manager" in text)
    is_ready = next(number for number, text in enumerate(texts) if "HotPin ready" in text)
    measure("init is logged before ready", initialising < is_ready, exact=True, source="guide, main.c")

    box = device.wait_box("System Boot", since=start)
    measure(
        "internal free in the box 'System Boot'",
        box.stats.internal_free,
        "B",
        exact=logged.data["internal_free"],
        source="the record of the same statistics",
    )
    state = device.monitor()
    measure("monitoring is on", state.running, exact=True, source="guide, main.c")
    measure("monitoring interval", state.interval_ms, "ms", exact=INTERVAL_MS, source="guide, main.c")
    thresholds = device.thresholds()
    for name, value in DEFAULT_THRESHOLDS.items():
        measure(name, getattr(thresholds, name), exact=value, source="guide: memory_manager_init(NULL)")
    mapped = sum(region.length for region in heaps.regions(PSRAM))
    measure("PSRAM in the heap", mapped, "B", exact=4 * MB, source="requirement BOOT-01, heap.regions")


@pytest.mark.requirement("BOOT-01")
def test_boot_event_follows_the_end_of_the_main_task(device: Device, measure: Measure) -> None:
    """Reads the free internal memory twice after the boot event; it must not change. Regression: the main task's 4 KB
    stack was once freed while tests were already measuring."""
    free = [device.command("heap.probe", caps="INTERNAL,8BIT")["free"] for _ in range(2)]
    measure(
        "internal free: second reading - first reading",
        free[1] - free[0],
        "B",
        exact=0,
        source="PROTOCOL.md §3",
    )
    measure_boot_event_is_last(device, measure)


@pytest.mark.requirement("BOOT-02")
def test_identity_matches_the_build(
    device: Device, board: BoardInUse, elf_sha256: str, measure: Measure
) -> None:
    """Compares the firmware's identity with the files of the build."""
    info = device.info()
    measure("project", info.project, exact=board.build.project, source="app image of the build")
    measure("version", info.version, exact=board.build.version, source="app image of the build")
    measure("IDF version", info.idf, exact=board.build.idf, source="app image of the build")
    measure("ELF SHA-256", info.elf_sha256, exact=elf_sha256, source="ELF file of the build")
    # Size of the PSRAM chip, which may be 8 MB with 4 MB mapped; the test of BOOT-01 reads the mapped size.
    measure("PSRAM", info.psram, "B", low=4 * MB, high=8 * MB, source="requirement BOOT-01")


@needs_boot_loader
@pytest.mark.requirement("BOOT-02")
def test_identity_matches_the_chip(dut: Any, device: Device, elf_sha256: str, measure: Measure) -> None:
    """Compares the chip data reported by the firmware with the data that esptool reads from the chip."""
    chip = read_chip(dut)
    info = start_over(dut, device)
    measure(
        "ELF SHA-256 in flash", chip.elf_sha256, exact=elf_sha256, source="ELF file of the build; read-flash"
    )
    measure("MAC", info.mac.lower(), exact=chip.mac, source="esptool, from the chip's fuses")
    measure("chip revision", info.rev, exact=chip.revision, source="esptool, from the chip's fuses")
    measure("flash", info.flash, "B", exact=chip.flash_bytes, source="esptool, flash id")


@pytest.mark.requirement("BOOT-02")
def test_every_start_is_distinguishable(dut: Any, device: Device, measure: Measure) -> None:
    """Checks boot id, boot count and reset reason after a reset over EN and after a software reset."""
    first = device.info()
    second = start_over(dut, device)
    third = device.reboot()
    measure("boot id after EN differs", second.b != first.b, exact=True, source="PROTOCOL.md §3")
    measure(
        "boot id after a software reset differs", third.b != second.b, exact=True, source="PROTOCOL.md §3"
    )
    measure(
        "boots counted after an EN reset",
        second.boot_count - first.boot_count,
        exact=1,
        source="requirement BOOT-02",
    )
    measure(
        "boots counted after a software reset",
        third.boot_count - second.boot_count,
        exact=1,
        source="requirement BOOT-02",
    )
    measure(
        "reset reason after EN", second.reset_reason, exact="POWERON", source="a reset over EN is a power-on"
    )
    measure("reset reason after a software reset", third.reset_reason, exact="SW", source="esp_restart()")


@pytest.mark.requirement("BOOT-03")
def test_healthy_boot_raises_no_warning(device: Device, monitor: Monitor, measure: Measure) -> None:
    """Waits for several checks of the monitor. Since the reset there must be no warning, and no error in the log other
    than known noise. Regression: the original firmware warned of fragmentation in all 15 recorded boots."""
    monitor.start()
    monitor.complete_checks(HEALTHY_SAMPLES)
    start = boot_start(device)
    measure("warning events since reset", len(monitor.warnings(start)), exact=0, source="requirement BOOT-03")
    measure(
        "warning boxes since reset", len(device.boxes(start, "Memory Warning")), exact=0, source="BOOT-03"
    )
    complaints = [
        line.text for line in device.log_lines(start) if line.tag == "MEM_MGR" and line.level in "EW"
    ]
    measure(
        "errors in the log, known noise left out",
        "; ".join(f"{line.tag}: {line.text}" for line in errors(device.log_lines(start))),
        exact="",
        source="a healthy board; hotpin_hil/logs/known_noise.toml",
    )
    measure("complaints of the memory manager", "; ".join(complaints), exact="", source="requirement BOOT-03")
