"""Explains panics without an entry of their own in the catalogue: the exception, the assertion or the failed check."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hotpin_hil.protocol.panic import Panic


@dataclass(frozen=True)
class PanicExplanation:
    """What usually causes a panic, and what to do. An empty finding or name means the panic's own text."""

    cause: str
    remedy: str
    finding: str = ""
    name: str = ""


_DECODE = "decode the backtrace with the ELF of this build"
_EXCEPTIONS = (
    (
        r"LoadProhibited|StoreProhibited|(?:Load|Store) access fault|LoadStoreError",
        "an invalid pointer that is not NULL: it was overwritten or never set, or its object was freed",
        f"find the pointer with --elf; if its value changes from run to run, enable heap poisoning; {_DECODE}",
    ),
    (
        r"Ill?egal ?[Ii]nstruction",
        "a jump to data (an overwritten return address or function pointer), a C++ function without a return, or code "
        "that was read wrongly from flash",
        f"{_DECODE}; if the printed memory at the PC differs from the ELF, check flash mode, speed and supply",
    ),
    (
        r"Alignment|misaligned",
        "a pointer to a type of 2 bytes or more that is not aligned",
        f"copy the data with memcpy() instead of casting the pointer; {_DECODE}",
    ),
    (r"DivideByZero", "an integer was divided by zero", f"check the divisor; {_DECODE}"),
    (
        r"Double ?[Ee]xception",
        "an exception within the handling of another one, mostly because the stack pointer is invalid",
        "look for a stack overflow, or a write past the end of a local array",
    ),
    (
        r"Coprocessor",
        "floating-point arithmetic in an interrupt handler",
        "use integers there, or move the calculation to a task",
    ),
    (
        r"Breakpoint|debug exception",
        "a breakpoint or watchpoint: a failed check of the compiler (__builtin_trap), or one that a debugger left",
        _DECODE,
    ),
    (
        r"abort",
        "the code at this PC called abort(); with silent assertions or without C++ exceptions this can also be a "
        "failed assert or a failed `new`",
        _DECODE,
    ),
)
_ASSERTIONS = (
    (
        r"queue\.c\b.*[( ](?:pxQueue|pxMutex|xQueue|xMutex)[) ]",
        "a handle of a queue, semaphore or mutex is NULL: it was not created yet, could not be created, or was deleted",
        "create it before the code in the backtrace runs, and check the result of its creation",
    ),
    (
        r"xTaskPriorityDisinherit|MutexHolder|pxTCB == pxCurrentTCB",
        "a task gave a mutex that another task had taken",
        "give a mutex in the task that took it; to signal another task, use a binary semaphore",
    ),
    (
        r"(?i)xPortcheckValid(?:Stack|TCB|List)Mem",
        "the memory for a stack or a task's control block is NULL, or in memory that FreeRTOS does not accept (PSRAM)",
        "check the result of its allocation; allocate it in internal memory, or allow stacks in PSRAM (menuconfig)",
    ),
    (
        r"nvs_(?:page|storage|pagemanager|partition)|nvs::",
        "the NVS partition in flash is damaged",
        "erase it (its settings are lost): idf.py erase-flash flash, or esptool erase-region with its offset and size",
    ),
    (
        r"TCPIP core",
        "lwIP was called from another task without its lock",
        "update the network library; take the lock (LOCK_TCPIP_CORE) or use tcpip_callback around the call",
    ),
    (
        r"Invalid mbox",
        "a socket was used before the network stack was started",
        "call esp_netif_init() (Arduino: WiFi.mode or WiFi.begin) before the first socket or server",
    ),
    (
        r"spinlock",
        "a spinlock is not initialised or was overwritten, so its object may have been freed",
        f"initialise it with portMUX_INITIALIZER_UNLOCKED; {_DECODE}",
    ),
    (
        r"xTaskGetSchedulerState|uxSchedulerSuspended|xPortInIsrContext|InIsrContext",
        "a FreeRTOS function that may block was called in an interrupt handler, or while the scheduler was suspended",
        "use the function's FromISR variant, or move the call to a task",
    ),
)
_CODES = {
    "101": "ESP_ERR_NO_MEM", "102": "ESP_ERR_INVALID_ARG", "103": "ESP_ERR_INVALID_STATE",
    "104": "ESP_ERR_INVALID_SIZE", "105": "ESP_ERR_NOT_FOUND", "106": "ESP_ERR_NOT_SUPPORTED", "107": "ESP_ERR_TIMEOUT",
    "110d": "ESP_ERR_NVS_NO_FREE_PAGES", "1110": "ESP_ERR_NVS_NEW_VERSION_FOUND",
}  # fmt: skip
"""Names of error codes, because older versions of ESP-IDF print only the code."""
_NVS = (
    "the NVS partition in flash is full, was truncated, or was written by a newer version",
    "call nvs_flash_erase(), then init again (its settings are lost)",
)
_ERRORS = {
    "ESP_ERR_NO_MEM": ("a failed allocation; see its own diagnosis", "free memory before this call"),
    "ESP_ERR_INVALID_ARG": (
        "an argument is NULL or out of range",
        "check the arguments, such as pins and sizes",
    ),
    "ESP_ERR_INVALID_STATE": (
        "the call came twice or too early: what it needs is not initialised, or already is",
        "check the order of the calls, and initialise once",
    ),
    "ESP_ERR_NOT_FOUND": (
        "what the call needs does not exist: a partition, a device on its bus, or a free timer or interrupt",
        "check the partition table, and the wiring of the device",
    ),
    "ESP_ERR_TIMEOUT": ("a device did not answer in time", "check its wiring, supply and clock"),
    "ESP_ERR_NVS_NO_FREE_PAGES": _NVS,
    "ESP_ERR_NVS_NEW_VERSION_FOUND": _NVS,
}
_CHECK = re.compile(r"ESP_ERROR_CHECK failed: esp_err_t 0x([0-9a-f]{1,8})(?: \((\w{1,60})\))?")
_FILE = re.compile(r'file: "(.{1,200}?)" line (\d{1,6})')
_EXPRESSION = re.compile(r"expression: (.{1,200})")
_CALL = re.compile(r"\w{1,60}(?=\()")


