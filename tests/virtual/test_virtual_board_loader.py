"""Tests the loader protocol packet by packet: the commands of the ROM and of the stub, and arbitrary input."""

from __future__ import annotations

import hashlib
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hotpin_hil.virtual import loader_protocol as protocol
from hotpin_hil.virtual import slip
from hotpin_hil.virtual.chip import EFUSE, Registers, parse_mac
from hotpin_hil.virtual.flash import SECTOR, Flash
from hotpin_hil.virtual.image import CHECKSUM_SEED, xor_bytes
from hotpin_hil.virtual.rom import Loader

ROM_OK, STUB_OK = bytes(4), bytes(2)


@pytest.fixture
def flash(tmp_path: Path) -> Iterator[Flash]:
    flash = Flash(tmp_path / "flash.bin", 1 << 20)
    yield flash
    flash.close()


class Host:
    """Talks to a loader like esptool, without its retries."""

    def __init__(self, flash: Flash) -> None:
        self.sent = b""
        self.baud: list[tuple[int | None, int]] = []  # new baud rate, bytes sent before the change
        self.runs = 0
        self.on_run: Callable[[], None] = lambda: None
        self.log: list[str] = []
        registers = Registers(parse_mac("24:0a:c4:01:02:03"), 301, flash.size, lambda: 115200)
        chip = protocol.Chip(registers, flash, self._take, self._set_baud, self._run, self.log.append)
        self.loader = Loader(chip)

    def _take(self, data: bytes) -> None:
        self.sent += data

    def _set_baud(self, baud: int | None) -> None:
        self.baud.append((baud, len(self.sent)))

    def _run(self) -> None:
        self.runs += 1
        self.on_run()

    def feed(self, data: bytes) -> None:
        """Sends bytes to the loader, which processes all complete requests."""
        self.loader.feed(data)
        while self.loader.serve():
            pass

    def raw(self, data: bytes) -> list[bytes]:
        """Sends bytes; returns the frames that the loader sends in reply."""
        self.sent = b""
        self.feed(data)
        return slip.Decoder().feed(self.sent)

    def command(self, op: int, data: bytes = b"", checksum: int = 0) -> tuple[int, bytes]:
        """Sends a command; returns the value in its first reply, and the reply's data with the status."""
        (reply, *_) = self.raw(slip.encode(protocol.HEADER.pack(0, op, len(data), checksum) + data))
        direction, answered, length, value = protocol.HEADER.unpack_from(reply)
        assert (direction, answered, length) == (1, op, len(reply) - 8)
        return value, reply[8:]

    def words(self, op: int, *words: int) -> bytes:
        """Sends a command with 32-bit words as data; returns the reply's data and status."""
        return self.command(op, struct.pack(f"<{len(words)}I", *words))[1]

    def block(self, op: int, sequence: int, block: bytes) -> bytes:
        checksum = CHECKSUM_SEED ^ xor_bytes(block)
        return self.command(op, struct.pack("<IIII", len(block), sequence, 0, 0) + block, checksum)[1]

    def upload(self, program: bytes) -> list[bytes]:
        """Loads a program into RAM and starts it; returns the loader's replies."""
        self.words(protocol.MEM_BEGIN, len(program), 1, 0x1800, 0x400BE000)
        self.block(protocol.MEM_DATA, 0, program)
        start = protocol.HEADER.pack(0, protocol.MEM_END, 8, 0) + struct.pack("<II", 0, 0x400BE000)
        return self.raw(slip.encode(start))

    def start_stub(self) -> None:
        assert self.upload(b"a stub says OHAI")[1] == b"OHAI"


@pytest.fixture
def host(flash: Flash) -> Host:
    return Host(flash)


@pytest.fixture
def stub(host: Host) -> Host:
    """A host that has started the stub."""
    host.start_stub()
    return host


SYNC = protocol.HEADER.pack(0, protocol.SYNC, 36, 0) + b"\x07\x07\x12\x20" + 32 * b"\x55"


# Both


def test_rom_and_stub_differ_in_sync_value_and_status_bytes(host: Host) -> None:
    replies = host.raw(slip.encode(SYNC))
    assert len(replies) == 8
    assert replies[0][4:8] != bytes(4)
    assert len(replies[0]) == 12
    host.start_stub()
    replies = host.raw(slip.encode(SYNC))
    assert (len(replies), replies[0][4:8], len(replies[0])) == (8, bytes(4), 10)


