"""Tests the device client with a fake firmware: it must receive replies and detect faults."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import serial
from hypothesis import given, settings
from hypothesis import strategies as st

from hotpin_hil.device import (
    BoardReset,
    Device,
    DeviceError,
    LostRecord,
    MissingEvent,
    NoisyLine,
    NoReply,
    ProtocolError,
    SupplyFailed,
    UnexpectedEvent,
    budgets,
)
from hotpin_hil.errors import PortError, UsageError
from hotpin_hil.evidence.blame import CALL, blame
from hotpin_hil.evidence.model import Verdict
from hotpin_hil.link.channel import Channel, Cursor
from hotpin_hil.link.port_reader import PortReader
from hotpin_hil.protocol.answers import MemoryStats, Probe, merge_parts, parse_answer
from hotpin_hil.protocol.request import REQUEST_MAX, encode_request
from tests.support.fake_firmware import FakeFirmware, checksum

SHORT_S = 0.05
"""Budget for tests in which the fake is silent on purpose."""


class Bench:
    """Device and fake firmware in one thread: the other side handles sent data before `send` returns."""

    def __init__(self) -> None:
        self.to_host: Callable[[bytes], bytes] = lambda data: data
        self.to_board: Callable[[bytes], bytes] = lambda data: data
        self.channel = Channel(lambda data: self.firmware.receive(self.to_board(data)), name="fake")
        self.firmware = FakeFirmware(lambda data: self.channel.feed(self.to_host(data)))
        self.device = Device(self.channel)


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.firmware.start()
    bench.device.wait_ready(SHORT_S)
    return bench


def once(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Returns a function that applies `change` only to the first chunk."""
    chunks: list[bytes] = []

    def damage(data: bytes) -> bytes:
        chunks.append(data)
        return change(data) if len(chunks) == 1 else data

    return damage


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flip(data: bytes) -> bytes:
    return data[:12] + bytes([data[12] ^ 0x08]) + data[13:]


def drop(data: bytes) -> bytes:
    return b""


# --- requests ---


def test_request_has_the_format_of_the_protocol() -> None:
    body = b"12 heap.hold caps=DMA,8BIT size=4096 all=1"
    sent = encode_request(
        12, "heap.hold", {"caps": ["DMA", "8BIT"], "size": 4096, "block": None, "all": True}
    )
    assert sent == b"@" + body + b"*" + checksum(body) + b"\n"


@pytest.mark.parametrize(
    "text",
    ["System Boot", "", 'say "hi"', "back\\slash", "~tilde", "a=b", "Before/After", "tab-less", "x" * 180],
)
def test_any_printable_value_arrives_unchanged(bench: Bench, text: str) -> None:
    assert bench.device.command("echo", context=text)["args"] == {"context": text}


@pytest.mark.parametrize("text", ["new\nline", "stern*", "Ümlaut", "\x00"])
def test_value_that_cannot_be_sent_is_refused(bench: Bench, text: str) -> None:
    with pytest.raises(UsageError, match="printable ASCII"):
        bench.device.command("echo", context=text)
    assert bench.firmware.executed == []


def test_overlong_request_is_refused(bench: Bench) -> None:
    with pytest.raises(UsageError, match=f"the limit is {REQUEST_MAX}"):
        bench.device.command("echo", context="x" * REQUEST_MAX)


# --- replies ---


def test_reply_with_log_lines_and_events_around(bench: Bench) -> None:
    def answer(firmware: FakeFirmware, args: dict[str, str]) -> dict[str, Any]:
        firmware.log("before")
        firmware.output(b"I (5) APP: a line that the reply ")
        firmware.event("mem.sample", context="x")
        return {"value": 7}

    bench.firmware.handlers["get"] = answer
    assert bench.device.command("get")["value"] == 7


def test_refusal_is_an_error_with_name_and_message(bench: Bench) -> None:
    bench.firmware.handlers["tts.open"] = lambda _, args: {
        "ok": False,
        "err": "ESP_ERR_NO_MEM",
        "msg": "no block",
    }
    with pytest.raises(DeviceError, match=r"'tts\.open' failed: ESP_ERR_NO_MEM: no block") as caught:
        bench.device.tts_open()
    assert caught.value.err == "ESP_ERR_NO_MEM"


