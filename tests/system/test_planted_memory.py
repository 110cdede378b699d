"""Plants memory defects on the virtual board: the analyser must name each from the console log alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fixtures.memory import fill_small_holes
from hotpin_hil.analysis.diagnosis import diagnose
from hotpin_hil.analysis.model import Confidence, Diagnosis
from hotpin_hil.cli.main import main
from hotpin_hil.device import BoardReset, Device, DeviceError
from hotpin_hil.link.idf_serial import HilIdfSerial
from hotpin_hil.logs.reader import read_events
from hotpin_hil.paths import NATIVE_BUILD_DIR
from tests.support.running_board import running_board

CYCLES = 36
QUIET_MS = 600_000
"""Monitoring interval in ms. While the monitor is running, the manager needs no short-lived task to write
statistics."""


@dataclass
class Planted:
    """A board whose firmware is running, and its log since the test's start."""

    device: Device
    log: Path
    start: int = 0

    def text(self) -> bytes:
        self.device.monitor(stop=True)  # returns when all logged statistics are written
        return self.log.read_bytes()[self.start :]

    def diagnoses(self) -> dict[str, Diagnosis]:
        """The diagnoses of the log by name. If several have the same name, the first is used."""
        found: dict[str, Diagnosis] = {}
        for diagnosis in diagnose(read_events(self.text())):
            found.setdefault(diagnosis.name, diagnosis)
        return found


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[HilIdfSerial, Device, Path]]:
    if not (NATIVE_BUILD_DIR / "flasher_args.json").is_file():
        pytest.skip("the firmware is not built for the virtual board: make native")
    with running_board(tmp_path_factory.mktemp("planted")) as running:
        yield running


@pytest.fixture
def planted(board: tuple[HilIdfSerial, Device, Path]) -> Planted:
    line, device, log = board
    start = log.stat().st_size
    line.hard_reset()
    device.wait_ready()
    device.monitor(start=QUIET_MS)
    return Planted(device, log, start)


def cycle(device: Device, count: int) -> None:
    for _ in range(count):
        device.set_mode("voice")
        device.set_mode("camera")


def test_clean_run_gets_no_diagnosis(planted: Planted) -> None:
    cycle(planted.device, CYCLES)
    assert planted.diagnoses() == {}


@pytest.mark.parametrize(("caps", "memory"), [("INTERNAL,8BIT", "Internal memory"), ("SPIRAM", "PSRAM")])
def test_leak_is_memory_slowly_decreasing_with_its_size(planted: Planted, caps: str, memory: str) -> None:
    filler = fill_small_holes(planted.device, caps, 16)
    planted.device.leak(caps, bytes=16, every="cycle")
    cycle(planted.device, CYCLES)
    planted.device.leak(off=True)
    planted.device.release(filler.id)
    found = planted.diagnoses()
    assert set(found) == {"Memory slowly decreasing"}
    diagnosis = found["Memory slowly decreasing"]
    assert (diagnosis.id, diagnosis.confidence) == ("DIAG-03", Confidence.FACT)
    assert diagnosis.finding.startswith(f"{memory} after the transition to ")
    size = re.search(r"decreases by ([\d.]+) bytes per cycle", diagnosis.finding)
    assert size is not None, diagnosis.finding
    assert 20 <= float(size[1]) <= 24, "16 bytes and the block header"
    readings = [re.search(r"(.*): ([\d,]+) bytes free", evidence.text) for evidence in diagnosis.evidence]
    (first, free), (_, free_at_last) = (found.groups() for found in readings if found)
    assert first.startswith("first reading after warm-up (")
    lost = int(free.replace(",", "")) - int(free_at_last.replace(",", ""))
    assert lost >= 16 * CYCLES // 2  # at most a quarter is warm-up


def test_fragmentation_is_named_with_its_state_and_its_heap(planted: Planted) -> None:
    device = planted.device
    cycle(device, 2)
    device.set_mode("voice")
    device.log("Entering voice")
    device.split("DMA", block=1024)
    device.log("Leaving voice")
    found = planted.diagnoses()
    diagnosis = found["High fragmentation"]
    assert diagnosis.id == "DIAG-02"
    assert "The steepest rise was in voice mode" in diagnosis.finding
    assert '"Entering voice" to "Leaving voice"' in diagnosis.finding
    device.release()


@pytest.mark.parametrize("map_comes", ["before", "after"])
def test_heap_of_the_fragmentation_is_named_when_the_log_has_the_map(
    planted: Planted, map_comes: str
) -> None:
    device = planted.device
    device.split("DMA", block=1024)
    if map_comes == "before":
        regions = device.regions()
    device.log("Fragmented")
    device.monitor(stop=True)
    if map_comes == "after":  # the harness also reads the heap map like this after a failed test
        regions = device.regions()
    heaps = [region for region in regions if "DMA" in region.caps.split(",")]
    worst = max(heaps, key=lambda heap: heap.free - heap.largest)
    diagnosis = planted.diagnoses()["High fragmentation"]
    assert f"heap 0x{worst.start:08X}" in diagnosis.finding
    assert f"heap 0x{worst.start:08X}" in diagnosis.evidence[-1].text
    device.release()


