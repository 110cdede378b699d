"""ESP32 images that contain a program for the host.

The host-built firmware is packed in a valid ESP32 app image, so that every tool between the build and the chip treats
it like any other app: segment 0 is a DROM segment with the app descriptor, then a header, then the ELF. A second, tiny
segment represents code in IRAM and contains the entry point. `pack_*` use esptool's own image writer; this module reads
images like the chip's bootloader.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from hotpin_hil.errors import BuildError

IMAGE_MAGIC = 0xE9
MAX_SEGMENTS = 16
CHIP_ID_ESP32 = 0
CHECKSUM_SEED = 0xEF
HEADER = struct.Struct("<BBBBI BBBB HBHH 4x B")
"""magic, segments, spi mode, spi size and speed, entry, wp pin, 3 drive bytes, chip id, min rev, min and max
revision (major * 100 + minor), whether a SHA-256 follows."""
SEGMENT_HEADER = struct.Struct("<II")

APP_DESCRIPTOR = struct.Struct("<II8x 32s32s16s16s32s 32s HHB 75x")
APP_DESCRIPTOR_MAGIC = 0xABCD5432
ELF_SHA256_OFFSET = 0xB0
"""Offset in an app image of the SHA-256 of its ELF, where IDF's tools read it."""
BOOTLOADER_DESCRIPTOR = struct.Struct("<B3xI32s24s16x")
BOOTLOADER_DESCRIPTOR_MAGIC = 0x50

CARGO = struct.Struct("<16sI12x")
CARGO_MARK = b"HOTPIN-HOST-ELF\0"

DROM_ADDRESS = 0x3F400020  # 32 bytes of headers before it keep file offset and address in step, modulo 64 KB
DROM_END = 0x3F800000
ENTRY_ADDRESS = 0x40080000
MAX_CHIP_REVISION = 399  # IDF v5.4's CONFIG_ESP32_REV_MAX_FULL

FLASH_MODES = {"qio": 0, "qout": 1, "dio": 2, "dout": 3}
FLASH_SIZES = {"1MB": 0x00, "2MB": 0x10, "4MB": 0x20, "8MB": 0x30, "16MB": 0x40}
FLASH_SPEEDS = {"40m": 0x0, "26m": 0x1, "20m": 0x2, "80m": 0xF}

HOST_IDF_VERSION = "native"


@dataclass(frozen=True)
class FlashSettings:
    """Flash settings in the image header; values as esptool names them."""

    mode: str = "dio"
    size: str = "4MB"
    speed: str = "40m"

    def __post_init__(self) -> None:
        for what, value, known in (
            ("mode", self.mode, FLASH_MODES),
            ("size", self.size, FLASH_SIZES),
            ("frequency", self.speed, FLASH_SPEEDS),
        ):
            if value not in known:
                raise BuildError(
                    f"flash {what} {value!r} is not one of {', '.join(known)}", "check sdkconfig"
                )


@dataclass(frozen=True)
class BuildInfo:
    """Build identity in the app descriptor; `date` and `time` as the C compiler writes them.

    Both are empty in a reproducible build.
    """

    project: str
    version: str
    date: str = ""
    time: str = ""


def pack_app(elf: bytes, info: BuildInfo, settings: FlashSettings, elf_sha256: str = "") -> bytes:
    """A flashable app image with `elf` inside.

    Args:
        elf: the program.
        info: for the app descriptor.
        settings: for the image header.
        elf_sha256: hash of the ELF with debug information, hex; empty if `elf` is that file.

    Raises:
        BuildError: not an ELF, or too large.
    """
    if elf[:4] != b"\x7fELF":
        raise BuildError("the firmware is not an ELF file", "run make native")
    descriptor = APP_DESCRIPTOR.pack(
        APP_DESCRIPTOR_MAGIC,
        0,
        _text(info.version, 32),
        _text(info.project, 32),
        _text(info.time, 16),
        _text(info.date, 16),
        _text(HOST_IDF_VERSION, 32),
        bytes(32),  # the ELF's hash: the image writer puts it here
        0,
        0,
        16,  # log2 of the 64 KB flash page
    )
    drom = descriptor + CARGO.pack(CARGO_MARK, len(elf)) + elf
    if DROM_ADDRESS + len(drom) > DROM_END:
        raise BuildError(
            f"the firmware's ELF is {len(elf)} bytes long, more than the chip can map", "strip or optimise it"
        )
    segments = [(DROM_ADDRESS, drom), (ENTRY_ADDRESS, b"runs on the host")]
    digest = bytes.fromhex(elf_sha256) or hashlib.sha256(elf).digest()
    return _pack(segments, ENTRY_ADDRESS, settings, elf_sha256=digest)


