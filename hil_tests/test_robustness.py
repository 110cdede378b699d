"""For any malformed console input, the board replies with a clear error or not at all, and keeps running."""

from __future__ import annotations

import random

import pytest

from fixtures.measure import Measure
from fixtures.modes import Modes
from fixtures.pace import HostPace
from hotpin_hil.device import Device, DeviceError
from hotpin_hil.protocol.crc import crc16
from hotpin_hil.protocol.records import Record
from hotpin_hil.protocol.request import HARNESS_ID_MAX, ID_MAX, REQUEST_MAX, encode_request

SEED = 20_240_601
NOISE_BYTES = 6_000
CHUNK = 200
"""Bytes per write, less than the board's receive buffer."""

SOURCE = "requirement ROB-01"

HOSTILE_LINES = [
    b"@",
    b"@@@@@@@@",
    b"@0 sys.info",
    b"@-1 sys.info",
    b"@65536 sys.info",
    b"@99999999999999999999 sys.info",
    b"@1",
    b"@1 ",
    b"@1 sys",
    b"@1 sys.",
    b"@1 sys.infosys.info",
    b"@1 sys.info extra",
    b"@1 sys.info =",
    b"@1 sys.info a=b",
    b"@1 sys.info *",
    b"@1 sys.info*0000",
    b"@1 sys.info*XYZW",
    b"@1 sys.info*12345",
    b"@1 mem.log context=",
    b'@1 mem.log context="',
    b'@1 mem.log context="\\',
    b"@1 mem.log context=\x1b[2J\x07",
    b"@1 mem.log context=\xff\xfe\x80",
    b"@1 mem.log context=\xe2\x95",
    b"@1 mem.monitor start=4294967296",
    b"@1 mem.monitor start=-1",
    b"@1 mem.monitor start=0x10",
    b"@1 mem.monitor start=1 start=2",
    b"@1 mem.monitor start=1000 stop=1",
    b"@1 mem.check dma=18446744073709551616",
    b"@1 mem.place caps=DMA sizes=" + b"1," * 100,
    b"@1 mem.place caps=DMA sizes=,,,",
    b"@1 mem.place caps=SPIRAM,DMA sizes=4",
    b"@1 heap.hold caps=DMA size=4294967295",
    b"@1 heap.hold caps=NOSUCH size=4",
    b"@1 heap.release id=0",
    b"@1 heap.release id=4294967295",
    b"@1 heap.split caps=DMA block=4294967295 count=4294967295",
    b"@1 heap.probe caps=" + b";" * 20,
    b"@1 heap.fail caps=DMA nth=0",
    b"@1 heap.fail step=nosuch",
    b"@1 heap.fail step=" + b"a," * 60,
    b"@1 sys.panic kind=nosuch",
    b"@1 sys.panic kind=abort step=nosuch",
    b"@1 mode.set to=nosuch",
    b"@1 mode.settle down=4294967295",
    b"@1 tts.write data=====",
    b"@1 tts.write data=AAA",
    b"@1 tts.write data=" + b"A" * 200,
    b"@1 bench.run what=nosuch n=1",
    b"@1 bench.run what=log n=4294967295",
    b'@1 {"ok":true}*0000',
    b'@! {"event":"boot"}*0000',
    b"sys.info" + b" " * 200,
    b"\x00" * 100,
    b"\x7f" * 300,
    b"\x08" * 300,
    b"A" * 5_000,
    b"@1 " + b"A" * 5_000,
    b"AT+RST\r\n+++\r\nroot\r\nrm -rf /",
]
"""Lines similar to valid commands, each with a different error."""


ODD_LINES = [
    b"@1 heap.hold caps=DMA size=0",
    b"@1 heap.split caps=DMA block=0",
    b"@1 mem.place caps=" + b"DMA," * 40 + b"DMA sizes=4",
    b"@1 mem.log context=%s%s%s%n%n",
    b"@1 mem.log context=" + b"A" * 200,
]
"""Lines that the board may execute, because they are harmless."""


def answers(device: Device, line: bytes) -> list[Record]:
    """Send a line; returns the replies with id 1 that arrive before the board answers the harness's next request."""
    start = device.mark()
    for at in range(0, len(line), CHUNK):
        device.channel.send(line[at : at + CHUNK])
    device.channel.send(b"\n")
    device.info()
    return [record for record in device.channel.records(start) if record.kind == "reply" and record.id == 1]


