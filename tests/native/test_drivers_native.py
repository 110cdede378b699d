"""Runs the firmware's drivers on models of their hardware: checks the memory that they allocate and free, and the data
that they transfer.

Each test runs one case of the drivers' test program (`firmware/native/test/drivers_*.c`); the flash image names the
case. The cases check their own results. This file compares their figures with recordings.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from hotpin_hil.paths import FIRMWARE_DIR
from hotpin_hil.virtual import profile
from tests.conftest import shared_data
from tests.native.test_native_runtime import Board, Result, assert_checks_hold
from tests.support.native_board import build_drivers_test
from tests.support.native_build import build_native

I2S_FIRST_BYTES = 25_968
"""Bytes that full-duplex I2S allocates, headers included. Source: idf_probe.md, recorded from ESP-IDF; the median on
boards is 25,980."""
FIRST_INTERRUPT_BYTES = 16 + 4
"""Bytes that an interrupt source allocates permanently at its first use. Source: facts, a 16-byte block plus header."""
ISR_SERVICE_BYTES = 320 + 4 + 12 + 4
"""Bytes of the GPIO interrupt service, installed at the camera's first start and never removed."""
CAMERA_INTERNAL, CAMERA_PSRAM = 37_780, 62_816
"""Bytes that an initialised camera allocates, median over boards. Source: facts, real_boards.md."""
TTS_TASK = 8_552
HOLE_BYTES = 12
"""Maximum number of bytes by which a block may exceed its requested size, if the remainder of its hole is too small for
another block."""


@pytest.fixture(scope="session")
def drivers_program() -> Path:
    return build_drivers_test()


@pytest.fixture(scope="session")
def simulated_program() -> Path:
    """The drivers' test program with the simulated camera and audio hardware of the QEMU build."""
    files = [FIRMWARE_DIR / f"sdkconfig.{name}" for name in ("defaults", "hil", "qemu")]
    defaults = f"-DSDKCONFIG_DEFAULTS={';'.join(map(str, files))}"
    return build_native("native-drivers-sim", "drivers_test.elf", "-DHOTPIN_PACKAGE=OFF", defaults)


@pytest.fixture
def drivers(tmp_path: Path, drivers_program: Path) -> Board:
    return Board(tmp_path, drivers_program)


def run(board: Board, case: str) -> Result:
    result = board.run(case)
    assert_checks_hold(result)
    assert result.status == 0
    return result


def value(result: Result, name: str) -> int:
    found = re.findall(rf"^{name} (-?\d+)$", result.text, re.MULTILINE)
    assert found, f"no line '{name} N' in:\n{result.text}"
    return int(found[-1])


@pytest.mark.parametrize(
    "case",
    [
        "audio_arguments",
        "audio_failures",
        "worker",
        "stt",
        "camera_capture",
        "camera_failures",
        "camera_no_block",
        "camera_pwdn",
        "camera_wiring",
        "cycles",
        "tts_aborted",
        "tts_play",
        "tts_refused",
        "tts_states",
    ],
)
def test_drivers_keep_their_contract_and_free_every_byte(drivers: Board, case: str) -> None:
    run(drivers, case)


SIMULATED = [
    "audio_arguments",
    "audio_failures",
    "stt",
    "camera_capture",
    "camera_failures",
    "camera_no_block",
    "cycles",
    "tts_refused",
    "tts_states",
]


@pytest.mark.parametrize("case", SIMULATED)
def test_simulated_hardware_keeps_the_same_contract(
    tmp_path: Path, simulated_program: Path, case: str
) -> None:
    run(Board(tmp_path, simulated_program), case)


def test_simulated_hardware_takes_the_same_memory(tmp_path: Path, simulated_program: Path) -> None:
    board = Board(tmp_path, simulated_program)
    audio, camera = run(board, "audio_memory"), run(board, "camera_memory")
    assert value(audio, "AUDIO again") == pytest.approx(
        I2S_FIRST_BYTES - FIRST_INTERRUPT_BYTES, abs=HOLE_BYTES
    )
    assert value(camera, "CAMERA internal") == pytest.approx(CAMERA_INTERNAL, abs=HOLE_BYTES)
    assert value(camera, "CAMERA psram") == CAMERA_PSRAM


