"""Diagnoses of chips that do not boot and of boot loops, and reset reasons of every ESP32 chip."""

from __future__ import annotations

import pytest

from hotpin_hil.analysis.analyze import analyze
from hotpin_hil.protocol.reset import reset_kind
from tests.conftest import shared_data

RESET = "ESP-ROM:esp32c3-api1-20210207\nBuild:Feb  7 2021\nrst:0x{0:x} ({1}),boot:0xc (SPI_FAST_FLASH_BOOT)\n"


def ids(log: str | bytes) -> list[str]:
    return [found.id for found in analyze([log.encode() if isinstance(log, str) else log], "log").diagnoses]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("erased", ["blank-flash"]),
        ("bootloader_bit_flipped", ["boot-loader-damaged"]),
        ("partition_table_bit", ["partition-table", "boot-loop"]),
        ("no_partition_table", ["no-application", "boot-loop"]),
        ("no_app", ["no-application", "boot-loop"]),
        ("app_bit_flipped", ["application-damaged"]),
        ("app_truncated", ["application-damaged", "boot-loop"]),
        ("no_psram", ["panic-abort", "psram-missing"]),
        ("normal", []),
    ],
)
def test_recorded_boot_gets_its_diagnosis(name: str, expected: list[str]) -> None:
    assert ids(shared_data(f"boot_logs/{name}.txt").read_bytes()) == expected


def test_abort_for_missing_psram_names_it_as_the_cause() -> None:
    abort, *_ = analyze([shared_data("boot_logs/no_psram.txt").read_bytes()], "log").diagnoses
    assert abort.cause.startswith("a consequence of the failure reported just before it")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("flash read err, 1000", "flash-read-error"),
        ("load:0xffffffff,len:-1", "boot-loader-damaged"),
        ("load:0x03660138,len:646002720", "boot-loader-damaged"),
        ("flash read err, 1000\nets_main.c 371 ", "flash-read-error"),
        ("secure boot check fail\nets_main.c 371 ", "secure-boot"),
        ("No signature block magic byte found at signature sector. Image not V2 signed?", "secure-boot"),
        ("E (60) secure_boot_v2: Secure boot signature verification failed", "secure-boot"),
        ("E (60) esp_image: Image length 1324576 doesn't fit in partition length 1048576\n"
         "E (65) boot: No bootable app partitions in the partition table", "application-too-large"),
        ("invalid header: 0x3e8c9f2a", "boot-loader-damaged"),
        ("E (88) boot: Image requires chip rev >= v3.1, but chip is v1.0", "wrong-chip"),
        ("E (88) boot_comm: mismatch chip ID, expected 0, found 9", "wrong-chip"),
        ("E (300) spi_flash: Detected size(4096k) smaller than the size in the binary image header(8192k). "
         "Probe failed.", "flash-size"),
        ("E (300) octal_psram: PSRAM chip is not connected, or wrong PSRAM line mode", "psram-missing"),
        ("E (300) spiram: SPI RAM enabled but initialization failed. Bailing out.", "psram-missing"),
    ],
)  # fmt: skip
def test_fault_of_the_start_up_has_its_diagnosis(line: str, expected: str) -> None:
    assert ids(RESET.format(1, "POWERON") + line + "\n") == [expected]


def test_watchdog_reset_of_a_chip_that_cannot_start_is_no_finding_of_its_own() -> None:
    run = RESET.format(0x10, "RTCWDT_RTC_RESET") + "Saved PC:0x4004c0dc\ninvalid header: 0x88a0f530\n"
    assert ids(run) == ["boot-loader-damaged"]
    assert ids(2 * run) == ["boot-loader-damaged"]
    hang = RESET.format(0x10, "RTCWDT_RTC_RESET") + "I (24) boot: ESP-IDF v5.4 2nd stage bootloader\n"
    assert ids(hang) == ["hardware-watchdog"]
    assert ids(hang + "E (300) quad_psram: PSRAM ID read error: 0x00ffffff\n") == [
        "hardware-watchdog",
        "psram-missing",
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("[10:00:01][D][debug:203]: Reset Reason: Brownout reset", "brown-out"),
        ("Core 0 reset reason: 8: TG1WDT_SYS_RESET", "hardware-watchdog"),
        ("I (300) app: Reset reason: ESP_RST_TASK_WDT", "hardware-watchdog"),
        ('10:00:00 RSL: STATUS1 = {"RestartReason":"Exception/panic"}', "panic-before"),
        ("[E][esp32.crash:432]: *** CRASH DETECTED ON PREVIOUS BOOT ***\n[E][esp32.crash:437]:   Reason: Task wdt",
         "panic-before"),
    ],
)  # fmt: skip
def test_failure_of_the_run_before_is_reported_if_only_the_firmware_tells(line: str, expected: str) -> None:
    assert ids(f"I (5) app: start\n{line}\n") == [expected]
    panic = "abort() was called at PC 0x401e42df on core 0\n\nRebooting...\n" + RESET.format(3, "SW_RESET")
    assert ids(f"{panic}{line}\n") == ["panic-abort"]


