"""Diagnoses made for recorded logs, recorded panics, and typical failures."""

from __future__ import annotations

import pytest

from hotpin_hil.analysis.diagnosis import diagnose
from hotpin_hil.analysis.model import Confidence, Diagnosis
from hotpin_hil.logs.reader import read_events
from tests.conftest import shared_data


def diagnosed(log: bytes | str) -> dict[str, Diagnosis]:
    """Analyses a log; returns its diagnoses by name."""
    found = diagnose(read_events(log.encode() if isinstance(log, str) else log))
    assert len({diagnosis.name for diagnosis in found}) == len(found)
    return {diagnosis.name: diagnosis for diagnosis in found}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "SerialMonitor_Logs_17cac49.txt",
            {
                "Fragmentation figure counts separate heaps": 12,
                "Stale statistics": 4,
                "Task watchdog: a task was leaked": 12,
            },
        ),
        (
            "SerialMonitor_Logs_e2a27ac.txt",
            {"Fragmentation figure counts separate heaps": 1, "Stale statistics": 4},
        ),
        ("serial_monitor_2a9fccf.txt", {"LoadStoreError on the IRAM heap": 1}),
        ("serial_monitor_a794485.txt", {"ESP_ERR_NO_MEM: TTS out of DMA memory": 5}),
        (
            "serialmonitorlogs_a67f01a.txt",
            {"Fragmentation figure counts separate heaps": 1, "Stale statistics": 3},
        ),
    ],
)
def test_recorded_boards_get_their_diagnoses_and_no_others(name: str, expected: dict[str, int]) -> None:
    found = diagnosed(shared_data(f"real_logs/{name}").read_bytes())
    assert {name: diagnosis.count for name, diagnosis in found.items()} == expected


def test_load_store_error_is_placed_in_the_iram_heap_by_the_memory_map() -> None:
    found = diagnosed(shared_data("real_logs/serial_monitor_2a9fccf.txt").read_bytes())
    diagnosis = found["LoadStoreError on the IRAM heap"]
    assert diagnosis.confidence is Confidence.FACT
    assert "0x4009b398" in diagnosis.finding
    assert "0x4009B0B4" in diagnosis.finding
    assert {evidence.line for evidence in diagnosis.evidence} == {358}
    assert diagnosis.evidence[-1].text.startswith("backtrace: 0x400")


# --- Typical failures, modelled on recorded logs ---

BOOT = """ets Jul 29 2019 12:21:46

rst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)
I (29) boot: ESP-IDF v5.4.2 2nd stage bootloader
I (566) cpu_start: Multicore app
I (1523) heap_init: At 3FFC9480 len 00016B80 (90 KiB): DRAM
I (1548) heap_init: At 4009AD60 len 000052A0 (20 KiB): IRAM
I (1597) main_task: Calling app_main()
I (7245) STATE_MGR: === TRANSITION TO CAMERA MODE ===
I (7620) STATE_MGR: ✅ Camera mode transition complete
"""
TO_VOICE = "I (12586) STATE_MGR: === TRANSITION TO VOICE MODE ===\n"
PANIC = """Guru Meditation Error: Core  {core} panic'ed ({cause}). Exception was unhandled.

Core  {core} register dump:
PC      : 0x{pc:08x}  PS      : 0x00060d30  A0      : 0x00000000  A1      : 0x3fff5620
EXCVADDR: 0x{address:08x}  LBEG    : 0x400de8b1  LEND    : 0x400de8c5  LCOUNT  : 0x00000fff

Backtrace: 0x400de8bc:0x3fff5620{mark}

Rebooting...
"""
RESET = "ets Jul 29 2019 12:21:46\n\nrst:0x{code:x} ({name}),boot:0x13 (SPI_FAST_FLASH_BOOT)\n"


def panic(cause: str, address: int, pc: int = 0x400DE8BF, mark: str = "") -> str:
    return PANIC.format(core=1, cause=cause, address=address, pc=pc, mark=mark)


def test_i2s_out_of_dma_reports_the_free_dma_memory() -> None:
    found = diagnosed(
        BOOT
        + TO_VOICE
        + "I (13064) AUDIO:   Free DMA-capable: 27267 bytes\n"
        + "E (13080) i2s_common: i2s_alloc_dma_desc(509): allocate DMA buffer failed\n"
        + "E (13085) i2s_std: i2s_std_set_slot(100): allocate memory for dma descriptor failed\n"
        + "E (13090) AUDIO: Failed to init TX: ESP_ERR_NO_MEM\n"
        + "E (13095) STATE_MGR: ❌ Failed to init audio: ESP_ERR_NO_MEM (took 31 ms)\n"
    )
    assert set(found) == {"ESP_ERR_NO_MEM: I2S out of DMA memory"}
    diagnosis = found["ESP_ERR_NO_MEM: I2S out of DMA memory"]
    assert diagnosis.id == "DIAG-01"
    assert "25,980" in diagnosis.finding
    assert "0.0 s before the failure 27,267 bytes of DMA-capable memory were free" in diagnosis.finding
    assert "not the sum" in diagnosis.remedy


