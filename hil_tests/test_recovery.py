"""The board recovers from crashes, watchdogs, brown-outs, and power cuts during flashing or a mode change.

A reset or flashing must revive the board, and the suite must report the cause. On the virtual board (fixture `faults`)
the tests cut power at a given byte of flashing or at a given step of a transition, and cause brown-outs. On other
boards these tests are not run, and the results say so; there the bench's power switch, or a reset over EN, interrupts a
transition.
"""

from __future__ import annotations

import json
import random
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fixtures.board import Supply, data_partition, erase_nvs, needs_boot_loader, write_partition
from fixtures.device import start_over
from fixtures.faults import Faults
from fixtures.flashing import cut_flashing
from fixtures.measure import Measure
from fixtures.memory import survivors
from fixtures.modes import MODES, VOICE, Modes, other, unexplained_between_boots
from fixtures.panics import measure_panic
from fixtures.poll import wait_for_time
from hotpin_hil.device import BoardReset, Device, NoReply, SupplyFailed, budgets
from hotpin_hil.errors import FlashError
from hotpin_hil.protocol.nvs import PAGE_BYTES
from hotpin_hil.pytest_plugin.plugin import BoardInUse

pytestmark = pytest.mark.requirement("ROB-02")

SOURCE = "requirement ROB-02"

COMPLAINT = re.compile(
    rb"E \(\d+\) (esp_image|boot|flash_parts): [^\r\n]+|invalid header: |csum err:|load:0x\w+,len:-"
)
"""Errors that the second-stage bootloader prints if there is no bootable app, and that the ROM prints if there is no
bootloader."""
SILENCE_S = 0.2

REASONS = {
    # argument `kind` of sys.panic → reset reason that the next boot reports
    "abort": "PANIC",
    "null": "PANIC",
    "store": "PANIC",
    "stack": "PANIC",
    "heap": "PANIC",
    "wdt": "INT_WDT",
    "task_wdt": "TASK_WDT",
}


def watchdog_s(dut: Any, kind: str) -> float:
    """Timeout in s of the watchdog that detects this kind of crash in this build; 0 if the crash needs no watchdog."""
    config = json.loads((Path(dut.app.binary_path) / "config" / "sdkconfig.json").read_text())
    times_s = {"wdt": config["ESP_INT_WDT_TIMEOUT_MS"] / 1000, "task_wdt": config["ESP_TASK_WDT_TIMEOUT_S"]}
    return float(times_s.get(kind, 0))


def crash(dut: Any, device: Device, kind: str) -> None:
    """Crash the firmware and send a query afterwards."""
    start = device.mark()
    device.command("sys.panic", kind=kind)
    budget_s = watchdog_s(dut, kind) + budgets.BOOT_S
    device.channel.wait(lambda: device.channel.resets(start) or None, budget_s)
    device.info()


def by_itself(device: Device) -> str:
    """Wait for the board; returns how it recovers: `by a reset` if it boots by itself, otherwise `by flashing it
    again`."""
    try:
        device.wait_ready(timeout_s=SILENCE_S)
    except NoReply:
        return "by flashing it again"
    return "by a reset"


@pytest.mark.requirement("BOOT-02")
@pytest.mark.parametrize("kind", REASONS)
def test_crash_ends_in_a_reset_that_reports_its_cause(
    dut: Any, device: Device, measure: Measure, kind: str
) -> None:
    """Crashes the firmware. The next query must fail with an error that names the crash. The board must recover by
    itself and report the reset reason."""
    before = device.info()
    start = device.mark()
    with pytest.raises(BoardReset) as reset:
        crash(dut, device, kind)
    after = device.wait_ready()
    panic = measure_panic(device, measure, start, kind)
    words = "Task watchdog got triggered" if kind == "task_wdt" else panic.headline
    said = words in str(reset.value)
    measure("the error quotes the chip's message", said, exact=True, source=f"{words} in: {reset.value}")
    measure("reset reason", after.reset_reason, exact=REASONS[kind], source="esp_reset_reason()")
    measure("boots counted", after.boot_count - before.boot_count, exact=1, source="one reset, no loop")
    measure("the board works", device.mode().mode, exact="camera", source=SOURCE)


