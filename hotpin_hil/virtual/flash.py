"""SPI NOR flash of a board: a file that the firmware process also maps."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Callable
from pathlib import Path

from hotpin_hil.errors import UsageError

SECTOR = 0x1000
BLOCK = 0x10000  # the chip can also erase one of these in one go
ERASED_BYTE = 0xFF
_ERASED_MEGABYTE = bytes([ERASED_BYTE]) * 0x100000


class FlashRangeError(Exception):
    """An operation reaches beyond the end of the flash."""


class Flash:
    """`size` bytes of NOR flash in the file `path`.

    A new file is erased. Programming only clears bits, as the chip does, so writing twice without an erase
    gives the AND of both. The mapping is shared: each process sees the other's writes immediately, and the content
    survives the death of either.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size
        self.written: Callable[[int, bytes], bytes] = lambda offset, data: data
        """Hook that returns the bytes actually programmed at an offset; faults of chip and supply change them."""
        self.powered = True
        """False when power is off: nothing is erased or programmed, even in the middle of a packet."""
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if os.fstat(fd).st_size != size:
                    _write_erased(fd, size)
                self._map = mmap.mmap(fd, size)
            finally:
                os.close(fd)
        except OSError as error:
            raise UsageError(
                f"can't keep the board's flash in {path}: {error.strerror}",
                "give a writable --state-dir with room for it",
            ) from error

    def close(self) -> None:
        """Unmap the file."""
        self._map.close()

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`."""
        self._check(offset, length)
        return self._map[offset : offset + length]

    def erase(self, offset: int, length: int) -> None:
        """Erase every sector that the range touches."""
        self._check(offset, length)
        if not self.powered:
            return
        first = offset // SECTOR * SECTOR
        last = (offset + length + SECTOR - 1) // SECTOR * SECTOR
        self._map[first:last] = bytes([ERASED_BYTE]) * (last - first)

    def program(self, offset: int, data: bytes) -> None:
        """Clear the bits that are 0 in `data`."""
        self._check(offset, len(data))
        if not self.powered:
            return
        data = self.written(offset, data)
        end = offset + len(data)
        old = self._map[offset:end]
        if old.count(ERASED_BYTE) != len(old):
            both = int.from_bytes(old, "little") & int.from_bytes(data, "little")
            data = both.to_bytes(len(old), "little")
        self._map[offset:end] = data

    def md5(self, offset: int, length: int) -> bytes:
        """MD5 of a range, 16 bytes."""
        self._check(offset, length)
        with memoryview(self._map) as view:
            return hashlib.md5(view[offset : offset + length], usedforsecurity=False).digest()

    def _check(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise FlashRangeError(f"{length} bytes at {offset:#x} reach outside a flash of {self.size} bytes")


def _write_erased(fd: int, size: int) -> None:
    os.ftruncate(fd, 0)
    left = size
    while left:
        left -= os.write(fd, _ERASED_MEGABYTE[:left])
