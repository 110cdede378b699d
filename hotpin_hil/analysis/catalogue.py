"""Catalogue of failures from recorded logs: name, finding, cause and remedy of each.

One function per kind of event; it returns None if the catalogue has no entry for the event.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.panic import Panic
from hotpin_hil.protocol.reset import BROWN_OUT, WATCHDOG, reset_kind

IRAM_HEAP = range(0x40080000, 0x400A0000)
"""Internal memory with 32-bit access only; part of it is a heap."""
DATA_MEMORY = range(0x3F400000, 0x40000000)
"""Data bus of the ESP32; it cannot hold code."""
NULL_PAGE = 0x1000
"""Addresses below this are members of an object at NULL."""
_WATCHDOGS = (
    ("TG0", "timer group 0, used by the task watchdog"),
    ("TG1", "timer group 1, used by the interrupt watchdog"),
    ("TGWDT", "a timer group, for one core"),
    ("RTCWDT", "the RTC watchdog"),
    ("LP_WDT", "the low-power watchdog"),
    ("HP_WDT", "a timer group"),
    ("SUPER", "the super watchdog"),
)
"""Part of a reset cause as the ROM prints it, and the watchdog behind it. Such a reset bypasses the panic handler."""
POISON = {
    0xABBA1234: "the canary before a block",
    0xBAAD5678: "the canary after a block",
    0xFEFEFEFE: "freed memory",
    0xCECECECE: "memory that was never written",
    0xA5A5A5A5: "unused stack",
}
"""Patterns that heap poisoning and FreeRTOS write into memory."""
_POISON_REACH = 0x400
"""Maximum member offset in an object with such a pattern as its pointer."""
_ALLOCATOR = re.compile(
    r"\b(?:tlsf\w{0,20}|multi_heap\w{0,20}|heap_caps\w{0,20})\.c\b|\bblock_\w{1,40}|outside heap areas"
)


def watchdog_of(cause: str) -> str:
    """Which watchdog caused a reset, from the cause that the ROM printed."""
    return next((text for part, text in _WATCHDOGS if part in cause), "a watchdog of the chip")


_BAD_ACCESS = ("StoreProhibited", "LoadProhibited", "Load access fault", "Store access fault")


@dataclass(frozen=True)
class Known:
    """An entry of the catalogue, filled in for an event."""

    id: str
    name: str
    finding: str
    cause: str
    remedy: str
    is_fact: bool
    """Whether the log states the finding; otherwise the finding is an inference from recorded logs."""


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
    poison = _poison(address)
    if poison is not None:
        return Known(
            "heap-poison",
            f"{cause}: use of {POISON[poison]}",
            f"The CPU{where} used 0x{address:08x} as an address; 0x{poison:08x} is the pattern of {POISON[poison]}.",
            "a pointer was read from memory that is freed, was never written, or is not part of the object",
            "find the object in the backtrace; look for its use after free() or before its initialisation",
            is_fact=False,
        )
    if "Fetch" in cause or cause == "Instruction access fault":
        pc = panic.pc
        if pc is not None and pc < NULL_PAGE:
            return Known(
                "jump-to-data",
                f"{cause}: a call through a NULL function pointer",
                f"The CPU{where} fetched an instruction from {_hex(pc)}.",
                "a function pointer that was never set, or whose object was deleted or zeroed",
                "look for a callback that is not registered yet, or whose object is gone",
                is_fact=False,
            )
        is_data = address is not None and address in DATA_MEMORY
        return Known(
            "jump-to-data",
            f"{cause}: a jump to an address without code",
            f"The CPU{where} fetched an instruction from {_hex(address if address is not None else pc)}"
            + (", which is data memory." if is_data else ".")
            + (" The stack is corrupted." if panic.is_corrupted else ""),
            "a function pointer or return address was overwritten, or its object was deleted",
            "look for a callback of an object that is deleted while its task runs, and for too small a stack",
            is_fact=False,
        )
    if cause in _BAD_ACCESS and address is not None and address < NULL_PAGE:
        return Known(
            "deleted-object",
            f"{cause} at a small offset: NULL pointer",
            f"The CPU{where} accessed offset 0x{address:x} of an object at address 0.",
            "the object was never created, its allocation failed, or it was deleted just before",
            "find the pointer with --elf; check the result of its allocation, and delete the object only when no "
            "task uses it any more",
            is_fact=False,
        )
    corrupt = [line for line in panic.details if "CORRUPT HEAP" in line]
    if corrupt or (cause == "assert" and _ALLOCATOR.search(panic.headline)):
        return Known(
            "corrupt-heap",
            "Heap corruption",
            f"The heap's own structures were overwritten: {(*corrupt, panic.headline)[0]}",
            "a write past the end of a block, or into a freed block",
            "call heap_caps_check_integrity_all() between the steps to find the faulty step; enable heap poisoning",
            is_fact=True,
        )
    if cause in ("stack overflow", "Stack protection fault") or "Stack canary" in " ".join(panic.details):
        task = f"Task {panic.task}" if panic.task else "A task"
        return Known(
            "stack-overflow",
            "Stack overflow",
            f"{task} overflowed its stack{_overrun(panic)}: {(panic.details or (panic.headline,))[0]}",
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
    if cause == "stack smashing":
        return Known(
            "stack-smashing",
            "Stack smashing",
            "A function wrote past the end of a local array.",
            "an index or a length that is not checked against the size of the array",
            "decode the backtrace: the function is the one that calls __stack_chk_fail",
            is_fact=True,
        )
    return Known(
        f"panic-{cause.replace(' ', '-')}",
        f"Panic: {cause}",
        f"{panic.headline}",
        "see the panic text and its backtrace",
        "decode the backtrace with the ELF of this build",
        is_fact=True,
    )


def of_reset(boot: ev.BootStarted, *, after_panic: bool) -> Known | None:
    """Find the entry for a reset, by the reset's name in the ROM; None for an ordinary reset.

    Args:
        boot: the boot after the reset.
        after_panic: whether a panic was printed before the reset.
    """
    kind = reset_kind(boot.code, boot.cause)
    if kind == BROWN_OUT:
        return BROWN_OUT_RESET
    if kind == WATCHDOG and boot.cause and not after_panic:
        before = "the log begins with the reset" if boot.is_first else "no panic was printed before it"
        return Known(
            "hardware-watchdog",
            f"{boot.cause}: reset by a hardware watchdog",
            f"{'A' if boot.is_first else 'The board went silent and a'} watchdog reset the board "
            f"({watchdog_of(boot.cause)}); {before}.",
            "interrupts stayed off, or the panic handler itself could not run (flash or PSRAM access hung)",
            "read the statistics that survived the reset (sys.last), or look up the PC that the ROM printed in the ELF",
            is_fact=True,
        )
    return None


BROWN_OUT_RESET = Known(
    "brown-out",
    "Brown-out",
    "The supply voltage fell below the chip's minimum.",
    "supply, cable or regulator is too weak for the current peaks of Wi-Fi, flash LED and camera",
    "feed 5 V with 1 A or more, over a short cable; add capacitance at the board",
    is_fact=True,
)


def of_heap_check(event: ev.HeapCorrupted) -> Known:
    """The entry for a block that a heap check found overwritten."""
    return Known(
        "corrupt-heap",
        "Heap corruption",
        f"A check of the heap found an overwritten block: {event.text}{_overwritten(event)}",
        "a write past the end of a block"
        if event.is_tail
        else "a write past the end of the block before it, or into a freed block",
        "call heap_caps_check_integrity_all() between the steps to find the faulty step; enable heap poisoning",
        is_fact=True,
    )


def of_heap_trace(event: ev.HeapTrace) -> Known:
    """The entry for the allocations that a heap trace lists."""
    most = ", ".join(f"{caller} {size:,} bytes in {count}" for caller, count, size in event.callers[:5])
    return Known(
        "heap-trace",
        "Heap trace: allocations that were not freed",
        f"heap_trace_dump lists {event.bytes:,} bytes in {event.allocations:,} allocations"
        + (f"; by caller: {most}." if most else "."),
        "allocations between heap_trace_start and the dump that were not freed by then",
        "look up the callers in the ELF; a caller whose count grows from dump to dump leaks",
        is_fact=True,
    )


def _overwritten(event: ev.HeapCorrupted) -> str:
    """Describe which bytes of the canary after or before a block were overwritten."""
    if event.expected is None or event.got is None:
        return ""
    expected, got = event.expected.to_bytes(4, "little"), event.got.to_bytes(4, "little")
    changed = [index for index in range(4) if expected[index] != got[index]]
    if not changed or len(changed) == 4:
        return "; all 4 bytes of the canary were overwritten" if changed else ""
    text = f"; {len(changed)} of the canary's 4 bytes changed, up to byte {changed[-1] + 1}"
    if event.is_tail and changed == [0] and got[0] == 0:
        text += ": a 0 one byte past the end, like the end of a string"
    return text


def _poison(address: int | None) -> int | None:
    if address is None:
        return None
    return next((known for known in POISON if abs(address - known) <= _POISON_REACH), None)


_STACK_POINTER = re.compile(r"Stack pointer: 0x([0-9a-f]{1,8})")
_STACK_BOUNDS = re.compile(r"Stack bounds: 0x([0-9a-f]{1,8}) - 0x([0-9a-f]{1,8})")


def _overrun(panic: Panic) -> str:
    """How far the stack pointer is outside the stack, if the panic shows it."""
    text = " ".join(panic.details)
    pointer, bounds = _STACK_POINTER.search(text), _STACK_BOUNDS.search(text)
    if pointer is None or bounds is None:
        return ""
    low, high = int(bounds[1], 16), int(bounds[2], 16)
    return f" of {high - low:,} bytes by {low - int(pointer[1], 16):,}"


_IDLE = re.compile(r"IDLE\d?")


def of_task_watchdog(event: ev.TaskWatchdog) -> Known:
    """The entry for a report of the task watchdog."""
    tasks = event.tasks
    doubled = sorted({task for task in tasks if tasks.count(task) > 1 and not _IDLE.fullmatch(task)})
    if doubled:
        return Known(
            "task-watchdog",
            "Task watchdog: a task was leaked",
            f"Several tasks with the same name did not feed the task watchdog: {', '.join(doubled)}.",
            "a task is created repeatedly (for example on every reconnect), but the old tasks never end",
            "create it once, or end the old task first; unsubscribe a task from the watchdog when it ends",
            is_fact=False,
        )
    starved = {
        core
        for task, core in zip(tasks, event.cores or ("",) * len(tasks), strict=True)
        if _IDLE.fullmatch(task)
    }
    busy = {
        core: task for core, task in event.running.items() if core in starved and not _IDLE.fullmatch(task)
    }
    if busy:
        who = ", ".join(f"{task} on core {core}" for core, task in sorted(busy.items()))
        return Known(
            "task-watchdog",
            f"Task watchdog: a core was kept busy by {', '.join(sorted(set(busy.values())))}",
            f"The idle task did not run in time, because another task kept its core busy: {who}.",
            "this task computes, polls or spins without blocking (the report names the task at its end)",
            "let the task block or delay in its loop, lower its priority, or split the work; decode the backtrace",
            is_fact=True,
        )
    ran = ", ".join(f"{task} on core {core}" for core, task in sorted(event.running.items()))
    return Known(
        "task-watchdog",
        "Task watchdog",
        f"Tasks did not feed the task watchdog in time: {', '.join(tasks) or 'the log names none'}"
        + (f"; {ran} ran instead." if ran else "."),
        "the task hangs, waits too long, or ended without unsubscribing from the watchdog",
        "the backtraces printed with it show where the cores were",
        is_fact=True,
    )


CAMERA_NOT_SUPPORTED = Known(
    "camera-reinit",
    "Camera not supported after re-init",
    "When the driver was restarted, it did not recognise the sensor as a supported model.",
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
