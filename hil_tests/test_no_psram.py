"""A board without PSRAM boots, reports it, refuses operations that need PSRAM, and keeps running."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from fixtures.device import boot_start
from fixtures.measure import Measure
from fixtures.memory import INTERNAL, KB, Heaps, Monitor
from fixtures.modes import CAMERA, VOICE
from hotpin_hil.boards.board_process import BoardProcess
from hotpin_hil.boards.qemu import without_psram
from hotpin_hil.device import Device, DeviceError
from hotpin_hil.pytest_plugin.plugin import BoardInUse

SAMPLES = 3
SOURCE = "requirement BOOT-04"


@pytest.fixture
def qemu_extra_args(qemu_extra_args: str | None) -> str | None:
    """QEMU's arguments without PSRAM."""
    return without_psram(qemu_extra_args) if qemu_extra_args else qemu_extra_args


@pytest.fixture
def board_profile(request: pytest.FixtureRequest) -> list[str]:
    """Options of `hotpin-hil board start` that select the run's board profile; empty if the run has none."""
    name = request.config.getoption("board_profile")
    return ["--profile", str(name)] if name else []


@pytest.fixture
def port(
    board: BoardInUse, board_profile: list[str], port: str | None, tmp_path: Path
) -> Generator[str | None, None, None]:
    """Port of a separate virtual board with the run's profile, but without PSRAM; None in QEMU."""
    if port is None:
        yield port  # `qemu_extra_args` removes the PSRAM
        return
    arguments = [*board_profile, "--time-scale", f"{board.time_scale:g}"]
    without_psram = BoardProcess.start(tmp_path / "board.log", tmp_path, arguments)
    without_psram.control.ask("fault", fault="no-psram", arguments={}, seed=None)
    yield without_psram.port
    without_psram.stop()


def refusal(device: Device, command: str, **arguments: str | bool) -> DeviceError:
    with pytest.raises(DeviceError) as refused:
        device.command(command, **arguments)
    return refused.value


@pytest.mark.boards("qemu", "virtual", needs="a board without PSRAM")
@pytest.mark.requirement("BOOT-04")
def test_board_without_psram_starts_refuses_what_needs_it_and_keeps_running(
    device: Device, heaps: Heaps, monitor: Monitor, measure: Measure
) -> None:
    start = boot_start(device)
    info = device.info()
    measure("PSRAM reported by the board", info.psram, "B", exact=0, source=SOURCE)
    errors = [f"{line.tag}: {line.text}" for line in device.log_lines(start) if line.level == "E"]
    said = " | ".join(errors)
    measure(
        "the PSRAM driver reports that the chip is missing",
        "PSRAM chip not found" in said,
        exact=True,
        source=said,
    )
    measure(
        "the log names the block that camera mode needs",
        "camera frame block" in said,
        exact=True,
        source=said,
    )
    measure("mode", device.mode().mode, exact="init", source="camera mode is unavailable")
    device.wait_line("HotPin ready", since=start)

    monitor.stop()
    before = heaps.free(INTERNAL.caps)
    opened = refusal(device, "tts.open")
    measure("opening a TTS stream", opened.err, exact="ESP_ERR_NO_MEM", source=SOURCE)
    device.wait_line(r"Insufficient PSRAM: need 98304 bytes, have 0 bytes", since=start)
    for mode, block in ((CAMERA, "camera frame"), (VOICE, "STT ring")):
        error = refusal(device, "mode.set", to=mode, wait=True)
        measure(f"{mode} mode", error.err, exact="ESP_ERR_NO_MEM", source=SOURCE)
        measure(f"{mode} mode: the message names the block", block in error.msg, exact=True, source=error.msg)
    frame = refusal(device, "camera.capture")
    measure("taking a picture", frame.err, exact="ESP_ERR_INVALID_STATE", source="camera mode is unavailable")
    monitor.stop()  # waits until the log of the refusals is written
    measure(
        "internal memory kept after the refusals",
        before - heaps.free(INTERNAL.caps),
        "B",
        exact=0,
        source="no leak",
    )

    monitor.start()
    samples = monitor.complete_checks(SAMPLES)
    for sample in samples:
        free = {name: sample.data[name] for name in ("psram_free", "psram_largest", "psram_fragmentation")}
        measure("PSRAM in the statistics", str(sorted(free.values())), exact="[0, 0, 0]", source=SOURCE)
    warnings = {event.data["type"] for event in monitor.warnings(start)}
    measure("warnings", ", ".join(warnings), exact="PSRAM_CRITICAL", source="0 B are below 200 KB")
    measure("internal free", heaps.free(INTERNAL.caps), "B", min=50 * KB, source="no other pressure")
    measure("boots counted", device.info().boot_count - info.boot_count, exact=0, source="no crash loop")
    measure(
        "resets in the test", len(device.channel.resets(start)), exact=1, source="the reset before the test"
    )
