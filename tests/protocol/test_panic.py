"""Tests the panic parser with recordings of the real handler and with confusing lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotpin_hil.protocol.log import LineSplitter
from hotpin_hil.protocol.panic import Panic, PanicFinder, StackFrame, find_panics

REPO = Path(__file__).resolve().parents[2]
RECORDED = REPO.parent / "shared" / "panic_logs" / "panics.txt"

needs_recordings = pytest.mark.skipif(
    not RECORDED.exists(), reason="the recorded panics (../shared/panic_logs) are not on this machine"
)

DUMP = (
    "Core  1 register dump:\r\n"
    "PC      : 0x400de8bf  PS      : 0x00060d30  A0      : 0x00000000  A1      : 0x3fff5620  \r\n"
    "A14     : 0x3ffe46bc  A15     : 0x0000005b  SAR     : 0x00000004  EXCCAUSE: 0x00000003  \r\n"
    "EXCVADDR: 0x4009b398  LBEG    : 0x400de8b1  LEND    : 0x400de8c5  LCOUNT  : 0x00000fff  \r\n"
)
LOAD_STORE = (
    "Guru Meditation Error: Core  1 panic'ed (LoadStoreError). Exception was unhandled.\r\n\r\n"
    + DUMP
    + "\r\n\r\nBacktrace: 0x400de8bc:0x3fff5620 0x400DE84A:0x3FFF5650\r\n\r\n\r\n\r\n\r\n"
    "ELF file SHA256: b2fc75dc3\r\n\r\nRebooting...\r\n"
)


def only(text: str) -> Panic:
    (panic,) = find_panics(text.encode())
    return panic


@needs_recordings
def test_every_recorded_panic_is_read_and_nothing_else() -> None:
    panics = find_panics(RECORDED.read_bytes())
    assert [(panic.cause, panic.core, len(panic.backtrace)) for panic in panics] == [
        ("LoadProhibited", 0, 3),
        ("StoreProhibited", 0, 3),
        ("abort", 0, 6),
        ("assert", None, 6),
        ("panic in the panic handler", None, 0),
        ("InstrFetchProhibited", 0, 3),
        ("IllegalInstruction", 0, 3),
        ("assert", None, 9),
    ]
    whole = [panic for panic in panics if panic.cause != "panic in the panic handler"]
    assert {panic.elf_sha256 for panic in whole} == {"b2fc75dc3"}
    assert all(panic.dump_saved and panic.is_complete and not panic.is_host for panic in whole)
    assert [len(panic.registers) for panic in whole] == [24, 24, 0, 0, 24, 24, 0]
    assert panics[0].registers["PC"] == 0x400D70DA
    assert panics[0].excvaddr == 4
    assert panics[0].backtrace[0] == StackFrame(0x400D70D7, 0x3FFB4990)
    assert panics[-1].details == ("CORRUPT HEAP: Bad tail at 0x3ffbe0f4. Expected 0xbaad5678 got 0x00000000",)
    assert panics[-1].headline.startswith("assert failed: multi_heap_free multi_heap_poisoning.c:279")


@needs_recordings
def test_offsets_name_the_text_of_the_panic() -> None:
    text = RECORDED.read_bytes()
    for panic in find_panics(text):
        part = text[panic.offset : panic.end]
        first = panic.details[0] if panic.cause == "assert" and panic.details else panic.headline
        assert part.startswith(first.encode())
        assert panic.cause == "panic in the panic handler" or part.rstrip().endswith(b"Rebooting...")


def test_an_exception_is_read_whole() -> None:
    panic = only(LOAD_STORE)
    assert (panic.cause, panic.core, panic.excvaddr) == ("LoadStoreError", 1, 0x4009B398)
    assert panic.backtrace == (StackFrame(0x400DE8BC, 0x3FFF5620), StackFrame(0x400DE84A, 0x3FFF5650))
    assert not panic.is_corrupted
    assert panic.is_complete
    assert panic.elf_sha256 == "b2fc75dc3"


def test_corrupted_and_continued_backtraces_are_marked() -> None:
    panic = only(LOAD_STORE.replace("0x3FFF5650", "0x3FFF5650 |<-CORRUPTED"))
    assert panic.is_corrupted
    assert len(panic.backtrace) == 2
    assert only(LOAD_STORE.replace("0x3FFF5650", "0x3FFF5650 |<-CONTINUES")).states[0].mark == "CONTINUES"


def test_both_cores_of_a_watchdog_are_kept_apart() -> None:
    """Each core has a register dump and a backtrace; the hung core comes first."""
    other = DUMP.replace("Core  1", "Core  0").replace("0x400de8bf", "0x40081234")
    panic = only(
        "Guru Meditation Error: Core  1 panic'ed (Interrupt wdt timeout on CPU1). \r\n\r\n"
        f"{DUMP}\r\n\r\nBacktrace: 0x400de8bc:0x3fff5620\r\n\r\n\r\n"
        f"{other}\r\n\r\nBacktrace: 0x40081231:0x3ffb2000 |<-CORRUPTED\r\n\r\nRebooting...\r\n"
    )
    assert panic.cause == "Interrupt wdt timeout on CPU1"
    assert [(state.core, state.registers["PC"], state.mark) for state in panic.states] == [
        (1, 0x400DE8BF, ""),
        (0, 0x40081234, "CORRUPTED"),
    ]
    assert not panic.is_corrupted


def test_headline_after_an_unfinished_log_line_is_found() -> None:
    panic = only("I (123) STATE: to voiceGuru Meditation Error: Core  0 panic'ed (IllegalInstruction). x\r\n")
    assert panic.headline.startswith("Guru Meditation Error")
    assert (panic.cause, panic.is_complete) == ("IllegalInstruction", False)


def test_lines_added_by_idf_monitor_are_ignored() -> None:
    """`idf.py monitor` inserts lines with decoded addresses. 'abort() was called' in an inserted line is not a
    panic."""
    note = "--- 0x400de8bf: abort() was called at C:/x.c:12\r\n"
    panic = only(
        LOAD_STORE.replace("\r\n\r\nBacktrace", f"\r\n{note}\r\nBacktrace").replace(DUMP, note + DUMP)
    )
    assert len(panic.backtrace) == 2
    assert panic.details == ()


def test_truncated_panic_is_parsed_up_to_its_end() -> None:
    panic = only(LOAD_STORE[: LOAD_STORE.index("EXCVADDR")])
    assert panic.registers["A15"] == 0x5B
    assert panic.backtrace == ()
    assert panic.excvaddr is None
    assert not panic.is_complete


def test_a_reset_ends_a_panic_whose_end_was_lost() -> None:
    cut = LOAD_STORE[: LOAD_STORE.index("ELF file")]
    panics = find_panics(
        (
            cut + "rst:0xc (SW_CPU_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\nELF file SHA256: 123456789\r\n"
        ).encode()
    )
    assert [(panic.elf_sha256, panic.is_complete) for panic in panics] == [("", False)]


def test_next_panic_is_not_merged_with_the_last() -> None:
    cut = LOAD_STORE[: LOAD_STORE.index("ELF file")]
    causes = [
        panic.cause for panic in find_panics((cut + LOAD_STORE.replace("LoadStoreError", "Other")).encode())
    ]
    assert causes == ["LoadStoreError", "Other"]


def test_the_task_watchdogs_abort_is_one_panic() -> None:
    """If the task watchdog panics, ESP-IDF prints no 'abort()' line, but the virtual board does."""
    end = "\r\n\r\nBacktrace: 0x400de8bc:0x3fff5620\r\n\r\nRebooting...\r\n"
    assert only("E (50342) task_wdt: Aborting.\r\n\r\n" + end).cause == "task watchdog"
    panic = only(
        "E (50342) task_wdt: Aborting.\r\n\r\nabort() was called at PC 0x000012ab on core 0\r\n" + end
    )
    assert (panic.cause, panic.core) == ("task watchdog", 0)
    assert panic.details == ("abort() was called at PC 0x000012ab on core 0",)


def test_watchdog_that_only_warns_is_not_a_panic() -> None:
    text = (
        "E (50342) task_wdt: Task watchdog got triggered. The following tasks did not reset it in time:\r\n"
        "E (50342) task_wdt: Print CPU 0 (current core) backtrace\r\n\r\n\r\n"
        "Backtrace: 0x400F4D8B:0x3FFB21E0 0x40084521:0x3FFB2210\r\n"
    )
    assert find_panics(text.encode()) == []


def test_an_abort_with_both_cores_backtraces_keeps_them_apart() -> None:
    """After abort() the handler prints no registers, so no heading names the core of each backtrace."""
    panic = only(
        "abort() was called at PC 0x4008a1b2 on core 1\r\n\r\n\r\nBacktrace: 0x400de8bc:0x3fff5620\r\n\r\n"
        "\r\n\r\nBacktrace: 0x40081231:0x3ffb2000 |<-CORRUPTED\r\n\r\nRebooting...\r\n"
    )
    assert [state.backtrace[0].pc for state in panic.states] == [0x400DE8BC, 0x40081231]
    assert not panic.is_corrupted


def test_reason_of_a_failed_check_is_kept() -> None:
    panic = only(
        'ESP_ERROR_CHECK failed: esp_err_t 0x101 (ESP_ERR_NO_MEM) at 0x400d1234\r\nfile: "./main/main.c" line 17'
        "\r\nfunc: app_main\r\nexpression: start()\r\n\r\nabort() was called at PC 0x4008a1b2 on core 1\r\n"
        "\r\n\r\nBacktrace: 0x400de8bc:0x3fff5620\r\n\r\nRebooting...\r\n"
    )
    assert panic.core == 1
    assert panic.details[0].startswith("ESP_ERROR_CHECK failed: esp_err_t 0x101 (ESP_ERR_NO_MEM)")
    assert panic.details[-1] == "expression: start()"


def test_stack_overflow_names_its_task() -> None:
    panic = only(
        "Guru Meditation Error: Core  0 panic'ed (Unhandled debug exception). \r\n"
        "Debug exception reason: Stack canary watchpoint triggered (mem_monitor) \r\n" + DUMP
    )
    assert panic.details == ("Stack canary watchpoint triggered (mem_monitor)",)
    assert (
        only("\r\n***ERROR*** A stack overflow in task cam_task has been detected.\r\n").cause
        == "stack overflow"
    )


def test_a_virtual_boards_registers_are_marked_as_the_hosts() -> None:
    marked = LOAD_STORE.replace("\r\n\r\nBacktrace", "(host process: PC is an offset …)\r\n\r\n\r\nBacktrace")
    assert only(marked).is_host
    assert not only(LOAD_STORE).is_host


def test_chunking_does_not_change_the_panic() -> None:
    """The parser must return a panic as soon as its last chunk has arrived."""
    whole = find_panics(LOAD_STORE.encode())
    splitter, finder, found = LineSplitter(), PanicFinder(), []
    for start in range(0, len(LOAD_STORE), 7):
        for line in splitter.feed(LOAD_STORE[start : start + 7].encode()):
            found += finder.feed(line)
    assert found == whole


RISCV = (
    "Guru Meditation Error: Core  0 panic'ed (Load access fault). Exception was unhandled.\n\n"
    "Core  0 register dump:\n"
    "MEPC    : 0x42009abc  RA      : 0x42009ab8  SP      : 0x3fc93b20  GP      : 0x3fc8b200  \n"
    "S0/FP   : 0x3fc93b50  S1      : 0x00000000  A0      : 0x00000000  A1      : 0x00000001  \n"
    "MSTATUS : 0x00001881  MTVEC   : 0x40380001  MCAUSE  : 0x00000005  MTVAL   : 0x0000000c  \n\n"
    "Stack memory:\n"
    "3fc93b20: 0x00000000 0x42001234 0x3fc93b50 0x00000000 0x00000003 0x00000000 0x00000001 0x40380030\n"
    "3fc93b40: 0x00000005 0x42001236\n"
)


def test_stack_memory_is_kept() -> None:
    stack = only(RISCV).states[0].stack
    assert stack is not None
    assert stack.start == 0x3FC93B20
    assert [hex(word) for word in stack.words[1::7]] == ["0x42001234", "0x5"]
    assert len(stack.words) == 10
    assert only(LOAD_STORE).states[0].stack is None


def test_stack_memory_ends_at_a_missing_row() -> None:
    stack = only(RISCV.replace("3fc93b40:", "3fc93b60:")).states[0].stack
    assert stack is not None
    assert len(stack.words) == 8


CORE_DUMP = "================= CORE DUMP START =================\n{}================= CORE DUMP END =================\n"


def test_printed_core_dump_is_kept_without_lines_in_between() -> None:
    lines = ["fAAAAAIBAAAAAAAAAAAA", "AAAA/+8=", "////"]
    noise = "I (900) wifi: a line from elsewhere\n"
    panic = only(
        LOAD_STORE.replace("Rebooting", CORE_DUMP.format("\n".join([lines[0], noise, *lines[1:], ""])) + "Re")
    )
    assert panic.core_dump == tuple(lines)
    assert panic.is_core_dump_whole


def test_incomplete_or_huge_core_dump_is_only_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    text = LOAD_STORE.replace("Rebooting", CORE_DUMP.format("AAAA\n" * 5) + "Rebooting")
    cut = only(text.partition("================= CORE DUMP END")[0])
    assert (cut.core_dump, cut.core_dump_lines, cut.is_core_dump_whole) == ((), 5, False)
    monkeypatch.setattr("hotpin_hil.protocol.panic.CORE_DUMP_CHARS_MAX", 19)
    assert (only(text).core_dump, only(text).core_dump_lines) == ((), 5)