CRASHES_IN_A_ROW = 5


def test_crashes_in_a_row_are_counted_and_each_keeps_the_last_statistics(
    device: Device, measure: Measure
) -> None:
    """Crashes the firmware several times without a power loss. After each reset, the board must report exactly the
    statistics of the last boot."""
    before = device.info()
    for number in range(1, CRASHES_IN_A_ROW + 1):
        context = f"Before crash {number}"
        device.log(context)
        kept = survivors(device.history())
        info = device.panic("abort")
        last = device.last()
        when = f"crash {number}: "
        measure(f"{when}reset reason", info.reset_reason, exact="PANIC", source="esp_reset_reason()")
        measure(
            f"{when}boots counted", info.boot_count - before.boot_count, exact=1, source="one reset, no loop"
        )
        measure(f"{when}boot id is new", info.b != before.b, exact=True, source="PROTOCOL.md §3")
        measure(f"{when}id of the last boot", last.boot_id or "", exact=before.b, source="sys.info before")
        measure(
            f"{when}count of the last boot",
            last.boot_count or 0,
            exact=before.boot_count,
            source="sys.info before",
        )
        found = survivors(last.snapshots)
        measure(f"{when}statistics", found == kept, exact=True, source="mem.history before")
        measure(f"{when}newest statistics", found[0][0] if found else "", exact=context, source="mem.log")
        before = info


@needs_boot_loader
def test_boots_are_counted_from_one_after_the_storage_is_erased(
    dut: Any, device: Device, measure: Measure
) -> None:
    erase_nvs(dut)
    counts = [
        start_over(dut, device).boot_count,
        device.reboot().boot_count,
        device.panic("abort").boot_count,
    ]
    measure("boot counts", str(counts), exact="[1, 2, 3]", source="requirement BOOT-02")


NVS_VERSION, NVS_NEWER_VERSION = 0xFE, 0xFD
"""Version bytes of an NVS page: version 2, and version 3. The byte is 0xFF for version 1 and decreases by one per
version."""


def nvs(pages: int, version: int) -> bytes:
    """Content of an NVS partition whose first pages are in use, without entries."""
    content = b""
    for sequence in range(pages):
        header = struct.pack("<IB", sequence, version).ljust(24, b"\xff")
        page = struct.pack("<I", 0xFFFFFFFE) + header + struct.pack("<I", zlib.crc32(header, 0xFFFFFFFF))
        content += page.ljust(PAGE_BYTES, b"\xff")
    return content.ljust(data_partition().size, b"\xff")