def test_i2s_takes_the_recorded_blocks(drivers: Board) -> None:
    recorded = [
        json.loads(line) for line in shared_data("facts/idf_allocations.jsonl").read_text().splitlines()
    ]
    sizes = {step["what"]: sorted(size for size, _ in step["new"]) for step in recorded}
    expected = [
        sizes["i2s_new_channel(I2S1,tx+rx,4x1020)"],
        sizes["i2s_channel_init_std_mode(tx,16 bit stereo)"],
        sizes["i2s_channel_init_std_mode(rx,16 bit mono)"],
        sizes["i2s_channel_enable both"],
        sizes["again: i2s_new_channel"],
        sizes["again: tx"],
        sizes["again: rx"],
        [],
    ]
    lines = re.findall(r"^BLOCKS (\S+):(.*)$", run(drivers, "i2s_blocks").text, re.MULTILINE)
    taken = [sorted(map(int, text.split())) for what, text in lines if what != "-"]
    assert len(taken) == len(expected)
    for ours, theirs in zip(taken, expected, strict=True):
        assert len(ours) == len(theirs)
        assert all(abs(size - wanted) <= HOLE_BYTES for size, wanted in zip(ours, theirs, strict=True)), (
            ours,
            theirs,
        )
        assert abs(sum(ours) - sum(theirs)) <= HOLE_BYTES, (ours, theirs)


def test_audio_takes_the_memory_measured_on_idf(drivers: Board) -> None:
    result = run(drivers, "audio_memory")
    assert value(result, "AUDIO first") == pytest.approx(I2S_FIRST_BYTES, abs=HOLE_BYTES)
    assert value(result, "AUDIO kept") == FIRST_INTERRUPT_BYTES
    assert value(result, "AUDIO again") == pytest.approx(
        I2S_FIRST_BYTES - FIRST_INTERRUPT_BYTES, abs=HOLE_BYTES
    )


def test_audio_moves_samples_at_the_lines_rate(drivers: Board) -> None:
    """Transfers two seconds of sound in each direction. Writing takes up to 255 ms less than 2 s, because the last
    samples are then still in the DMA buffers."""
    result = run(drivers, "audio_pace")
    assert 2000 - 256 <= value(result, "PACE write") <= 2000
    assert 1900 <= value(result, "PACE read") <= 2064


def test_audio_driver_survives_the_failure_of_each_allocation(drivers: Board) -> None:
    """Makes each of the 37 recorded allocations fail, except two by calloc(). ESP-IDF v5.4 ignores failed allocations
    for the interrupt; the project's driver must then detect that no samples are transferred."""
    result = run(drivers, "audio_failures")
    assert value(result, "AUDIO allocations") == 35
    assert len(re.findall(r"^FAILED \d+ 0x107$", result.text, re.MULTILINE)) == 4


def test_camera_takes_the_memory_measured_on_boards(drivers: Board) -> None:
    result = run(drivers, "camera_memory")
    assert value(result, "CAMERA internal") == CAMERA_INTERNAL
    assert value(result, "CAMERA psram") == CAMERA_PSRAM
    kept = ISR_SERVICE_BYTES + 2 * FIRST_INTERRUPT_BYTES
    assert value(result, "CAMERA kept") == pytest.approx(kept, abs=HOLE_BYTES)


def test_playback_takes_its_task_and_no_psram(drivers: Board) -> None:
    result = run(drivers, "tts_play")
    assert value(result, "TTS internal") == TTS_TASK
    assert value(result, "TTS psram") == 0  # its chunks come from the pool


@pytest.mark.parametrize("case", ["early_start", "init_again", "observer", "first_failure"])
def test_memory_manager_and_its_extensions_start_and_observe(drivers: Board, case: str) -> None:
    run(drivers, case)


def test_network_takes_the_products_memory(drivers: Board) -> None:
    result = run(drivers, "network")
    assert 58_900 - 516 < value(result, "NETWORK internal") <= 58_900
    assert value(result, "NETWORK psram") == 65_544


def test_without_psram_each_driver_refuses_and_keeps_nothing(
    drivers: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = replace(profile.load("recorded"), psram_mb=0)
    monkeypatch.setattr(profile, "load", lambda name: without)
    result = drivers.start("no_psram", psram_bytes=0).finish()
    assert_checks_hold(result)


def test_wait_for_the_uart_lets_lower_priority_tasks_run(drivers: Board) -> None:
    result = run(drivers, "output_full")
    waited_ms = value(result, "OUTPUT waited_ms")
    assert waited_ms > 500, "the ring was never full: this test must write more samples"
    assert value(result, "OUTPUT turns") >= 0.8 * waited_ms, "a turn a millisecond"