def test_unknown_command_is_an_error_after_two_replies(bench: Bench) -> None:
    with pytest.raises(DeviceError, match="UNKNOWN_COMMAND"):
        bench.device.command("no.such", timeout_s=SHORT_S)


@pytest.mark.parametrize("damage", [cut, flip, drop, lambda data: data.replace(b"*", b"#")])
@pytest.mark.parametrize("direction", ["to_host", "to_board"])
def test_damaged_exchange_is_repeated_and_executed_once(
    bench: Bench, direction: str, damage: Callable[[bytes], bytes]
) -> None:
    counted: list[int] = []

    def count(firmware: FakeFirmware, args: dict[str, str]) -> dict[str, Any]:
        counted.append(1)
        return {"count": len(counted)}

    bench.firmware.handlers["count"] = count
    setattr(bench, direction, once(damage))
    assert bench.device.command("count", timeout_s=SHORT_S)["count"] == 1
    assert len(counted) == 1
    assert bench.device.command("count", timeout_s=SHORT_S)["count"] == 2


def test_damaged_reply_is_requested_again_at_once(bench: Bench) -> None:
    bench.to_host = once(flip)
    began = time.monotonic()
    assert bench.device.command("echo", timeout_s=10)["ok"]
    assert time.monotonic() - began < 10, "the client waited for the timeout"


def test_answer_in_several_records_is_joined(bench: Bench) -> None:
    bench.firmware.handlers["heap.regions"] = lambda _, args: [
        {"regions": [{"start": 2, "length": 4, "caps": "DMA", "free": 1, "largest": 1, "blocks": 1}]},
        {
            "regions": [{"start": 1, "length": 1, "caps": "DMA", "free": 1, "largest": 1, "blocks": 1}],
            "x": {"a": 1},
        },
        {"x": {"b": 2}},
    ]
    assert [region.start for region in bench.device.regions()] == [1, 2]
    assert merge_parts([{"x": {"a": 1}, "more": True}, {"x": {"b": 2}}]) == {"x": {"a": 1, "b": 2}}


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_lost_part_of_an_answer_is_fetched_again(bench: Bench, lost: int) -> None:
    bench.firmware.handlers["list"] = lambda _, args: [{"items": [1, 2]}, {"items": [3]}, {"items": [4]}]

    def lose(data: bytes) -> bytes:
        lines = data.splitlines(keepends=True)
        return b"".join(line for number, line in enumerate(lines) if number != lost)

    bench.to_host = once(lose)
    assert bench.device.command("list", timeout_s=SHORT_S)["items"] == [1, 2, 3, 4]


def test_lost_event_does_not_keep_a_command_from_its_reply(bench: Bench) -> None:
    def answer(firmware: FakeFirmware, args: dict[str, str]) -> dict[str, Any]:
        firmware.record("!", {"event": "never arrives"})
        return {"value": 1}

    bench.firmware.handlers["get"] = answer
    assert bench.device.command("get", timeout_s=SHORT_S)["value"] == 1


def test_late_reply_to_an_earlier_request_is_not_taken_for_this_one(bench: Bench) -> None:
    late: list[bytes] = []

    def answer(firmware: FakeFirmware, args: dict[str, str]) -> None:
        late.append(firmware.record(str(bench.device._id), {"ok": True, "value": "late"}))

    bench.firmware.handlers["slow"] = answer
    with pytest.raises(NoReply):
        bench.device.command("slow", timeout_s=SHORT_S)

    def quick(firmware: FakeFirmware, args: dict[str, str]) -> dict[str, Any]:
        firmware.output(late[0])
        return {"value": "right"}

    bench.firmware.handlers["quick"] = quick
    assert bench.device.command("quick")["value"] == "right"


def test_missing_reply_is_reported_with_the_received_output(bench: Bench) -> None:
    bench.to_board = drop
    with pytest.raises(NoReply, match=r"no reply to 'mem.stats'.*0 bytes.*baud rate") as caught:
        bench.device.command("mem.stats", timeout_s=SHORT_S)
    assert caught.value.heard == 0
    bench.to_board = lambda data: (
        bench.channel.feed(b"Guru Meditation Error: Core  0 panic'ed (IWDT)\r\n") or b""
    )
    with pytest.raises(NoReply, match="it printed: Guru Meditation Error: Core  0 panic'ed"):
        bench.device.command("mem.stats", timeout_s=SHORT_S)