@pytest.mark.requirement("ROB-01")
def test_hostile_lines_get_a_clear_error_or_nothing(
    device: Device, modes: Modes, measure: Measure, host_pace: HostPace
) -> None:
    """Sends each line unchanged, and also with a valid checksum as in a request, so that it passes the first checks.
    The board must refuse the line with a named error or not reply. No memory and no task may remain allocated."""
    device.monitor(stop=True)
    before = modes.read()
    first = device.info()
    accepted = []
    unclear = []
    for line in [*HOSTILE_LINES, *ODD_LINES]:
        body = line[1:]
        with_checksum = b"@%s*%04X" % (body, crc16(body)) if line.startswith(b"@") else line
        for sent in (line, with_checksum):
            with host_pace():  # the board truncates an overlong line and treats the remainder as another line
                records = answers(device, sent)
            for record in records:
                reply = record.data
                if reply.get("ok") is True and line not in ODD_LINES:
                    accepted.append(f"{line[:40]!r} -> {record.raw[:80]!r}")
                if reply.get("ok") is False and not reply.get("err"):
                    unclear.append(f"{line[:40]!r} -> {record.raw[:80]!r}")
    device.release()
    device.monitor(stop=True)  # also waits for the short-lived task that writes statistics
    measure("hostile lines that were obeyed", "; ".join(accepted), exact="", source=SOURCE)
    measure("errors without a name", "; ".join(unclear), exact="", source=SOURCE)
    check_unharmed(device, measure, first.boot_count)
    measure(
        "changes of memory and tasks",
        str(modes.read() - before),
        exact="{}",
        source="no memory and no task is kept",
    )


OVERLONG = 300
"""Length of an overlong line; the maximum is 240 bytes."""


@pytest.mark.requirement("ROB-01")
@pytest.mark.parametrize("start", [b"", b"@1 ", b"garbage @1 "], ids=["typed", "request", "after_garbage"])
def test_command_after_an_overlong_line_is_obeyed(
    device: Device, measure: Measure, host_pace: HostPace, start: bytes
) -> None:
    """Types a command after an overlong line. The board must execute it, although it has no checksum. (The board finds
    a request anywhere in a line by its checksum.)"""
    line = start + b"A" * OVERLONG
    with host_pace():
        answers(device, line)
        began = device.mark()
        answers(device, b"mode.get")
    said = device.channel.text(began).decode(errors="replace")
    is_obeyed = f"mode: {device.mode().mode}" in said
    measure("a typed command is obeyed", is_obeyed, exact=True, source=f"firmware/README.md: {said}")


FIRST_REQUEST = HARNESS_ID_MAX + 1
STRAY = [b"\xff", b"\x00", b"x", b"@", b"*", b'"']


@pytest.mark.requirement("ROB-01")
def test_request_after_stray_bytes_is_obeyed(device: Device, measure: Measure) -> None:
    """Sends a request after one to six stray bytes, which can arrive when a port is opened. The board must answer each
    request."""
    number = FIRST_REQUEST
    unanswered = []
    for byte in STRAY:
        for count in range(1, 7):
            number += 1
            start = device.mark()
            device.channel.send(byte * count + encode_request(number, "mode.get", {}))
            device.barrier()
            if not any(record.id == number for record in device.channel.records(start)):
                unanswered.append(byte * count)
    measure("stray bytes that hide a request", str(unanswered), exact="[]", source="PROTOCOL.md §3: CRC-16")


@pytest.mark.requirement("ROB-01")
def test_requests_with_the_ends_of_their_ranges_are_obeyed(device: Device, measure: Measure) -> None:
    """Sends requests with the smallest and the largest id, and the longest request."""
    spare = 1 + REQUEST_MAX - len(encode_request(ID_MAX, "mem.log", {"context": "x"}).strip())
    longest = encode_request(ID_MAX - 1, "mem.log", {"context": "x" * spare})
    measure("length of the request", len(longest.strip()), "B", exact=REQUEST_MAX, source="PROTOCOL.md §3")
    for what, number, request in (
        ("smallest id", 1, encode_request(1, "mode.get", {})),
        ("largest id", ID_MAX, encode_request(ID_MAX, "mode.get", {})),
        ("longest request", ID_MAX - 1, longest),
    ):
        start = device.mark()
        device.channel.send(request)
        device.barrier()
        replies = [record for record in device.channel.records(start) if record.id == number]
        is_obeyed = bool(replies) and bool(replies[0].data["ok"])
        measure(f"{what}: obeyed", is_obeyed, exact=True, source="PROTOCOL.md §3")