@pytest.mark.parametrize(
    ("text", "name", "finding"),
    [
        (panic("LoadStoreError", 0x4009B398), "LoadStoreError on the IRAM heap", "0x4009AD60"),
        (
            panic("InstructionFetchError", 0x3FFB1234, 0x3FFB1234, " |<-CORRUPTED"),
            "InstructionFetchError: a jump to an address without code",
            "which is data memory. The stack is corrupted.",
        ),
        (
            panic("StoreProhibited", 0x44),
            "StoreProhibited at a small offset: NULL pointer",
            "offset 0x44",
        ),
        (panic("StoreProhibited", 0x3F400000), "Panic: StoreProhibited", "StoreProhibited"),
        (
            RESET.format(code=8, name="TG1WDT_SYS_RESET"),
            "TG1WDT_SYS_RESET: reset by a hardware watchdog",
            "went silent",
        ),
        (RESET.format(code=15, name="RTCWDT_BROWN_OUT_RESET"), "Brown-out", "supply"),
        (
            "E (9000) task_wdt: Task watchdog got triggered. The following tasks/users did not reset the watchdog in "
            "time:\nE (9000) task_wdt:  - ws_task (CPU 0/1)\nE (9000) task_wdt: Tasks currently running:\n",
            "Task watchdog",
            "ws_task",
        ),
        (
            "E (9000) camera: Detected camera not supported.\n",
            "Camera not supported after re-init",
            "sensor",
        ),
    ],
)
def test_failure_shape_gets_its_diagnosis(text: str, name: str, finding: str) -> None:
    found = diagnosed(BOOT + text)
    assert set(found) == {name}
    assert finding in found[name].finding
    assert found[name].evidence


def test_watchdog_reset_that_ends_a_panic_is_reported_once() -> None:
    found = diagnosed(
        BOOT + panic("Interrupt wdt timeout on CPU0", 0) + RESET.format(code=8, name="TG1WDT_SYS_RESET")
    )
    assert set(found) == {"Interrupt watchdog"}


def test_crash_in_a_transition_links_transition_panic_and_cause() -> None:
    found = diagnosed(
        BOOT + TO_VOICE + panic("StoreProhibited", 0x44) + RESET.format(code=12, name="SW_CPU_RESET")
    )
    diagnosis = found["Crash during a mode transition"]
    assert diagnosis.id == "DIAG-04"
    assert diagnosis.confidence is Confidence.FACT
    assert diagnosis.finding == "The board crashed during the transition to voice mode: StoreProhibited."
    assert [evidence.text for evidence in diagnosis.evidence] == [
        "=== TRANSITION TO VOICE MODE ===",
        "Guru Meditation Error: Core  1 panic'ed (StoreProhibited). Exception was unhandled.",
        "reset: SW_CPU_RESET",
    ]
    assert diagnosis.cause.startswith("StoreProhibited at a small offset: NULL pointer")


@pytest.mark.parametrize(
    ("after", "confidence", "cause"),
    [
        (RESET.format(code=8, name="TG1WDT_SYS_RESET"), Confidence.INFERENCE, "TG1WDT_SYS_RESET"),
        ("I (560) cpu_start: Multicore app\n", Confidence.INFERENCE, "a reset"),
        (RESET.format(code=1, name="POWERON_RESET"), None, ""),
        ("I (13000) STATE_MGR: ✅ Voice mode transition complete\n" + panic("LoadProhibited", 0), None, ""),
    ],
    ids=["watchdog", "no_banner", "power_on_is_no_crash", "transition_had_ended"],
)
def test_reset_in_a_transition(after: str, confidence: Confidence | None, cause: str) -> None:
    found = diagnosed(BOOT + TO_VOICE + after)
    diagnosis = found.get("Crash during a mode transition")
    assert (diagnosis and diagnosis.confidence) == confidence
    if diagnosis is not None:
        assert diagnosis.finding.endswith(f": {cause}.")


def test_unfinished_transition_at_the_end_of_a_log_is_not_a_crash() -> None:
    assert diagnosed(BOOT + TO_VOICE) == {}


def test_evidence_quotes_log_text_unescaped() -> None:
    """The analysis keeps control characters; only the output functions escape text."""
    hostile = "<script>alert(1)</script>\x1b]0;title\x07"
    found = diagnosed(BOOT + f"E (9000) TTS: Failed to allocate memory {hostile}\n")
    (diagnosis,) = found.values()
    assert hostile in diagnosis.evidence[-1].text