def test_refused_mode_names_missing_block_memory_before_and_holder(planted: Planted) -> None:
    device = planted.device
    cycle(device, 2)
    before = device.probe("DMA").free
    device.hold("DMA", leave=61_443)
    device.split("DMA", block=3_072)
    free = device.probe("DMA").free
    held = before - free
    with pytest.raises(DeviceError):
        device.set_mode("voice")
    diagnosis = planted.diagnoses()["ESP_ERR_NO_MEM: no room for voice mode"]
    assert (diagnosis.id, diagnosis.confidence) == ("DIAG-01", Confidence.FACT)
    assert diagnosis.finding.startswith(
        "A block of 4,080 bytes for I2S DMA was not available; the largest free block was "
    )
    assert f"before the failure {free:,} bytes of DMA-capable memory were free" in diagnosis.finding
    more = int(diagnosis.cause.split(" more bytes")[0].replace(",", ""))
    # The comparison is with an earlier cycle, in which warm-up allocations differ slightly.
    assert abs(more - held) < 4_096
    device.release()


def test_psram_exhaustion_is_named(planted: Planted) -> None:
    device = planted.device
    before = device.probe("SPIRAM").free
    held = before - device.hold("SPIRAM", leave=90_000).free
    with pytest.raises(DeviceError):
        device.tts_open()
    found = planted.diagnoses()
    assert found["PSRAM exhausted"].id == "psram-exhausted"
    went = (
        f'{held:,} bytes of PSRAM were lost in camera mode (from "After Camera Transition" to '
        '"Before TTS Allocation")'
    )
    assert went in found["PSRAM exhausted"].finding
    diagnosis = found["ESP_ERR_NO_MEM: PSRAM exhausted"]
    assert diagnosis.id == "DIAG-01"
    assert "A request for 98,304 bytes of PSRAM was refused" in diagnosis.finding
    assert f"0.0 s before the failure {before - held:,} bytes of PSRAM were free" in diagnosis.finding
    assert (diagnosis.cause, diagnosis.confidence) == (went, Confidence.FACT)
    device.release()


@pytest.mark.parametrize(
    ("kind", "step", "cause"),
    [
        ("abort", "camera.stop", "abort"),
        ("store", "settle.up", "StoreProhibited"),
        ("wdt", "audio.start", "Interrupt wdt timeout on CPU0"),
    ],
)
def test_crash_in_a_transition_is_a_chain_to_its_cause(
    planted: Planted, kind: str, step: str, cause: str
) -> None:
    device = planted.device
    device.panic_at(kind, step)
    with pytest.raises(BoardReset):
        device.set_mode("voice")
    device.wait_ready()
    device.last()
    diagnosis = planted.diagnoses()["Crash during a mode transition"]
    assert (diagnosis.id, diagnosis.confidence, diagnosis.boot) == ("DIAG-04", Confidence.FACT, 0)
    assert diagnosis.finding == f"The board crashed during the transition to voice mode: {cause}."
    chain = " | ".join(evidence.text for evidence in diagnosis.evidence)
    links: list[Callable[[str], bool]] = [
        lambda text: cause in text,
        lambda text: text.startswith("reset: "),
        lambda text: text in ("the firmware reports: PANIC", "the firmware reports: INT_WDT"),
        lambda text: text.startswith('survived the reset: "Before Voice Transition"'),
    ]
    texts = [evidence.text for evidence in diagnosis.evidence][-len(links) :]
    assert [link(text) for link, text in zip(links, texts, strict=True)] == [True] * 4, chain
    lines = [evidence.line for evidence in diagnosis.evidence]
    assert lines == sorted(lines)


def test_crash_outside_a_transition_is_not_blamed_on_one(planted: Planted) -> None:
    device = planted.device
    cycle(device, 1)
    device.monitor(stop=True)
    device.monitor(start=QUIET_MS)
    device.panic("abort")
    found = planted.diagnoses()
    assert set(found) == {"Panic: abort"}


def test_command_line_reports_the_leak(
    planted: Planted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planted.device.leak("INTERNAL,8BIT", bytes=16, every="cycle")
    cycle(planted.device, CYCLES)
    log = tmp_path / "log.txt"
    log.write_bytes(planted.text())
    assert main(["analyze", str(log)]) == 0
    assert "RISK Memory slowly decreasing [DIAG-03]" in capsys.readouterr().out
    assert main(["analyze", "--json", str(log)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {diagnosis["id"] for diagnosis in document["diagnoses"]} == {"DIAG-03"}
    assert [diagnosis["verdict"] for diagnosis in document["leaks"] if diagnosis["memory"] == "internal"] == [
        "leak",
        "leak",
    ]
