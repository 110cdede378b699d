"""Tests the native runtime of the firmware's host build: scheduling, time, UART, storage and resets.

Each test runs one case of the runtime's test program (`firmware/native/test`) as the virtual board would, and reads its
output. The last sector of the flash names the case.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import shared_data
from tests.support.native_board import (
    BYTE_US,
    HOST_BUDGET_S,
    NVS_OFFSET,
    NVS_SIZE,
    REASON_SW,
    STATUS_SW_CPU_RESET,
    Board,
    Result,
    Run,
    build_runtime_test,
)
from tests.support.native_build import NATIVE, build_native
from tests.support.nvs_reader import nvs_items

# --- Building and running ---


@pytest.fixture(scope="session")
def program() -> Path:
    return build_runtime_test()


@pytest.fixture
def board(tmp_path: Path, program: Path) -> Board:
    return Board(tmp_path, program)


@contextlib.contextmanager
def running(run: Run) -> Iterator[Run]:
    try:
        yield run
    finally:
        run.line.close()
        with contextlib.suppress(ProcessLookupError):
            run.process.kill()
        run.process.communicate()


def assert_checks_hold(result: Result) -> None:
    wrong = [line for line in result.text.splitlines() if line.startswith("WRONG")]
    assert not wrong, "\n".join(wrong)
    assert re.search(r"^ok ", result.text, re.MULTILINE), result.text


SELF_CHECKING = [
    "delay",
    "queue",
    "mutex",
    "notify",
    "event_group",
    "buffers",
    "tasks",
    "no_memory",
    "libc",
    "read_timeout",
    "ring_room",
    "identity",
    "partitions",
    "nvs_churn",
]


@pytest.mark.parametrize("case", SELF_CHECKING)
def test_semantics_are_those_of_freertos_and_idf(board: Board, case: str) -> None:
    result = board.run(case)
    assert_checks_hold(result)
    assert result.status == 0


# --- Scheduling and time ---


def test_higher_priority_task_runs_at_once_and_equal_priorities_take_turns(board: Board) -> None:
    text = board.run("priority").app
    assert "order mHmmeL\n" in text
    assert "yield abcabcabc\n" in text


def test_busy_tasks_of_equal_priority_share_ticks_and_a_waking_task_preempts_them(board: Board) -> None:
    slices = re.search(r"^slices (\w+)$", board.run("time_slice").app, re.MULTILINE)
    assert slices
    assert 0 < slices[1].index("H") <= 2
    assert slices[1].count("a") == slices[1].count("b") == 4
    assert not re.search(r"aaa|bbb", slices[1])


def test_holder_of_a_mutex_inherits_the_waiting_tasks_priority(board: Board) -> None:
    assert "inheritance lhlHml\n" in board.run("mutex").app


def test_nothing_happens_while_interrupts_are_masked(board: Board) -> None:
    assert "critical cHx\n" in board.run("critical").app


def test_an_hour_of_waiting_passes_in_one_step(board: Board) -> None:
    result = board.run("long_wait")
    assert 3600e6 - 1000 <= result.value("waited") <= 3600e6


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_virtual_time_keeps_to_the_scale_and_waiting_costs_no_cpu(board: Board) -> None:
    scale = 5000
    with running(board.start("long_wait", time_scale=scale)) as run:
        run.read_until(b"Calling app_main()")
        begin = time.monotonic()
        assert run.read_until(b"END\r\n")
        passed = time.monotonic() - begin
        busy = cpu_seconds(run.process.pid)
    assert passed >= 0.95 * 3600 / scale
    assert busy < 0.25 * passed


def test_same_seed_and_input_give_the_same_bytes(board: Board, tmp_path: Path, program: Path) -> None:
    for case, given in (("busy_run", b""), ("echo", b"one\ntwo\n" + 50 * b"and some more\n" + b"quit\n")):
        outputs = set()
        for _ in range(3):
            run = board.start(case, given)
            run.finish()
            outputs.add(run.to_end)
        assert len(outputs) == 1
    other = Board(tmp_path, program)
    randoms = {re.search(r"random (\w+)", board_.run("identity", seed=seed).text)[1]  # type: ignore[index]
               for board_, seed in ((board, 1), (other, 1), (other, 2))}  # fmt: skip
    assert len(randoms) == 2


# --- Memory ---


def test_heap_before_app_main_matches_the_recording(board: Board) -> None:
    result = board.run("boot_figures")
    mutex = 96  # the recorded figures already exclude the recorded firmware's first allocation
    assert result.value("dma") == 204_763 + mutex
    assert result.value("internal") == 225_179 + mutex
    assert result.value("psram") == 4_192_016
    assert result.value("largest") == 110_592
    assert result.value("malloc") == 1


NOT_IN_THE_RUNTIME = re.compile(
    r"i2s|esp_event_loop|esp_console|^again: |StreamBuffer|xRingbufferCreate\(|esp_timer|xTimer|uart delete"
)
"""Steps of the recording that use an API that the native runtime does not provide, because the firmware does not use
it."""

REUSED_HOLE_BYTES = 12
"""Maximum number of bytes by which a block may exceed its requested size, if the remainder of its hole is too small for
another block."""


def test_objects_take_the_recorded_blocks(board: Board) -> None:
    recorded = [
        json.loads(line) for line in shared_data("facts/idf_allocations.jsonl").read_text().splitlines()
    ]
    recorded = [step for step in recorded if not NOT_IN_THE_RUNTIME.search(step["what"])]
    # same conditions as in the recording: three partitions, and six pages of NVS
    played = [json.loads(line) for line in board.run("allocations").text.splitlines() if line.startswith("{")]
    assert [step["what"] for step in played] == [step["what"] for step in recorded]
    surplus = 0
    for ours, theirs in zip(played, recorded, strict=True):
        for key in ("new", "gone"):
            assert len(ours[key]) == len(theirs[key]), ours["what"]
            for (size, memory), (wanted, wanted_memory) in zip(
                sorted(ours[key]), sorted(theirs[key]), strict=True
            ):
                assert memory == wanted_memory, ours["what"]
                assert 0 <= size - wanted <= REUSED_HOLE_BYTES, f"{ours['what']}: {size} for {wanted}"
                surplus += size - wanted
    assert surplus <= REUSED_HOLE_BYTES  # at most one block fills such a hole


def test_creating_and_deleting_objects_costs_no_memory(board: Board) -> None:
    after = re.findall(r"^free (\d+)$", board.run("give_back").text, re.MULTILINE)
    assert len(after) == 3
    assert after[1] == after[2]


def test_memory_of_the_main_task_is_freed(board: Board) -> None:
    run = board.start("main_returns")
    assert run.read_until(b"tasks 5\r\n")  # the five tasks at boot, minus main, plus the counting task
    run.line.close()
    assert run.wait().value("main gave back") == 4096 + 352 + 2 * 4


# --- UART and console ---


def test_writers_wait_for_the_line_in_virtual_time(board: Board) -> None:
    result = board.run("blocking")
    assert_checks_hold(result)
    fifo = 128
    assert result.value("polling_short") < 500
    assert result.value("polling_long") == pytest.approx((501 - fifo) * BYTE_US, rel=0.02)
    ring_characters = 4096 // 32  # each character of stdout is two items of the driver's ring
    assert result.value("stdio_short") < 500
    assert result.value("stdio_long") == pytest.approx((501 - ring_characters - 10) * BYTE_US, rel=0.05)
    assert result.value("bytes_long") < 500
    assert result.value("drained") == pytest.approx(500 * BYTE_US, rel=0.02)


def box_lines(result: Result) -> list[str]:
    lines = result.app.split("\nEND\n")[0].splitlines()
    box = [i for i, line in enumerate(lines) if "box line" in line]
    assert len(box) == 25
    own = r"box line \d\d of 25, with a border that is as long as the real one is \.{21}"
    foreign = r"I \(\d+\) log\d: a line from another task, long enough to take some time on a UART"
    whole = re.compile(f"{own}|{foreign}")
    inside = lines[box[0] : box[-1] + 1]
    for line in inside:
        assert whole.fullmatch(line), f"interrupted line: {line!r}"
    return inside


def test_higher_priority_tasks_interrupt_unlocked_lines(board: Board) -> None:
    assert len(box_lines(board.run("box_unlocked"))) > 25


def test_the_stdout_lock_keeps_lines_together(board: Board) -> None:
    assert len(box_lines(board.run("box_locked"))) == 25


def test_a_paced_line_carries_the_same_bytes(board: Board) -> None:
    streams = []
    for paced in (0, 1):
        run = board.start("busy_run", uart_paced=paced)
        run.finish()
        streams.append(run.to_end)
    assert streams[0] == streams[1]


@pytest.mark.parametrize("paced", [0, 1])
def test_output_before_a_hang_arrives_before_the_watchdog_fires(board: Board, paced: int) -> None:
    with running(board.start("last_words", uart_paced=paced, time_scale=1)) as run:
        assert run.read_until(b"the last words\r\n")
        assert b"panic" not in bytes(run.received), "the words were not printed before the watchdog's panic"


def test_a_paced_line_is_as_slow_as_its_baud_rate(board: Board) -> None:
    with running(board.start("busy_run", uart_paced=1, time_scale=1)) as run:
        run.read_until(b"Calling app_main()")
        begin = time.monotonic()
        before = len(run.received)
        run.read_until(b"a 20 at")
        passed = time.monotonic() - begin
        assert passed >= 0.9 * (len(run.received) - before - 256) * BYTE_US / 1e6


def test_input_wakes_a_waiting_board(board: Board) -> None:
    with running(board.start("echo", time_scale=1)) as run:
        assert run.read_until(b"ready\r\n")
        for number in range(20):
            run.line.sendall(f"line {number}\n".encode())
            assert run.read_until(f"'line {number}'".encode())
        run.line.sendall(
            b"x" * 3000 + b"\nquit\n"
        )  # far more than the ring's size: the host must wait, and no data is lost
        assert run.read_until(b"got 3000 ")
        assert run.read_until(b"END\r\n")


@pytest.mark.parametrize("end", ["eof", "SIGTERM"])
def test_the_board_ends_the_process(board: Board, end: str) -> None:
    with running(board.start("echo")) as run:
        assert run.read_until(b"ready\r\n")
        if end == "eof":
            run.line.close()
        else:
            run.process.send_signal(signal.SIGTERM)
        assert run.process.wait(timeout=HOST_BUDGET_S) == 0


def test_log_lines_have_idfs_shape(board: Board) -> None:
    text = board.run("log").app
    assert re.match(r"E \(\d+\) uart_case: error 1\nI \(\d+\) uart_case: info\nW \(\d+\) uart_case: shown\n"
                    r"I \(\d+\) uart_case: early\nno newline\n", text)  # fmt: skip
    assert "debug" not in text


def test_the_start_log_has_the_recorded_lines(board: Board) -> None:
    def tags(text: str) -> list[str]:
        start = re.sub(
            r".*Compile time:.*\n", "", text[text.index("quad_psram: ") :]
        )  # absent from reproducible builds
        return re.findall(r"^[EIW] \(\d+\) (\w+): ", "I (1) " + start, re.MULTILINE)

    recorded = tags(shared_data("panic_logs/panics.txt").read_text())
    ours = tags(board.run("log").text.split("Calling app_main()")[0] + "Calling app_main()")
    assert ours == recorded[: len(ours)]
    assert recorded[len(ours) - 1] == "main_task"


# --- State that outlives the process ---


def test_rtc_memory_survives_all_but_power(board: Board) -> None:
    assert "rtc count 1 reason 1\n" in board.run("rtc").text
    aborted = board.run("rtc_abort")
    assert "rtc count 2 " in aborted.text
    assert aborted.status == STATUS_SW_CPU_RESET
    killed = board.start("rtc", rom_cause=12)
    assert killed.read_until(b"rtc count 3 reason 4")
    killed.process.kill()
    killed.wait()
    assert (
        "rtc count 4 reason 3\n" in board.run("rtc", rom_cause=12).text
    )  # esp_reset_reason() reports the panic only in the next boot
    board.rtc.write_bytes(os.urandom(8192))
    assert "rtc count 1 reason 1\n" in board.run("rtc").text


def test_nvs_is_written_in_the_idf_format_and_read_back(board: Board) -> None:
    assert_checks_hold(board.run("nvs_write"))
    with board.flash.open("rb") as file:
        file.seek(NVS_OFFSET)
        items = nvs_items(file.read(NVS_SIZE))
    index = items[0, "hotpin"][1][0]
    assert items[index, "boots"] == (0x04, struct.pack("<I", 2) + b"\xff" * 4)
    assert items[index, "u8"] == (0x01, b"\xab" + b"\xff" * 7)
    assert items[index, "i64"] == (0x18, struct.pack("<q", -5_000_000_000))
    assert items[index, "name"] == (0x21, b"a string that takes more than one entry\0")
    assert items[index, "blob/0"] == (0x42, b"\x5a" * 100)
    assert items[index, "blob"] == (0x48, struct.pack("<IBBH", 100, 1, 0, 0xFFFF))
    assert_checks_hold(board.run("nvs_read"))


def test_a_full_nvs_partition_stays_readable(board: Board) -> None:
    assert_checks_hold(board.run("nvs_churn"))
    with board.flash.open("rb") as file:
        file.seek(NVS_OFFSET)
        items = nvs_items(file.read(NVS_SIZE))
    assert items[items[0, "churn"][1][0], "kept"][1][:4] == struct.pack("<I", 4711)


# --- Resets ---


def test_restart_is_a_software_reset(board: Board) -> None:
    result = board.run("restart")
    assert result.app.endswith("restarting\n")
    assert result.status == STATUS_SW_CPU_RESET
    assert f"rtc count 1 reason {REASON_SW}\n" in board.run("rtc", rom_cause=12).text


@pytest.mark.parametrize(("rom_cause", "reason"), [(1, 1), (3, 3), (7, 6), (8, 5), (9, 7), (12, 3), (15, 9)])
def test_reset_reasons_follow_the_roms_cause(board: Board, rom_cause: int, reason: int) -> None:
    assert f"reason {reason}\n" in board.run("rtc", rom_cause=rom_cause).text


# --- Invalid input, and sanitizers ---


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("mac=1:2", "mac"),
        ("time_scale=fast", "time_scale"),
        ("nonsense=1", "nonsense"),
        ("heap=1,2", "heap"),
        ("just a word", "just a word"),
        ("flash_file=/nonexistent/flash", "/nonexistent/flash"),
    ],
)
def test_a_bad_params_line_is_named(board: Board, line: str, names: str) -> None:
    board.run("log")
    with board.params.open("a") as file:
        file.write(line + "\n")
    result = Run(board.elf, board.params).finish()
    assert result.status == 2
    assert names in result.text


def test_an_unknown_option_in_a_defaults_file_is_refused(tmp_path: Path) -> None:
    defaults = tmp_path / "sdkconfig.wrong"
    defaults.write_text("CONFIG_FREERTOS_HZ=1000\nCONFIG_FREERTOS_HERTZ=1000\n")
    tool = [sys.executable, str(NATIVE / "tools" / "genconfig.py"), "--kconfig", str(NATIVE / "Kconfig")]
    done = subprocess.run([*tool, "--defaults", str(defaults), "--out", str(tmp_path / "out")],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 2
    assert "CONFIG_FREERTOS_HERTZ" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_runtime_is_clean_under_sanitizers(tmp_path: Path) -> None:
    elf = build_native(
        "native-test-sanitized",
        "runtime_test.elf",
        "-DHOTPIN_FIRMWARE=OFF",
        "-DHOTPIN_SANITIZE=address,undefined",
    )
    board = Board(tmp_path, elf)
    others = ["priority", "critical", "give_back", "blocking", "box_locked", "busy_run", "nvs_write"]
    for case in [*SELF_CHECKING, *others]:
        result = board.run(case)
        assert "Sanitizer" not in result.text, result.text
        assert "runtime error" not in result.text, result.text
        assert "\nWRONG" not in result.text, result.text
        assert result.status == 0
