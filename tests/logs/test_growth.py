"""One damaged line must not delay an analysis: a line of any form takes linear time, and a number of any size is
accepted."""

from __future__ import annotations

import time

import pytest

from hotpin_hil.analysis.analyze import analyze

SHORT, LONG = 8 * 1024, 64 * 1024
"""Bytes; for a shorter line, the fixed cost of an analysis would dominate."""
SMALL_S = 0.03
"""CPU seconds; below this, the time is not compared."""
RATIO_MAX = 24
"""Time for the long line divided by that for the short line: 8 if linear, 64 if quadratic."""

HEADS = (
    "", "I (1000) app: ", "E (1000) app: ", "W (1000) MEM_MGR: WARNING: Internal ",
    "E (1) MEM_MGR: CRITICAL: fragmentation ", "rst:0x1 (", "ets Jul ", "@! {", "Guru Meditation Error: Core ",
    "Backtrace:", "abort() was called at PC 0x", "assert failed: ", "CORRUPT HEAP: ", "I (1) heap_init: At ",
    "E (1) task_wdt:  - ", "E (1) boot: ", "E (1) esp_image: ", "[  1250][E][", "[D][", "I (10:15:01.120) ", "E ",
    "Heap summary for capabilities 0x", "PC      : 0x", "I (5) STATE: No room for camera mode: ",
    "I (5) TTS: Free DMA-capable: ", "E (5) wifi:alloc eb len=", "Mem alloc fail. size 0x", "  16 bytes (@ 0x",
    "10:00:00 -> I (5) app: ", "free heap ", "\x1b[", "E (5) app: failed to create ", "(",
    "├ ALIVE: ", "│ ALIVE", "'free heap' >> ", '{"StatusMEM":{"Heap":1,"PsrMax":', " No. of 1-blocks: max free ",
    "Free heap/contiguous: ", "freed by 0x", "  At 0x3ffb len 1 free ",
    "I (5) cpu_start: ", "I (5) cam_hal: Allocating ", "I (5) boot: ESP-IDF ", "E (5) i2s_common: ",
    "E (5) esp-tls: SSL - ", "terminate called after ", 'assertion "', "***ERROR*** A stack overflow in task ",
    "Stack smashing protect failure!", "Saved PC:0x", "ESP-ROM:esp32", "Core  0 register dump:",
    "ELF file SHA256: ", "Brownout detector ", "MEPC    : 0x", "--- 0x", "PS C:\\", "I (5) MEM_MGR: ║   Free: ",
    "invalid header: 0x", "csum err:0x", "I (5) app_init: Project name: ",
    "I (5) STATE_MGR: === TRANSITION TO ", "MemoryError: memory allocation failed, allocating ",
    "W (5) app: no ", "x was called but failed to allocate ", "E (5) TTS: buffer of ",
    "I (5) AUDIO: DMA memory free ", "E (5) app: m", "I (5) esp_psram: Found ", "  At 0x",
    "abc was called but ", "1 bytes 'leaked' in trace (", "I (5) STATE: camera -> ", "E (5) app: I (5) ",
    "E early: ", "W (2026-03-01 10:15:01.120) app: ", "ESP_ERROR_CHECK failed: esp_err_t 0x",
    "Reset reason: ", "Task watchdog got triggered ", "OSError: ", "E (5) app: esp_", "E (5) Dynamic Impl: alloc(",
    "failed to allocate ", "Zigbee stack assertion failed ", "No signature block ", "memory 9B are free ",
)  # fmt: skip
FILLINGS = ("9", "A", "_ ", "@1 {", "\r\x1b[")


def seconds(line: bytes) -> float:
    began = time.process_time()
    analyze([b"I (999) app: x\n", line, b"\nI (1001) app: y\n"], "log")
    return time.process_time() - began


@pytest.mark.parametrize("head", HEADS)
def test_time_of_a_line_grows_with_its_length_only(head: str) -> None:
    slow = []
    for filling in FILLINGS:
        long, short = ((head + filling * (size // len(filling))).encode() for size in (LONG, SHORT))
        took = seconds(long)
        if took > SMALL_S:
            took = min(took, seconds(long), seconds(long))
            base = max(min(seconds(short) for _ in range(3)), SMALL_S / 8)
            if took > SMALL_S and took / base > RATIO_MAX:
                slow.append(f"{filling!r}: {took:.3f} s, {took / base:.0f} times as long")
    assert slow == []


@pytest.mark.parametrize("number", ["9" * 5_000, "1e999", "-1", "0x" + "f" * 5_000, "NaN", "1" * 11])
@pytest.mark.parametrize("head", HEADS)
def test_no_number_fails(head: str, number: str) -> None:
    for text in (
        f"{head}{number}",
        f"{head}{number} bytes (threshold: {number})",
        f"{head}{number}}}*0000",
        number,
    ):
        analyze([b"I (999) app: x\n", text.encode(), b"\n"], "log")