def test_damaged_requests_are_blamed_on_the_line(bench: Bench) -> None:
    bench.to_board = flip
    with pytest.raises(NoisyLine, match=r"no reply to 'mem.stats'.*checksum is wrong.*check cable"):
        bench.device.command("mem.stats", timeout_s=SHORT_S)


def test_lost_line_ends_the_command_at_once(bench: Bench) -> None:
    bench.to_board = lambda data: bench.channel.report_lost(PortError("fake was lost")) or b""  # type: ignore[func-returns-value]
    with pytest.raises(PortError, match="fake was lost"):
        bench.device.command("mem.stats", timeout_s=60)


@pytest.mark.parametrize("field", ["free", "minimum"])
def test_answer_without_a_field_or_of_another_type_is_a_protocol_error(bench: Bench, field: str) -> None:
    whole: dict[str, Any] = {"free": 1, "largest": 1, "minimum": 1}
    bench.firmware.handlers["heap.probe"] = lambda _, args: {k: v for k, v in whole.items() if k != field}
    with pytest.raises(ProtocolError, match=f"no field '{field}'"):
        bench.device.probe("DMA")
    bench.firmware.handlers["heap.probe"] = lambda _, args: {**whole, field: "1"}
    with pytest.raises(ProtocolError, match=f"'{field}' is '1', expected"):
        bench.device.probe("DMA")


def test_bool_is_not_a_number_and_optional_fields_may_be_missing() -> None:
    zeros = {field: 0 for field in MemoryStats.__dataclass_fields__ if "watermark" not in field}
    assert parse_answer(MemoryStats, zeros, "x").internal_watermark is None
    with pytest.raises(ProtocolError):
        parse_answer(MemoryStats, {**zeros, "dma_free": True}, "x")


# --- resets ---


@pytest.mark.parametrize("banner", [True, False], ids=["rom banner", "silent rom"])
def test_reset_during_a_command_is_reported(bench: Bench, banner: bool) -> None:
    bench.firmware.handlers["mem.stats"] = lambda firmware, args: firmware.start(banner=banner)  # type: ignore[func-returns-value]
    with pytest.raises(BoardReset, match=r"during 'mem.stats'"):
        bench.device.stats()
    with pytest.raises(BoardReset, match=r"before 'sys\.info'.*wait_ready"):
        bench.device.info()
    assert bench.device.wait_ready().b == bench.firmware.boot
    assert bench.device.info().b == bench.firmware.boot


def test_reset_is_reported_with_its_name_and_the_panic(bench: Bench) -> None:
    bench.channel.feed(
        b"Guru Meditation Error: Core  1 panic'ed (LoadStoreError). Exception was unhandled.\r\n"
    )
    bench.firmware.start()
    with pytest.raises(BoardReset, match=r"POWERON_RESET.*LoadStoreError"):
        bench.device.info()


@pytest.mark.parametrize(
    "output",
    [
        b"rst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n",
        b"rst:0xf (RTCWDT_BROWN_OUT_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n",
        b"E BOD: Brownout detector was triggered\r\n\r\nrst:0x3 (SW_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n",
    ],
    ids=["power-on", "brown-out", "brown-out interrupt"],
)
def test_power_failure_is_a_bench_fault(bench: Bench, output: bytes) -> None:
    bench.channel.feed(output)
    with pytest.raises(SupplyFailed, match="check the supply") as failed:
        bench.device.info()
    assert blame(failed.value, CALL).verdict is Verdict.BLOCKED


@pytest.mark.parametrize(
    "output",
    [
        b"rst:0xc (SW_CPU_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n",
        b"abort() was called at PC 0x4\r\nrst:0xc (SW_CPU_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n"
        b"rst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n",
        b"rst:0x7 (TG0WDT_SYS_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n",
    ],
    ids=["software", "panic before a power-on", "watchdog"],
)
def test_other_resets_are_firmware_faults(bench: Bench, output: bytes) -> None:
    bench.channel.feed(output)
    with pytest.raises(BoardReset) as reset:
        bench.device.info()
    assert blame(reset.value, CALL).verdict is Verdict.FAIL


