"""The virtual board's parts one by one: framing, reset circuit, flash, loader protocol."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpin_hil.virtual import rom, slip
from hotpin_hil.virtual.chip import EFUSE, Registers, parse_mac
from hotpin_hil.virtual.flash import Flash, FlashRangeError
from hotpin_hil.virtual.image import CHECKSUM_SEED, xor_bytes
from hotpin_hil.virtual.reset import ResetCircuit

# SLIP


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=5), st.integers(min_value=1, max_value=7))
def test_slip_frames_survive_any_cut(packets: list[bytes], step: int) -> None:
    decoder = slip.Decoder()
    stream = b"".join(slip.encode(packet) for packet in packets)
    found = [frame for at in range(0, len(stream), step) for frame in decoder.feed(stream[at : at + step])]
    assert found == packets
    assert decoder.dropped == 0


@pytest.mark.parametrize(
    "bad", [b"\xc0a\xdbb\xc0", b"\xc0a\xdb\xc0", b"\xc0" + b"x" * (slip.MAX_FRAME + 1) + b"\xc0"]
)
def test_slip_drops_a_malformed_frame_and_takes_the_next(bad: bytes) -> None:
    decoder = slip.Decoder()
    assert decoder.feed(bad) == []
    assert decoder.dropped == 1
    assert decoder.feed(slip.encode(b"ok")) == [b"ok"]


# Reset circuit


@dataclass
class Bench:
    """A reset circuit whose capacitor charges when told to."""

    events: list[str] = field(default_factory=list)
    pending: list[Callable[[], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.circuit = ResetCircuit(
            lambda: self.events.append("reset"),
            lambda download: self.events.append("download" if download else "run"),
            self.call_later,
        )

    def call_later(self, _seconds: float, action: Callable[[], None]) -> Bench._Timer:
        self.pending.append(action)
        return Bench._Timer(self, action)

    @dataclass
    class _Timer:
        bench: Bench
        action: Callable[[], None]

        def cancel(self) -> None:
            self.bench.pending.remove(self.action)

    def lines(self, *states: tuple[int, int]) -> list[str]:
        for dtr, rts in states:
            self.circuit.set_lines(bool(dtr), bool(rts))
        return self.events

    def rise(self) -> None:
        action = self.pending[0]
        action()


def test_esptools_classic_sequence_enters_download() -> None:
    bench = Bench()
    assert bench.lines((0, 0), (0, 1), (1, 1), (1, 0), (0, 0)) == ["reset", "download"]
    assert bench.pending == []


def test_hard_reset_runs_the_app() -> None:
    assert Bench().lines((0, 0), (0, 1), (0, 0)) == ["reset", "run"]


def test_opening_a_port_as_pyserial_does_resets_nothing() -> None:
    assert Bench().lines((1, 0), (1, 1), (0, 0)) == []


def test_capacitor_lets_go_by_itself_when_both_lines_stay_asserted() -> None:
    bench = Bench()
    assert bench.lines((0, 1), (1, 1)) == ["reset"]
    bench.rise()
    assert bench.lines((1, 0), (0, 0)) == ["reset", "run"]


def test_lines_dropped_together_release_the_chip() -> None:
    bench = Bench()
    assert bench.lines((0, 1), (1, 1), (0, 0)) == ["reset", "run"]
    assert bench.pending == []


def test_falling_back_into_reset_stops_the_capacitor() -> None:
    bench = Bench()
    assert bench.lines((0, 1), (1, 1), (0, 1)) == ["reset"]
    assert bench.pending == []


# Flash


@pytest.fixture
def flash(tmp_path: Path) -> Iterator[Flash]:
    flash = Flash(tmp_path / "flash.bin", 1 << 20)
    yield flash
    flash.close()


def test_new_flash_is_erased_and_keeps_what_is_written(flash: Flash) -> None:
    assert flash.read(0, flash.size).count(0xFF) == flash.size
    flash.program(0x1234, b"hello")
    again = Flash(flash.path, flash.size)
    assert again.read(0x1234, 5) == b"hello"
    again.close()


def test_programming_only_clears_bits(flash: Flash) -> None:
    flash.program(10, b"\xf0\x0f\xff")
    flash.program(10, b"\x3c\x3c\x00")
    assert flash.read(10, 3) == b"\x30\x0c\x00"


def test_erase_takes_whole_sectors_and_no_others(flash: Flash) -> None:
    flash.program(0, bytes(0x5000))
    flash.erase(0x1800, 0x900)
    assert [flash.read(sector, 0x1000).count(0) for sector in range(0, 0x5000, 0x1000)] == [
        *(0x1000, 0, 0, 0x1000, 0x1000)
    ]


@pytest.mark.parametrize(("offset", "length"), [(1 << 20, 1), (0, (1 << 20) + 1), (-1, 1), (0xFFFFFFFF, 4)])
def test_flash_refuses_ranges_outside_the_chip(flash: Flash, offset: int, length: int) -> None:
    for operation in (flash.read, flash.erase, flash.md5):
        with pytest.raises(FlashRangeError):
            operation(offset, length)
    with pytest.raises(FlashRangeError):
        flash.program(offset, bytes(length))


# Loader


class Host:
    """Talks to a loader as esptool does, without esptool's patience."""

    def __init__(self, flash: Flash) -> None:
        self.sent = b""
        self.baud: list[int | None] = []
        self.restarts: list[bool] = []
        registers = Registers(parse_mac("24:0a:c4:01:02:03"), 301, flash.size, lambda: 115200)
        self.loader = rom.Loader(registers, flash, self._take, self.baud.append, self.restarts.append)

    def _take(self, data: bytes) -> None:
        self.sent += data

    def raw(self, data: bytes) -> list[bytes]:
        """Frames that the loader sends for these bytes."""
        self.sent = b""
        self.loader.feed(data)
        return slip.Decoder().feed(self.sent)

    def command(self, op: int, data: bytes = b"", checksum: int = 0) -> tuple[int, bytes]:
        """Value and data with status of the only reply."""
        (reply, *_) = self.raw(slip.encode(rom.REQUEST.pack(0, op, len(data), checksum) + data))
        direction, answered, length, value = rom.REQUEST.unpack_from(reply)
        assert (direction, answered, length) == (1, op, len(reply) - 8)
        return value, reply[8:]

    def block(self, op: int, sequence: int, block: bytes) -> bytes:
        checksum = CHECKSUM_SEED ^ xor_bytes(block)
        return self.command(op, struct.pack("<IIII", len(block), sequence, 0, 0) + block, checksum)[1]

    def start_stub(self) -> None:
        self.command(rom.MEM_BEGIN, struct.pack("<IIII", 4, 1, 0x1800, 0x400BE000))
        self.block(rom.MEM_DATA, 0, b"stub")
        frames = self.raw(
            slip.encode(rom.REQUEST.pack(0, rom.MEM_END, 8, 0) + struct.pack("<II", 0, 0x400BE000))
        )
        assert frames[1] == b"OHAI"


