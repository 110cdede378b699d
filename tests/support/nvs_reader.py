"""An independent reader of NVS partitions, written from the documented format."""

from __future__ import annotations

import struct
import zlib


def nvs_items(partition: bytes) -> dict[tuple[int, str], tuple[int, bytes]]:
    """Reads the values in an NVS partition."""
    items: dict[tuple[int, str], tuple[int, bytes]] = {}
    for base in range(0, len(partition), 4096):
        page = partition[base : base + 4096]
        if page == b"\xff" * 4096:
            continue
        state, _, version = struct.unpack_from("<IIB", page)
        assert state in (0xFFFFFFFE, 0xFFFFFFFC)
        assert version == 0xFE
        assert struct.unpack_from("<I", page, 28)[0] == zlib.crc32(page[4:28], 0xFFFFFFFF)
        entry = 0
        while entry < 126:
            bits = page[32 + entry // 4] >> entry % 4 * 2 & 3
            raw = page[64 + 32 * entry : 96 + 32 * entry]
            if bits != 2:
                entry += 1
                continue
            namespace, kind, span, chunk, crc = struct.unpack_from("<BBBBI", raw)
            assert crc == zlib.crc32(raw[:4] + raw[8:], 0xFFFFFFFF)
            key = raw[8:24].split(b"\0")[0].decode()
            value = raw[24:32]
            if kind in (0x21, 0x42):
                size, _, data_crc = struct.unpack("<HHI", value)
                value = page[96 + 32 * entry :][:size]
                assert data_crc == zlib.crc32(value, 0xFFFFFFFF)
            name = f"{key}/{chunk}" if kind == 0x42 else key
            assert (namespace, name) not in items, "an old value was not erased"
            items[namespace, name] = (kind, value)
            entry += span
    return items


def nvs_value(partition: bytes, namespace: str, key: str) -> bytes:
    """The value of a key: eight bytes for a number, otherwise the string or blob. Raises KeyError if the key does not
    exist."""
    items = nvs_items(partition)
    return items[items[0, namespace][1][0], key][1]
