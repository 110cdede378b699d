"""Compares panics of the native runtime line by line with recorded panics of the real ESP-IDF, and checks the runtime's
core dump."""

from __future__ import annotations

import io
import re
import struct
import zlib
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from tests.conftest import shared_data
from tests.support.native_board import (
    COREDUMP_OFFSET,
    COREDUMP_SIZE,
    REASON_INT_WDT,
    REASON_PANIC,
    REASON_TASK_WDT,
    STATUS_SW_CPU_RESET,
    Board,
    build_runtime_test,
)
from tests.support.native_build import NATIVE, build_native

HOST_NOTE = re.compile(r"\(host process: code addresses are offsets into the ELF, .*\)")

RECORDED = {
    "null_load": 0,
    "null_store": 1,
    "abort": 2,
    "assert": 3,
    "null_call": 6,
    "illegal": 7,
    "heap_damage": 9,
}
"""Cases of the runtime's test program that also ran on the real ESP-IDF: name → number in the recording."""


@pytest.fixture(scope="session")
def program() -> Path:
    return build_runtime_test()


@pytest.fixture
def board(tmp_path: Path, program: Path) -> Board:
    return Board(tmp_path, program)


def recording() -> list[str]:
    return shared_data("panic_logs/panics.txt").read_text().splitlines()


def recorded_case(number: int) -> list[str]:
    """Output of the real ESP-IDF from the crash to the reset."""
    lines = recording()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"CASE {number} "))
    end = lines.index("Rebooting...", start)
    return lines[start + 1 : end + 1]


def recorded_reason_after(number: int) -> int:
    """The recorded esp_reset_reason() in the boot after a case."""
    return int(re.search(rf"^CASE {number + 1} reset_reason=(\d+)$", "\n".join(recording()), re.MULTILINE)[1])  # type: ignore[index]


def shape(lines: list[str]) -> list[str]:
    """Lines without the parts that differ between crashes: addresses, times, source positions, sizes."""
    result = []
    for text in lines:
        line = re.sub(r"^([IE]) \(\d+\) ", r"\1 (T) ", text)
        line = re.sub(r"0x[0-9a-f]{8}\b", "0xXXXXXXXX", line)
        line = re.sub(r"^Backtrace:( 0xXXXXXXXX:0xXXXXXXXX)+$", "Backtrace: FRAMES", line)
        line = re.sub(r"^(ELF file SHA256:) [0-9a-f]{9}$", r"\1 S", line)
        line = re.sub(r"^(Memory dump at \w+:)( [0-9a-f]{8}){3}$", r"\1 WORDS", line)
        line = re.sub(r"^assert failed: \w+ \w+\.c:\d+ \(.*\)$", "assert failed: WHERE (WHAT)", line)
        line = re.sub(r"^CORRUPT HEAP: .*", "CORRUPT HEAP: WHAT", line)
        line = re.sub(r"(Erase flash) \d+ bytes @ 0x[0-9a-f]+$", r"\1 N bytes @ ADDRESS", line)
        line = re.sub(r"(Write end offset) 0x[0-9a-f]+,", r"\1 N,", line)
        line = re.sub(r"(partition 'coredump' @) [0-9a-f]+ ", r"\1 ADDRESS ", line)
        line = re.sub(r"(Found core dump) \d+ bytes in flash @ 0x[0-9a-f]+$", r"\1 N bytes", line)
        result.append(line)
    return result


def crash(board: Board, case: str) -> list[str]:
    """The output lines since the crash. Exactly one line must mark the crash as a crash of a host process; this line is
    left out."""
    result = board.run(case)
    assert result.status == STATUS_SW_CPU_RESET
    lines = result.app.splitlines()
    notes = [i for i, line in enumerate(lines) if HOST_NOTE.fullmatch(line)]
    assert len(notes) == 1, result.app
    assert lines[notes[0] + 3].startswith("Backtrace:")
    del lines[notes[0]]
    return lines