@pytest.fixture
def host(flash: Flash) -> Host:
    return Host(flash)


SYNC = rom.REQUEST.pack(0, rom.SYNC, 36, 0) + b"\x07\x07\x12\x20" + 32 * b"\x55"


def test_rom_and_stub_differ_in_sync_value_and_status_bytes(host: Host) -> None:
    replies = host.raw(slip.encode(SYNC))
    assert len(replies) == 8
    assert replies[0][4:8] != bytes(4)
    assert len(replies[0]) == 12
    host.start_stub()
    replies = host.raw(slip.encode(SYNC))
    assert (len(replies), replies[0][4:8], len(replies[0])) == (8, bytes(4), 10)


def test_unknown_command_is_refused(host: Host) -> None:
    assert host.command(0x14)[1] == b"\x01\x05\0\0"
    assert host.command(rom.ERASE_FLASH)[1] == b"\x01\x05\0\0"  # known to the stub only
    host.start_stub()
    assert host.command(0x14)[1] == b"\xff\0"
    assert host.command(rom.ERASE_FLASH)[1] == b"\0\0"


@pytest.mark.parametrize(
    "junk", [b"noise", b"\xc0\xc0\xc0", slip.encode(b"\0\x08"), slip.encode(b"\x01" + SYNC[1:])]
)
def test_what_is_no_request_is_dropped(host: Host, junk: bytes) -> None:
    assert host.raw(junk) == []
    assert len(host.raw(b"\xc0" + slip.encode(SYNC))) == 8