def test_requests_are_served_one_by_one_and_the_rest_is_lost_at_a_reset(host: Host) -> None:
    host.loader.feed(slip.encode(SYNC) * 4)
    assert host.sent == b""
    assert host.loader.serve()
    assert len(slip.Decoder().feed(host.sent)) == protocol.SYNC_REPLIES
    assert host.loader.serve()
    host.loader.stop()
    assert not host.loader.serve()
    assert len(slip.Decoder().feed(host.sent)) == 2 * protocol.SYNC_REPLIES


def test_efuses_hold_mac_and_revision(host: Host) -> None:
    words = [host.command(protocol.READ_REG, struct.pack("<I", EFUSE + 4 * n))[0] for n in range(7)]
    assert struct.pack(">II", words[2], words[1])[2:] == parse_mac("24:0a:c4:01:02:03")
    assert words[5] >> 24 & 3 == 1
    date = host.command(protocol.READ_REG, struct.pack("<I", 0x3FF6607C))[0]
    assert (words[3] >> 15 & 1, words[5] >> 20 & 1, date >> 31) == (1, 1, 1)  # 3, in the chip's encoding


def test_md5_is_hex_from_the_rom_and_raw_from_the_stub(host: Host, flash: Flash) -> None:
    digest = hashlib.md5(flash.read(0, 0x100)).digest()
    assert host.words(protocol.SPI_FLASH_MD5, 0, 0x100, 0, 0) == digest.hex().encode() + ROM_OK
    host.start_stub()
    assert host.words(protocol.SPI_FLASH_MD5, 0, 0x100, 0, 0) == digest + STUB_OK


@pytest.mark.parametrize("with_stub", [False, True])
def test_baud_rate_changes_after_the_reply(host: Host, with_stub: bool) -> None:
    if with_stub:
        host.start_stub()
    host.words(protocol.CHANGE_BAUDRATE, 921600, 0)
    assert host.baud == [(921600, len(host.sent))]
    assert host.sent != b""


# The ROM


@pytest.mark.parametrize("op", [0x00, 0x0C, 0x14, 0x42, protocol.ERASE_FLASH, protocol.READ_FLASH, 0xFF])
def test_rom_refuses_unknown_commands_as_invalid_messages(host: Host, flash: Flash, op: int) -> None:
    flash.program(0, b"kept")
    assert host.command(op)[1] == b"\x01\x05\0\0"
    assert flash.read(0, 4) == b"kept"


@pytest.mark.parametrize(
    "junk", [b"noise", b"\xc0\xc0\xc0", slip.encode(b"\0\x08"), slip.encode(b"\x01" + SYNC[1:])]
)
def test_rom_drops_frames_that_are_not_requests(host: Host, junk: bytes) -> None:
    assert host.raw(junk) == []
    assert len(host.raw(b"\xc0" + slip.encode(SYNC))) == 8


def test_rom_answers_a_wrong_length_with_invalid_message(host: Host) -> None:
    (reply,) = host.raw(slip.encode(protocol.HEADER.pack(0, protocol.READ_REG, 8, 0) + bytes(4)))
    assert reply[8:10] == b"\x01\x05"


def test_short_arguments_are_a_failure_not_a_crash(host: Host, flash: Flash) -> None:
    for op in (0x02, 0x03, 0x05, 0x06, 0x07, 0x0A, 0x0E, 0x0F, 0x10, 0x11, 0x13):
        assert host.command(op, b"\x01")[1][0] == 1
    assert flash.read(0, flash.size).count(0xFF) == flash.size


def test_rom_refuses_a_damaged_block_and_does_not_write_it(host: Host, flash: Flash) -> None:
    host.words(protocol.FLASH_BEGIN, 16, 1, 0x400, 0)
    data = struct.pack("<IIII", 4, 0, 0, 0) + b"abcd"
    assert host.command(protocol.FLASH_DATA, data, checksum=0)[1] == b"\x01\x07\0\0"
    assert flash.read(0, 4) == b"\xff" * 4
    assert host.block(protocol.FLASH_DATA, 0, b"abcd") == ROM_OK
    assert flash.read(0, 4) == b"abcd"


