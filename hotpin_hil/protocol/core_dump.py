"""Core dumps in flash as ESP-IDF writes them: a header, an ELF, and a checksum over both.

esp_core_dump_types.h of v5.4 and v5.5: the header's first word is the total length with padding and checksum,
the second word is the version. Its lower half is 0x0102 with a CRC-32, 0x0103 with a SHA-256 (0x0104 after v5.5).
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass

_HEADER = struct.Struct("<II")
_BLANK = 0xFFFFFFFF
_CRC32_VERSIONS = (0x0102,)
_SHA256_VERSIONS = (0x0103, 0x0104)
_CRC32_BYTES, _SHA256_BYTES = 4, 32
PARTITION_TYPE, PARTITION_SUBTYPE = 0x01, 0x03
"""data, coredump"""

_ENTRY = struct.Struct("<HBBII")
_ENTRY_BYTES = 32
_ENTRY_MAGIC = 0x50AA


@dataclass(frozen=True)
class CoreDump:
    """A core dump."""

    content: bytes
    """Header, ELF, padding and checksum."""
    is_sound: bool | None
    """Whether the checksum is correct; None for an unknown version."""


def find_core_dump(partition: bytes) -> CoreDump | None:
    """The core dump in a partition; None if the partition is erased or its length field is invalid."""
    if len(partition) < _HEADER.size:
        return None
    length, version = _HEADER.unpack_from(partition)
    if length in (0, _BLANK) or not _HEADER.size < length <= len(partition):
        return None
    content = partition[:length]
    kind = version & 0xFFFF
    if kind in _CRC32_VERSIONS:
        sound = (
            zlib.crc32(content[:-_CRC32_BYTES]).to_bytes(_CRC32_BYTES, "little") == content[-_CRC32_BYTES:]
        )
        return CoreDump(content, sound)
    if kind in _SHA256_VERSIONS:
        sound = hashlib.sha256(content[:-_SHA256_BYTES]).digest() == content[-_SHA256_BYTES:]
        return CoreDump(content, sound)
    return CoreDump(content, None)


def find_partition(table: bytes) -> tuple[int, int] | None:
    """Offset and size (bytes) of the core dump partition in a binary partition table; None if there is none."""
    for at in range(0, len(table) - _ENTRY_BYTES + 1, _ENTRY_BYTES):
        magic, type_, subtype, offset, size = _ENTRY.unpack_from(table, at)
        if magic != _ENTRY_MAGIC:
            return None
        if (type_, subtype) == (PARTITION_TYPE, PARTITION_SUBTYPE):
            return offset, size
    return None