def test_brown_out_at_every_start_is_a_bench_fault() -> None:
    bench = Bench()
    bench.channel.feed(
        b"rst:0x3 (SW_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\nE BOD: Brownout detector was triggered\r\n\r\n"
    )
    with pytest.raises(SupplyFailed, match=r"did not start.*check the supply"):
        bench.device.wait_ready(SHORT_S)


def test_starts_before_reflashing_are_not_a_boot_loop() -> None:
    bench = Bench()
    bench.channel.feed(
        b"rst:0x10 (RTCWDT_RTC_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n" * (budgets.STARTS_MAX + 1)
    )
    with pytest.raises(NoReply, match="was reset"):
        bench.device.wait_ready(SHORT_S)
    bench.channel.announce_reset()
    threading.Timer(SHORT_S, bench.firmware.start).start()
    assert bench.device.wait_ready().b == bench.firmware.boot


def test_reboot_waits_for_the_new_boot(bench: Bench) -> None:
    old = bench.device.boot

    def reboot(firmware: FakeFirmware, args: dict[str, str]) -> dict[str, Any]:
        timer.start()
        return {}

    timer = threading.Timer(0.02, bench.firmware.start)
    bench.firmware.handlers["sys.reboot"] = reboot
    assert bench.device.reboot().b == bench.firmware.boot != old
    timer.join()


def test_reboot_succeeds_without_its_reply(bench: Bench) -> None:
    bench.firmware.handlers["sys.reboot"] = lambda firmware, args: firmware.start()  # type: ignore[func-returns-value]
    assert bench.device.reboot().b == bench.firmware.boot


def test_wait_ready_returns_the_newest_boot(bench: Bench) -> None:
    bench.firmware.start()
    bench.channel.feed(b"rst:0xc (SW_CPU_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n")
    with pytest.raises(NoReply, match="did not start"):
        Device(bench.channel).wait_ready(SHORT_S)
    bench.firmware.start(banner=False)
    assert bench.device.wait_ready(SHORT_S).b == bench.firmware.boot


def test_chip_in_a_reset_loop_is_not_waited_for() -> None:
    bench = Bench()
    bench.channel.feed(b"abort() was called at PC 0x4\r\nrst:0xc (SW_CPU_RESET),boot:0x13 (X)\r\n" * 20)
    started = time.monotonic()
    with pytest.raises(NoReply, match=r"did not start.*reset 20 times.*abort\(\) was called"):
        bench.device.wait_ready(60)
    assert time.monotonic() - started < 10


def test_identity_is_requested_after_a_damaged_boot_event() -> None:
    bench = Bench()
    bench.to_host = lambda data: flip(data) if b'"boot"' in data else data
    bench.firmware.start()
    assert bench.device.wait_ready(SHORT_S).b == bench.firmware.boot
    assert bench.device.probe("DMA") == Probe(100, 50, 10)


def test_failed_start_is_reported_with_the_last_output() -> None:
    bench = Bench()
    bench.channel.feed(
        b"rst:0x10 (RTCWDT_RTC_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\ninvalid header: 0xffffffff\r\n"
    )
    with pytest.raises(NoReply, match="its last line was 'invalid header: 0xffffffff'"):
        bench.device.wait_ready(SHORT_S)


# --- events ---


def test_event_is_found_since_the_mark_only(bench: Bench) -> None:
    bench.firmware.event("mem.warning", type="DMA_LOW")
    since = bench.device.mark()
    bench.firmware.event("mem.warning", type="PSRAM_LOW")
    event = bench.device.wait_event("mem.warning", SHORT_S, since=since)
    assert event.data["type"] == "PSRAM_LOW"
    assert [e.data["type"] for e in bench.device.events("mem.warning", since=since)] == ["PSRAM_LOW"]
    where = bench.device.wait_event(
        "mem.warning", SHORT_S, since=since, where=lambda e: "PSRAM" in e.data["type"]
    )
    assert where == event


