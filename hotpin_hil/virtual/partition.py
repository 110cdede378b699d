"""ESP-IDF partition tables: from CSV to the binary the bootloader reads.

The rules and the accepted columns match IDF's own generator (`name, type, subtype, offset, size,
flags`); the binary form is 32 bytes per entry, then an MD5 entry, padded with 0xFF to 0xC00 bytes.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from hotpin_hil.errors import UsageError

TABLE_OFFSET = 0x8000
TABLE_SECTOR = 0x1000
TABLE_LENGTH = 0xC00
ENTRY = struct.Struct("<HBBII16sI")
ENTRY_MAGIC = 0x50AA
MD5_MAGIC = 0xEBEB
MAX_ENTRIES = TABLE_LENGTH // ENTRY.size

APP, DATA = 0, 1
TYPES = {"app": APP, "data": DATA, "bootloader": 2, "partition_table": 3}
SUBTYPES: dict[int, dict[str, int]] = {
    APP: {"factory": 0x00, "test": 0x20, **{f"ota_{slot}": 0x10 + slot for slot in range(16)}},
    DATA: {
        "ota": 0x00, "phy": 0x01, "nvs": 0x02, "coredump": 0x03, "nvs_keys": 0x04, "efuse": 0x05,
        "undefined": 0x06, "esphttpd": 0x80, "fat": 0x81, "spiffs": 0x82, "littlefs": 0x83,
    },
    2: {"ota": 0x01},
    3: {"ota": 0x01},
}  # fmt: skip
FLAGS = {"encrypted": 1, "readonly": 2}
_ALWAYS_WRITABLE = {SUBTYPES[DATA]["ota"], SUBTYPES[DATA]["coredump"]}
_OTADATA_SIZE = 0x2000


@dataclass(frozen=True)
class Partition:
    """One entry; offset and size in bytes."""

    name: str
    type: int
    subtype: int
    offset: int
    size: int
    flags: int = 0

    def to_binary(self) -> bytes:
        """The entry as it is in flash, 32 bytes."""
        return ENTRY.pack(
            ENTRY_MAGIC, self.type, self.subtype, self.offset, self.size, self.name.encode(), self.flags
        )


def parse_csv(text: str, source: str = "partition table") -> list[Partition]:
    """Read a CSV partition table and check it; `source` names it in errors. Raises UsageError."""
    partitions: list[Partition] = []
    end = TABLE_OFFSET + TABLE_SECTOR
    for number, raw in enumerate(text.lstrip("\ufeff").splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        try:
            partition = _parse_line(line, end)
            _check(partition, end, partitions)
        except ValueError as error:
            raise UsageError(f"{source}, line {number}: {error}", "correct the line") from None
        partitions.append(partition)
        end = partition.offset + partition.size
    otadata = [p for p in partitions if (p.type, p.subtype) == (DATA, SUBTYPES[DATA]["ota"])]
    if len(otadata) > 1:
        raise UsageError(f"{source}: more than one otadata partition", "keep one")
    if len(partitions) > MAX_ENTRIES - 2:
        raise UsageError(
            f"{source}: {len(partitions)} partitions do not fit in {TABLE_LENGTH} bytes", "remove some"
        )
    return partitions


def to_binary(partitions: list[Partition]) -> bytes:
    """The table as flashed: entries, MD5 entry, 0xFF up to 0xC00 bytes."""
    entries = b"".join(partition.to_binary() for partition in partitions)
    digest = hashlib.md5(entries, usedforsecurity=False).digest()
    table = entries + struct.pack("<H", MD5_MAGIC) + b"\xff" * 14 + digest
    return table.ljust(TABLE_LENGTH, b"\xff")


def parse_binary(table: bytes) -> Iterator[Partition]:
    """Parse a flashed table, up to the first invalid entry; the MD5 is not checked."""
    for magic, type_, subtype, offset, size, label, flags in ENTRY.iter_unpack(
        table[: len(table) // ENTRY.size * ENTRY.size]
    ):
        if magic != ENTRY_MAGIC:
            return
        name = label.split(b"\0")[0].decode("ascii", "replace")
        yield Partition(name, type_, subtype, offset, size, flags)


def flash_needed(partitions: list[Partition]) -> int:
    """Bytes of flash up to the end of the last partition."""
    return max((p.offset + p.size for p in partitions), default=TABLE_OFFSET + TABLE_SECTOR)


def _parse_line(line: str, previous_end: int) -> Partition:
    fields = [field.strip() for field in line.split(",")]
    fields += [""] * (6 - len(fields))
    name, type_text, subtype_text, offset_text, size_text, flags_text = fields[:6]
    if not type_text:
        raise ValueError("the type is empty")
    type_ = _number(type_text, TYPES, "type")
    if subtype_text:
        subtype = _number(subtype_text, SUBTYPES.get(type_, {}), "subtype")
    elif type_ == APP:
        raise ValueError("an app partition needs a subtype")
    else:
        subtype = SUBTYPES[DATA]["undefined"]
    if not size_text:
        raise ValueError("the size is empty")
    alignment = _alignment(type_)
    offset = _number(offset_text, {}, "offset") if offset_text else -(-previous_end // alignment) * alignment
    size = _number(size_text, {}, "size")
    if size < 0:  # a negative size gives the end of the partition
        size = -size - offset
    flags = 0
    for flag in filter(None, flags_text.split(":")):
        if flag not in FLAGS:
            raise ValueError(f"unknown flag {flag!r} (known: {', '.join(FLAGS)})")
        flags |= FLAGS[flag]
    return Partition(name, type_, subtype, offset, size, flags)


def _check(partition: Partition, previous_end: int, before: list[Partition]) -> None:
    name = partition.name
    if not name:
        raise ValueError("the name is empty")
    if len(name.encode()) > 16:
        raise ValueError(f"the name {name!r} is longer than 16 bytes")
    if any(other.name == name for other in before):
        raise ValueError(f"the name {name!r} is used twice")
    for label, value in (("type", partition.type), ("subtype", partition.subtype)):
        if not 0 <= value <= 0xFE:
            raise ValueError(f"{label} {value:#x} of {name!r} is outside 0 to 0xfe")
    if partition.offset < previous_end:
        what = f"partition {before[-1].name!r} ends" if before else "the partition table itself ends"
        raise ValueError(f"offset {partition.offset:#x} of {name!r} overlaps: {what} at {previous_end:#x}")
    alignment = _alignment(partition.type)
    if partition.offset % alignment:
        raise ValueError(f"offset {partition.offset:#x} of {name!r} is not a multiple of {alignment:#x}")
    if partition.size <= 0:
        raise ValueError(f"size {partition.size:#x} of {name!r} is not positive")
    if partition.type == APP and partition.size % 0x1000:
        raise ValueError(f"size {partition.size:#x} of {name!r} is not a multiple of 0x1000")
    if (
        partition.type == DATA
        and partition.subtype in _ALWAYS_WRITABLE
        and partition.flags & FLAGS["readonly"]
    ):
        raise ValueError(f"{name!r} must be writable: a partition of its subtype can't be read-only")
    if (partition.type, partition.subtype) == (
        DATA,
        SUBTYPES[DATA]["ota"],
    ) and partition.size != _OTADATA_SIZE:
        raise ValueError(f"otadata partition {name!r} must have size {_OTADATA_SIZE:#x}")


def _alignment(type_: int) -> int:
    return 0x10000 if type_ == APP else 0x1000


def _number(text: str, names: dict[str, int], what: str) -> int:
    if text.lower() in names:
        return names[text.lower()]
    digits, factor = text, 1
    if text[-1:].lower() in ("k", "m"):
        digits, factor = text[:-1], 1024 if text[-1] in "kK" else 1024 * 1024
    try:
        return int(digits, 0) * factor
    except ValueError:
        known = f" (known: {', '.join(names)})" if names else ""
        raise ValueError(f"{what} {text!r} is not valid{known}") from None
