"""Packets and commands common to the ROM's serial loader and esptool's stub, and the chip that they act on.

Both use the same packets in SLIP frames: direction, command, length, checksum, data. They differ in the
number of status bytes, in the error codes, and in the set of commands.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hotpin_hil.virtual import slip
from hotpin_hil.virtual.chip import Registers
from hotpin_hil.virtual.flash import Flash
from hotpin_hil.virtual.image import CHECKSUM_SEED, xor_bytes

HEADER = struct.Struct("<BBHI")
"""Packet header: direction (0: request, 1: reply), command, length of the data, checksum or, in a reply, a value."""

FLASH_BEGIN, FLASH_DATA, FLASH_END = 0x02, 0x03, 0x04
MEM_BEGIN, MEM_END, MEM_DATA = 0x05, 0x06, 0x07
SYNC, WRITE_REG, READ_REG = 0x08, 0x09, 0x0A
SPI_SET_PARAMS, SPI_ATTACH, READ_FLASH_SLOW, CHANGE_BAUDRATE = 0x0B, 0x0D, 0x0E, 0x0F
FLASH_DEFL_BEGIN, FLASH_DEFL_DATA, FLASH_DEFL_END = 0x10, 0x11, 0x12
SPI_FLASH_MD5, GET_SECURITY_INFO = 0x13, 0x14
ERASE_FLASH, ERASE_REGION, READ_FLASH, RUN_USER_CODE = 0xD0, 0xD1, 0xD2, 0xD3

SYNC_REPLIES = 8
REGISTER_WRITE = struct.Struct("<IIII")
"""One register write: address, value, mask, delay in microseconds."""
BLOCK_HEADER = struct.Struct("<IIII")
"""Header of a data packet: length of the block, sequence number, two unused words."""


class Refused(Exception):
    """The loader rejects a command with this error code."""

    def __init__(self, code: int) -> None:
        self.code = code


@dataclass(frozen=True)
class Request:
    """One command as received."""

    command: int
    data: bytes
    checksum: int

    def words(self, count: int) -> tuple[int, ...]:
        """The first `count` 32-bit words of the data. Raises struct.error if there are fewer."""
        return struct.unpack_from(f"<{count}I", self.data)

    def block(self) -> tuple[int, int, bytes]:
        """Announced length, sequence number and content of a data packet. Raises struct.error without a header."""
        length, sequence, _, _ = BLOCK_HEADER.unpack_from(self.data)
        return length, sequence, self.data[BLOCK_HEADER.size :]

    def checksum_fits(self, block: bytes) -> bool:
        """Whether the packet's checksum matches `block`."""
        return CHECKSUM_SEED ^ xor_bytes(block) == self.checksum


@dataclass(frozen=True)
class Reply:
    """The reply to a command that succeeded; `then` runs after it has been sent."""

    value: int = 0
    data: bytes = b""
    copies: int = 1
    then: Callable[[], None] | None = None

    def encode(self, command: int, status: bytes) -> bytes:
        """Encode the reply to `command` for the wire."""
        data = self.data + status
        return slip.encode(HEADER.pack(1, command, len(data), self.value) + data) * self.copies


@dataclass(frozen=True)
class Chip:
    """The chip's interface for a loader.

    `send` takes raw bytes for the wire; `set_baud` changes the UART's rate (None: to the host's); `run_app`
    leaves the loader and boots from flash; `say` prints a message of the board itself.
    """

    registers: Registers
    flash: Flash
    send: Callable[[bytes], None]
    set_baud: Callable[[int | None], None]
    run_app: Callable[[], None]
    say: Callable[[str], None]


class Commands(Protocol):
    """The commands of one of the two loaders."""

    def frame(self, frame: bytes) -> None:
        """Serve one SLIP frame."""


def write_registers(registers: Registers, data: bytes, refusal: int) -> Reply:
    """Execute a WRITE_REG; its data may contain several writes. Raises Refused(`refusal`) for a wrong length."""
    if not data or len(data) % REGISTER_WRITE.size:
        raise Refused(refusal)
    for address, value, mask, _delay_us in REGISTER_WRITE.iter_unpack(data):
        registers.write(address, value, mask)
    return Reply()