def reason_after(board: Board) -> int:
    found = re.search(r"^rtc count 1 reason (\d+)$", board.run("rtc", rom_cause=12).text, re.MULTILINE)
    assert found
    return int(found[1])


@pytest.mark.parametrize("case", RECORDED)
def test_panic_matches_the_recording_line_by_line(board: Board, case: str) -> None:
    number = RECORDED[case]
    ours, recorded = shape(crash(board, case)), shape(recorded_case(number))
    assert ours == recorded
    assert reason_after(board) == recorded_reason_after(number) == REASON_PANIC


@pytest.mark.parametrize(
    ("case", "cause"),
    [("null_load", 28), ("null_store", 29), ("null_call", 20), ("illegal", 0)],
)
def test_an_exception_has_the_recorded_name_and_cause(board: Board, case: str, cause: int) -> None:
    lines = crash(board, case)
    recorded = recorded_case(RECORDED[case])
    assert lines[0] == recorded[0]
    for dump in (lines, recorded):
        registers = dict(re.findall(r"(\w+) *: 0x([0-9a-f]{8})  ", "\n".join(dump)))
        assert len(registers) == 24
        assert int(registers["EXCCAUSE"], 16) == cause
    ours = dict(re.findall(r"(\w+) *: 0x([0-9a-f]{8})  ", "\n".join(lines)))
    assert f"Backtrace: 0x{ours['PC']}:" in "\n".join(lines)
    theirs = dict(re.findall(r"(\w+) *: 0x([0-9a-f]{8})  ", "\n".join(recorded)))
    if case in ("null_load", "null_call", "illegal"):  # EXCVADDR: the recorded store went to 0x44
        assert ours["EXCVADDR"] == theirs["EXCVADDR"]


def test_a_call_to_null_names_the_caller(board: Board) -> None:
    backtrace = next(line for line in crash(board, "null_call") if line.startswith("Backtrace:"))
    frames = backtrace.split()[1:]
    assert frames[0].startswith("0x00000000:")
    assert len(frames) >= 2


# Not recorded: the format of ESP-IDF v5.4's panic handler, assembled from recorded parts.


def after_headline(case: str) -> list[str]:
    """A recorded exception, starting at the register dump."""
    lines = shape(recorded_case(RECORDED[case]))
    return lines[lines.index("Core  0 register dump:") :]


def test_a_stack_overflow_names_its_task(board: Board) -> None:
    lines = shape(crash(board, "stack"))
    assert lines == [
        "Guru Meditation Error: Core  0 panic'ed (Unhandled debug exception). ",
        "Debug exception reason: Stack canary watchpoint triggered (deep) ",
        *after_headline("null_load"),
    ]
    assert reason_after(board) == REASON_PANIC


@pytest.mark.parametrize("case", ["busy_masked", "endless_masked"])
def test_interrupts_masked_for_too_long_trigger_the_interrupt_watchdog(board: Board, case: str) -> None:
    assert shape(crash(board, case)) == [
        "Guru Meditation Error: Core  0 panic'ed (Interrupt wdt timeout on CPU0). ",
        "",
        *after_headline("null_load"),
    ]
    assert reason_after(board) == REASON_INT_WDT


@pytest.mark.parametrize(("case", "who"), [("busy", "IDLE0"), ("endless", "IDLE0"), ("unfed_task", "main")])
def test_task_that_does_not_feed_triggers_the_task_watchdog(board: Board, case: str, who: str) -> None:
    lines = shape(crash(board, case))
    start = next(i for i, line in enumerate(lines) if "task_wdt" in line)
    recorded = shape(recorded_case(RECORDED["abort"]))
    tail = recorded[recorded.index("Backtrace: FRAMES") :]
    running = "IDLE0" if who == "main" else "main"
    assert lines[start:] == [
        "E (T) task_wdt: Task watchdog got triggered. The following tasks/users did not reset the watchdog in time:",
        f"E (T) task_wdt:  - {who} (CPU 0)",
        "E (T) task_wdt: Tasks currently running:",
        f"E (T) task_wdt: CPU 0: {running}",
        "E (T) task_wdt: CPU 1: IDLE1",
        "E (T) task_wdt: Aborting.",
        "E (T) task_wdt: Print CPU 0 (current core) backtrace",
        *4 * [""],
        *tail,
    ]
    assert reason_after(board) == REASON_TASK_WDT


