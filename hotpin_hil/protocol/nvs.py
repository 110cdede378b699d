"""Reads blobs from an NVS partition of ESP-IDF (page version 2), even if its last write was cut off.

A page has a header of 32 bytes, 32 bytes with 2 bits of state per entry, and 126 entries of 32 bytes. A blob is an
index entry and data items in one or more pages; if a blob has two versions, only one index entry is valid.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

PAGE_BYTES = 4096
_TABLE, _DATA, _ENTRY = 32, 64, 32
_ENTRIES = 126
_WRITTEN = 2
_USED_STATES = (0xFFFFFFFE, 0xFFFFFFFC, 0xFFFFFFF8)
"""Active, full, and being freed."""
_NAMES = 0
"""Namespace with the names of the namespaces."""
_U8, _BLOB_DATA, _BLOB_INDEX = 0x01, 0x42, 0x48
_VARIABLE = (0x21, 0x41, _BLOB_DATA)
_FIRST = 0xFFFFFFFF


@dataclass(frozen=True)
class NvsPartition:
    """Content of a partition."""

    blobs: dict[str, bytes]
    """Whole blobs of the namespace, by key."""
    sequence: int
    """Number of pages started since the partition was erased: the highest sequence number of a page plus 1; 0 without
    pages."""


@dataclass(frozen=True)
class _Item:
    namespace: int
    type: int
    chunk: int
    key: str
    data: bytes


def read_nvs(partition: bytes, namespace: str) -> NvsPartition:
    """Read the blobs of one namespace. Damaged entries are ignored."""
    pages = sorted(_pages(partition))
    items = [item for _, page in pages for item in _items(page)]
    numbers = {item.key: item.data[0] for item in items if item.namespace == _NAMES and item.type == _U8}
    own = [item for item in items if item.namespace == numbers.get(namespace, -1)]
    chunks = {(item.key, item.chunk): item.data for item in own if item.type == _BLOB_DATA}
    blobs = {}
    for item in own:
        if item.type == _BLOB_INDEX:
            size, count, start = struct.unpack_from("<IBB", item.data)
            parts = [chunks.get((item.key, start + number)) for number in range(count)]
            blob = b"".join(part for part in parts if part is not None)
            if None not in parts and len(blob) == size:
                blobs[item.key] = blob
    return NvsPartition(blobs, pages[-1][0] + 1 if pages else 0)


def _pages(partition: bytes) -> Iterator[tuple[int, bytes]]:
    """Sequence number and content of each page in use."""
    for at in range(0, len(partition) - PAGE_BYTES + 1, PAGE_BYTES):
        page = partition[at : at + PAGE_BYTES]
        state, sequence = struct.unpack_from("<II", page)
        (check,) = struct.unpack_from("<I", page, 28)
        if state in _USED_STATES and check == zlib.crc32(page[4:28], _FIRST):
            yield sequence, page


def _items(page: bytes) -> Iterator[_Item]:
    number = 0
    while number < _ENTRIES:
        at = _DATA + number * _ENTRY
        state = page[_TABLE + number // 4] >> number % 4 * 2 & 3
        number += 1
        if state != _WRITTEN:
            continue
        namespace, type_, span, chunk, check = struct.unpack_from("<4BI", page, at)
        entry = page[at : at + _ENTRY]
        if check != zlib.crc32(entry[:4] + entry[8:], _FIRST):
            continue
        data = entry[24:]
        if type_ in _VARIABLE:
            size, _, data_check = struct.unpack_from("<HHI", data)
            data = page[at + _ENTRY : at + _ENTRY + size]
            number += max(span, 1) - 1
            if len(data) != size or data_check != zlib.crc32(data, _FIRST):
                continue
        yield _Item(namespace, type_, chunk, entry[8:24].split(b"\0")[0].decode("ascii", "replace"), data)