def test_rom_erases_all_that_is_announced_before_the_first_block(host: Host, flash: Flash) -> None:
    flash.program(0x1000, bytes(0x5000))
    host.words(protocol.FLASH_BEGIN, 0x3000, 12, 0x400, 0x2000)
    assert [flash.read(at, 1)[0] for at in range(0x1000, 0x6000, SECTOR)] == [0, 0xFF, 0xFF, 0xFF, 0]


def test_rom_refuses_data_without_begin_and_beyond_the_end(host: Host) -> None:
    assert host.block(protocol.FLASH_DATA, 0, b"abcd")[:2] == b"\x01\x06"
    assert host.block(protocol.FLASH_DEFL_DATA, 0, b"abcd")[:2] == b"\x01\x06"
    assert host.words(protocol.FLASH_END, 0)[:2] == b"\x01\x06"
    host.words(protocol.FLASH_BEGIN, 8, 1, 8, 0x1000)
    assert host.block(protocol.FLASH_DATA, 0, b"12345678") == ROM_OK
    assert host.block(protocol.FLASH_DATA, 1, b"12345678")[:2] == b"\x01\x06"


def test_rom_names_damaged_compressed_data(host: Host) -> None:
    host.words(protocol.FLASH_DEFL_BEGIN, 100, 1, 0x400, 0)
    assert host.block(protocol.FLASH_DEFL_DATA, 0, b"not deflated")[:2] == b"\x01\x0b"
    host.words(protocol.FLASH_DEFL_BEGIN, 100, 1, 0x400, 0)
    assert host.block(protocol.FLASH_DEFL_DATA, 0, zlib.compress(bytes(1 << 18)))[:2] == b"\x01\x06"


def test_rom_reads_at_most_64_bytes_at_a_time(host: Host, flash: Flash) -> None:
    flash.program(0x100, b"0123456789")
    assert host.words(protocol.READ_FLASH_SLOW, 0x102, 4) == b"2345" + bytes(60) + ROM_OK
    assert host.words(protocol.READ_FLASH_SLOW, 0, 65)[:2] == b"\x01\x0a"


def test_rom_starts_the_app_after_flash_end_whatever_its_flag(host: Host) -> None:
    for stay in (0, 1):
        host.words(protocol.FLASH_BEGIN, 0, 0, 0x400, 0)
        host.words(protocol.FLASH_END, stay)
    assert host.runs == 2


def test_input_received_before_the_chip_stopped_is_lost(host: Host) -> None:
    begin = protocol.HEADER.pack(0, protocol.FLASH_BEGIN, 16, 0) + struct.pack("<IIII", 4, 1, 4, 0)
    end = protocol.HEADER.pack(0, protocol.FLASH_END, 4, 0) + bytes(4)
    host.on_run = host.loader.stop
    answers = host.raw(slip.encode(begin) + slip.encode(end) + slip.encode(SYNC))
    assert [answer[1] for answer in answers] == [protocol.FLASH_BEGIN, protocol.FLASH_END]


def test_greeting_cut_between_two_blocks_still_tells_a_stub(host: Host) -> None:
    host.words(protocol.MEM_BEGIN, 8, 2, 4, 0x400BE000)
    host.block(protocol.MEM_DATA, 0, b"..OH")
    host.block(protocol.MEM_DATA, 1, b"AI..")
    host.words(protocol.MEM_END, 0, 0x400BE000)
    assert host.loader.is_stub


def test_any_other_program_in_ram_is_not_taken_for_a_stub(host: Host) -> None:
    (reply,) = host.upload(b"code of the chip")
    assert reply[8:] == ROM_OK
    assert len(host.log) == 1
    assert "can't run here; reset" in host.log[0]
    assert host.raw(slip.encode(SYNC)) == []  # because the program now owns the UART


def test_entry_outside_of_what_was_uploaded_is_refused(host: Host) -> None:
    host.words(protocol.MEM_BEGIN, 4, 1, 4, 0x400BE000)
    assert host.words(protocol.MEM_END, 0, 0x40080000)[:2] == b"\x01\x06"


# The stub


@pytest.mark.parametrize("op", [0x00, 0x0C, protocol.READ_FLASH_SLOW, 0x42, 0xD4, 0xF0])
def test_stub_calls_unknown_commands_invalid(stub: Host, op: int) -> None:
    assert stub.command(op)[1] == b"\xc3\0"


@pytest.mark.parametrize("op", [protocol.GET_SECURITY_INFO, 0xD5, 0xEF])
def test_stub_answers_not_implemented_to_commands_of_other_chips_and_stubs(stub: Host, op: int) -> None:
    assert stub.command(op)[1] == b"\xff\0"


