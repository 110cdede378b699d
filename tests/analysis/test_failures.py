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
        ("E (5) esp-tls: mbedtls_ssl_handshake returned -0x10", "TLS"),
        ("W (5) mbedtls: ssl_cli.c:2924 mbedtls_ecdh_calc_secret() returned -16 (-0x0010)", "TLS"),
        ("E (5) Dynamic Impl: alloc(4437 bytes) failed", "4,437 bytes for the TLS"),
        ("[   903][E][WiFiGeneric.cpp:715] espWiFiStart(): esp_wifi_start 257", "Wi-Fi"),
        ("E (5) [modnetwork]: Error initializing WiFi (257)", ""),
        ("E (5) wifi:init nvs: failed, ret=101", "Wi-Fi"),
        ("W (5) wifi:esf_buf_setup_static: alloc 1712 failed", "1,712"),
        ("E (5) vfs_fat: esp_vfs_fat_register failed 0x(101).", ""),
        ("[ 15230][E][WiFiUdp.cpp:183] endPacket(): could not send data: 12", ""),
        ("E (5) TRANSPORT_BASE: poll_write select error 0, errno = Not enough space, fd = 54", ""),
        ("[  1893][E][AsyncTCP.cpp:221] _start_async_task(): failed to start task", "task stack"),
        ("E (82223) w5500.mac: no mem for receive buffer", "network stack"),
        ("E (5) AUDIO_THREAD: Error creating task player", "task stack"),
        ("E (5) WIFI_SERV: wifi_service.c:686 (wifi_service_create): Memory exhausted", ""),
        ("[ 92310][E][HTTPClient.cpp:911] writeToStreamDataBlock(): not enough ram! need 4096", "4,096"),
        ("E (5) GAP: esp_bt_init initialize controller failed: ESP_ERR_NO_MEM", "Bluetooth"),
        ("OOM: failed to allocate 147456 bytes for unnamed", "147,456"),
        ("Return = ESP_ERR_NO_MEM ", ""),
        ("WARN - Unable to allocate 144 bytes", "144"),
        (
            "[Warn]\t(0.940, +940)\t lv_draw_buf_create_ex: No memory: 236x100, 94400Byte, lv_draw_buf.c:296",
            "94,400",
        ),
        ("Error: Out of memory!   (lv_hal_disp.c #81)", ""),
        ("Couldn't allocate memory for the display buffer.", ""),
        ("WARN  | 10:00:05 305 [main] heap too low [9100] -> reboot in 5s", ""),
        ("[E] Allocator.h : 107 - allocateation failed for 8192 bytes", "8,192"),
        ("[E] genericStds.cpp : 214 - Memory allocations error!!!", ""),
        ("MemoryError: ", "Python"),
        ("OSError: [Errno 12] ENOMEM", "Python"),
    ],
)
def test_denied_allocation_is_diag_01_with_its_size(line: str, size: str) -> None:
    found = diagnosed(f"I (1) app: start\n{line}\n")["DIAG-01"]
    assert size in found.finding
    assert "4,080" not in found.finding


@pytest.mark.parametrize(
    "line",
    [
        "E (5) esp-tls-mbedtls: mbedtls_ssl_handshake returned -0x7780",
        "E (5) esp-tls-mbedtls: mbedtls_ssl_handshake returned -0x50",
        "E (5) app: seek to -0x10 failed",
        "E (5) cam_hal: cam_config(257): wrong pin",
        "E (5) nvs: not enough space in partition",
        "W (5) httpd: httpd_accept_conn: error in accept (23)",
        "E (5) sdmmc_common: sdmmc_init_ocr: send_op_cond (1) returned 0x107",
        "E (5) esp_core_dump_flash: No core dump partition found!",
        "[  5][E][AsyncWebSocket.cpp:538] _queueMessage(): Too many messages queued: deleting message",
        "JSON buffer allocated: 32767",
        "heap alloc failures: 0",
        "No memory leak found",
        "Memory card detected: SDHC",
        "Error: sensor not found",
        "Reset reason: Power on reset",
        "0 bytes 'leaked' in trace (0 allocations)",
    ],
)
def test_line_with_similar_words_is_no_failure(line: str) -> None:
    assert diagnosed(f"I (1) app: start\n{line}\n") == {}