def pack_bootloader(info: BuildInfo, settings: FlashSettings) -> bytes:
    """A small second-stage bootloader image, with the layout of a real one but without code."""
    descriptor = BOOTLOADER_DESCRIPTOR.pack(
        BOOTLOADER_DESCRIPTOR_MAGIC,
        1,
        _text(HOST_IDF_VERSION, 32),
        _text(f"{info.date} {info.time}".strip(), 24),
    )
    segments = [
        (0x3FFF0030, descriptor),
        (0x40078000, b"the virtual board's second stage is part of the board"),
        (0x40080400, b"\0\0\0\0"),
        (0x40080404, b"entry"),
    ]
    return _pack(segments, 0x40080404, settings)


def _pack(
    segments: list[tuple[int, bytes]], entry: int, settings: FlashSettings, elf_sha256: bytes | None = None
) -> bytes:
    from esptool.bin_image import ELFSection, ESP32FirmwareImage

    image = ESP32FirmwareImage()
    image.flash_mode = FLASH_MODES[settings.mode]
    image.flash_size_freq = FLASH_SIZES[settings.size] | FLASH_SPEEDS[settings.speed]
    image.entrypoint = entry
    image.min_rev_full, image.max_rev_full = 0, MAX_CHIP_REVISION
    image.segments = [ELFSection(b"segment", address, data, flags=0) for address, data in segments]
    if elf_sha256 is not None:
        image.elf_sha256, image.elf_sha256_offset = elf_sha256, ELF_SHA256_OFFSET
    image.verify()
    packed = image.save(None)
    assert isinstance(packed, bytes)
    return packed


def _text(text: str, size: int) -> bytes:
    return text.encode()[: size - 1].ljust(size, b"\0")


@dataclass(frozen=True)
class ImageHeader:
    """The 24-byte header of an image."""

    magic: int
    segment_count: int
    spi_mode: int
    spi_size_speed: int
    entry: int
    wp_pin: int
    chip_id: int
    min_revision: int
    max_revision: int
    hash_appended: bool

    @staticmethod
    def parse(data: bytes) -> ImageHeader:
        """Read a header without checking it."""
        magic, count, mode, size, entry, wp, _, _, _, chip, _, low, high, hashed = HEADER.unpack(data)
        return ImageHeader(magic, count, mode, size, entry, wp, chip, low, high, hashed == 1)


@dataclass(frozen=True)
class FlashedApp:
    """The relevant fields of the app descriptor."""

    project: str
    version: str
    elf_sha256: str


def parse_app_descriptor(data: bytes) -> FlashedApp | None:
    """Parse the descriptor at the start of segment 0; None if there is none."""
    if len(data) < APP_DESCRIPTOR.size:
        return None
    fields = APP_DESCRIPTOR.unpack(data[: APP_DESCRIPTOR.size])
    if fields[0] != APP_DESCRIPTOR_MAGIC:
        return None
    return FlashedApp(c_string(fields[3]), c_string(fields[2]), fields[7].hex())


def unpack_elf(segment0: bytes) -> bytes | None:
    """The host program in an app's segment 0; None if it is missing or damaged."""
    start = APP_DESCRIPTOR.size + CARGO.size
    if len(segment0) < start:
        return None
    mark, length = CARGO.unpack(segment0[APP_DESCRIPTOR.size : start])
    elf = segment0[start : start + length]
    return elf if mark == CARGO_MARK and len(elf) == length else None


def c_string(field: bytes) -> str:
    """Text of a fixed-size field up to its first NUL; unprintable bytes are replaced."""
    return field.split(b"\0", 1)[0].decode("ascii", "replace")


def xor_bytes(data: bytes) -> int:
    """XOR of all bytes: the images' checksum without its seed. Linear in time, without a loop per byte."""
    while len(data) > 64:
        half = len(data) // 2
        odd = data[2 * half :]
        folded = int.from_bytes(data[:half], "little") ^ int.from_bytes(data[half : 2 * half], "little")
        data = folded.to_bytes(half, "little") + odd
    result = 0
    for byte in data:
        result ^= byte
    return result