def test_wrong_length_is_answered_with_invalid_message(host: Host) -> None:
    (reply,) = host.raw(slip.encode(rom.REQUEST.pack(0, rom.READ_REG, 8, 0) + bytes(4)))
    assert reply[8:10] == b"\x01\x05"


def test_short_arguments_are_a_failure_not_a_crash(host: Host, flash: Flash) -> None:
    for op in (rom.FLASH_BEGIN, rom.FLASH_DATA, rom.MEM_BEGIN, rom.MEM_END, rom.READ_REG, rom.SPI_FLASH_MD5):
        assert host.command(op, b"\x01")[1][0] == 1
    assert flash.read(0, flash.size).count(0xFF) == flash.size


def test_efuses_hold_mac_and_revision(host: Host) -> None:
    words = [host.command(rom.READ_REG, struct.pack("<I", EFUSE + 4 * n))[0] for n in range(7)]
    assert struct.pack(">II", words[2], words[1])[2:] == parse_mac("24:0a:c4:01:02:03")
    assert words[5] >> 24 & 3 == 1
    date = host.command(rom.READ_REG, struct.pack("<I", 0x3FF6607C))[0]
    assert (words[3] >> 15 & 1, words[5] >> 20 & 1, date >> 31) == (1, 1, 1)  # 3 in the chip's coding


def test_damaged_block_is_refused_and_not_written(host: Host, flash: Flash) -> None:
    host.command(rom.FLASH_BEGIN, struct.pack("<IIII", 16, 1, 0x400, 0))
    data = struct.pack("<IIII", 4, 0, 0, 0) + b"abcd"
    assert host.command(rom.FLASH_DATA, data, checksum=0)[1] == b"\x01\x07\0\0"
    assert flash.read(0, 4) == b"\xff" * 4
    assert host.block(rom.FLASH_DATA, 0, b"abcd") == bytes(4)
    assert flash.read(0, 4) == b"abcd"


def test_data_without_begin_is_refused(host: Host) -> None:
    assert host.block(rom.FLASH_DATA, 0, b"abcd")[:2] == b"\x01\x06"
    host.start_stub()
    assert host.block(rom.FLASH_DEFL_DATA, 0, b"abcd") == b"\xc6\0"


def test_blocks_beyond_the_announced_size_are_refused(host: Host, flash: Flash) -> None:
    host.start_stub()
    host.command(rom.FLASH_BEGIN, struct.pack("<IIII", 8, 1, 8, 0x1000))
    assert host.block(rom.FLASH_DATA, 0, b"12345678") == b"\0\0"
    assert host.block(rom.FLASH_DATA, 1, b"12345678") == b"\xc9\0"
    assert flash.read(0x1008, 8) == b"\xff" * 8


def test_compressed_data_that_grows_beyond_its_size_is_refused(host: Host, flash: Flash) -> None:
    host.start_stub()
    host.command(rom.FLASH_DEFL_BEGIN, struct.pack("<IIII", 100, 1, 0x4000, 0))
    assert host.block(rom.FLASH_DEFL_DATA, 0, zlib.compress(bytes(1 << 20))) == b"\xc9\0"
    assert flash.read(0, 200) == b"\xff" * 200


def test_compressed_data_that_is_damaged_or_short_is_refused(host: Host) -> None:
    host.start_stub()
    host.command(rom.FLASH_DEFL_BEGIN, struct.pack("<IIII", 100, 1, 0x4000, 0))
    assert host.block(rom.FLASH_DEFL_DATA, 0, b"not deflated") == b"\xc7\0"
    host.command(rom.FLASH_DEFL_BEGIN, struct.pack("<IIII", 100, 1, 0x4000, 0))
    host.block(rom.FLASH_DEFL_DATA, 0, zlib.compress(bytes(99)))
    assert host.command(rom.FLASH_DEFL_END, struct.pack("<I", 1))[1] == b"\xc8\0"