def test_failed_check_after_a_failed_allocation_is_the_same_failure() -> None:
    check = (
        'ESP_ERROR_CHECK failed: esp_err_t 0x101 (ESP_ERR_NO_MEM) at 0x4008e1ec\nfile: "main.c" line 290\n'
        "func: app_main\nexpression: esp_bt_controller_init(&cfg)\n\nabort() was called at PC 0x4008e1ef on core 1\n\n"
        "Backtrace: 0x40083e41:0x3ffe2380\n\nRebooting...\n"
    )
    alone = analyze([check.encode()], "log").diagnoses
    assert [found.name for found in alone if found.id == "DIAG-01"] == ["ESP_ERR_NO_MEM: Bluetooth"]
    both = analyze(
        [b"E (9355) wifi:Expected to init 8 rx buffer, actual is 7\n" + check.encode()], "log"
    ).diagnoses
    assert [found.name for found in both if found.id == "DIAG-01"] == ["ESP_ERR_NO_MEM: Wi-Fi buffers"]


def test_remedy_names_what_the_component_offers() -> None:
    assert (
        "PSRAM"
        in diagnosed("E (5) cam_hal: cam_dma_config(306): frame buffer malloc failed\n")["DIAG-01"].remedy
    )
    assert "TLS buffers" in diagnosed("E (5) esp-tls: mbedtls_ssl_setup returned -0x7F00\n")["DIAG-01"].remedy


def test_figure_before_the_word_free_is_a_reading() -> None:
    log = "GC: Using 40384B, 23616B are free.\nMemoryError: memory allocation failed, allocating 1500 bytes\n"
    assert "23,616 bytes" in diagnosed(log)["DIAG-01"].finding
    assert "23,616" not in diagnosed(log.replace("GC: ", "flash memory: "))["DIAG-01"].finding


def test_largest_block_printed_before_the_reading_belongs_to_it() -> None:
    log = "largest free block: 39396\nfree heap: 49264\nE (7795) esp-tls: mbedtls_ssl_handshake returned -0x10\n"
    assert "the largest block was 39,396" in diagnosed(log)["DIAG-01"].finding


def test_reset_code_in_a_message_is_no_shortage() -> None:
    assert diagnosed("I (1) app: no memory problem so far\nI (2) app: ESP_ERR_NO_MEM is 0x101\n") == {}


def test_abort_after_a_denied_allocation_is_its_consequence() -> None:
    log = "E (5) app: failed to allocate 99 bytes\nabort() was called at PC 0x4008e1ef on core 1\n\nRebooting...\n"
    assert "in line 1" in diagnosed(log)["panic-abort"].cause
    alone = diagnosed(log[log.index("abort") :])["panic-abort"]
    assert "consequence" not in alone.cause


def test_failure_long_before_an_abort_is_not_its_cause() -> None:
    lines = "".join(f"I ({time}) app: x\n" for time in range(1_000, 60_000, 1_000))
    log = f"E (5) app: failed to allocate 99 bytes\n{lines}abort() was called at PC 0x4008e1ef on core 1\n"
    assert "consequence" not in diagnosed(log)["panic-abort"].cause


def test_null_pointer_after_a_denied_allocation_is_its_result() -> None:
    log = "E (1664) BLE_INIT: Malloc failed\n" + XTENSA.format(
        cause="LoadProhibited", pc=0x400D1234, address=0x18
    )
    assert "failure in line 1" in diagnosed(log)["deleted-object"].cause


def test_waiting_task_and_busy_task_are_told_apart() -> None:
    log = WATCHDOG.format(
        starved="E (5852) task_wdt:  - async_tcp (CPU 0/1)\n",
        running="E (5852) task_wdt: CPU 0: IDLE0\nE (5852) task_wdt: CPU 1: {}\n",
    )
    assert "all cores were idle" in diagnosed(log.format("IDLE1"))["task-watchdog"].finding
    assert "although it was running" in diagnosed(log.format("async_tcp"))["task-watchdog"].finding
    assert "ran instead" in diagnosed(log.format("ws_task"))["task-watchdog"].finding
    cut = log[: log.index("E (5852) task_wdt: CPU 1")]
    assert "idle" not in diagnosed(cut)["task-watchdog"].finding


def test_panic_of_the_task_watchdog_has_its_cause() -> None:
    log = WATCHDOG.format(
        starved="E (5852) task_wdt:  - IDLE0 (CPU 0)\n", running="E (5852) task_wdt: CPU 0: loopTask\n"
    )
    log += "E (5852) task_wdt: Aborting.\nabort() was called at PC 0x400d1537 on core 0\n\nRebooting...\n"
    assert "loopTask on core 0" in diagnosed(log)["panic-task-watchdog"].finding


def test_report_of_the_task_watchdog_without_headers_is_read() -> None:
    log = (
        "Task watchdog got triggered. The following tasks did not feed the watchdog in time:\n - IDLE (CPU 0)\n"
        "Tasks currently running:\nCPU 0: ppT\nCPU 1: IDLE\nnew client\n"
    )
    found = diagnosed(f"I (1) app: start\n{log}{log}")["task-watchdog"]
    assert found.name.endswith("kept busy by ppT")
    assert found.count == 2


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