def test_event_in_parts_is_one_event(bench: Bench) -> None:
    since = bench.device.mark()
    bench.firmware.event("mem.sample", context="Periodic", dma_free=1, more=True)
    bench.firmware.log("in between")
    bench.firmware.event("mem.sample", psram_free=2)
    (event,) = bench.device.events("mem.sample", since=since)
    assert {k: event.data[k] for k in ("context", "dma_free", "psram_free")} == {
        "context": "Periodic", "dma_free": 1, "psram_free": 2,
    }  # fmt: skip
    assert "more" not in event.data


def test_rest_of_a_lost_event_is_not_mixed_into_the_next(bench: Bench) -> None:
    bench.firmware.event("mem.sample", context="old", more=True)
    bench.firmware.record("!", {"event": "mem.sample", "psram_free": 1})  # never put on the wire
    bench.firmware.event("other")
    since = bench.device.mark()
    bench.firmware.event("mem.sample", dma_free=1)
    (event,) = bench.device.events("mem.sample", since=since)
    assert "context" not in event.data


def test_missing_event_is_reported_with_the_received_events(bench: Bench) -> None:
    since = bench.device.mark()
    for name in ("mem.sample", "mode", "mem.sample"):
        bench.firmware.event(name)
    with pytest.raises(
        MissingEvent, match=r"'mem.warning' did not arrive.*then: mem.sample \(2\), mode \(1\)$"
    ):
        bench.device.wait_event("mem.warning", SHORT_S, since=since)


def test_wait_for_an_event_of_a_hung_board_raises_no_reply(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.device, "barrier", lambda: bench.device.command("x", timeout_s=SHORT_S))
    bench.to_board = drop
    with pytest.raises(NoReply):
        bench.device.wait_event("mem.warning", SHORT_S, since=bench.device.mark())


def test_forbidden_event_is_reported(bench: Bench) -> None:
    since = bench.device.mark()
    bench.device.no_event("mem.warning", since=since)
    bench.firmware.event("mem.warning", type="DMA_LOW", value=5)
    with pytest.raises(UnexpectedEvent, match="'type': 'DMA_LOW'"):
        bench.device.no_event("mem.warning", since=since)
    bench.device.no_event("mem.warning", since=bench.device.mark())


def test_lost_record_invalidates_checks_for_events(bench: Bench) -> None:
    since = bench.device.mark()
    bench.firmware.record("!", {"event": "mem.warning"})  # never put on the wire
    with pytest.raises(LostRecord, match="1 record"):
        bench.device.no_event("mem.warning", since=since)
    with pytest.raises(LostRecord):
        bench.device.events("mem.warning", since=since)
    bench.firmware.event("mem.warning")
    with pytest.raises(LostRecord):
        bench.device.wait_event("mem.warning", SHORT_S, since=since)
    since = bench.device.mark()
    bench.firmware.event("mem.warning")
    assert bench.device.wait_event("mem.warning", SHORT_S, since=since)


def test_reset_while_waiting_for_an_event_is_reported(bench: Bench) -> None:
    since = bench.device.mark()
    bench.firmware.start()
    with pytest.raises(BoardReset, match=r"while waiting for event 'mem\.warning'"):
        bench.device.wait_event("mem.warning", 60, since=since)


# --- console text ---


def test_lines_of_the_log_are_found_since_the_mark(bench: Bench) -> None:
    bench.firmware.log("Insufficient PSRAM: need 1 bytes, have 0 bytes", "TTS", "E")
    since = bench.device.mark()
    bench.firmware.log("Insufficient PSRAM: need 98304 bytes, have 98300 bytes", "TTS", "E")
    line = bench.device.wait_line(r"need (\d+) bytes", SHORT_S, since=since)
    assert (line.level, line.tag) == ("E", "TTS")
    assert "98304" in line.text
    with pytest.raises(MissingEvent, match="no log line"):
        bench.device.wait_line("never said", SHORT_S, since=since)


# --- Arbitrary damage ---


