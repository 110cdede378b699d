"""Makes allocations and ESP-IDF calls fail during boot. The board must become ready and work.

It must report each failed allocation, but a failed call only if it does not reach camera mode (fixtures/boot_sweep.py).
Other tests make the same failures occur in a running board (test_failure_sweep.py).
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from fixtures.boot_sweep import NETWORK_TAG, BootSweep, boot_allocation, boot_call
from fixtures.device import boot_start
from fixtures.measure import Measure
from fixtures.modes import CAMERA, Modes
from hotpin_hil.device import Device
from hotpin_hil.logs.noise import complaints

ALWAYS = 1_000_000
SOURCE = "the failure is reported, the board is ready, its modes work, and its resources are as usual"

CALLS = [
    ("xTaskCreatePinnedToCore", 1),  # the monitor
    ("xTaskCreatePinnedToCore", 2),  # the memory history
    ("xTaskCreatePinnedToCore", 3),  # the console
    ("xTaskCreatePinnedToCore", 4),  # the state manager
    ("esp_task_wdt_add", 1),
    ("esp_register_freertos_idle_hook_for_cpu", 1),
    ("heap_caps_monitor_local_minimum_free_size_start", 1),
    ("nvs_flash_init", 1),
    ("nvs_open", 1),
    ("nvs_get_u32", 1),
    ("nvs_set_u32", 1),
    ("nvs_commit", 1),
    ("uart_driver_install", 1),
    ("uart_get_tx_buffer_free_size", 1),
]
"""ESP-IDF calls during boot that the test makes fail: function, and which of its calls fails (1 = the first).
test_failure_sweep.py covers the camera's calls, in a mode change."""


def network_blocks(device: Device) -> int:
    """Number of allocations of the modelled network in the current boot."""
    line = device.wait_line(r"Modelled network: .* in \d+ blocks", since=boot_start(device))
    found = re.search(r"in (\d+) blocks", line.text)
    assert found is not None
    return int(found[1])


def record(measure: Measure, sweep: BootSweep, kind: str) -> None:
    sweep.close()
    print("\n".join(sweep.problems))
    measure(
        f"start: problems with failing {kind}",
        "; ".join(sweep.problems),
        exact="",
        source=f"{sweep.cases} failures: {SOURCE}",
    )


@pytest.mark.needs("camera")
@pytest.mark.requirement("ROB-02", "MON-04")
def test_each_allocation_of_the_start_fails(dut: Any, device: Device, measure: Measure) -> None:
    """Makes each allocation of a boot fail, one per boot. Of the modelled network's blocks only the first and the last
    fail, and the same applies to the first mode's blocks, because the code handles all blocks of such a group in the
    same way.

    test_failure_sweep.py covers each allocation of a mode change.
    """
    blocks = network_blocks(device)
    sweep = BootSweep(dut, device)
    last = sweep.allocations
    nth, in_network = 1, False
    while nth <= last:
        start = sweep.one(boot_allocation(nth), is_allocation=True)
        is_network = any(line.tag == NETWORK_TAG for line in start.said)
        if is_network and not in_network and blocks > 1:
            nth += blocks - 1
        elif start.step is not None and nth < last:
            nth = last
        else:
            nth += 1
        in_network = is_network
    record(measure, sweep, "allocations")
    measure("allocations that were made to fail", sweep.cases, min=10, source="allocations during a boot")


@pytest.mark.requirement("BOOT-02")
@pytest.mark.parametrize("call", ["nvs_get_u32", "nvs_set_u32"])
def test_start_that_cannot_be_counted_has_no_number(device: Device, measure: Measure, call: str) -> None:
    """Makes reading or storing the boot count fail: this boot must report 0, because no two boots may have the same
    number. The next boot must be counted again."""
    before = device.info().boot_count
    device.fail_call(call, boot=True)
    measure("boot count", device.reboot().boot_count, exact=0, source="telemetry.h: unknown")
    counted = device.reboot().boot_count - before
    measure(
        "boots counted at the next start",
        counted,
        exact=1,
        source="the boot that was not counted is left out",
    )


@pytest.mark.requirement("BOOT-02")
@pytest.mark.leaves("NVS keeps an index of its entries on the heap", "heaps")
def test_start_with_unusable_nvs_is_the_first_one(device: Device, measure: Measure) -> None:
    """Makes nvs_flash_init() fail once: the firmware must erase the partition and use it in the same boot. This boot is
    number 1, and the history can be written."""
    device.fail_call("nvs_flash_init", boot=True)
    measure(
        "boot count",
        device.reboot().boot_count,
        exact=1,
        source="the first boot after the partition was erased",
    )
    history = device.flash_history(last=0, write=1)
    measure("newest row", history.newest, exact=1, source="a new history")


@pytest.mark.needs("camera")
@pytest.mark.requirement("ROB-02")
@pytest.mark.leaves("NVS keeps an index of its entries on the heap", "heaps")
@pytest.mark.parametrize("call", [name for name, _ in CALLS if name.startswith("nvs_")])
def test_board_works_while_nvs_always_fails(
    device: Device, modes: Modes, measure: Measure, call: str
) -> None:
    """Makes every call to this function fail from the start on. The board must report it, start without a boot count,
    and work. The next boot must be counted again."""
    start = device.mark()
    device.fail_call(call, count=ALWAYS, boot=True)
    info = device.reboot()
    complaints_of_nvs = [line for line in complaints(device.log_lines(start)) if "NVS" in line.text]
    device.fail_call(off=True)
    measure("reset reason", info.reset_reason, exact="SW", source="the test's own restart, no panic after it")
    measure("boot count", info.boot_count, exact=0, source="telemetry.h: unknown")
    measure(
        "failure in the log", bool(complaints_of_nvs), exact=True, source="ROB-02: every failure is reported"
    )
    modes.cycle()
    measure("mode after a cycle", device.mode().mode, exact=CAMERA, source=SOURCE)
    measure("next start is counted", device.reboot().boot_count > 0, exact=True, source="NVS works again")


@pytest.mark.needs("camera")
@pytest.mark.requirement("ROB-02")
def test_each_call_of_esp_idf_in_the_start_fails(dut: Any, device: Device, measure: Measure) -> None:
    sweep = BootSweep(dut, device)
    for name, nth in CALLS:
        start = sweep.one(boot_call(name, nth), is_allocation=False)
        if not start.failed:
            sweep.problems.append(f"the boot makes fewer than {nth} calls to {name}")
    record(measure, sweep, "calls")
    measure("tasks that the watchdog watches", sweep.watched, exact=1, source="the state manager's task")
