"""Catalogue of failures from recorded logs: name, finding, cause and remedy of each.

One function per kind of event returns the entry, filled in for the event; `of_reset` returns None for ordinary resets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from hotpin_hil.analysis.explanations import PanicExplanation, explain
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.panic import Panic
from hotpin_hil.protocol.reset import BROWN_OUT, LOCKUP, WATCHDOG, reset_kind

IRAM_HEAP = range(0x40080000, 0x400A0000)
"""Internal memory with 32-bit access only; part of it is a heap."""
DATA_MEMORY = range(0x3F400000, 0x40000000)
"""Data bus of the ESP32; it cannot hold code."""
NULL_PAGE = 0x1000
"""Addresses below this are members of an object at NULL."""
DECODE = "decode the backtrace with the ELF of this build"
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
    r"\b(?:heap_)?(?:tlsf|ulsf)\w{0,30}\.[ch]\b|\bmulti_heap\w{0,20}\.c\b|outside heap areas|"
    r"\bassert failed: (?:block_\w{1,40}|(?:remove|insert)_free_block|search_suitable_block)\b(?!.*\.c)"
)
"""Assertions of the allocator; the file may be missing from their text."""
_FREED_TWICE = re.compile(r"already marked as free")
_NOT_A_BLOCK = re.compile(r"outside heap areas")


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
            f"{cause}: pointer contains a fill pattern ({POISON[poison]})",
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
    if cause in _BAD_ACCESS and address is not None and _is_at_null(address):
        return Known(
            "deleted-object",
            f"{cause} at a small offset: NULL pointer",
            f"The CPU{where} accessed {_offset(address)} of an object at address 0.",
            "the object was never created, its allocation failed, or it was deleted just before",
            "find the pointer with --elf; check the result of its allocation, and delete the object only when no "
            "task uses it any more",
            is_fact=False,
        )
    corrupt = [line for line in panic.details if "CORRUPT HEAP" in line]
    if corrupt or (cause == "assert" and _ALLOCATOR.search(panic.headline)):
        return _corrupt_heap((*corrupt, panic.headline)[0])
    if cause in ("stack overflow", "Stack protection fault") or "Stack canary" in " ".join(panic.details):
        task = f"Task {panic.task}" if panic.task else "A task"
        return Known(
            "stack-overflow",
            "Stack overflow",
            f"{task} overflowed its stack{_overrun(panic)}: {_overflow_text(panic)}",
            *_overflow_cause(panic),
            is_fact=True,
        )
    if "nterrupt wdt" in cause:
        return Known(
            "interrupt-watchdog",
            "Interrupt watchdog",
            f"{cause}: interrupts were off, or a handler ran, for too long.",
            "an endless critical section or interrupt handler",
            "see the backtraces of both cores for the code that blocked interrupts",
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
    if "Cache disabled" in cause or cause == "Cache error":
        return _cache_error(panic)
    known = explain(panic) or PanicExplanation("see the panic text and its backtrace", DECODE)
    return Known(
        f"panic-{cause.replace(' ', '-')}",
        known.name or f"Panic: {cause}",
        known.finding or _accessed(panic) or f"{panic.headline}",
        known.cause,
        known.remedy,
        is_fact=True,
    )


def _corrupt_heap(text: str) -> Known:
    """The entry for a panic of the allocator."""
    finding, cause = (
        "The heap's own structures were overwritten",
        "a write past the end of a block, or into a freed block",
    )
    remedy = "call heap_caps_check_integrity_all() between the steps to find the faulty step; enable heap poisoning"
    if _FREED_TWICE.search(text):
        finding, cause = (
            "A block was freed that is already free",
            "a double free, or a write into the block's header",
        )
        remedy = "find the second free() in the backtrace, and set pointers to NULL when their block is freed"
    elif _NOT_A_BLOCK.search(text):
        finding, cause = (
            "free() was called with a pointer that is not a block of a heap",
            ("a pointer to a constant, to a local or static variable, or one that was overwritten"),
        )
        remedy = "find the caller of free() in the backtrace"
    return Known("corrupt-heap", "Heap corruption", f"{finding}: {text}", cause, remedy, is_fact=True)


_UNMAPPED = re.compile(r"MMU entry fault|[Dd]bus write to cache|[Ww]rite back error|invalid mmu entry")


def _cache_error(panic: Panic) -> Known:
    """The entry for an access to flash or PSRAM through a cache that is off, or to an address that is not mapped."""
    unmapped = next((text for text in panic.details if _UNMAPPED.search(text)), None)
    if unmapped is not None:
        return Known(
            "cache-error",
            "Cache error: access to an address without memory",
            unmapped,
            "an invalid pointer into the addresses of flash or PSRAM, or a write to flash",
            f"find the pointer with --elf; {DECODE}",
            is_fact=True,
        )
    return Known(
        "cache-error",
        "Code or data in flash was used while the cache was off",
        f"{panic.headline}",
        "an interrupt handler, or a function that it calls, is in flash and ran during a write to flash (NVS, OTA, "
        "file system)",
        "mark the handler and all that it calls with IRAM_ATTR, its constants with DRAM_ATTR; or register it without "
        "ESP_INTR_FLAG_IRAM",
        is_fact=False,
    )


def _accessed(panic: Panic) -> str:
    """The address of an invalid access; empty for other panics."""
    if panic.cause not in _BAD_ACCESS or panic.excvaddr is None:
        return ""
    where = f" on core {panic.core}" if panic.core is not None else ""
    did = "read from" if panic.cause.startswith("Load") else "wrote to"
    return f"{panic.cause}: the CPU{where} {did} 0x{panic.excvaddr:08x}, which is not accessible."


RECURSION_MIN = 4
"""Number of equal calls in a backtrace that show a recursion."""


def _overflow_cause(panic: Panic) -> tuple[str, str]:
    """Cause and remedy of an overflowed stack."""
    calls = [frame.pc for frame in panic.backtrace]
    repeated = max(calls, key=calls.count, default=0)
    if calls.count(repeated) >= RECURSION_MIN:
        return (
            f"a recursion: the backtrace has the call at 0x{repeated:08x} {calls.count(repeated)} times",
            "end the recursion earlier, or replace it with a loop",
        )
    return (
        "the task's stack is too small for the functions that it calls",
        "enlarge the task's stack, or move large local variables to the heap",
    )


def _overflow_text(panic: Panic) -> str:
    texts = (panic.headline, *panic.details)
    return next((text for text in texts if "overflow in task" in text), (panic.details or texts)[0])


def of_reset(boot: ev.BootStarted, *, after_panic: bool) -> Known | None:
    """Find the entry for a reset, by the reset's name in the ROM; None for an ordinary reset.

    Args:
        boot: the boot after the reset.
        after_panic: whether a panic was printed before the reset.
    """
    kind = reset_kind(boot.code, boot.cause)
    if kind == BROWN_OUT:
        return BROWN_OUT_RESET
    if kind == LOCKUP:
        return CPU_LOCKUP
    if kind == WATCHDOG and boot.cause and not after_panic:
        before = "the log begins with the reset" if boot.is_first else "no panic was printed before it"
        return Known(
            "hardware-watchdog",
            f"{boot.cause}: reset by a hardware watchdog",
            f"{'A' if boot.is_first else 'The board went silent and a'} watchdog reset the board "
            f"({watchdog_of(boot.cause)}); {before}.",
            "interrupts stayed off, or the panic handler itself could not run (flash or PSRAM access hung)",
            "look up the PC that the ROM or the bootloader printed in the ELF; HotPin's firmware also keeps its last "
            "statistics (sys.last)",
            is_fact=True,
        )
    return None


BROWN_OUT_RESET = Known(
    "brown-out",
    "Brown-out",
    "The supply voltage fell below the chip's minimum.",
    "supply, cable or regulator is too weak for the current peaks of Wi-Fi, flash LED and camera",
    "supply 5 V at 1 A or more, over a short cable; add capacitance at the board",
    is_fact=True,
)


CPU_LOCKUP = Known(
    "cpu-lockup",
    "CPU lockup",
    "The chip was reset because a CPU could not continue after an exception.",
    "an exception within an exception: the stack or the exception vectors are not usable",
    "look up the PC that the ROM printed (Saved PC) in the ELF; look for a stack overflow and overwritten memory",
    is_fact=True,
)


def of_reported_reset(event: ev.ResetReported) -> Known:
    """The entry for a failure of the last run that only the firmware reports."""
    if event.kind == BROWN_OUT:
        return BROWN_OUT_RESET
    if event.kind == WATCHDOG:
        return Known(
            "hardware-watchdog",
            "Reset by a watchdog, as the firmware reports",
            "The firmware reports that a watchdog ended its last run, which this log does not show.",
            "a task or an interrupt handler kept a core busy, or a task did not feed the watchdog",
            "record the end of a run: the watchdog prints the task and a backtrace",
            is_fact=True,
        )
    return Known(
        "panic-before",
        "Panic in the previous run",
        f"The firmware reports that its last run crashed, which this log does not show: {event.text}",
        "see the reported reason and addresses",
        "decode the reported addresses with the ELF of that build; record the panic's own text",
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


def _is_at_null(address: int) -> bool:
    """Whether an address is a member of an object at NULL, or a word just before it."""
    return address < NULL_PAGE or (address >= 0xFFFFFF00 and address % 4 == 0)


def _offset(address: int) -> str:
    return f"offset 0x{address:x}" if address < NULL_PAGE else f"offset -0x{0x1_0000_0000 - address:x}"


def _span(region: ev.HeapInitRegion) -> range:
    return range(region.start, region.start + region.length)


def _hex(address: int | None) -> str:
    return "an unknown address" if address is None else f"0x{address:08x}"