ABORT = r"abort\(\) was called at PC 0x[0-9a-f]{8} on core 0\n"
ABORTS = {
    "error_check": r"ESP_ERROR_CHECK failed: esp_err_t 0x101 \(ESP_ERR_NO_MEM\) at 0x[0-9a-f]{8}\nfile: .*\n\n"
    + ABORT,
    "stale_handle": r"\nassert failed: xQueueSemaphoreTake \(handle 0x",
    "task_returns": r"FreeRTOS Task \"returner\" should not return, Aborting now!",
    "print_masked": r"out of it\n\n" + ABORT + ".*a newlib lock was requested",
    "print_in_walk": r"\n" + ABORT + ".*a newlib lock was requested",
    "delete_holder": r"\nassert failed: vTaskDelete \(the task holds a mutex",
}


@pytest.mark.parametrize("case", ABORTS)
def test_host_build_aborts_where_the_chip_aborts(board: Board, case: str) -> None:
    result = board.run(case)
    assert re.search(ABORTS[case], result.app, re.DOTALL), result.app
    assert result.app.endswith("Core dump has been saved to flash.\nRebooting...\n")
    assert result.status == STATUS_SW_CPU_RESET
    assert reason_after(board) == REASON_PANIC


# No PSRAM


def test_without_psram_the_default_configuration_aborts_as_recorded(tmp_path: Path) -> None:
    strict = build_native(
        "native-test-strict",
        "runtime_test.elf",
        "-DHOTPIN_FIRMWARE=OFF",
        f"-DHOTPIN_TEST_DEFAULTS={NATIVE / 'test/sdkconfig.strict'}",
    )
    result = Board(tmp_path, strict).run("log", psram_bytes=0)
    assert result.status == STATUS_SW_CPU_RESET
    lines = [line for line in result.text.splitlines() if not HOST_NOTE.fullmatch(line)]
    recorded = shared_data("boot_logs/no_psram.txt").read_text().splitlines()
    start = next(i for i, line in enumerate(recorded) if "This chip is ESP32-D0WD" in line)
    recorded = recorded[start : recorded.index("Rebooting...") + 1]
    assert recorded[-1] == "Rebooting..."

    def early(lines: list[str]) -> list[str]:
        """Removes the parts that may differ this early in the boot: the chip has no ELF hash yet, and the emulator's
        backtrace ends in a corrupted frame."""
        text = "\n".join(shape([line.replace(" |<-CORRUPTED", "") for line in lines]))
        return re.sub(r"(called at PC) \w+|(SHA256:).*", r"\1\2", text).splitlines()

    assert early(lines) == early(recorded)


# Core dump


def dump_lines(text: str) -> list[str]:
    return shape([line for line in text.splitlines() if "core_dump" in line or "checksum=" in line])


def recorded_start(boot: int) -> list[str]:
    """Core dump messages of the real ESP-IDF in a recorded boot, before app_main."""
    boots = "\n".join(recording()).split("ets Jul 29 2019 12:21:46")[1:]
    return dump_lines(boots[boot].split("Calling app_main()")[0])


def flash_partition(board: Board) -> bytes:
    with board.flash.open("rb") as file:
        file.seek(COREDUMP_OFFSET)
        return file.read(COREDUMP_SIZE)


def test_core_dump_messages_at_start_match_the_recordings(board: Board) -> None:
    first = board.run("null_load").text.split("Calling app_main()")[0]
    assert dump_lines(first) == recorded_start(0)
    assert dump_lines(board.run("rtc", rom_cause=12).text) == recorded_start(1)


