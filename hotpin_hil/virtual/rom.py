"""The ROM's serial loader, from a reset with IO0 low to the next reset.

Error codes: esptool's description of the serial protocol. A program uploaded into RAM is not executed: for esptool's
stub, the board then serves the stub's commands; for any other program, it prints that it cannot run it.
"""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Callable

from hotpin_hil.virtual import loader_protocol as protocol
from hotpin_hil.virtual import slip
from hotpin_hil.virtual.chip import CRYSTAL_HZ
from hotpin_hil.virtual.flash import FlashRangeError
from hotpin_hil.virtual.loader_protocol import Chip, Commands, Refused, Reply, Request
from hotpin_hil.virtual.stub import GREETING, Stub

_INVALID_MESSAGE = 0x05
_FAILED = 0x06
_CHECKSUM = 0x07
_READ_LENGTH = 0x0A
_DEFLATE = 0x0B

_SYNC_DATA = b"\x07\x07\x12\x20" + 32 * b"\x55"
_SYNC_VALUE = 0x20120707  # not 0, which would tell the host that a stub is running
_SLOW_READ_MAX = 64
_MAX_UPLOADS = 16  # uploaded ranges of RAM that are remembered


class Loader:
    """One download session; `feed` takes the bytes from the host, and `serve` serves the requests one by one."""

    def __init__(self, chip: Chip) -> None:
        self._chip = chip
        self._decoder = slip.Decoder()
        self._requests: deque[bytes] = deque()
        self._commands: Commands = Rom(chip, self._run_upload)

    @property
    def is_stub(self) -> bool:
        """Whether esptool's stub has taken over."""
        return isinstance(self._commands, Stub)

    def feed(self, data: bytes) -> None:
        """Store bytes from the host until `serve` serves their requests."""
        self._requests += self._decoder.feed(data)

    def serve(self) -> bool:
        """Serve the next request, if any; returns whether more requests wait."""
        if self._requests:
            self._commands.frame(self._requests.popleft())
        return bool(self._requests)

    def stop(self) -> None:
        """Stop when the chip is reset or off; requests not served yet are lost."""
        self._requests.clear()
        self._commands = _Lost()

    def _run_upload(self, is_stub: bool) -> None:
        if is_stub:
            self._commands = Stub(self._chip, lambda: self._run_upload(False))
            return
        self._commands = _Lost()
        self._chip.say(
            "the program loaded into RAM is for the chip's CPU and can't run here; reset to continue"
        )


class _Lost:
    """State without an active loader: no reply until a reset."""

    def frame(self, frame: bytes) -> None:
        """Ignore the frame."""


