"""Ledger of the firmware's own allocations. It accounts for the memory used at "System Boot".

`boot_ledger.toml` lists every block that the firmware allocates from the start of app_main to "System Boot". On the
virtual board, the board profile defines the free memory before app_main. The firmware's figures must equal that memory
minus the ledger, to the byte. Other boards use the firmware's own reading at the start of app_main instead.
"""

from __future__ import annotations

from typing import Any

import pytest

from fixtures.board import erase_nvs, needs_boot_loader
from fixtures.device import boot_start, context_is, start_over
from fixtures.measure import Measure
from fixtures.memory import MEMORIES, TOTAL_CAPS
from hotpin_hil.device import Device
from hotpin_hil.paths import PROJECT_ROOT
from hotpin_hil.pytest_plugin.plugin import BoardInUse
from hotpin_hil.virtual import profile

LEDGER_FILE = PROJECT_ROOT / "hil_tests" / "boot_ledger.toml"
SOURCE = "the profile's state before app_main, minus boot_ledger.toml"

DELTA_SLACK_B = 16
"""Tolerance in bytes for other versions of ESP-IDF and for holes. It is less than the 32 bytes of the low-water marks,
so a missing entry for them is detected."""
UNLISTED_MAX_B = 512
"""Tolerance in bytes for other versions of ESP-IDF; the ledger has the sizes of v5.4."""


@needs_boot_loader
@pytest.mark.requirement("BOOT-01")
def test_system_boot_figures_are_explained_by_the_ledger(
    dut: Any, device: Device, board: BoardInUse, measure: Measure
) -> None:
    erase_nvs(dut)  # an empty partition, because NVS's index grows with its contents
    start_over(dut, device)
    stats = device.wait_box("System Boot", since=boot_start(device)).stats
    start = board.profile_of_own()
    assert start is not None, "no profile: the harness did not start this board"
    explained = profile.explain(start, profile.load_ledger(LEDGER_FILE))
    measure_delta(device, board, explained, measure)
    if board.memory_is_exact:
        for memory in MEMORIES:
            free, largest, _ = stats.memory(memory.name)
            expected = explained.figures[memory.name]
            measure(f"{memory.name} free", free, "B", exact=expected.free, source=SOURCE)
            measure(f"{memory.name} largest", largest, "B", exact=expected.largest, source=SOURCE)
        measure("total free", stats.total_free, "B", exact=explained.figures["total"].free, source=SOURCE)
        return
    listed = start.boot_heap().stats(TOTAL_CAPS).free - explained.figures["total"].free
    measure(
        "memory taken since app_main beyond the ledger",
        device.info().free_at_main - stats.total_free - listed,
        "B",
        low=-UNLISTED_MAX_B,
        high=UNLISTED_MAX_B,
        source="sys.info's free_at_main - 'System Boot' - boot_ledger.toml",
    )


def measure_delta(
    device: Device, board: BoardInUse, explained: profile.Explanation, measure: Measure
) -> None:
    """Check that the baseline is taken after init's own allocations and before the monitor's task is created."""
    (logged,) = device.events("mem.sample", since=boot_start(device), where=context_is("System Boot"))
    monitor = sum(block.cost for block in explained.placed if block.what.startswith("monitor task"))
    slack = 0 if board.memory_is_exact else DELTA_SLACK_B
    measure(
        "delta of internal memory",
        logged.data["delta_internal"],
        "B",
        low=-monitor - slack,
        high=-monitor + slack,
        source="PROTOCOL.md: baseline at init; boot_ledger.toml",
    )
