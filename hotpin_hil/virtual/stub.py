"""The flasher stub that esptool uploads and starts: its commands, which match those of esptool 5.6's stub.

The behaviour matches espressif/esp-flasher-stub: a data packet is answered before it is written, so that an
error while writing is reported in the reply to the next command; flash is erased just before it is written.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

from hotpin_hil.virtual import loader_protocol as protocol
from hotpin_hil.virtual import slip
from hotpin_hil.virtual.flash import BLOCK, SECTOR, FlashRangeError
from hotpin_hil.virtual.loader_protocol import Chip, Refused, Reply, Request

GREETING = b"OHAI"
"""First bytes sent by a stub; an upload that contains them is a stub."""

_BAD_DATA_LEN = 0xC0
_BAD_DATA_CHECKSUM = 0xC1
_INVALID_COMMAND = 0xC3
_FAILED_SPI_OP = 0xC4
_NOT_IN_FLASH_MODE = 0xC6
_INFLATE_ERROR = 0xC7
_NOT_ENOUGH_DATA = 0xC8
_TOO_MUCH_DATA = 0xC9
_NOT_IMPLEMENTED = 0xFF

_PLUGIN_COMMANDS = range(0xD5, 0xF0)  # esptool can add plugins to its stub; this stub has none
_FIXED_LENGTHS = {
    protocol.SYNC: 36,
    protocol.FLASH_END: 4,
    protocol.FLASH_DEFL_END: 4,
    protocol.MEM_BEGIN: 16,
    protocol.MEM_END: 8,
    protocol.READ_REG: 4,
    protocol.SPI_ATTACH: 4,
    protocol.SPI_SET_PARAMS: 24,
    protocol.CHANGE_BAUDRATE: 8,
    protocol.SPI_FLASH_MD5: 16,
    protocol.GET_SECURITY_INFO: 0,
    protocol.READ_FLASH: 16,
    protocol.ERASE_REGION: 8,
}
"""Data length in bytes of each command with a fixed length."""
_BEGIN_LENGTHS = (16, 20)  # a fifth word tells whether to encrypt
_READ_PACKET_MAX = 4096
_INFLATE_STEP = 0x8000  # bytes of one write: the size of the decompressor's dictionary


class Stub:
    """The stub's commands; the stub greets the host when it is created.

    `run_upload` is called when the host starts a program that it has uploaded with the stub's help.
    """

    def __init__(self, chip: Chip, run_upload: Callable[[], None]) -> None:
        self._chip = chip
        self._run_upload = run_upload
        self._error: int | None = None  # error in the work after the last reply; sent in the next reply
        self._write: _StubWrite | None = None
        self._read: _Read | None = None
        self._upload_left: int | None = None
        self._handlers: dict[int, Callable[[Request], Reply | None]] = {
            protocol.FLASH_BEGIN: self._flash_begin,
            protocol.FLASH_DATA: self._flash_data,
            protocol.FLASH_END: self._flash_end,
            protocol.MEM_BEGIN: self._mem_begin,
            protocol.MEM_DATA: self._mem_data,
            protocol.MEM_END: self._mem_end,
            protocol.SYNC: lambda _: Reply(copies=protocol.SYNC_REPLIES),
            protocol.WRITE_REG: lambda request: protocol.write_registers(
                chip.registers, request.data, _NOT_ENOUGH_DATA
            ),
            protocol.READ_REG: lambda request: Reply(chip.registers.read(*request.words(1))),
            protocol.SPI_SET_PARAMS: lambda _: Reply(),
            protocol.SPI_ATTACH: lambda _: Reply(),
            protocol.CHANGE_BAUDRATE: self._change_baudrate,
            protocol.FLASH_DEFL_BEGIN: self._flash_begin,
            protocol.FLASH_DEFL_DATA: self._deflate_data,
            protocol.FLASH_DEFL_END: self._flash_end,
            protocol.SPI_FLASH_MD5: self._md5,
            protocol.GET_SECURITY_INFO: self._not_implemented,
            protocol.ERASE_FLASH: self._erase_flash,
            protocol.ERASE_REGION: self._erase_region,
            protocol.READ_FLASH: self._read_flash,
            protocol.RUN_USER_CODE: lambda _: None,  # the stub neither runs nor answers it
        } | dict.fromkeys(_PLUGIN_COMMANDS, self._not_implemented)
        chip.send(slip.encode(GREETING))

    def frame(self, frame: bytes) -> None:
        """Serve one frame with a reply; during a flash read, take it as an acknowledgement instead."""
        if self._read is not None:
            self._acknowledge(frame)
            return
        direction, command, length, checksum = protocol.HEADER.unpack_from(frame.ljust(8, b"\0"))
        request = Request(command, frame[protocol.HEADER.size :], checksum)
        reply: Reply | None = Reply()
        status = 0
        try:
            if direction != 0:
                raise Refused(_INVALID_COMMAND)
            if len(frame) != protocol.HEADER.size + length:
                raise Refused(_BAD_DATA_LEN)
            self._tell_error()
            reply = self._serve(request)
        except Refused as refused:
            status = refused.code
        if reply is None:
            return
        self._chip.send(reply.encode(command, bytes([status, 0])))
        if reply.then is not None:
            try:
                reply.then()
            except Refused as refused:
                self._error = refused.code

    def _tell_error(self) -> None:
        """If the work after the last reply failed, reply with that error instead of serving this command."""
        error, self._error = self._error, None
        if error is not None:
            raise Refused(error)

    def _serve(self, request: Request) -> Reply | None:
        handler = self._handlers.get(request.command)
        if handler is None:
            raise Refused(_INVALID_COMMAND)
        if len(request.data) != _FIXED_LENGTHS.get(request.command, len(request.data)):
            raise Refused(_BAD_DATA_LEN)
        try:
            return handler(request)
        except FlashRangeError:
            raise Refused(_FAILED_SPI_OP) from None

    def _not_implemented(self, _request: Request) -> Reply:
        raise Refused(_NOT_IMPLEMENTED)

    def _change_baudrate(self, request: Request) -> Reply:
        baud, _old = request.words(2)
        return Reply(then=lambda: self._chip.set_baud(max(baud, 1)))

    # Registers and memory

    def _mem_begin(self, request: Request) -> Reply:
        self._upload_left = request.words(1)[0]
        return Reply()

    def _mem_data(self, request: Request) -> Reply:
        if len(request.data) < protocol.BLOCK_HEADER.size:
            raise Refused(_NOT_ENOUGH_DATA)
        if self._upload_left is None:
            raise Refused(_NOT_IN_FLASH_MODE)
        length, _, block = request.block()
        if length > self._upload_left or length != len(block):
            raise Refused(_TOO_MUCH_DATA)
        self._upload_left -= length
        return Reply()

    def _mem_end(self, request: Request) -> Reply:
        stay, _entry = request.words(2)
        if self._upload_left is None:
            raise Refused(_NOT_IN_FLASH_MODE)
        self._upload_left = None
        if stay:
            return Reply()
        return Reply(then=self._run_upload)

    # Flash

    def _flash_begin(self, request: Request) -> Reply:
        if len(request.data) not in _BEGIN_LENGTHS:
            raise Refused(_BAD_DATA_LEN)
        size, _blocks, _block_size, offset = request.words(4)
        self._write = _StubWrite(self._chip, offset, size)
        if request.command == protocol.FLASH_DEFL_BEGIN:
            self._write.inflate = zlib.decompressobj()
        return Reply()

    def _data(self, request: Request, too_short: int) -> tuple[_StubWrite, int, bytes]:
        """The current write, the announced length, and the content."""
        if len(request.data) < protocol.BLOCK_HEADER.size:
            raise Refused(too_short)
        if self._write is None:
            raise Refused(_NOT_IN_FLASH_MODE)
        length, _, block = request.block()
        return self._write, length, block

    def _flash_data(self, request: Request) -> Reply:
        write, length, block = self._data(request, _NOT_ENOUGH_DATA)
        if length != len(block):
            raise Refused(_TOO_MUCH_DATA)
        if not request.checksum_fits(block):
            raise Refused(_BAD_DATA_CHECKSUM)
        return Reply(then=lambda: write.append(block[: write.left]))

    def _deflate_data(self, request: Request) -> Reply:
        write, length, block = self._data(request, _BAD_DATA_LEN)
        # The real stub reads the announced length from its buffer. Here the buffer ends with the
        # packet, so a packet with a too large announced length has a wrong checksum.
        if length > len(block) or not request.checksum_fits(block[:length]):
            raise Refused(_BAD_DATA_CHECKSUM)
        return Reply(then=lambda: write.inflate_block(block[:length]))

    def _flash_end(self, _request: Request) -> Reply:
        if self._write is None:
            raise Refused(_NOT_IN_FLASH_MODE)
        if self._write.left:
            raise Refused(_BAD_DATA_LEN)
        self._write = None
        return Reply()  # a reboot can be requested, but this stub ignores it

    def _md5(self, request: Request) -> Reply:
        offset, size, _, _ = request.words(4)
        return Reply(data=self._chip.flash.md5(offset, size))

    def _erase_flash(self, _request: Request) -> Reply:
        self._chip.flash.erase(0, self._chip.flash.size)
        return Reply()

    def _erase_region(self, request: Request) -> Reply:
        offset, size = request.words(2)
        if offset % SECTOR or size % SECTOR:
            raise Refused(_BAD_DATA_LEN)
        self._chip.flash.erase(offset, size)
        return Reply()

    # Reading: after each block, the host acknowledges the number of bytes received; an MD5 follows the last block

    def _read_flash(self, request: Request) -> Reply:
        return Reply(then=lambda: self._start_reading(request))

    def _start_reading(self, request: Request) -> None:
        offset, size, packet_size, _in_flight = request.words(4)
        if packet_size > _READ_PACKET_MAX:
            raise Refused(_BAD_DATA_LEN)
        if packet_size == 0 or offset + size > self._chip.flash.size:
            raise Refused(_FAILED_SPI_OP)
        self._read = _Read(offset, size, packet_size)
        self._send_block()

    def _acknowledge(self, frame: bytes) -> None:
        """Handle the host's acknowledgement; any other frame ends the read and is dropped."""
        read = self._read
        assert read is not None
        if len(frame) == 4:
            read.acknowledged = int.from_bytes(frame, "little")
            self._send_block()
        else:
            self._end_reading(read)

    def _send_block(self) -> None:
        read = self._read
        assert read is not None
        if read.sent < read.size:
            length = min(read.packet_size, read.size - read.sent)
            self._chip.send(slip.encode(self._chip.flash.read(read.offset + read.sent, length)))
            read.sent += length
        elif read.acknowledged >= read.size:
            self._end_reading(read)

    def _end_reading(self, read: _Read) -> None:
        self._read = None
        self._chip.send(slip.encode(self._chip.flash.md5(read.offset, read.sent)))