class Rom:
    """The ROM's commands. `run_upload(is_stub)` is called when the host starts the uploaded program."""

    def __init__(self, chip: Chip, run_upload: Callable[[bool], None]) -> None:
        self._chip = chip
        self._run_upload = run_upload
        self._uploads: list[tuple[int, int]] = []
        self._upload_left = 0
        self._upload_tail = b""
        self._greeting_seen = False
        self._write: _Write | None = None
        self._handlers: dict[int, Callable[[Request], Reply]] = {
            protocol.FLASH_BEGIN: self._flash_begin,
            protocol.FLASH_DATA: self._flash_data,
            protocol.FLASH_END: self._flash_end,
            protocol.MEM_BEGIN: self._mem_begin,
            protocol.MEM_DATA: self._mem_data,
            protocol.MEM_END: self._mem_end,
            protocol.SYNC: self._sync,
            protocol.WRITE_REG: lambda request: protocol.write_registers(
                chip.registers, request.data, _INVALID_MESSAGE
            ),
            protocol.READ_REG: lambda request: Reply(chip.registers.read(*request.words(1))),
            protocol.SPI_SET_PARAMS: lambda _: Reply(),
            protocol.SPI_ATTACH: lambda _: Reply(),
            protocol.READ_FLASH_SLOW: self._read_flash,
            protocol.CHANGE_BAUDRATE: self._change_baudrate,
            protocol.FLASH_DEFL_BEGIN: self._flash_begin,
            protocol.FLASH_DEFL_DATA: self._deflate_data,
            protocol.FLASH_DEFL_END: self._flash_end,
            protocol.SPI_FLASH_MD5: self._md5,
        }

    def frame(self, frame: bytes) -> None:
        """Serve one frame; anything but a request is dropped."""
        if len(frame) < protocol.HEADER.size or frame[0] != 0:
            return
        _, command, length, checksum = protocol.HEADER.unpack_from(frame)
        request = Request(command, frame[protocol.HEADER.size :], checksum)
        reply, status = Reply(), bytes(4)
        try:
            handler = self._handlers.get(command)
            if handler is None or length != len(request.data):
                raise Refused(_INVALID_MESSAGE)
            reply = handler(request)
        except Refused as refused:
            status = bytes([1, refused.code, 0, 0])
        except (struct.error, FlashRangeError):
            status = bytes([1, _FAILED, 0, 0])
        self._chip.send(reply.encode(command, status))
        if reply.then is not None:
            reply.then()

    # Session

    def _sync(self, request: Request) -> Reply:
        if request.data != _SYNC_DATA:
            raise Refused(_INVALID_MESSAGE)
        self._chip.set_baud(None)  # the ROM measures the host's rate
        return Reply(_SYNC_VALUE, copies=protocol.SYNC_REPLIES)

    def _change_baudrate(self, request: Request) -> Reply:
        baud, _old = request.words(2)
        if not 0 < baud <= CRYSTAL_HZ:
            raise Refused(_FAILED)
        return Reply(then=lambda: self._chip.set_baud(baud))

    # Registers and memory

    def _mem_begin(self, request: Request) -> Reply:
        size, _blocks, _block_size, address = request.words(4)
        self._uploads.append((address, address + size))
        del self._uploads[:-_MAX_UPLOADS]
        self._upload_left = size
        self._upload_tail = b""
        return Reply()

    def _mem_data(self, request: Request) -> Reply:
        _, block = self._block(request)
        if len(block) > self._upload_left:
            raise Refused(_FAILED)
        self._upload_left -= len(block)
        self._greeting_seen |= GREETING in self._upload_tail + block
        self._upload_tail = block[1 - len(GREETING) :]
        return Reply()

    def _mem_end(self, request: Request) -> Reply:
        stay, entry = request.words(2)
        if stay:
            return Reply()
        if not any(start <= entry < end for start, end in self._uploads):
            raise Refused(_FAILED)
        return Reply(then=lambda: self._run_upload(self._greeting_seen))

    def _block(self, request: Request) -> tuple[int, bytes]:
        """Sequence number and content of a data packet."""
        length, sequence, block = request.block()
        if length != len(block):
            raise Refused(_INVALID_MESSAGE)
        if not request.checksum_fits(block):
            raise Refused(_CHECKSUM)
        return sequence, block

    # Flash

    def _flash_begin(self, request: Request) -> Reply:
        size, _blocks, block_size, offset = request.words(4)
        self._chip.flash.erase(offset, size)
        self._write = _Write(offset, size, block_size)
        if request.command == protocol.FLASH_DEFL_BEGIN:
            self._write.inflate = zlib.decompressobj()
        return Reply()

    def _flash_data(self, request: Request) -> Reply:
        sequence, block = self._block(request)
        write = self._write
        if write is None or write.inflate is not None or len(block) > write.block_size:
            raise Refused(_FAILED)
        at = sequence * write.block_size
        if at >= write.size:
            raise Refused(_FAILED)
        # The last block is padded with 0xFF, which clears no bit.
        flash = self._chip.flash
        flash.program(write.offset + at, block[: flash.size - write.offset - at])
        return Reply()

    def _deflate_data(self, request: Request) -> Reply:
        _, block = self._block(request)
        write = self._write
        if write is None or write.inflate is None or len(block) > write.block_size:
            raise Refused(_FAILED)
        room = write.size - write.written
        try:
            out = write.inflate.decompress(block, room + 1)
        except zlib.error:
            raise Refused(_DEFLATE) from None
        if len(out) > room:
            raise Refused(_FAILED)
        self._chip.flash.program(write.offset + write.written, out)
        write.written += len(out)
        return Reply()

    def _flash_end(self, request: Request) -> Reply:
        request.words(1)
        if self._write is None:
            raise Refused(_FAILED)
        self._write = None
        return Reply(then=self._chip.run_app)  # the ROM leaves the loader regardless of the argument

    def _md5(self, request: Request) -> Reply:
        offset, size, _, _ = request.words(4)
        return Reply(data=self._chip.flash.md5(offset, size).hex().encode())

    def _read_flash(self, request: Request) -> Reply:
        offset, size = request.words(2)
        if size > _SLOW_READ_MAX:
            raise Refused(_READ_LENGTH)
        return Reply(data=self._chip.flash.read(offset, size).ljust(_SLOW_READ_MAX, b"\0"))


class _Write:
    """A download into flash. `inflate` is None if it is not compressed; `written` is the number of bytes so far."""

    def __init__(self, offset: int, size: int, block_size: int) -> None:
        self.offset = offset
        self.size = size
        self.block_size = block_size
        self.inflate: zlib._Decompress | None = None
        self.written = 0
