"""The client's commands for modes, drivers and planted faults: requests sent and replies parsed."""

from __future__ import annotations

from typing import Any

import pytest

from hotpin_hil.device import Device, LedgerEntry, ModeFailure, ProtocolError, Settle
from hotpin_hil.link.channel import Channel
from tests.support.fake_firmware import FakeFirmware

MODE: dict[str, Any] = {
    "mode": "camera",
    "previous": "voice",
    "transitions": 3,
    "duration_ms": 520,
    "cycles": 1,
    "failures": 0,
    "busy": False,
}
FAILED: dict[str, Any] = {"from": "camera", "to": "voice", "err": "ESP_ERR_NO_MEM", "step": "admission"}


class Bench:
    """A device whose firmware answers every command with `reply` and keeps the received arguments in `sent`."""

    def __init__(self) -> None:
        self.reply: dict[str, Any] = {}
        self.sent: dict[str, str] = {}
        self.firmware = FakeFirmware(lambda data: channel.feed(data))  # noqa: PLW0108 - made before the channel
        channel = Channel(self.firmware.receive, name="fake")
        for command in (
            "mode.get",
            "mode.set",
            "mode.steps",
            "mode.settle",
            "mode.ledger",
            "sys.panic",
            "sys.tasks",
        ):
            self.firmware.handlers[command] = self.answer
        for command in ("heap.fail", "heap.leak", "tts.play", "stt.get"):
            self.firmware.handlers[command] = self.answer
        self.firmware.start()
        self.device = Device(channel)
        self.device.wait_ready(0.05)

    def answer(self, _firmware: FakeFirmware, arguments: dict[str, str]) -> dict[str, Any]:
        self.sent = arguments
        return self.reply


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_mode_without_a_failure_has_none(bench: Bench) -> None:
    bench.reply = MODE
    mode = bench.device.mode()
    assert (mode.mode, mode.cycles, mode.failed) == ("camera", 1, None)


def test_failed_change_reports_the_missing_memory(bench: Bench) -> None:
    bench.reply = {**MODE, "failures": 1, "failed": {**FAILED, "block": None, "missing": 0, "largest": 0}}
    assert bench.device.mode().failed == ModeFailure("voice", "ESP_ERR_NO_MEM", "admission", None, 0, 0)
    bench.reply = {**MODE, "failed": {**FAILED, "block": "I2S DMA", "missing": 4080, "largest": 3456}}
    failed = bench.device.set_mode("voice").failed
    assert failed is not None
    assert (failed.block, failed.missing, failed.largest) == ("I2S DMA", 4080, 3456)


@pytest.mark.parametrize(("wait", "sent"), [(True, {"to": "voice", "wait": "1"}), (False, {"to": "voice"})])
def test_set_mode_waits_for_the_change_by_default(bench: Bench, wait: bool, sent: dict[str, str]) -> None:
    bench.reply = MODE
    bench.device.set_mode("voice", wait=wait)
    assert bench.sent == sent


def test_steps_are_those_of_the_current_or_the_named_mode(bench: Bench) -> None:
    bench.reply = {"steps": ["lock", "admission"]}
    assert bench.device.mode_steps("camera", "voice") == ["lock", "admission"]
    assert bench.sent == {"to": "camera", "from": "voice"}
    bench.device.mode_steps("camera")
    assert bench.sent == {"to": "camera"}


def test_ledger_has_an_entry_for_each_step(bench: Bench) -> None:
    figures = {"internal_before": 4, "internal_after": 3, "psram_before": 2, "psram_after": 1}
    bench.reply = {"ledger": [{"step": "audio.start", "undo": True, "err": "ESP_OK", **figures}]}
    assert bench.device.ledger() == [LedgerEntry("audio.start", True, "ESP_OK", 4, 3, 2, 1)]
    bench.reply = {"ledger": [{"step": "audio.start"}]}
    with pytest.raises(ProtocolError, match=r"mode\.ledger has no field 'undo'"):
        bench.device.ledger()


def test_pauses_are_set_one_at_a_time_or_together(bench: Bench) -> None:
    bench.reply = {"down_ms": 0, "up_ms": 50}
    assert bench.device.settle(down=0) == Settle(0, 50)
    assert bench.sent == {"down": "0"}
    bench.device.settle(default=True)
    assert bench.sent == {"default": "1"}


def test_faults_are_planted_by_step_and_cleared(bench: Bench) -> None:
    bench.reply = {"armed": False}
    bench.device.fail(step=["camera.start", "undo:audio.start"], count=2)
    assert bench.sent == {"step": "camera.start,undo:audio.start", "count": "2"}
    bench.device.leak("SPIRAM", bytes=16)
    assert bench.sent == {"caps": "SPIRAM", "bytes": "16", "every": "cycle"}
    bench.device.leak(off=True)
    assert bench.sent == {"off": "1"}
    bench.device.panic_at("abort", "audio.start")
    assert bench.sent == {"kind": "abort", "step": "audio.start"}
