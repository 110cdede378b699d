"""Compressed captures: gzip, xz and Zstandard, found by their first bytes."""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable, Iterator
from io import BufferedReader
from typing import Any

from hotpin_hil.errors import UsageError
from hotpin_hil.logs.reader import CHUNK

_GZIP, _XZ, _ZSTD = b"\x1f\x8b", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_PIECE = 1024
"""Bytes fed to a decompressor in one call: with the worst Zstandard data they expand to 32 MB."""


class LogChunks:
    """The chunks of a capture file, decompressed. A damaged file yields everything before the damage.

    Iterating raises UsageError if the file is compressed with Zstandard, and zstandard is not installed.
    """

    def __init__(self, file: BufferedReader) -> None:
        self.damage = ""
        """Why only the first part of the file could be read; empty if it was read completely."""
        self._file = file

    def __iter__(self) -> Iterator[bytes]:
        start = self._file.peek(len(_XZ))[: len(_XZ)]
        decompressor = _decompressor(start)
        if decompressor is None:
            while chunk := self._file.read(CHUNK):
                yield chunk
            return
        new, errors = decompressor
        try:
            yield from self._decompressed(new)
        except errors as error:
            self.damage = f"the compressed data is damaged: {error}"

    def _decompressed(self, new: Callable[[], Any]) -> Iterator[bytes]:
        """The members of the file, one after the other; a file may have several."""
        member: Any = None
        while piece := self._file.read(_PIECE):
            while piece:
                if member is None:
                    piece = piece.lstrip(b"\0")  # padding between members
                    if not piece:
                        break
                    member = new()
                if plain := member.decompress(piece):
                    yield plain
                piece = member.unused_data if member.eof else b""
                member = None if member.eof else member
        if member is not None:
            self.damage = "the compressed data ends early: the file is cut off"


def _decompressor(start: bytes) -> tuple[Callable[[], Any], tuple[type[Exception], ...]] | None:
    """Makes a decompressor for a file that starts like this, and lists its exceptions; None for a plain file."""
    if start.startswith(_GZIP):
        return lambda: zlib.decompressobj(_GZIP_WINDOW), (zlib.error,)
    if start.startswith(_XZ):
        return lzma.LZMADecompressor, (lzma.LZMAError,)
    if not start.startswith(_ZSTD):
        return None
    try:
        zstandard: Any = __import__("zstandard")
    except ImportError:
        raise UsageError(
            "the log is compressed with Zstandard", "pip install zstandard, or decompress it: zstd -d"
        ) from None
    return lambda: zstandard.ZstdDecompressor().decompressobj(), (zstandard.ZstdError,)
