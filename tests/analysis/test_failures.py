"""The analyser names the culprit of failures that any ESP-IDF firmware may have, and reports nothing that the log does
not show."""

from __future__ import annotations

import pytest

from hotpin_hil.analysis.analyze import analyze
from hotpin_hil.analysis.model import Diagnosis

WATCHDOG = (
    "E (5852) task_wdt: Task watchdog got triggered. The following tasks/users did not reset the watchdog in time:\n"
    "{starved}E (5852) task_wdt: Tasks currently running:\n{running}"
)
XTENSA = (
    "Guru Meditation Error: Core  0 panic'ed ({cause}). Exception was unhandled.\n\nCore  0 register dump:\n"
    "PC      : 0x{pc:08x}  PS      : 0x00060530  A0      : 0x800d5678  A1      : 0x3ffb1234  \n"
    "EXCVADDR: 0x{address:08x}  LBEG    : 0x40056f5c\n\nBacktrace: 0x40081c16:0x3ffb99c0\n\nRebooting...\n"
)


def diagnosed(log: str) -> dict[str, Diagnosis]:
    return {found.id: found for found in analyze([log.encode()], "log").diagnoses}


@pytest.mark.parametrize(
    ("line", "size"),
    [
        ("heap_caps_malloc was called but failed to allocate 1696 bytes with 0x1800 capabilities.", "1,696"),
        ("Mem alloc fail. size 0x0000014c caps 0x0000080c", "332"),
        ("W (5) wifi:alloc eb len=76 type=2 fail, heap:2872652", "76"),
        ("E (5) esp-tls-mbedtls: mbedtls_ssl_setup returned -0x7F00", ""),
        ("E (5) esp_http_server: httpd_server: error in creating task", ""),
        ("E (5) app: xQueueCreate: out of memory", ""),
        ("ESP_ERROR_CHECK failed: esp_err_t 0x101 (ESP_ERR_NO_MEM) at 0x400d4eac", ""),
        ("terminate called after throwing an instance of 'std::bad_alloc'", ""),
        ("E (465) I2S: i2s_alloc_dma_buffer(740): Error malloc dma buffer", ""),
    ],
)
def test_denied_allocation_is_diag_01_with_its_size(line: str, size: str) -> None:
    found = diagnosed(f"I (1) app: start\n{line}\n")["DIAG-01"]
    assert size in found.finding
    assert "4,080" not in found.finding


def test_reset_code_in_a_message_is_no_shortage() -> None:
    assert diagnosed("I (1) app: no memory problem so far\nI (2) app: ESP_ERR_NO_MEM is 0x101\n") == {}


def test_abort_after_a_denied_allocation_is_its_consequence() -> None:
    log = "E (5) app: failed to allocate 99 bytes\nabort() was called at PC 0x4008e1ef on core 1\n\nRebooting...\n"
    assert "in line 1" in diagnosed(log)["panic-abort"].cause
    alone = diagnosed(log[log.index("abort") :])["panic-abort"]
    assert "consequence" not in alone.cause


def test_task_that_kept_the_core_busy_is_blamed() -> None:
    log = WATCHDOG.format(
        starved="E (5852) task_wdt:  - IDLE1 (CPU 1)\n",
        running="E (5852) task_wdt: CPU 0: IDLE0\nE (5852) task_wdt: CPU 1: usb_task\n",
    )
    found = diagnosed(log + "\nBacktrace: 0x4037E0A6:0x3FC9B4F0\n")["task-watchdog"]
    assert "usb_task on core 1" in found.finding
    assert "IDLE" not in found.name
    assert found.evidence[-1].text.startswith("Backtrace: 0x4037E0A6")


def test_two_idle_tasks_of_one_name_are_no_leak() -> None:
    starved = "E (5852) task_wdt:  - IDLE (CPU 0)\nE (5852) task_wdt:  - IDLE (CPU 1)\n"
    running = "E (5852) task_wdt: CPU 0: a\nE (5852) task_wdt: CPU 1: b\n"
    found = diagnosed(WATCHDOG.format(starved=starved, running=running))["task-watchdog"]
    assert found.name == "Task watchdog: a core was kept busy by a, b"


@pytest.mark.parametrize(
    ("cause", "pc", "address", "expected"),
    [
        ("LoadProhibited", 0x400D1234, 0xBAAD5678, "heap-poison"),
        ("LoadProhibited", 0x400D1234, 0xFEFEFF06, "heap-poison"),
        ("StoreProhibited", 0x400D1234, 0x44, "deleted-object"),
        ("InstrFetchProhibited", 0, 0, "jump-to-data"),
    ],
)
def test_address_of_a_panic_tells_its_kind(cause: str, pc: int, address: int, expected: str) -> None:
    found = diagnosed(XTENSA.format(cause=cause, pc=pc, address=address))
    assert set(found) == {expected}
    assert "memory was not" not in found[expected].cause
    assert found[expected].evidence[-1].text == "backtrace: 0x40081c16"


def test_risc_v_registers_are_read() -> None:
    log = (
        "Guru Meditation Error: Core  0 panic'ed (Load access fault). Exception was unhandled.\n\n"
        "Core  0 register dump:\nMEPC    : 0x42009abc  RA      : 0x42009ab8  SP      : 0x3fc93b20\n"
        "MCAUSE  : 0x00000005  MTVAL   : 0x0000000c  \n\nStack memory:\n3fc93b20: 0x00000000 0x42001234\n"
    )
    analysis = analyze([log.encode()], "log")
    assert analysis.facts["panics"][0]["pc"] == "0x42009abc"
    assert analysis.facts["panics"][0]["excvaddr"] == "0x0000000c"
    assert [found.id for found in analysis.diagnoses] == ["deleted-object"]
    assert analysis.to_json()["panics"][0]["cores"][0]["registers"]["RA"] == "0x42009ab8"


def test_stack_protection_fault_says_by_how_much() -> None:
    log = (
        "Guru Meditation Error: Core  0 panic'ed (Stack protection fault). \n\n"
        'Detected in task "main" at 0x420049e2\nStack pointer: 0x4082b080\nStack bounds: 0x4082b090 - 0x4082c280\n'
    )
    assert "Task main overflowed its stack of 4,592 bytes by 16" in diagnosed(log)["stack-overflow"].finding


def test_overwritten_terminator_is_named() -> None:
    log = "I (5) app: x\nCORRUPT HEAP: Bad tail at 0x3ffda678. Expected 0xbaad5678 got 0xbaad5600\n"
    assert "one byte past the end, like the end of a string" in diagnosed(log)["corrupt-heap"].finding


def test_core_dump_of_any_length_does_not_cut_the_panic() -> None:
    dump = "=== CORE DUMP START ===\n" + "AAAA\n" * 500 + "=== CORE DUMP END ===\n"
    log = XTENSA.format(cause="X", pc=1, address=1).replace("Rebooting...", dump + "Rebooting...")
    (panic,) = analyze([log.encode()], "log").panics
    assert panic.panic.is_complete
    assert (panic.panic.core_dump_lines, panic.panic.is_core_dump_whole) == (500, True)


def test_camera_frame_buffer_is_named_with_its_announced_size() -> None:
    log = (
        "I (1030) cam_hal: Allocating 384000 Byte frame buffer in PSRAM\n"
        "E (1040) cam_hal: cam_dma_config(301): frame buffer malloc failed\n"
    )
    assert "384,000 bytes for the camera frame buffer in PSRAM" in diagnosed(log)["DIAG-01"].finding
