"""The serial loader: the ROM's, and the stub that esptool uploads over it.

Both speak the same packets in SLIP frames: direction, command, length, checksum, data. They differ in the
number of status bytes, the form of an MD5, and in the commands they know. The uploaded stub is not executed;
once it is started, its commands are served here.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

from hotpin_hil.virtual import slip
from hotpin_hil.virtual.chip import CRYSTAL_HZ, Registers
from hotpin_hil.virtual.flash import Flash, FlashRangeError
from hotpin_hil.virtual.image import CHECKSUM_SEED, xor_bytes

REQUEST = struct.Struct("<BBHI")

FLASH_BEGIN, FLASH_DATA, FLASH_END = 0x02, 0x03, 0x04
MEM_BEGIN, MEM_END, MEM_DATA = 0x05, 0x06, 0x07
SYNC, WRITE_REG, READ_REG = 0x08, 0x09, 0x0A
SPI_SET_PARAMS, SPI_ATTACH, READ_FLASH_SLOW, CHANGE_BAUDRATE = 0x0B, 0x0D, 0x0E, 0x0F
FLASH_DEFL_BEGIN, FLASH_DEFL_DATA, FLASH_DEFL_END = 0x10, 0x11, 0x12
SPI_FLASH_MD5 = 0x13
ERASE_FLASH, ERASE_REGION, READ_FLASH, RUN_USER_CODE = 0xD0, 0xD1, 0xD2, 0xD3

_SYNC_DATA = b"\x07\x07\x12\x20" + 32 * b"\x55"
_SYNC_REPLIES = 8
_ROM_SYNC_VALUE = 0x20120707  # any but 0: 0 tells the host that a stub is running
_SLOW_READ_MAX = 64


class _Refused(Exception):
    """A command that fails, with the status bytes the ROM (`rom`) and the stub (`stub`) send."""

    def __init__(self, rom: int, stub: int) -> None:
        self.status = {False: bytes([1, rom]), True: bytes([stub, 0])}


def _bad_message() -> _Refused:
    return _Refused(0x05, 0xC0)


class Loader:
    """Serves one download session, from the reset with IO0 low to the next reset.

    `send` takes raw bytes for the wire; `set_baud` changes the UART's rate (None: to the host's); `restart`
    is called when the loader leaves by itself, with true if the chip is to boot from flash and false if it is
    to load the ROM loader again.
    """

    def __init__(
        self,
        registers: Registers,
        flash: Flash,
        send: Callable[[bytes], None],
        set_baud: Callable[[int | None], None],
        restart: Callable[[bool], None],
    ) -> None:
        self._registers = registers
        self._flash = flash
        self._send = send
        self._set_baud = set_baud
        self._restart = restart
        self._decoder = slip.Decoder()
        self.is_stub = False
        self._ram: list[tuple[int, int]] = []  # uploaded ranges
        self._ram_left = 0
        self._write: _FlashWrite | None = None
        self._read: _FlashRead | None = None
        self._after_reply: Callable[[], None] | None = None

    def feed(self, data: bytes) -> None:
        """Bytes from the host."""
        for frame in self._decoder.feed(data):
            if self._read is not None:
                self._acknowledge(frame)
            else:
                self._packet(frame)

    def _packet(self, frame: bytes) -> None:
        if len(frame) < REQUEST.size or frame[0] != 0:
            return
        _, command, length, checksum = REQUEST.unpack_from(frame)
        data = frame[REQUEST.size :]
        value, reply = 0, b""
        status = b"\0\0"
        try:
            if length != len(data):
                raise _bad_message()
            handler = self._handler(command)
            try:
                value, reply = handler(data, checksum)
            except (struct.error, FlashRangeError):
                raise _Refused(0x06, 0xC4) from None
        except _Refused as refused:
            status = refused.status[self.is_stub]
        # The ROM sends two more status bytes than the stub.
        status += b"" if self.is_stub else b"\0\0"
        packet = REQUEST.pack(1, command, len(reply) + len(status), value) + reply + status
        self._send(slip.encode(packet) * (_SYNC_REPLIES if command == SYNC and status[0] == 0 else 1))
        then, self._after_reply = self._after_reply, None
        if then is not None:
            then()

    def _handler(self, command: int) -> Callable[[bytes, int], tuple[int, bytes]]:
        both = {
            FLASH_BEGIN: self._flash_begin,
            FLASH_DATA: self._flash_data,
            FLASH_END: self._flash_end,
            MEM_BEGIN: self._mem_begin,
            MEM_DATA: self._mem_data,
            MEM_END: self._mem_end,
            SYNC: self._sync,
            WRITE_REG: self._write_reg,
            READ_REG: self._read_reg,
            SPI_SET_PARAMS: self._accept,
            SPI_ATTACH: self._accept,
            CHANGE_BAUDRATE: self._change_baudrate,
            FLASH_DEFL_BEGIN: self._deflate_begin,
            FLASH_DEFL_DATA: self._deflate_data,
            FLASH_DEFL_END: self._flash_end,
            SPI_FLASH_MD5: self._md5,
        }
        stub_only = {
            ERASE_FLASH: self._erase_flash,
            ERASE_REGION: self._erase_region,
            READ_FLASH: self._read_flash,
            RUN_USER_CODE: self._run_user_code,
        }
        rom_only = {READ_FLASH_SLOW: self._read_flash_slow}
        known = both | (stub_only if self.is_stub else rom_only)
        if command not in known:
            raise _Refused(0x05, 0xFF)
        return known[command]

    # Session

    def _sync(self, data: bytes, _checksum: int) -> tuple[int, bytes]:
        if data != _SYNC_DATA:
            raise _bad_message()
        if self.is_stub:
            return 0, b""
        self._set_baud(None)  # the ROM measures the host's rate
        return _ROM_SYNC_VALUE, b""

    def _accept(self, _data: bytes, _checksum: int) -> tuple[int, bytes]:
        return 0, b""

    def _change_baudrate(self, data: bytes, _checksum: int) -> tuple[int, bytes]:
        baud, _old = struct.unpack("<II", data)
        if not 0 < baud <= CRYSTAL_HZ:
            raise _Refused(0x06, 0xC0)
        self._after_reply = lambda: self._set_baud(baud)
        return 0, b""

    # Registers and memory

    def _read_reg(self, data: bytes, _checksum: int) -> tuple[int, bytes]:
        (address,) = struct.unpack("<I", data)
        return self._registers.read(address), b""

    def _write_reg(self, data: bytes, _checksum: int) -> tuple[int, bytes]:
        if not data or len(data) % 16:
            raise _bad_message()
        for address, value, mask, _delay_us in struct.iter_unpack("<IIII", data):
            self._registers.write(address, value, mask)
        return 0, b""

    def _mem_begin(self, data: bytes, _checksum: int) -> tuple[int, bytes]:
        size, _blocks, _block_size, address = struct.unpack("<IIII", data)
        self._ram.append((address, address + size))
        del self._ram[:-16]
        self._ram_left = size
        return 0, b""

    def _mem_data(self, data: bytes, checksum: int) -> tuple[int, bytes]:
        block = _block(data, checksum)[1]
        if len(block) > self._ram_left:
            raise _Refused(0x06, 0xC9)
        self._ram_left -= len(block)
        return 0, b""

    def _mem_end(self, data: bytes, _checksum: int) -> tuple[int, bytes]:
        stay, entry = struct.unpack("<II", data)
        if not stay:
            if not any(start <= entry < end for start, end in self._ram):
                raise _Refused(0x06, 0xC4)
            self._after_reply = self._start_stub
        return 0, b""

    def _start_stub(self) -> None:
        self.is_stub = True
        self._send(slip.encode(b"OHAI"))

    # Flash

    def _flash_begin(self, data: bytes, _checksum: int) -> tuple[int, bytes]:
        size, _blocks, block_size, offset = struct.unpack_from("<IIII", data)
        self._flash.erase(offset, size)
        self._write = _FlashWrite(offset, size, block_size)
        return 0, b""

    def _flash_data(self, data: bytes, checksum: int) -> tuple[int, bytes]:
        sequence, block = _block(data, checksum)
        write = self._write
        if write is None or write.inflate is not None:
            raise _Refused(0x06, 0xC6)
        if len(block) > write.block_size:
            raise _Refused(0x06, 0xC2)
        at = sequence * write.block_size
        if at >= write.size:
            raise _Refused(0x06, 0xC9)
        # The last block is padded with 0xFF, which clears no bit.
        self._flash.program(write.offset + at, block[: self._flash.size - write.offset - at])
        return 0, b""

    def _deflate_begin(self, data: bytes, _checksum: int) -> tuple[int, bytes]:
        size, _blocks, block_size, offset = struct.unpack_from("<IIII", data)
        self._flash.erase(offset, size)
        self._write = _FlashWrite(offset, size, block_size, zlib.decompressobj())
        return 0, b""

    def _deflate_data(self, data: bytes, checksum: int) -> tuple[int, bytes]:
        _sequence, block = _block(data, checksum)
        write = self._write
        if write is None or write.inflate is None:
            raise _Refused(0x06, 0xC6)
        if len(block) > write.block_size:
            raise _Refused(0x06, 0xC2)
        try:
            out = write.inflate.decompress(block, write.size - write.written + 1)
        except zlib.error:
            raise _Refused(0x0B, 0xC7) from None
        if len(out) > write.size - write.written:
            raise _Refused(0x06, 0xC9)
        self._flash.program(write.offset + write.written, out)
        write.written += len(out)
        return 0, b""

    def _flash_end(self, data: bytes, _checksum: int) -> tuple[int, bytes]:
        (stay,) = struct.unpack("<I", data)
        write, self._write = self._write, None
        if write is None:
            raise _Refused(0x06, 0xC6)
        if self.is_stub:
            if write.inflate is not None and write.written < write.size:
                raise _Refused(0x06, 0xC8)
            if not stay:
                self._after_reply = lambda: self._restart(False)
        else:  # the ROM leaves the loader either way
            self._after_reply = lambda: self._restart(True)
        return 0, b""

    def _md5(self, data: bytes, _checksum: int) -> tuple[int, bytes]:
        offset, size, _, _ = struct.unpack("<IIII", data)
        digest = self._flash.md5(offset, size)
        return 0, digest if self.is_stub else digest.hex().encode()

    def _erase_flash(self, _data: bytes, _checksum: int) -> tuple[int, bytes]:
        self._flash.erase(0, self._flash.size)
        return 0, b""

    def _erase_region(self, data: bytes, _checksum: int) -> tuple[int, bytes]:
        offset, size = struct.unpack("<II", data)
        self._flash.erase(offset, size)
        return 0, b""

    def _read_flash_slow(self, data: bytes, _checksum: int) -> tuple[int, bytes]:
        offset, size = struct.unpack("<II", data)
        if size > _SLOW_READ_MAX:
            raise _Refused(0x0A, 0xC0)
        return 0, self._flash.read(offset, size).ljust(_SLOW_READ_MAX, b"\0")

    def _read_flash(self, data: bytes, _checksum: int) -> tuple[int, bytes]:
        offset, size, block_size, in_flight = struct.unpack("<IIII", data)
        if not 0 < block_size <= slip.MAX_FRAME or not 0 < in_flight <= 1024:
            raise _Refused(0x06, 0xC2)
        if offset + size > self._flash.size:
            raise FlashRangeError(f"{size} bytes at {offset:#x}")
        self._read = _FlashRead(offset, size, block_size, in_flight * block_size)
        self._after_reply = self._send_blocks
        return 0, b""

    def _acknowledge(self, frame: bytes) -> None:
        """The host answers each block with the number of bytes it has; anything else ends the reading."""
        read = self._read
        assert read is not None
        if len(frame) != 4 or not read.acknowledged <= int.from_bytes(frame, "little") <= read.sent:
            self._read = None
            self._packet(frame)
            return
        read.acknowledged = int.from_bytes(frame, "little")
        self._send_blocks()

    def _send_blocks(self) -> None:
        read = self._read
        assert read is not None
        while read.sent < read.size and read.sent - read.acknowledged < read.window:
            length = min(read.block_size, read.size - read.sent)
            self._send(slip.encode(self._flash.read(read.offset + read.sent, length)))
            read.sent += length
        if read.acknowledged == read.size:
            self._read = None
            self._send(slip.encode(self._flash.md5(read.offset, read.size)))

    def _run_user_code(self, _data: bytes, _checksum: int) -> tuple[int, bytes]:
        self._after_reply = lambda: self._restart(True)
        return 0, b""


class _FlashWrite:
    """A download into flash; `inflate` for compressed ones, `written` bytes so far."""

    def __init__(
        self, offset: int, size: int, block_size: int, inflate: zlib._Decompress | None = None
    ) -> None:
        self.offset = offset
        self.size = size
        self.block_size = block_size
        self.inflate = inflate
        self.written = 0


class _FlashRead:
    """An upload from flash; at most `window` bytes are sent ahead of the host's answers."""

    def __init__(self, offset: int, size: int, block_size: int, window: int) -> None:
        self.offset = offset
        self.size = size
        self.block_size = block_size
        self.window = window
        self.sent = 0
        self.acknowledged = 0


def _block(data: bytes, checksum: int) -> tuple[int, bytes]:
    """Sequence number and content of a data packet."""
    size, sequence, _, _ = struct.unpack_from("<IIII", data)
    block = data[16:]
    if size != len(block):
        raise _bad_message()
    if CHECKSUM_SEED ^ xor_bytes(block) != checksum & 0xFF:
        raise _Refused(0x07, 0xC1)
    return sequence, block