def test_stub_checks_the_length_of_its_input(stub: Host, flash: Flash) -> None:
    flash.program(0, b"kept")
    for op in (0x02, 0x04, 0x05, 0x06, 0x08, 0x0A, 0x0B, 0x0D, 0x0F, 0x10, 0x11, 0x12, 0x13, 0xD1, 0xD2):
        assert stub.command(op, b"\x01")[1] == b"\xc0\0", hex(op)
    for op in (0x03, 0x07, 0x09):
        assert stub.command(op, b"\x01")[1] == b"\xc8\0", hex(op)
    assert stub.raw(slip.encode(b"\0\x08"))[0][8:] == b"\xc0\0"
    assert stub.raw(slip.encode(b"\x01" + SYNC[1:]))[0][8:] == b"\xc3\0"
    assert flash.read(0, 4) == b"kept"


def test_stub_ignores_run_user_code(stub: Host) -> None:
    order = protocol.HEADER.pack(0, protocol.RUN_USER_CODE, 0, 0)
    assert stub.raw(slip.encode(order)) == []
    assert stub.runs == 0
    assert len(stub.raw(slip.encode(SYNC))) == 8


def test_stub_keeps_running_after_flash_end_whatever_its_flag(stub: Host) -> None:
    for stay in (0, 1):
        stub.words(protocol.FLASH_BEGIN, 0, 0, 0x4000, 0)
        assert stub.words(protocol.FLASH_END, stay) == STUB_OK
    assert stub.runs == 0
    assert stub.loader.is_stub


def test_stub_refuses_a_damaged_block_at_once(stub: Host, flash: Flash) -> None:
    stub.words(protocol.FLASH_BEGIN, 16, 1, 0x4000, 0)
    data = struct.pack("<IIII", 4, 0, 0, 0) + b"abcd"
    assert stub.command(protocol.FLASH_DATA, data, checksum=0)[1] == b"\xc1\0"
    assert flash.read(0, 4) == b"\xff" * 4


def test_stub_refuses_data_without_begin(stub: Host) -> None:
    assert stub.block(protocol.FLASH_DATA, 0, b"abcd") == b"\xc6\0"
    assert stub.block(protocol.FLASH_DEFL_DATA, 0, b"abcd") == b"\xc6\0"
    assert stub.words(protocol.FLASH_END, 0) == b"\xc6\0"
    assert stub.block(protocol.MEM_DATA, 0, b"abcd") == b"\xc6\0"


def test_stub_drops_data_beyond_the_announced_size(stub: Host, flash: Flash) -> None:
    stub.words(protocol.FLASH_BEGIN, 10, 1, 8, 0x1000)
    for sequence in range(3):
        assert stub.block(protocol.FLASH_DATA, sequence, b"12345678") == STUB_OK
    assert flash.read(0x1000, 16) == b"1234567812" + b"\xff" * 6
    assert stub.words(protocol.FLASH_END, 1) == STUB_OK


def test_stub_reports_announced_data_that_was_not_sent(stub: Host) -> None:
    stub.words(protocol.FLASH_DEFL_BEGIN, 100, 1, 0x4000, 0)
    stub.block(protocol.FLASH_DEFL_DATA, 0, zlib.compress(bytes(99)))
    assert stub.words(protocol.FLASH_DEFL_END, 1) == b"\xc0\0"


@pytest.mark.parametrize(("data", "code"), [(b"not deflated", 0xC7), (zlib.compress(bytes(1 << 20)), 0xC9)])
def test_write_error_is_reported_by_the_next_reply_only(
    stub: Host, flash: Flash, data: bytes, code: int
) -> None:
    stub.words(protocol.FLASH_DEFL_BEGIN, 100, 1, 0x4000, 0)
    assert stub.block(protocol.FLASH_DEFL_DATA, 0, data) == STUB_OK
    assert stub.words(protocol.SPI_ATTACH, 0) == bytes([code, 0])
    assert stub.words(protocol.SPI_ATTACH, 0) == STUB_OK
    assert flash.read(0, 200) == b"\xff" * 200


