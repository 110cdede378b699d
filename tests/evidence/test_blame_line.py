"""Missing output is blamed on power, noise, a panic or the firmware, depending on the bytes on the serial line."""

from __future__ import annotations

from collections.abc import Callable

import pexpect
import pytest

from hotpin_hil.device import BoardReset, Device, MissingEvent, NoisyLine, NoReply
from hotpin_hil.errors import UsageError
from hotpin_hil.evidence.blame import CALL, SETUP, Finding, blame
from hotpin_hil.evidence.model import Verdict
from hotpin_hil.link.channel import Channel
from tests.support.fake_firmware import FakeFirmware

SHORT_S = 0.05
PANIC = b"Guru Meditation Error: Core  1 panic'ed (LoadProhibited). Exception was unhandled.\r\n"
BROWN_OUT = (
    b"\r\nBrownout detector was triggered\r\n\r\nrst:0xc (SW_CPU_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n"
)


class Bench:
    """A ready device on a serial line whose bytes a test can change."""

    def __init__(self) -> None:
        self.to_host: Callable[[bytes], bytes] = lambda data: data
        self.firmware = FakeFirmware(lambda data: self.channel.feed(self.to_host(data)))
        self.channel = Channel(self.firmware.receive, name="fake")
        self.device = Device(self.channel)
        self.channel.announce_reset()
        self.firmware.start()
        self.device.wait_ready(SHORT_S)
        self.since = self.channel.mark()

    def verdict(self, error: BaseException, chip_answers: bool = True) -> Finding:
        return blame(error, CALL, lambda: chip_answers, self.channel)

    def caught(self, kind: type[BaseException], call: Callable[[], object]) -> BaseException:
        with pytest.raises(kind) as info:
            call()
        return info.value


@pytest.fixture
def bench() -> Bench:
    return Bench()


def banner(cause: int, name: str) -> bytes:
    return b"\r\nrst:0x%x (%s),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n" % (cause, name.encode())


RESETS = [
    ("power-on", banner(0x1, "POWERON_RESET"), "POWERON", Verdict.BLOCKED),
    ("brown-out", banner(0xF, "RTCWDT_BROWN_OUT_RESET"), "", Verdict.BLOCKED),
    ("brown-out reported by IDF", BROWN_OUT, "", Verdict.BLOCKED),
    ("brown-out reported by the firmware", banner(0xC, "SW_CPU_RESET"), "BROWNOUT", Verdict.BLOCKED),
    ("software", banner(0xC, "SW_CPU_RESET"), "SW", Verdict.FAIL),
    ("watchdog", banner(0x8, "TG1WDT_SYS_RESET"), "WDT", Verdict.FAIL),
    ("panic", PANIC + banner(0xC, "SW_CPU_RESET"), "PANIC", Verdict.FAIL),
]


@pytest.mark.parametrize(
    ("text", "reason", "verdict"), [case[1:] for case in RESETS], ids=[case[0] for case in RESETS]
)
def test_unexpected_reset_is_blamed_on_supply_or_firmware(
    bench: Bench, text: bytes, reason: str, verdict: Verdict
) -> None:
    bench.channel.feed(text)
    bench.firmware.start(banner=False, reason=reason)
    finding = bench.verdict(bench.caught(BoardReset, lambda: bench.device.probe("DMA")))
    assert finding.verdict is verdict
    assert ("supply" in finding.remedy) is (verdict is Verdict.BLOCKED)
    # A test that only uses dut.expect sees missing output instead of the reset; the verdict must be the same.
    assert bench.verdict(pexpect.TIMEOUT("READY did not come")).verdict is verdict


@pytest.mark.parametrize(
    ("reason", "verdict"),
    [("POWERON", Verdict.BLOCKED), ("BROWNOUT", Verdict.BLOCKED), ("TASK_WDT", Verdict.FAIL)],
)
def test_reset_without_a_banner_is_known_by_the_boot_event(
    bench: Bench, reason: str, verdict: Verdict
) -> None:
    bench.firmware.start(banner=False, reason=reason)
    finding = bench.verdict(bench.caught(BoardReset, lambda: bench.device.probe("DMA")))
    assert finding.verdict is verdict


