"""A minimal valid firmware build, for tests of code that reads builds."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

NATIVE = "native"
CHECKSUM_SEED = 0xEF
ELF_SHA256 = bytes(range(32)).hex()


def write_build(folder: Path, *, idf: str = NATIVE, chip: str = "esp32", constants: bytes = b"") -> Path:
    """Writes the files of `idf.py build` that a flasher reads.

    Args:
        folder: the build folder.
        idf: version of ESP-IDF.
        chip: name of the chip.
        constants: constants of the app image, after its descriptor.

    Returns:
        `folder`.
    """
    files = {
        "0x1000": ("bootloader/bootloader.bin", image(b"\0" * 16)),
        "0x8000": ("partition_table/partition-table.bin", b"\xaa\x50" + b"\0" * 30),
        "0x10000": ("hotpin.bin", image(app_descriptor(idf) + constants)),
    }
    for name, content in files.values():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    names = {offset: name for offset, (name, _) in files.items()}
    arguments = {
        "write_flash_args": ["--flash_mode", "dio"],
        "flash_settings": {"flash_mode": "dio", "flash_size": "4MB", "flash_freq": "40m"},
        "flash_files": names,
        "bootloader": {"offset": "0x1000", "file": names["0x1000"], "encrypted": "false"},
        "partition-table": {"offset": "0x8000", "file": names["0x8000"], "encrypted": "false"},
        "app": {"offset": "0x10000", "file": names["0x10000"], "encrypted": "false"},
        "extra_esptool_args": {"after": "hard_reset", "before": "default_reset", "stub": True, "chip": chip},
    }
    (folder / "flasher_args.json").write_text(json.dumps(arguments))
    return folder


def app_descriptor(idf: str) -> bytes:
    """esp_app_desc_t of project `hotpin`, version 1.2.3."""

    def text(value: str, length: int) -> bytes:
        return value.encode().ljust(length, b"\0")

    head = struct.pack("<II8x", 0xABCD5432, 0) + text("1.2.3", 32) + text("hotpin", 32) + text("", 32)
    return head + text(idf, 32) + bytes.fromhex(ELF_SHA256) + b"\0" * 80


def image(content: bytes, chip_id: int = 0, checksum: int = CHECKSUM_SEED) -> bytes:
    """An app image with one segment: header, segment, checksum, SHA-256 (ESP-IDF, esp_app_format.h)."""
    header = struct.pack("<BBBBIB3BHBHH4xB", 0xE9, 1, 2, 0x20, 0x40080000, 0xEE, 0, 0, 0, chip_id, 0, 0, 0, 1)
    body = header + struct.pack("<II", 0x3F400020, len(content)) + content
    for byte in content:
        checksum ^= byte
    body += b"\0" * (15 - len(body) % 16) + bytes([checksum])
    return body + hashlib.sha256(body).digest()