def test_stub_erases_just_ahead_of_its_writes(stub: Host, flash: Flash) -> None:
    """Thus after a power cut the flash beyond the last written block has its old content."""
    flash.program(0, bytes(0x6000))
    stub.words(protocol.FLASH_BEGIN, 0x4000, 4, 0x1000, 0x1000)
    stub.block(protocol.FLASH_DATA, 0, b"\x55" * 0x1000)
    stub.block(protocol.FLASH_DATA, 1, b"\x55" * 0x800)
    assert [flash.read(at, 1)[0] for at in range(0, 0x6000, 0x800)] == [
        *(0, 0, 0x55, 0x55, 0x55, 0xFF, 0, 0, 0, 0, 0, 0)
    ]


def test_stub_erases_whole_blocks_where_they_fit(stub: Host, flash: Flash) -> None:
    flash.program(0xF000, bytes(0x22000))
    stub.words(protocol.FLASH_BEGIN, 0x21000, 0x21, 0x1000, 0xF000)
    for sequence in range(2):
        stub.block(protocol.FLASH_DATA, sequence, b"\x55" * 0x1000)
    assert [flash.read(at, 1)[0] for at in (0xF000, 0x10000, 0x11000, 0x1F000, 0x20000)] == [
        *(0x55, 0x55, 0xFF, 0xFF, 0)
    ]


@pytest.mark.parametrize("op", [protocol.FLASH_BEGIN, protocol.FLASH_DEFL_BEGIN])
def test_stub_cannot_write_beyond_the_flash(stub: Host, flash: Flash, op: int) -> None:
    assert stub.words(op, 0x2000, 8, 0x400, 0x100000) == b"\xc4\0"
    flash.program(0xFE000, b"kept")
    assert stub.words(op, 0x2000, 2, 0x1000, 0xFF000) == STUB_OK
    for sequence in range(2):
        stub.block(protocol.FLASH_DATA, sequence, bytes(0x1000))
    assert stub.words(protocol.SPI_ATTACH, 0) == b"\xc4\0"
    assert flash.read(0xFE000, 4) == b"kept"


@pytest.mark.parametrize(
    ("op", "words", "code"),
    [
        (protocol.ERASE_REGION, (0xFF000, 0x2000), 0xC4),
        (protocol.ERASE_REGION, (0x1234, 0x1000), 0xC0),
        (protocol.ERASE_REGION, (0x1000, 0x1234), 0xC0),
        (protocol.SPI_FLASH_MD5, (0xFF000, 0x2000, 0, 0), 0xC4),
    ],
)
def test_stub_refuses_ranges_that_do_not_fit(
    stub: Host, flash: Flash, op: int, words: tuple[int, ...], code: int
) -> None:
    flash.program(0xFF000, b"kept")
    assert stub.words(op, *words) == bytes([code, 0])
    assert flash.read(0xFF000, 4) == b"kept"


def read_order(offset: int, size: int, packet: int, in_flight: int = 64) -> bytes:
    header = protocol.HEADER.pack(0, protocol.READ_FLASH, 16, 0)
    return slip.encode(header + struct.pack("<IIII", offset, size, packet, in_flight))


def test_flash_read_sends_one_block_per_acknowledgement(stub: Host, flash: Flash) -> None:
    flash.program(0, bytes(range(256)) * 40)
    reply, *blocks = stub.raw(read_order(0, 0x2800, 0x1000))
    assert reply[8:] == STUB_OK
    blocks += stub.raw(slip.encode(struct.pack("<I", 0x1000)))
    blocks += stub.raw(slip.encode(struct.pack("<I", 0x2000)))
    assert [len(block) for block in blocks] == [0x1000, 0x1000, 0x800]
    (digest,) = stub.raw(slip.encode(struct.pack("<I", 0x2800)))
    assert b"".join(blocks) == flash.read(0, 0x2800)
    assert digest == flash.md5(0, 0x2800)


def test_other_frame_during_a_flash_read_ends_it(stub: Host, flash: Flash) -> None:
    stub.raw(read_order(0, 0x8000, 0x1000))
    assert stub.raw(slip.encode(SYNC)) == [flash.md5(0, 0x1000)]
    assert len(stub.raw(slip.encode(SYNC))) == 8


@pytest.mark.parametrize(
    ("order", "code"), [((0, 0x8000, 0x1001), 0xC0), ((0xFF000, 0x2000, 0x1000), 0xC4), ((0, 1, 0), 0xC4)]
)
def test_invalid_flash_read_is_reported_by_the_next_reply(
    stub: Host, order: tuple[int, int, int], code: int
) -> None:
    (reply,) = stub.raw(read_order(*order))
    assert reply[8:] == STUB_OK
    assert stub.words(protocol.SPI_ATTACH, 0) == bytes([code, 0])


