"""Texts of the ROM, the bootloader and the start-up code about a chip that cannot start its application.

The texts come from ESP-IDF v5.4 and older: bootloader_support, esp_psram, spi_flash, and the ROMs of the family.
"""

from __future__ import annotations

import re

BLANK_FLASH, FLASH_READ, BOOT_LOADER_DAMAGED = "blank-flash", "flash-read-error", "boot-loader-damaged"
PARTITION_TABLE, NO_APP, APP_DAMAGED = "partition-table", "no-application", "application-damaged"
WRONG_CHIP, FLASH_SIZE, NO_PSRAM = "wrong-chip", "flash-size", "psram-missing"
APP_TOO_LARGE, SECURE_BOOT = "application-too-large", "secure-boot"

ROM_MARK = "ets_main.c "
"""The ROM prints this after any of its own faults, so it adds nothing to an earlier line."""
STOPS_START = frozenset(
    (
        BLANK_FLASH,
        FLASH_READ,
        BOOT_LOADER_DAMAGED,
        PARTITION_TABLE,
        NO_APP,
        APP_DAMAGED,
        APP_TOO_LARGE,
        WRONG_CHIP,
    )
)
"""Faults after which the chip waits for a watchdog or restarts itself."""

_FROM_ROM = (
    (BLANK_FLASH, re.compile(r"invalid header: 0xffffffff")),
    (
        BOOT_LOADER_DAMAGED,
        re.compile(
            r"invalid header: 0x[0-9a-f]{8}|csum err:0x[0-9a-f]{1,8}|ets_main\.c \d{1,5}|"
            r"load:0x[0-9a-f]{1,8},len:(?:-\d|\d{8})"
        ),
    ),
    (FLASH_READ, re.compile(r"flash read err, ?\d{1,8}")),
    (
        SECURE_BOOT,
        re.compile(
            r"secure boot (?:check|verification) fail|No signature block magic|Sig block \d invalid|"
            r"Valid secure boot key blocks: 0"
        ),
    ),
)
_FROM_SOFTWARE = (
    (PARTITION_TABLE, re.compile(r"Incorrect MD5 checksum|partition \d{1,3} invalid magic|partition table error!|"
                                 r"verify partition table|partition table is empty")),
    (NO_PSRAM, re.compile(r"PSRAM ID read error|PSRAM chip (?:is not connected|not found)|init external RAM|"
                          r"(?:PSRAM|SPI RAM) enabled but init|Failed to init PSRAM")),
    (WRONG_CHIP, re.compile(r"mismatch chip ID|requires chip rev|requires efuse blk rev|can't run on lower chip rev|"
                            r"higher efuse blk rev|higher chip rev")),
    (FLASH_SIZE, re.compile(r"Detected size\(\d{1,9}k\) smaller than the size in the binary image header")),
    (NO_APP, re.compile(r"No bootable app partitions|image at 0x[0-9a-f]{1,8} has invalid magic byte|"
                        r"No bootable test partition|"
                        r"partition is not bootable|partition slot \d{1,3} is not bootable")),
    (APP_DAMAGED, re.compile(r"[Ii]mage hash failed|Checksum failed\. Calculated|invalid segment length|"
                             r"Segment \d{1,3} .{0,40}load address|image corrupted|invalid segment count")),
    (SECURE_BOOT, re.compile(r"(?i)signature (?:verification|block).{0,40}(?:fail|invalid)|"
                             r"secure boot.{0,40}(?:check|verif)\w{0,10} fail|no valid signature")),
    (APP_TOO_LARGE, re.compile(r"Image length \d{1,10} doesn't fit")),
)  # fmt: skip
START_UP_TAGS = frozenset(
    (
        "boot",
        "esp_image",
        "flash_parts",
        "quad_psram",
        "octal_psram",
        "hex_psram",
        "psram",
        "spiram",
        "esp_psram",
    )
) | {
    "cpu_start",
    "boot_comm",
    "bootloader_common",
    "spi_flash",
    "esp32_psram",
    "secure_boot",
    "secure_boot_v1",
    "secure_boot_v2",
}
"""Tags of the bootloader and the start-up code."""


def rom_fault(text: str) -> str | None:
    """The fault that a line of the ROM reports; None for any other line."""
    return next((kind for kind, pattern in _FROM_ROM if pattern.match(text.strip())), None)


def start_up_fault(tag: str, text: str) -> str | None:
    """The fault that an error of the bootloader or the start-up code reports; None for any other line."""
    if tag not in START_UP_TAGS:
        return None
    return next((kind for kind, pattern in _FROM_SOFTWARE if pattern.search(text)), None)