@pytest.mark.parametrize(
    "op", [rom.ERASE_REGION, rom.FLASH_BEGIN, rom.FLASH_DEFL_BEGIN, rom.SPI_FLASH_MD5, rom.READ_FLASH]
)
def test_ranges_beyond_the_flash_are_refused(host: Host, flash: Flash, op: int) -> None:
    host.start_stub()
    orders = {
        rom.ERASE_REGION: struct.pack("<II", 0xFF000, 0x2000),
        rom.SPI_FLASH_MD5: struct.pack("<IIII", 0xFF000, 0x2000, 0, 0),
        rom.READ_FLASH: struct.pack("<IIII", 0xFF000, 0x2000, 0x1000, 64),
    }
    flash.program(0xFF000, b"kept")
    assert host.command(op, orders.get(op, struct.pack("<IIII", 0x2000, 8, 0x400, 0xFF000)))[1] == b"\xc4\0"
    assert flash.read(0xFF000, 4) == b"kept"


def test_md5_is_hex_from_the_rom_and_raw_from_the_stub(host: Host, flash: Flash) -> None:
    digest = hashlib.md5(flash.read(0, 0x100)).digest()
    order = struct.pack("<IIII", 0, 0x100, 0, 0)
    assert host.command(rom.SPI_FLASH_MD5, order)[1] == digest.hex().encode() + bytes(4)
    host.start_stub()
    assert host.command(rom.SPI_FLASH_MD5, order)[1] == digest + bytes(2)


def test_reading_flash_waits_for_the_hosts_answers(host: Host, flash: Flash) -> None:
    flash.program(0, bytes(range(256)) * 40)
    host.start_stub()
    order = rom.REQUEST.pack(0, rom.READ_FLASH, 16, 0) + struct.pack("<IIII", 0, 0x2800, 0x1000, 2)
    reply, *blocks = host.raw(slip.encode(order))
    assert reply[8:] == b"\0\0"
    assert [len(block) for block in blocks] == [0x1000, 0x1000]
    blocks += host.raw(slip.encode(struct.pack("<I", 0x1000)))
    assert len(blocks[2]) == 0x800
    assert host.raw(slip.encode(struct.pack("<I", 0x2000))) == []
    (digest,) = host.raw(slip.encode(struct.pack("<I", 0x2800)))
    assert b"".join(blocks) == flash.read(0, 0x2800)
    assert digest == flash.md5(0, 0x2800)


def test_command_in_the_middle_of_reading_ends_it(host: Host) -> None:
    host.start_stub()
    order = rom.REQUEST.pack(0, rom.READ_FLASH, 16, 0) + struct.pack("<IIII", 0, 0x8000, 0x1000, 2)
    host.raw(slip.encode(order))
    assert len(host.raw(slip.encode(SYNC))) == 8


def test_baud_rate_changes_after_the_reply(host: Host) -> None:
    replies_at_change: list[int] = []
    host.loader._set_baud = lambda _baud: replies_at_change.append(len(host.sent))
    host.command(rom.CHANGE_BAUDRATE, struct.pack("<II", 921600, 0))
    assert replies_at_change == [len(host.sent)]


def test_leaving_the_loader(host: Host) -> None:
    host.command(rom.FLASH_BEGIN, struct.pack("<IIII", 0, 0, 0x400, 0))
    host.command(rom.FLASH_END, struct.pack("<I", 1))
    assert host.restarts == [True]  # the ROM runs the app whatever is asked
    host.start_stub()
    for stay, restarts in ((1, [True]), (0, [True, False])):
        host.command(rom.FLASH_BEGIN, struct.pack("<IIII", 0, 0, 0x400, 0))
        host.command(rom.FLASH_END, struct.pack("<I", stay))
        assert host.restarts == restarts