UNUSABLE_STORAGES = {
    "newer_version": nvs(1, NVS_NEWER_VERSION),
    "no_free_page": nvs(data_partition().size // PAGE_BYTES, NVS_VERSION),
}


@needs_boot_loader
@pytest.mark.parametrize("content", UNUSABLE_STORAGES.values(), ids=UNUSABLE_STORAGES)
def test_unusable_storage_is_erased_at_the_next_start(
    dut: Any, device: Device, measure: Measure, tmp_path: Path, content: bytes
) -> None:
    """Writes NVS contents that the firmware cannot use. The boot counts must show that the firmware erased the
    partition, and that NVS works and keeps its values afterwards."""
    write_partition(dut, content, tmp_path)
    start = device.mark()
    counts = [start_over(dut, device).boot_count, device.reboot().boot_count]
    measure("boot counts", str(counts), exact="[1, 2]", source="main.c: unusable storage is erased")
    erased = [line for line in device.log_lines(start) if line.text.startswith("NVS is unusable")]
    measure("starts that erased the storage", len(erased), exact=1, source="the first of two")


def test_byte_access_to_iram_panics_where_the_chip_is_real(
    dut: Any, device: Device, board: BoardInUse, measure: Measure
) -> None:
    """Accesses bytes of a buffer that was allocated without MALLOC_CAP_8BIT, the cause of seven crashes in the recorded
    logs. A real chip must panic; on an emulated chip, the results must say that the chip is emulated."""
    start = device.mark()
    if board.is_real_chip:
        with pytest.raises(BoardReset):
            crash(dut, device, "iram")
        device.wait_ready()
        measure_panic(device, measure, start, "iram")
        return
    device.command("sys.panic", kind="iram")
    line = device.wait_line("this chip is emulated", since=start)
    measure(
        "an emulated chip identifies itself",
        line.level,
        exact="E",
        source="no evidence of the chip",
        klass="modelled",
    )


@needs_boot_loader
@pytest.mark.parametrize(
    "share",
    [
        pytest.param(0, id="at_once", marks=pytest.mark.soak),
        pytest.param(50, id="half_way"),
        pytest.param(99, id="at_the_end", marks=pytest.mark.soak),
    ],
)
def test_interrupted_flashing_is_repaired_by_flashing_again(
    dut: Any, device: Device, measure: Measure, share: int
) -> None:
    """Leaves the flash as it is after a power cut: erased for the new image, and partly written. The bootloader must
    report that no app is bootable, and flashing again must repair the board."""
    elf_sha256 = device.info().elf_sha256
    cut_flashing(dut, Path(dut.app.bin_file), share)
    measure_flashed_again(dut, device, measure, elf_sha256)


def measure_flashed_again(
    dut: Any, device: Device, measure: Measure, elf_sha256: str, when: str = ""
) -> None:
    """Check that the bootloader reports that no app is bootable, and that flashing again repairs the board."""
    start = device.mark()
    dut.serial.hard_reset()
    complaint = device.channel.wait(lambda: COMPLAINT.search(device.channel.text(start)), budgets.BOOT_S)
    said = complaint is not None
    measure(f"{when}the bootloader reports an error", said, exact=True, source="boot_logs: no bootable app")
    measure(f"{when}recovery of the board", by_itself(device), exact="by flashing it again", source=SOURCE)
    dut.serial.flash()
    info = device.wait_ready()
    measure(f"{when}ELF SHA-256 after flashing again", info.elf_sha256, exact=elf_sha256, source=SOURCE)
    measure(f"{when}the board works", device.mode().mode, exact="camera", source=SOURCE)


CUTS = 3
CUTS_SEED = 20


def test_power_cut_during_flashing_is_repaired_by_flashing_again(
    dut: Any, device: Device, faults: Faults, measure: Measure
) -> None:
    """Cuts power while esptool writes, once in each third of the data; the first third includes the bootloader.
    Flashing again must repair the board."""
    elf_sha256 = device.info().elf_sha256
    sizes = [Path(file.file_path).stat().st_size for file in dut.app.flash_files]
    dice = random.Random(CUTS_SEED)
    for third in range(CUTS):
        cut = int((third + dice.random()) / CUTS * sum(sizes))
        dut.serial.erase_flash()
        faults.inject("power-cut-flashing", bytes=cut, off_s=0.01)
        with pytest.raises(FlashError) as failed:
            dut.serial.flash()
        when = f"after {cut} bytes: "
        measure(
            f"{when}the bench is blamed",
            "check cable and power" in str(failed.value),
            exact=True,
            source=SOURCE,
        )
        measure_flashed_again(dut, device, measure, elf_sha256, when)


# --- The supply ---


def measure_supply_failed(
    device: Device,
    measure: Measure,
    action: Callable[[], object],
    *,
    printed: str,
    reason: str,
    when: str = "",
) -> None:
    """Trigger a reset that the suite must attribute to the bench's supply."""
    before = device.info()
    with pytest.raises(SupplyFailed) as failed:
        action()
    said = bool(re.search(printed, str(failed.value)))
    measure(
        f"{when}the error quotes the chip's message", said, exact=True, source=f"{printed} in: {failed.value}"
    )
    after = device.wait_ready()
    measure(f"{when}reset reason", after.reset_reason, exact=reason, source="esp_reset_reason()")
    measure(
        f"{when}boots counted", after.boot_count - before.boot_count, exact=1, source="one reset, no loop"
    )
    measure(f"{when}the board works", device.mode().mode, exact="camera", source=SOURCE)


@pytest.mark.requirement("BOOT-02")
@pytest.mark.parametrize(
    ("by", "printed"),
    [("interrupt", "SW_RESET.*Brownout detector was triggered"), ("hardware", "RTCWDT_BROWN_OUT_RESET")],
)
def test_next_start_reports_a_brown_out(
    device: Device, faults: Faults, measure: Measure, by: str, printed: str
) -> None:
    """Causes a brown-out. By default the brown-out detector's interrupt handler resets the chip; without the interrupt,
    the hardware resets it. The next boot must report a brown-out."""

    def dip() -> None:
        start = device.mark()
        faults.inject("brown-out", by=by)
        device.channel.wait(lambda: device.channel.resets(start) or None, budgets.BOOT_S)
        device.info()

    measure_supply_failed(device, measure, dip, printed=printed, reason="BROWNOUT")


@pytest.mark.parametrize("to", MODES)
def test_power_cut_at_each_step_of_a_transition_is_a_fresh_start(
    device: Device, modes: Modes, faults: Faults, measure: Measure, to: str
) -> None:
    memory = None
    for step in device.mode_steps(to, other(to)):
        if device.mode().mode == to:
            modes.to(other(to))
        faults.inject("power-cut-step", step=step, off_s=0.01)
        when = f"at {step}: "
        measure_supply_failed(
            device, measure, lambda: modes.to(to), printed="POWERON_RESET", reason="POWERON", when=when
        )
        measure(
            f"{when}snapshots from before the power cut",
            len(device.last().snapshots),
            exact=0,
            source="RTC memory is lost",
        )
        device.monitor(stop=True)
        now = modes.read()
        if memory is not None:
            measure(
                f"{when}memory difference from the previous boot",
                str(now - memory),
                exact="{}",
                source=SOURCE,
            )
        memory = now


def test_power_cut_in_a_transition_is_a_fresh_start(
    device: Device, modes: Modes, supply: Supply, measure: Measure
) -> None:
    """Cuts power in a mode change, each time at a different moment. The board must boot in camera mode and use the same
    memory as in the previous boot."""
    memory = None
    for delay in range(0, 500, 100):
        device.settle(down=delay)
        began = device.info().t
        device.set_mode(VOICE, wait=False)
        wait_for_time(device, began + delay)
        supply.cycle()
        info = device.wait_ready()
        measure(f"{delay} ms: reset reason", info.reset_reason, exact="POWERON", source=supply.what)
        measure(
            f"{delay} ms: mode", device.mode().mode, exact="camera", source="the board starts in camera mode"
        )
        device.monitor(stop=True)
        now = modes.read()
        if memory is not None:
            measure(
                f"{delay} ms: unexplained memory difference from the previous boot",
                str(unexplained_between_boots(now, memory)),
                exact="{}",
                source=SOURCE,
            )
        memory = now


@pytest.mark.parametrize("mode", MODES)
def test_restart_by_command_stops_the_drivers_first(
    device: Device, modes: Modes, measure: Measure, mode: str
) -> None:
    """Restarts the board by command. The drivers must be stopped first, because the camera sensor must not stay powered
    through the reset."""
    modes.to(mode)
    start = device.mark()
    device.reboot()
    changes = [change.data for change in modes.changes(start) if change.data["to"] == "shutdown"]
    found = [(change["from"], change["ok"]) for change in changes]
    measure(
        "changes to shutdown", str(found), exact=str([(mode, True)]), source="firmware/README.md: sys.reboot"
    )