def explain(panic: Panic) -> PanicExplanation | None:
    """Likely cause and remedy of a panic; None if it is not in the tables."""
    if panic.cause == "assert":
        return _first(_ASSERTIONS, panic.headline)
    if panic.cause != "abort":
        return _first(_EXCEPTIONS, panic.cause)
    failed = next((text for text in panic.details if "ssertion failed" in text or "ASSERT_" in text), None)
    if failed is not None:
        return PanicExplanation(
            "an assertion failed in a component", f"see the errors before it; {_DECODE}", failed
        )
    return _of_check(panic) or _first(_EXCEPTIONS, panic.cause)


def failed_call(panic: Panic) -> str:
    """The function whose result a failed ESP_ERROR_CHECK checked; empty if the panic does not show one."""
    found = next((call for text in panic.details if (call := _EXPRESSION.match(text))), None)
    name = _CALL.search(found[1]) if found else None
    return name[0] if name else ""


def _of_check(panic: Panic) -> PanicExplanation | None:
    check = next((found for text in panic.details if (found := _CHECK.match(text))), None)
    if check is None:
        return None
    error = check[2] or _CODES.get(check[1], f"0x{check[1]}")
    call = failed_call(panic)
    what = f"{call}()" if call else "A checked call"
    file = next((found for text in panic.details if (found := _FILE.match(text))), None)
    where = f", in {file[1]}, line {file[2]}" if file else ""
    cause, remedy = _ERRORS.get(error, ("the call failed, and ESP_ERROR_CHECK aborts on any error", ""))
    return PanicExplanation(
        cause,
        remedy or f"look up this error in the call's documentation; {_DECODE}",
        f"{what} failed with {error}{where}.",
        f"Panic: {what} failed with {error}",
    )


def _first(table: tuple[tuple[str, str, str], ...], text: str) -> PanicExplanation | None:
    return next(
        (PanicExplanation(cause, remedy) for pattern, cause, remedy in table if re.search(pattern, text)),
        None,
    )