LONGEST_WORD = 200
"""Length of a key or value that leaves room for the rest of a 240-byte request."""


@pytest.mark.requirement("ROB-01")
@pytest.mark.parametrize("letter", ["a", '"', "\\"], ids=["letter", "quote", "backslash"])
def test_a_refused_argument_is_quoted_completely(device: Device, measure: Measure, letter: str) -> None:
    """Sends an invalid argument of maximum length, which the error message must quote. A quote or backslash is
    encoded as two characters, so only half as many fit."""
    value = letter * (LONGEST_WORD if letter == "a" else LONGEST_WORD // 2)
    with pytest.raises(DeviceError) as refused:
        device.command("mode.set", to=value)
    measure("key", refused.value.reply["key"], exact="to", source="PROTOCOL.md §3: naming key and value")
    measure("value", refused.value.reply["value"], exact=value, source="PROTOCOL.md §3: naming key and value")


@pytest.mark.requirement("ROB-01")
def test_an_unknown_key_is_quoted_completely(device: Device, measure: Measure) -> None:
    key = "k" * LONGEST_WORD
    with pytest.raises(DeviceError) as refused:
        device.command("mode.get", **{key: "1"})
    measure("key", refused.value.reply["key"], exact=key, source="PROTOCOL.md §3: naming key and value")
    measure("value", refused.value.reply["value"], exact="1", source="PROTOCOL.md §3: naming key and value")


@pytest.mark.requirement("ROB-01")
@pytest.mark.parametrize("kind", ["any_bytes", "printable", "like_requests"])
def test_noise_does_no_harm(device: Device, modes: Modes, measure: Measure, kind: str) -> None:
    """Sends noise, the same in every run. The board must answer after each part."""
    rng = random.Random(SEED)
    device.monitor(stop=True)
    before = modes.read()
    first = device.info()
    sent = 0
    while sent < NOISE_BYTES:
        noise = make_noise(rng, kind)
        device.channel.send(noise)
        device.channel.send(b"\n")
        device.info()
        sent += len(noise)
    check_unharmed(device, measure, first.boot_count)
    measure(
        "changes of memory and tasks",
        str(modes.read() - before),
        exact="{}",
        source="no memory and no task is kept",
    )


WORDS = [b"@", b"1 ", b"mem.stats", b"heap.probe", b"caps=", b"DMA", b",", b";", b"size=", b"4294967295", b"-", b"*",
         b"0000", b"=", b'"', b"\\", b"\xff", b"\r", b"\n", b"\x00", b" "]  # fmt: skip


def make_noise(rng: random.Random, kind: str) -> bytes:
    """Up to CHUNK bytes of noise that cannot spell a command that resets or changes the board."""
    size = rng.randrange(1, CHUNK)
    if kind == "any_bytes":
        return rng.randbytes(size)
    if kind == "printable":
        return bytes(rng.randrange(0x20, 0x7F) for _ in range(size))
    return b"".join(rng.choice(WORDS) for _ in range(40))[:CHUNK]


def check_unharmed(device: Device, measure: Measure, boot_count: int) -> None:
    """Check that the board is in the same boot (as every command also checks) and executes commands."""
    measure("boots counted", device.info().boot_count - boot_count, exact=0, source=SOURCE)
    with pytest.raises(DeviceError) as refused:
        device.command("no.such.command")
    measure("an unknown command", refused.value.err, exact="UNKNOWN_COMMAND", source="PROTOCOL.md §3")
    measure("a known command works", device.command("mem.stats")["ok"], exact=True, source=SOURCE)


@pytest.mark.requirement("ROB-01")
def test_panic_that_is_called_off_takes_nothing(device: Device, measure: Measure) -> None:
    before = device.resources().heaps
    for _ in range(3):
        device.command("sys.panic", kind="heap", step="camera.stop")
    device.fail(off=True)
    measure("heaps", device.resources().heaps == before, exact=True, source="sys.resources before it")