def test_flash_read_of_0_bytes_ends_at_once(stub: Host) -> None:
    assert len(stub.raw(read_order(0, 0, 0x1000))) == 2
    assert len(stub.raw(slip.encode(SYNC))) == 8


# Arbitrary input

_OPS = st.sampled_from([*range(0x00, 0x16), *range(0xD0, 0xD8), 0xEF, 0xFF])
_WORD = st.one_of(
    st.sampled_from([0, 1, 4, 16, 0x400, 0x1000, 0x4000, 0xFF000, 0x100000, 0x400BE000, 0xFFFFFFFF]),
    st.integers(0, 0xFFFFFFFF),
)
_DATA = st.one_of(
    st.lists(_WORD, max_size=6).map(lambda words: struct.pack(f"<{len(words)}I", *words)),
    st.binary(max_size=64).map(lambda block: struct.pack("<IIII", len(block), 0, 0, 0) + block),
    st.binary(max_size=300).map(
        lambda block: struct.pack("<IIII", len(zlib.compress(block)), 0, 0, 0) + zlib.compress(block)
    ),
    st.binary(max_size=40),
)


@st.composite
def _packets(draw: st.DrawFn) -> bytes:
    """A request that is mostly well-formed, but sometimes has a wrong checksum or length."""
    data = draw(_DATA)
    right = CHECKSUM_SEED ^ xor_bytes(data[16:])
    checksum = draw(st.sampled_from([right, right, right, 0]))
    length = draw(st.sampled_from([len(data), len(data), len(data), len(data) + 1, 0]))
    direction = draw(st.sampled_from([0, 0, 0, 0, 1, 0xC0]))
    return slip.encode(protocol.HEADER.pack(direction, draw(_OPS), length, checksum) + data)


_CHUNKS = st.one_of(
    _packets(),
    _packets(),
    # A host's acknowledgement while it reads flash.
    st.integers(0, 0x8000).map(lambda done: slip.encode(struct.pack("<I", done))),
    st.binary(max_size=50),
    st.sampled_from([b"\xc0", b"\xdb", b"\xc0\xdb\x00\xc0", b"\xc0" + b"U" * (slip.MAX_FRAME + 100)]),
)


ANSWER_MAX = 2 * (0x1000 + 16) + 32
"""Maximum bytes sent for one frame: a reply, a block of flash with every byte escaped, and an MD5."""


def answers_sync(host: Host) -> bool:
    """Whether the loader answers SYNC. Tries several times, because the first may only end an unfinished operation."""
    return any(len(host.raw(b"\xc0" + slip.encode(SYNC))) >= 8 for _ in range(5))


@settings(max_examples=150, deadline=None)
@given(with_stub=st.booleans(), chunks=st.lists(_CHUNKS, max_size=12), step=st.integers(1, 4096))
@example(with_stub=True, chunks=[read_order(0, 0x100000, 1), read_order(0, 1, 1)], step=1000)
def test_no_bytes_break_the_loader(
    tmp_path_factory: pytest.TempPathFactory, with_stub: bool, chunks: list[bytes], step: int
) -> None:
    flash = Flash(tmp_path_factory.getbasetemp() / "fuzzed.bin", 1 << 20)
    host = Host(flash)
    if with_stub:
        host.start_stub()
    stream = b"".join(chunks)
    for at in range(0, len(stream), step):
        host.sent = b""
        part = stream[at : at + step]
        host.feed(part)
        assert len(host.sent) <= part.count(0xC0) * ANSWER_MAX
    # No answer only if the log says that a program in RAM has taken the UART.
    assert host.log or answers_sync(host)
    flash.close()


@pytest.mark.parametrize("filler", [b"U", b"\xdb", b"\xdb\xdc"], ids=["plain", "bad escape", "escape"])
def test_an_endless_frame_takes_no_memory(host: Host, filler: bytes) -> None:
    junk = b"\xc0" + (filler * 0xFFFF)[:0xFFFF]
    host.feed(junk)
    tracemalloc.start()
    try:
        for _ in range(100):
            host.feed(junk[1:])
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 2 * slip.MAX_FRAME
    assert answers_sync(host)