def test_the_core_dump_is_an_elf_with_registers_cause_and_words(board: Board) -> None:
    text = board.run("assert").app
    partition = flash_partition(board)
    length, version, _, _, _, revision = struct.unpack_from("<6I", partition)
    assert (version, revision) == (0x0102, 301)
    assert f"Write end offset {length:#x}," in text
    assert zlib.crc32(partition[: length - 4]) == struct.unpack_from("<I", partition, length - 4)[0]
    elf = ELFFile(io.BytesIO(partition[24 : length - 4]))
    assert (elf.header.e_type, elf.header.e_machine) == ("ET_CORE", "EM_XTENSA")
    notes = {
        note["n_name"]: note for segment in elf.iter_segments("PT_NOTE") for note in segment.iter_notes()
    }
    assert set(notes) == {"CORE", "ESP_CORE_DUMP_INFO", "ESP_EXTRA_INFO", "ESP_PANIC_DETAILS"}
    assert notes["ESP_CORE_DUMP_INFO"]["n_descdata"][4:13] == b"5a5a5a5a5"
    details = notes["ESP_PANIC_DETAILS"]["n_descdata"].decode()
    assert details in text
    assert details.startswith("assert failed: case_assert ")


def test_damaged_core_dump_is_detected_by_its_checksum(board: Board) -> None:
    board.run("null_load")
    with board.flash.open("r+b") as file:
        file.seek(COREDUMP_OFFSET + 100)
        byte = file.read(1)[0]
        file.seek(COREDUMP_OFFSET + 100)
        file.write(bytes([byte ^ 1]))
    lines = dump_lines(board.run("rtc", rom_cause=12).text)
    assert lines[2] == "E (T) esp_core_dump_flash: Core dump data check failed:"
    assert re.match(r"Calculated checksum='[0-9a-f]{8}'", lines[3])
    assert re.match(r"Image checksum='[0-9a-f]{8}'", lines[4])
    assert lines[3].split("=")[1] != lines[4].split("=")[1]


def test_a_core_dump_with_an_impossible_size_is_named(board: Board) -> None:
    with board.flash.open("r+b") as file:
        file.seek(COREDUMP_OFFSET)
        file.write(struct.pack("<I", COREDUMP_SIZE + 1))
    lines = dump_lines(board.run("rtc").text)
    assert lines[2:] == [f"E (T) esp_core_dump_flash: Incorrect size of core dump image: {COREDUMP_SIZE + 1}"]


def test_dump_without_a_partition_prints_the_recorded_messages(board: Board) -> None:
    with board.flash.open("r+b") as file:
        table = (
            file.read(0x8000 + 0xC00)[0x8000:]
            .replace(b"coredump", b"elsewise")
            .replace(b"\x01\x03", b"\x01\x40", 1)
        )
        file.seek(0x8000)
        file.write(table)
    result = board.run("null_load")
    assert dump_lines(result.text.split("Calling app_main()")[0]) == [
        "I (T) esp_core_dump_flash: Init core dump to flash",
        *2 * ["E (T) esp_core_dump_flash: No core dump partition found!"],
    ]
    # 0x7bd5c66f is the CRC of 12 zero bytes; public reports of this message show the same value.
    assert [re.sub(r"^(.) \(\d+\) ", r"\1 (T) ", line) for line in result.app.splitlines()[-6:]] == [
        "I (T) esp_core_dump_flash: Save core dump to flash...",
        "E (T) esp_core_dump_flash: Core dump flash config is corrupted! CRC=0x7bd5c66f instead of 0x0",
        "E (T) esp_core_dump_elf: Elf write init failed!",
        "E (T) esp_core_dump_common: Core dump write failed with error=-1",
        "I (T) esp_core_dump_flash: Core dump has been saved to flash.",
        "Rebooting...",
    ]
