"""Failures that recorded boards have shown: what each is, its cause, and its remedy.

One function per kind of event; it returns None if the catalogue has no entry for the event.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.panic import Panic

IRAM_HEAP = range(0x40080000, 0x400A0000)
"""Internal memory that takes 32-bit accesses only; part of it is a heap."""
DATA_MEMORY = range(0x3F400000, 0x40000000)
"""Data bus of the ESP32: no code is fetched from it."""
NULL_PAGE = 0x1000
"""An access below is to a member of an object at NULL."""
WATCHDOG_RESETS = {
    "TG0WDT_SYS_RESET": "timer group 0, the task watchdog's",
    "TG1WDT_SYS_RESET": "timer group 1, the interrupt watchdog's",
    "TGWDT_CPU_RESET": "a timer group's, of one core",
    "RTCWDT_SYS_RESET": "the RTC watchdog",
    "RTCWDT_CPU_RESET": "the RTC watchdog, of one core",
    "RTCWDT_RTC_RESET": "the RTC watchdog, the whole chip",
}
"""ROM names of resets that come without a panic handler."""
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
    """Whether the log states it; otherwise it is an inference from recorded boards."""


def of_panic(panic: Panic, regions: Iterable[ev.HeapInitRegion]) -> Known:
    """The entry for a panic.

    Args:
        panic: the panic.
        regions: the memory map of the build, as far as it was printed.
    """
    address = panic.excvaddr
    cause = panic.cause
    where = f" on core {panic.core}" if panic.core is not None else ""
    if cause == "LoadStoreError" and address is not None and address in IRAM_HEAP:
        heap = next(
            (one for one in regions if one.type == "IRAM" and one.start <= address < one.start + one.length),
            None,
        )
        place = f"the IRAM heap at 0x{heap.start:08X}" if heap else "instruction memory"
        return Known(
            "iram-heap",
            "LoadStoreError on the IRAM heap",
            f"Bytes were accessed at 0x{address:08x}, in {place}, which takes 32-bit accesses only.",
            "a byte buffer was asked with MALLOC_CAP_INTERNAL alone and got memory of the IRAM heap",
            "ask byte buffers with MALLOC_CAP_8BIT (or MALLOC_CAP_DMA) as well",
            is_fact=heap is not None,
        )
    if "Fetch" in cause:
        pc = panic.registers.get("PC")
        is_data = address is not None and address in DATA_MEMORY
        return Known(
            "jump-to-data",
            f"{cause}: a jump to where no code is",
            f"The CPU{where} went to {_hex(address if address is not None else pc)} for an instruction"
            + (", which is data memory." if is_data else ".")
            + (" The stack is corrupted." if panic.is_corrupted else ""),
            "a function pointer or a return address was overwritten, or its object was deleted; memory was not short",
            "look for a callback of an object that is deleted while its task runs, and for a stack that is too small",
            is_fact=False,
        )
    if cause in ("StoreProhibited", "LoadProhibited") and address is not None and address < NULL_PAGE:
        return Known(
            "deleted-object",
            f"{cause} at a small offset: use of a deleted object",
            f"Offset 0x{address:x} of an object at address 0 was accessed{where}.",
            "a handle or pointer that is NULL, most likely of an object that was deleted a moment earlier",
            "check who still uses what the transition deletes; delete only when all users have ended",
            is_fact=False,
        )
    if any("CORRUPT HEAP" in line for line in panic.details):
        return Known(
            "corrupt-heap",
            "Heap corruption",
            f"The heap's own structures were overwritten: {panic.details[0]}",
            "something wrote past the end of its block, or into a block that was freed",
            "heap_caps_check_integrity_all() between the steps shows in which one; build with heap poisoning",
            is_fact=True,
        )
    if cause == "stack overflow" or "Stack canary" in " ".join(panic.details):
        return Known(
            "stack-overflow",
            "Stack overflow",
            f"A task ran out of its stack: {(panic.details or (panic.headline,))[0]}",
            "the task's stack is too small for what it calls",
            "enlarge it, or move large local variables to the heap",
            is_fact=True,
        )
    if "nterrupt wdt" in cause:
        return Known(
            "interrupt-watchdog",
            "Interrupt watchdog",
            f"{cause}: interrupts were off, or a handler ran, for too long.",
            "a critical section or an interrupt handler that does not end",
            "the backtrace of both cores shows where",
            is_fact=True,
        )
    return Known(
        f"panic-{cause.replace(' ', '-')}",
        f"Panic: {cause}",
        f"{panic.headline}",
        "the panic text and its backtrace tell; memory was not shown to be the reason",
        "decode the backtrace with the ELF of this build",
        is_fact=True,
    )


def of_reset(boot: ev.BootStarted, *, after_panic: bool) -> Known | None:
    """The entry for a reset, from the ROM's name of it; None if that says nothing new.

    Args:
        boot: the start after the reset.
        after_panic: whether a panic was printed before it.
    """
    if boot.cause == BROWN_OUT:
        return Known(
            "brown-out",
            "Brown-out",
            "The supply fell below what the chip needs.",
            "supply, cable or regulator too weak for the peaks of Wi-Fi, flash LED and camera",
            "feed 5 V with 1 A or more, over a short cable; add capacitance at the board",
            is_fact=True,
        )
    if boot.cause in WATCHDOG_RESETS and not after_panic:
        return Known(
            "hardware-watchdog",
            f"{boot.cause}: reset by a hardware watchdog",
            f"The board fell silent and was reset by a watchdog ({WATCHDOG_RESETS[boot.cause]}); no panic was printed.",
            "interrupts stayed off, or the panic handler itself could not run (flash or PSRAM access hung)",
            "the statistics that survive the reset (sys.last) tell what went on before",
            is_fact=True,
        )
    return None


def of_task_watchdog(tasks: Sequence[str]) -> Known:
    """The entry for a task watchdog; tasks: names of those that did not reset it."""
    doubled = sorted({task for task in tasks if tasks.count(task) > 1})
    if doubled:
        return Known(
            "task-watchdog",
            "Task watchdog: a task was leaked",
            f"Several tasks of one name did not reset the task watchdog: {', '.join(doubled)}.",
            "a task is created again (for every reconnect) while the old ones stay and are never run to their end",
            "create it once, or end the old one before; delete it from the watchdog when it ends",
            is_fact=False,
        )
    return Known(
        "task-watchdog",
        "Task watchdog",
        f"Tasks did not reset the task watchdog in time: {', '.join(tasks) or 'none is named'}.",
        "the task hangs, waits too long, or has ended without being deleted from the watchdog",
        "the backtraces printed with it show where the cores were",
        is_fact=True,
    )


CAMERA_NOT_SUPPORTED = Known(
    "camera-reinit",
    "Camera not supported after re-init",
    "The sensor did not answer as a supported one when the driver was started again.",
    "the sensor was left in an undefined state: a reset of the chip does not power-cycle it",
    "drive PWDN high for 100 ms and low for 100 ms before every init (cured 6 of 6; without it 0 of 4)",
    is_fact=False,
)
STALE_STATISTICS = Known(
    "stale-statistics",
    "Stale statistics",
    "Statistics from before and after a transition are equal in all eight figures.",
    "log_stats prints the sample that the monitor took last, seconds earlier, instead of taking one",
    "take a fresh sample for each log; do not judge this log's transitions by these boxes",
    is_fact=False,
)
SUMMED_FRAGMENTATION = Known(
    "fragmentation-figure",
    "Fragmentation figure counts separate heaps",
    "The fragmentation that is printed is 100 % minus largest block / free bytes of all heaps together.",
    "internal memory consists of several heaps, which can never be one block: the figure is high on a healthy board",
    "sum the largest free block of every heap instead; judge this log by its largest blocks",
    is_fact=True,
)


def _hex(address: int | None) -> str:
    return "an unknown address" if address is None else f"0x{address:08x}"
