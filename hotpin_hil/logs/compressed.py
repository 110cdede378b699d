"""Compressed captures: gzip, xz and Zstandard, found by their first bytes."""

from __future__ import annotations

import gzip
import lzma
import zlib
from collections.abc import Iterator
from io import BufferedReader
from typing import IO, Any, cast

from hotpin_hil.errors import UsageError
from hotpin_hil.logs.reader import CHUNK

_GZIP, _XZ, _ZSTD = b"\x1f\x8b", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"
_DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError)


class LogChunks:
    """The chunks of a capture file, decompressed."""

    def __init__(self, file: BufferedReader) -> None:
        self.damage = ""
        """Why the file could only be read up to some place; empty if it was read whole."""
        self._file = file

    def __iter__(self) -> Iterator[bytes]:
        start = self._file.peek(len(_XZ))[: len(_XZ)]
        if not start.startswith((_GZIP, _XZ, _ZSTD)):
            while chunk := self._file.read(CHUNK):
                yield chunk
            return
        plain = self._decompressed(start)
        try:
            while chunk := plain.read(CHUNK):
                yield chunk
        except _DAMAGE as error:
            self.damage = f"the compressed data is damaged or ends early: {error}"
        except Exception as error:  # zstandard.ZstdError, which exists only if the package does
            if type(error).__name__ != "ZstdError":
                raise
            self.damage = f"the compressed data is damaged or ends early: {error}"

    def _decompressed(self, start: bytes) -> IO[bytes]:
        if start.startswith(_GZIP):
            return cast(IO[bytes], gzip.open(self._file))
        if start.startswith(_XZ):
            return cast(IO[bytes], lzma.open(self._file))
        try:
            zstandard: Any = __import__("zstandard")
        except ImportError:
            raise UsageError(
                "the log is compressed with Zstandard", "pip install zstandard, or decompress it: zstd -d"
            ) from None
        return cast(
            IO[bytes], zstandard.ZstdDecompressor().stream_reader(self._file, read_across_frames=True)
        )
