"""Catalogue of failures on recorded boards: name, finding, cause and remedy of each.

One function per kind of event; it returns None if the catalogue has no entry for the event.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.panic import Panic

IRAM_HEAP = range(0x40080000, 0x400A0000)
"""Internal memory with 32-bit access only; part of it is a heap."""
DATA_MEMORY = range(0x3F400000, 0x40000000)
"""Data bus of the ESP32; it cannot hold code."""
NULL_PAGE = 0x1000
"""Addresses below this are members of an object at NULL."""
WATCHDOG_RESETS = {
    "TG0WDT_SYS_RESET": "timer group 0, used by the task watchdog",
    "TG1WDT_SYS_RESET": "timer group 1, used by the interrupt watchdog",
    "TGWDT_CPU_RESET": "a timer group, for one core",
    "RTCWDT_SYS_RESET": "the RTC watchdog",
    "RTCWDT_CPU_RESET": "the RTC watchdog, for one core",
    "RTCWDT_RTC_RESET": "the RTC watchdog, for the whole chip",
}
"""ROM names of resets that bypass the panic handler."""
BROWN_OUT = "RTCWDT_BROWN_OUT_RESET"


@dataclass(frozen=True)
class Known:
    """An entry of the catalogue, filled in for an event."""

    id: str
    name: str
    finding: str
    cause: str
    remedy: str
    is_fact: bool
    """Whether the log states the finding; otherwise the finding is an inference from recorded boards."""


def of_panic(panic: Panic, regions: Iterable[ev.HeapInitRegion]) -> Known:
    """Find the entry for a panic.

    Args:
        panic: the panic.
        regions: the part of the build's memory map that was printed.
    """
    address = panic.excvaddr
    cause = panic.cause
    where = f" on core {panic.core}" if panic.core is not None else ""
    if cause == "LoadStoreError" and address is not None and address in IRAM_HEAP:
        heap = next(
            (region for region in regions if region.type == "IRAM" and address in _span(region)),
            None,
        )
        place = f"the IRAM heap at 0x{heap.start:08X}" if heap else "instruction memory"
        return Known(
            "iram-heap",
            "LoadStoreError on the IRAM heap",
            f"A byte access at 0x{address:08x} hit {place}, which allows 32-bit accesses only.",
            "a byte buffer was allocated with MALLOC_CAP_INTERNAL alone, which may return memory of the IRAM heap",
            "allocate byte buffers with MALLOC_CAP_8BIT (or MALLOC_CAP_DMA) as well",
            is_fact=heap is not None,
        )
    if "Fetch" in cause:
        pc = panic.registers.get("PC")
        is_data = address is not None and address in DATA_MEMORY
        return Known(
            "jump-to-data",
            f"{cause}: a jump to an address without code",
            f"The CPU{where} fetched an instruction from {_hex(address if address is not None else pc)}"
            + (", which is data memory." if is_data else ".")
            + (" The stack is corrupted." if panic.is_corrupted else ""),
            "a function pointer or return address was overwritten, or its object was deleted; memory was not short",
            "look for a callback of an object that is deleted while its task runs, and for too small a stack",
            is_fact=False,
        )
    if cause in ("StoreProhibited", "LoadProhibited") and address is not None and address < NULL_PAGE:
        return Known(
            "deleted-object",
            f"{cause} at a small offset: use of a deleted object",
            f"The CPU{where} accessed offset 0x{address:x} of an object at address 0.",
            "a NULL handle or pointer, most likely of an object that was deleted just before",
            "check which tasks still use what the transition deletes; delete it only after they have ended",
            is_fact=False,
        )
    if any("CORRUPT HEAP" in line for line in panic.details):
        return Known(
            "corrupt-heap",
            "Heap corruption",
            f"The heap's own structures were overwritten: {panic.details[0]}",
            "a write past the end of a block, or into a freed block",
            "call heap_caps_check_integrity_all() between the steps to find the faulty step; enable heap poisoning",
            is_fact=True,
        )
    if cause == "stack overflow" or "Stack canary" in " ".join(panic.details):
        return Known(
            "stack-overflow",
            "Stack overflow",
            f"A task overflowed its stack: {(panic.details or (panic.headline,))[0]}",
            "the task's stack is too small for the functions that it calls",
            "enlarge it, or move large local variables to the heap",
            is_fact=True,
        )
    if "nterrupt wdt" in cause:
        return Known(
            "interrupt-watchdog",
            "Interrupt watchdog",
            f"{cause}: interrupts were off, or a handler ran, for too long.",
            "an endless critical section or interrupt handler",
            "the backtrace of both cores shows where",
            is_fact=True,
        )
    return Known(
        f"panic-{cause.replace(' ', '-')}",
        f"Panic: {cause}",
        f"{panic.headline}",
        "see the panic text and its backtrace; the log does not show a memory problem",
        "decode the backtrace with the ELF of this build",
        is_fact=True,
    )


def of_reset(boot: ev.BootStarted, *, after_panic: bool) -> Known | None:
    """Find the entry for a reset by the ROM's name for it; None for an ordinary reset.

    Args:
        boot: the start after the reset.
        after_panic: whether a panic was printed before the reset.
    """
    if boot.cause == BROWN_OUT:
        return Known(
            "brown-out",
            "Brown-out",
            "The supply voltage fell below the chip's minimum.",
            "supply, cable or regulator is too weak for the current peaks of Wi-Fi, flash LED and camera",
            "feed 5 V with 1 A or more, over a short cable; add capacitance at the board",
            is_fact=True,
        )
    if boot.cause in WATCHDOG_RESETS and not after_panic:
        return Known(
            "hardware-watchdog",
            f"{boot.cause}: reset by a hardware watchdog",
            f"The board went silent and a watchdog reset it ({WATCHDOG_RESETS[boot.cause]}); no panic was printed.",
            "interrupts stayed off, or the panic handler itself could not run (flash or PSRAM access hung)",
            "read the statistics that survived the reset (sys.last)",
            is_fact=True,
        )
    return None


def of_task_watchdog(tasks: Sequence[str]) -> Known:
    """The entry for a task watchdog; `tasks` names the tasks that did not feed it."""
    doubled = sorted({task for task in tasks if tasks.count(task) > 1})
    if doubled:
        return Known(
            "task-watchdog",
            "Task watchdog: a task was leaked",
            f"Several tasks with the same name did not feed the task watchdog: {', '.join(doubled)}.",
            "a task is created repeatedly (for example on every reconnect), but the old tasks never end",
            "create it once, or end the old task first; unsubscribe a task from the watchdog when it ends",
            is_fact=False,
        )
    return Known(
        "task-watchdog",
        "Task watchdog",
        f"Tasks did not feed the task watchdog in time: {', '.join(tasks) or 'the log names none'}.",
        "the task hangs, waits too long, or ended without unsubscribing from the watchdog",
        "the backtraces printed with it show where the cores were",
        is_fact=True,
    )


CAMERA_NOT_SUPPORTED = Known(
    "camera-reinit",
    "Camera not supported after re-init",
    "The sensor did not identify as a supported one when the driver was restarted.",
    "the sensor was in an undefined state, because a reset of the chip does not power-cycle it",
    "drive PWDN high for 100 ms and low for 100 ms before every init (worked in 6 of 6 cases; without it in 0 of 4)",
    is_fact=False,
)
STALE_STATISTICS = Known(
    "stale-statistics",
    "Stale statistics",
    "All eight figures are equal before and after a transition.",
    "log_stats prints the monitor's last sample, which is seconds old, instead of taking a new one",
    "take a fresh sample for each log; do not judge this log's transitions by these boxes",
    is_fact=False,
)
SUMMED_FRAGMENTATION = Known(
    "fragmentation-figure",
    "Fragmentation figure counts separate heaps",
    "The printed fragmentation is 100 % minus largest block / free bytes over all heaps together.",
    "internal memory has several heaps, which can never form one block, so a healthy board shows a high figure",
    "sum the largest free block of every heap instead; judge this log by its largest blocks",
    is_fact=True,
)


def _span(region: ev.HeapInitRegion) -> range:
    return range(region.start, region.start + region.length)


def _hex(address: int | None) -> str:
    return "an unknown address" if address is None else f"0x{address:08x}"
