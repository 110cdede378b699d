"""A panic names its usual cause: the exception, the assertion or the failed check."""

from __future__ import annotations

import pytest

from hotpin_hil.analysis.analyze import analyze
from hotpin_hil.analysis.model import Diagnosis

END = "\nBacktrace: 0x40081892:0x3ffb7e90\n\nRebooting...\n"


def diagnosis(log: str) -> Diagnosis:
    (found,) = analyze([(log + END).encode()], "log").diagnoses
    return found


def panic(cause: str, core: str = "0", more: str = "") -> str:
    return f"Guru Meditation Error: Core  {core} panic'ed ({cause}). Exception was unhandled.\n{more}"


@pytest.mark.parametrize(
    ("log", "id_", "text"),
    [
        (panic("IllegalInstruction"), "panic-IllegalInstruction", "read wrongly from flash"),
        (panic("Illegal instruction"), "panic-Illegal-instruction", "read wrongly from flash"),
        (panic("IntegerDivideByZero"), "panic-IntegerDivideByZero", "zero"),
        (
            panic("Load access fault", more="MEPC    : 0x4004c48c  MTVAL   : 0x5ffffffc\n"),
            "panic-Load-access-fault",
            "0x5ffffffc",
        ),
        (panic("StoreProhibited", more="EXCVADDR: 0xfffffffc\n"), "deleted-object", "-0x4"),
        (panic("Cache disabled but cached memory region accessed"), "cache-error", "IRAM_ATTR"),
        (
            panic("Cache error", more="MMU entry fault error occurred while accessing the address 0x3c8\n"),
            "cache-error",
            "0x3c8",
        ),
        (panic("Interrupt wdt timeout on CPU0", core="/"), "interrupt-watchdog", "CPU0"),
        (
            "Guru Meditation Error: Core  panic'ed (Interrupt wdt timeout on CPU0)\n",
            "interrupt-watchdog",
            "CPU0",
        ),
        (
            "E (6107) taskGuru Meditation Error: Core  0 panic'ed (Interrupt wdt timeout on CPU0)\n",
            "interrupt-watchdog",
            "CPU0",
        ),
        (
            "assert failed: xQueueGenericSend queue.c:832 (u.xSemaphore.xMutexHolder)\n",
            "panic-assert",
            "a mutex",
        ),
        ("assert failed: xQueueSemaphoreTake queue.c:1549 (pxQueue)\n", "panic-assert", "NULL"),
        (
            "assert failed: tcp_alloc /IDF/lwip/src/core/tcp.c:1851 (Required to lock TCPIP core!)\n",
            "panic-assert",
            "network library",
        ),
        (
            'assertion "Invalid mbox" failed: file "tcpip.c", line 455, function: tcpip_send\n',
            "panic-assert",
            "network stack",
        ),
        (
            'assertion "x" failed: file "/nvs_flash/src/nvs_page.cpp", line 315, function: f\n',
            "panic-assert",
            "NVS",
        ),
        ("assert failed: block_device_open block_device.c:12 (dev)\n", "panic-assert", "backtrace"),
        (
            'assert failed: tlsf_free tlsf.c:1119 ("block already marked as free")\n',
            "corrupt-heap",
            "double free",
        ),
        (
            'assert failed: heap_caps_free heap_caps.c:360 ("free() target pointer is outside heap areas")\n',
            "corrupt-heap",
            "not a block",
        ),
        (
            'assert failed: remove_free_block heap_tlsf.c:205 (prev && "prev_free field can not be null")\n',
            "corrupt-heap",
            "overwritten",
        ),
        (
            "***ERROR*** A stack overflow in task mqtt has been detected.\nabort() was called at PC 0x4008c37c\n",
            "stack-overflow",
            "in task mqtt has",
        ),
        (
            "Zigbee stack assertion failed zb_esp_nvram.c:84\n\nabort() was called at PC 0x42013785 on core 0\n",
            "panic-abort",
            "zb_esp_nvram.c:84",
        ),
    ],
)
def test_panic_is_explained(log: str, id_: str, text: str) -> None:
    found = diagnosis(log)
    assert found.id == id_
    assert text in " ".join((found.finding, found.cause, found.remedy))


CHECK = 'ESP_ERROR_CHECK failed: esp_err_t {} at 0x4008d938\nfile: "main.c" line 64\nfunc: init\nexpression: {}\n\n'


@pytest.mark.parametrize(
    "end", ["", "abort() was called at PC 0x400871c7 on core 0\n", "ELF file SHA256: 37df94134d\n"]
)
def test_failed_check_names_the_call_with_or_without_an_abort(end: str) -> None:
    found = diagnosis(CHECK.format("0x110d (ESP_ERR_NVS_NO_FREE_PAGES)", "nvs_flash_init()") + end)
    assert found.finding == "nvs_flash_init() failed with ESP_ERR_NVS_NO_FREE_PAGES, in main.c, line 64."
    assert "nvs_flash_erase()" in found.remedy


def test_code_of_a_check_without_its_name_is_named() -> None:
    found = diagnosis(CHECK.format("0x103", "uart_driver_install(1, 2048, 0, 0, NULL, 0)"))
    assert "uart_driver_install() failed with ESP_ERR_INVALID_STATE" in found.finding


def test_check_that_does_not_abort_is_no_panic() -> None:
    log = (
        CHECK.format("0x103", "f()").replace("CHECK failed", "CHECK_WITHOUT_ABORT failed")
        + "I (5) app: next\n"
    )
    assert analyze([log.encode()], "log").diagnoses == ()


def test_recursion_is_named() -> None:
    calls = " 0x400d3821:0x3ffb0170" * 5
    log = panic(
        "Unhandled debug exception",
        more="Debug exception reason: Stack canary watchpoint triggered (loopTask)\n",
    )
    (found,) = analyze(
        [f"{log}\nBacktrace: 0x400d3254:0x3ffb0030{calls}\n\nRebooting...\n".encode()], "log"
    ).diagnoses
    assert "recursion" in found.cause