@pytest.mark.parametrize("with_banner", [True, False])
def test_requested_power_on_is_not_a_loss_of_power(bench: Bench, with_banner: bool) -> None:
    bench.channel.announce_reset()
    bench.firmware.start(banner=with_banner)
    assert bench.channel.boot == bench.firmware.boot
    assert bench.verdict(bench.caught(BoardReset, lambda: bench.device.probe("DMA"))).verdict is Verdict.FAIL
    # Only the first power-on was requested.
    bench.device.wait_ready(SHORT_S)
    bench.firmware.start(banner=with_banner)
    error = bench.caught(BoardReset, lambda: bench.device.probe("DMA"))
    assert bench.verdict(error).verdict is Verdict.BLOCKED


def flipped(data: bytes) -> bytes:
    """Flips a bit in the middle, as noise would."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0x02]) + data[middle + 1 :]


def test_missing_event_on_a_noisy_line_is_a_bench_fault(bench: Bench) -> None:
    bench.channel.feed(b"I (5) APP: \xff\xfe\x00\r\n" * 3)
    error = bench.caught(
        NoisyLine, lambda: bench.device.wait_event("mem.warning", SHORT_S, since=bench.since)
    )
    finding = bench.verdict(error)
    assert finding.verdict is Verdict.BLOCKED
    assert "3 garbled lines" in finding.reason
    assert "cable" in finding.remedy


def test_missing_event_on_a_clean_line_is_a_firmware_fault(bench: Bench) -> None:
    bench.firmware.log("100 °C ✅")  # not ASCII, but valid text
    error = bench.caught(
        MissingEvent, lambda: bench.device.wait_event("mem.warning", SHORT_S, since=bench.since)
    )
    assert bench.verdict(error).verdict is Verdict.FAIL


def test_missing_line_and_box_on_a_noisy_line_are_bench_faults(bench: Bench) -> None:
    bench.firmware.output(flipped(bench.firmware.record("!", {"event": "tts", "state": "end"})))
    bench.caught(NoisyLine, lambda: bench.device.wait_line("READY", SHORT_S, since=bench.since))
    bench.caught(NoisyLine, lambda: bench.device.wait_box("Boot", SHORT_S, since=bench.since))
    assert bench.verdict(pexpect.TIMEOUT("READY")).verdict is Verdict.BLOCKED


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        (flipped, Verdict.BLOCKED),
        (lambda data: b"", Verdict.FAIL),  # the chip still boots after a reset, so the firmware hangs
        (lambda data: flipped(data) + PANIC, Verdict.FAIL),
    ],
    ids=["noise", "silence", "noise and panic"],
)
def test_missing_reply_is_blamed_on_line_or_firmware(
    bench: Bench, line: Callable[[bytes], bytes], verdict: Verdict
) -> None:
    bench.to_host = line
    error = bench.caught(NoReply, lambda: bench.device.command("heap.probe", timeout_s=SHORT_S, caps="DMA"))
    assert bench.verdict(error).verdict is verdict


def test_firmware_that_never_sends_a_valid_checksum_is_not_noise() -> None:
    channel = Channel(lambda data: None, name="fake")
    firmware = FakeFirmware(lambda data: channel.feed(flipped(data)))
    channel.announce_reset()
    firmware.start()
    with pytest.raises(NoReply) as info:
        Device(channel).wait_ready(SHORT_S)
    assert blame(info.value, CALL, lambda: True, channel).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    "error", [AssertionError("free is 7"), MissingEvent("no event"), ValueError("odd")], ids=repr
)
def test_noise_excuses_only_missing_output(bench: Bench, error: Exception) -> None:
    """A record truncated by another task's output is not noise and excuses nothing. A complete record with a wrong
    checksum is noise."""
    record = bench.firmware.record("!", {"event": "tts", "state": "end"})
    bench.firmware.output(record[:20] + bench.firmware.record("!", {"event": "tts", "state": "end"}))
    assert bench.verdict(error).verdict is Verdict.FAIL
    if not isinstance(error, MissingEvent):
        bench.firmware.output(flipped(record))
        assert bench.verdict(error).verdict is Verdict.FAIL


@pytest.mark.parametrize(("phase", "verdict"), [(SETUP, Verdict.BLOCKED), (CALL, Verdict.FAIL)])
def test_wrong_name_given_by_the_test_itself_is_an_error_of_the_suite(phase: str, verdict: Verdict) -> None:
    finding = blame(UsageError("there is no fault 'nois'", "hotpin-hil board faults lists them"), phase)
    assert (finding.verdict, finding.reason) == (verdict, "there is no fault 'nois'")


def test_reason_is_no_longer_than_a_paragraph() -> None:
    finding = blame(AssertionError("A" * 1_000_000), CALL)
    assert finding.reason == "A" * 2_000 + " ... and 998,000 characters"