DAMAGE = st.tuples(
    st.sampled_from(["drop", "cut", "flip", "insert"]),
    st.floats(0, 1, exclude_max=True),  # position in the chunk, from 0 to 1
    st.binary(min_size=1, max_size=40),
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.integers(0, 12), DAMAGE, max_size=2))
def test_commands_survive_any_damage_of_any_exchange(plan: dict[int, tuple[str, float, bytes]]) -> None:
    """Damages up to two chunks. Each command must still get its reply and be executed exactly once."""
    bench = Bench()
    bench.device._id = 100
    # Without a checksum, a truncated request can still be valid, and the client cannot detect it.
    bench.firmware.checksum_required = True
    bench.firmware.start()
    bench.device.wait_ready(SHORT_S)
    calls: list[str] = []

    def answer(firmware: FakeFirmware, args: dict[str, str]) -> list[dict[str, Any]]:
        calls.append(args["v"])
        firmware.log("a line")
        return [{"items": [args["v"]]}, {"items": [len(calls)]}]

    bench.firmware.handlers["get"] = answer
    passed = itertools.count()

    def damage(chunk: bytes) -> bytes:
        kind, where, noise = plan.get(next(passed), ("", 0.0, b""))
        at = int(where * len(chunk))
        if kind == "insert":
            return chunk[:at] + noise + chunk[at:]
        if kind == "flip":
            return chunk[:at] + bytes([chunk[at] ^ (noise[0] or 1)]) + chunk[at + 1 :]
        return {"cut": chunk[:at], "drop": b""}.get(kind, chunk)

    bench.to_host = bench.to_board = damage
    for number in range(1, 4):
        reply = bench.device.command("get", timeout_s=SHORT_S, v=f"v{number}")
        assert reply["items"] == [f"v{number}", number]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=80), max_size=10))
def test_hostile_bytes_break_nothing(chunks: list[bytes]) -> None:
    bench = Bench()
    bench.firmware.start()
    bench.device.wait_ready(SHORT_S)
    since = bench.device.mark()
    for chunk in chunks:
        bench.channel.feed(chunk)
        bench.device.boxes(since), bench.device.log_lines(since), bench.device.text(since)
    assert bench.device.command("echo", timeout_s=SHORT_S)["args"] == {}


# --- The whole link, with threads, on a real tty ---


@contextmanager
def tty() -> Iterator[tuple[Any, FakeFirmware, Channel, list[BaseException]]]:
    """Fake firmware behind a pseudo-terminal, to which the channel connects with pyserial and a reader thread."""
    master, slave = os.openpty()
    os.set_blocking(master, True)
    firmware = FakeFirmware(lambda data: os.write(master, data))

    def board() -> None:
        try:
            while data := os.read(master, 4096):
                firmware.receive(data)
        except OSError:
            pass  # the other end was closed

    thread = threading.Thread(target=board)
    thread.start()
    port = serial.Serial(os.ttyname(slave), 115200)
    os.close(slave)
    channel = Channel(port.write, name=port.port)
    errors: list[BaseException] = []

    def lost(error: BaseException) -> None:
        errors.append(error)
        channel.report_lost(PortError(str(error)))

    reader = PortReader(port, channel.feed, lost)
    reader.start()
    try:
        yield reader, firmware, channel, errors
    finally:
        reader.terminate()
        port.close()
        thread.join(5)
        os.close(master)
        assert not thread.is_alive()
        assert not reader.is_alive()


def test_commands_over_a_tty() -> None:
    with tty() as (_, firmware, channel, _errors):
        device = Device(channel)
        firmware.start()
        assert device.wait_ready().project == "hotpin"
        for number in range(50):
            assert device.command("echo", v=number)["args"] == {"v": str(number)}
        assert channel.corrupt() == []


def test_reader_stops_and_starts_again_without_losing_a_byte() -> None:
    with tty() as (reader, firmware, channel, errors):
        port = reader._port
        timeout = port.timeout
        reader.terminate()
        for number in range(20):
            again = PortReader(port, channel.feed, errors.append)
            again.start()
            firmware.event("e", number=number)
            again.terminate()
            assert port.timeout == timeout
        again = PortReader(port, channel.feed, errors.append)
        again.start()
        device = Device(channel)
        assert device.info().project == "hotpin"
        assert [event.data["number"] for event in device.events("e", since=Cursor())] == list(range(20))
        again.terminate()
        assert errors == []