class _Read:
    """A flash read: bytes sent and acknowledged so far."""

    def __init__(self, offset: int, size: int, packet_size: int) -> None:
        self.offset = offset
        self.size = size
        self.packet_size = packet_size
        self.sent = 0
        self.acknowledged = 0


class _StubWrite:
    """A download into flash: next write offset, bytes left, end of the erased range."""

    def __init__(self, chip: Chip, offset: int, size: int) -> None:
        self._flash = chip.flash
        self._next = offset
        self._erased_to = offset // SECTOR * SECTOR
        self._end = (offset + size + SECTOR - 1) // SECTOR * SECTOR
        self.left = size
        self.inflate: zlib._Decompress | None = None
        self._erase_to(self._erased_to + 1)

    def append(self, data: bytes) -> None:
        """Write the next bytes, erasing just ahead of them."""
        try:
            self._erase_to(self._next + len(data))
            self._flash.program(self._next, data)
        except FlashRangeError:
            raise Refused(_FAILED_SPI_OP) from None
        self._next += len(data)
        self.left -= len(data)

    def inflate_block(self, block: bytes) -> None:
        """Decompress and write. A stream that exceeds the announced size makes the real stub hang; this one reports an
        error."""
        if self.inflate is None:
            raise Refused(_INFLATE_ERROR)
        while block:
            try:
                out = self.inflate.decompress(block, _INFLATE_STEP)
            except zlib.error:
                raise Refused(_INFLATE_ERROR) from None
            if len(out) > self.left:
                raise Refused(_TOO_MUCH_DATA)
            self.append(out)
            block = self.inflate.unconsumed_tail

    def _erase_to(self, target: int) -> None:
        """Erase everything before `target`, in the chip's blocks where they fit, and nothing beyond the end."""
        while self._erased_to < min(target, self._end):
            fits = self._erased_to % BLOCK == 0 and self._erased_to + BLOCK <= self._end
            step = BLOCK if fits else SECTOR
            self._flash.erase(self._erased_to, step)
            self._erased_to += step