def test_lockup_of_a_cpu_is_reported() -> None:
    assert ids(RESET.format(0x1A, "CPU_LOCKUP") + "Core0 Saved PC:0x42122746\n") == ["cpu-lockup"]


def test_boot_loop_counts_its_runs_and_says_how_far_they_came() -> None:
    run = RESET.format(3, "RTC_SW_SYS_RST") + "I (24) boot: ESP-IDF v5.4 2nd stage bootloader\n"
    run += "I (250) main_task: Calling app_main()\nGuru Meditation Error: Core  0 panic'ed (X). \n\nRebooting...\n"
    found = {diagnosis.id: diagnosis for diagnosis in analyze([(4 * run).encode()], "log").diagnoses}
    assert "4 runs in a row" in found["boot-loop"].finding
    assert "application (3 times)" in found["boot-loop"].finding
    assert "boot-loop" not in ids(2 * run)


def test_restarts_before_the_application_prints_are_a_loop() -> None:
    run = RESET.format(3, "RTC_SW_SYS_RST") + "load:0x3fcd5820,len:0x1714\nentry 0x403cc710\n"
    assert ids(5 * run) == ["boot-loop"]
    assert ids(5 * (run + "I (24) boot: ESP-IDF v5.4 2nd stage bootloader\n")) == []
    assert ids(5 * run.replace("0x3 (RTC_SW_SYS_RST)", "0x5 (DSLEEP)")) == []


def test_resets_by_different_watchdogs_are_one_loop() -> None:
    resets = (
        RESET.format(0x12, "SUPER_WDT_RST"),
        RESET.format(7, "TG0WDT_SYS_RST"),
        RESET.format(7, "TG0WDT_SYS_RST"),
    )
    assert "boot-loop" in ids("".join(2 * resets))


def test_restarts_after_different_ends_are_no_loop() -> None:
    runs = [
        RESET.format(3, "RTC_SW_SYS_RST")
        + f"Guru Meditation Error: Core  0 panic'ed ({cause}). \n\nRebooting...\n"
        for cause in "ABCDE"
    ]
    assert "boot-loop" not in ids("".join(runs))


@pytest.mark.parametrize(
    ("code", "name", "kind"),
    [
        (0x1, "POWERON", "power-on"),
        (0xC, "RTC_SW_CPU_RST", "software"),
        (0x7, "TG0WDT_SYS_RST", "watchdog"),
        (0x12, "SUPER_WDT_RESET", "watchdog"),
        (0x10, "RTCWDT_RTC_RESET", "watchdog"),
        (0xF, "BROWN_OUT_RST", "brown-out"),
        (0x15, "USB_UART_CHIP_RESET", "USB"),
        (0x5, "DSLEEP", "sleep"),
        (None, "RTCWDT_BROWN_OUT_RESET", "brown-out"),
        (0x17, "POWER_GLITCH_RESET", "other"),
    ],
)
def test_resets_of_all_chips_have_a_kind(code: int | None, name: str, kind: str) -> None:
    assert reset_kind(code, name) == kind


@pytest.mark.parametrize(
    "text",
    [
        "Brownout detector was triggered\n",
        "E (1234) BOD: Brownout detector was triggered\n",
        "E BOD: Brownout detector was triggered\n",
        RESET.format(0xF, "BROWNOUT_RST"),
    ],
)
def test_every_form_of_a_brown_out_is_one(text: str) -> None:
    log = "I (900) app: flash led on\n" + text + RESET.format(3, "SW_RESET")
    assert ids(log) == ["brown-out"]


def test_run_before_the_first_banner_is_listed_with_its_panic() -> None:
    log = "abort() was called at PC 0x401e42df on core 0\n\nRebooting...\n" + RESET.format(3, "SW_RESET")
    boots = analyze([log.encode()], "log").boots
    assert [(boot.boot, boot.panics) for boot in boots] == [(0, 1), (1, 0)]


def test_nothing_is_claimed_of_the_time_before_the_log() -> None:
    log = RESET.format(7, "TG0WDT_SYS_RST") + "Saved PC:0x4037a1b2\n"
    (found,) = analyze([log.encode()], "log").diagnoses
    assert "the log begins with the reset" in found.finding
    assert found.evidence[-1].text == "Saved PC:0x4037a1b2"
