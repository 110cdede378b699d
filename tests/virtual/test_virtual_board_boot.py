"""Compares the virtual board's output between reset and app with recorded boots of intact and damaged flash."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hotpin_hil.virtual import bootlog, image, partition
from hotpin_hil.virtual.flash import Flash
from tests.conftest import shared_data

REVISION = 301
# The partition table and the addresses of the recorded boots.
CSV = """nvs, data, nvs, 0x9000, 0x6000
phy_init, data, phy, 0xf000, 0x1000
factory, app, factory, 0x10000, 1M
"""
ELF = b"\x7fELF" + bytes(range(256)) * 100
INFO = image.BuildInfo("hotpin", "1.2", "Nov 22 2026", "08:28:16")
APP = image.pack_app(ELF, INFO, image.FlashSettings())
BOOTLOADER = image.pack_bootloader(INFO, image.FlashSettings())
TABLE = partition.to_binary(partition.parse_csv(CSV))


@pytest.fixture
def flash(tmp_path: Path) -> Iterator[Flash]:
    """A flash that contains a bootable build."""
    flash = Flash(tmp_path / "flash.bin", 4 << 20)
    for offset, data in ((0x1000, BOOTLOADER), (0x8000, TABLE), (0x10000, APP)):
        flash.program(offset, data)
    yield flash
    flash.close()


def rewrite(flash: Flash, offset: int, data: bytes) -> None:
    flash.erase(offset, len(data))
    flash.program(offset, data)


def flip(flash: Flash, offset: int, mask: int = 1) -> None:
    sector = offset & ~0xFFF
    data = bytearray(flash.read(sector, 0x1000))
    data[offset - sector] ^= mask
    rewrite(flash, sector, bytes(data))


def texts(boot: bootlog.Boot) -> list[str]:
    return [line.text for line in boot.lines]


# Recorded boots, compared line by line: bootloader, partition table and app have the recorded layout.

RECORDED_REVISION = 300
RECORDED_BOOTLOADER = (0x3FFF0030, 6280), (0x40078000, 16016), (0x40080400, 4), (0x40080404, 3992)
RECORDED_APP = (
    (0x3F400020, 0x6B78), (0x3FFB0000, 0x247C), (0x40080000, 0x6FF4), (0x400D0020, 0xD80C),
    (0x40086FF4, 0x6D04), (0x50000000, 0x1C),
)  # fmt: skip
"""Load address and length of each segment, in bytes."""


def filler(length: int) -> bytes:
    """Filler bytes that contain none of the patterns for which the virtual board searches."""
    return (bytes(range(1, 251)) * (length // 250 + 1))[:length]


def raw_image(segments: tuple[tuple[int, int], ...], entry: int, first: bytes) -> bytes:
    """Image with these segments in this order; its first segment starts with `first`."""
    result = image.HEADER.pack(0xE9, len(segments), 2, 0x20, entry, 0xEE, 0, 0, 0, 0, 0, 0, 399, 1)
    checksum = image.CHECKSUM_SEED
    for index, (address, length) in enumerate(segments):
        data = first.ljust(length, b"\x5a") if index == 0 else filler(length)
        result += image.SEGMENT_HEADER.pack(address, length) + data
        checksum ^= image.xor_bytes(data)
    result = result.ljust(len(result) | 15, b"\0") + bytes([checksum])
    return result + hashlib.sha256(result).digest()


def recorded_bootloader() -> bytes:
    described = image.BOOTLOADER_DESCRIPTOR.pack(
        image.BOOTLOADER_DESCRIPTOR_MAGIC, 1, b"v5.4-local", b"Nov 22 2026 08:28:16"
    )
    return raw_image(RECORDED_BOOTLOADER, 0x40080668, described)


@pytest.fixture
def recorded_flash(tmp_path: Path) -> Iterator[Flash]:
    """A flash like that of the recorded boots, with the contents that can be derived from their logs."""
    flash = Flash(tmp_path / "recorded.bin", 4 << 20)
    for offset, data in (
        (0x1000, recorded_bootloader()),
        (0x8000, TABLE),
        (0x10000, raw_image(RECORDED_APP, 0x40081000, b"")),
    ):
        flash.program(offset, data)
    yield flash
    flash.close()


def normal(text: str) -> str:
    """A line without its variable parts: time, the emulator's strap bit, checksum values."""
    line = re.sub(r"^([IWE]) \(\d+\)", r"\1 (T)", text)
    line = line.replace("boot:0x12", "boot:0x13")
    return re.sub(r"(Calculated|read|csum err:|!=)( ?)0x[0-9a-f]+", r"\1\2X", line)


def damage_app_bit(flash: Flash) -> None:
    flip(flash, 0x10000 + 0x1234)


DAMAGES: dict[str, Callable[[Flash], object]] = {
    "erased": lambda flash: flash.erase(0, flash.size),
    "no_partition_table": lambda flash: flash.erase(0x8000, 0x1000),
    "partition_table_bit": lambda flash: flip(flash, 0x8000 + 40),
    "no_app": lambda flash: flash.erase(0x10000, 0x100000),
    "app_bit_flipped": damage_app_bit,
    "app_truncated": lambda flash: flash.erase(0x18000, 0x100000),
    "bootloader_bit_flipped": lambda flash: flip(flash, 0x1000 + 0x1234),
    "normal": lambda _: None,
}

ENDINGS = {
    "erased": bootlog.Restart(bootlog.RTCWDT_RTC_RESET, 1000.0),
    "bootloader_bit_flipped": bootlog.Halt(),
}
"""Outcomes of the first boot that are missing from the recordings, because the recorded emulator has no watchdog that
would end the boot."""


@pytest.mark.parametrize("name", DAMAGES)
def test_boot_matches_the_recording_line_by_line(name: str, recorded_flash: Flash) -> None:
    # A long recording (a boot loop) ends in the middle of a line, at 5,000 bytes; the shorter ones are complete.
    recording = [normal(line) for line in shared_data(f"boot_logs/{name}.txt").read_text().splitlines()]
    if len(recording) > 20 and name != "normal":
        recording.pop()
    DAMAGES[name](recorded_flash)
    ours: list[str] = []
    cause = bootlog.POWERON_RESET
    while True:
        boot = bootlog.boot(recorded_flash, cause, RECORDED_REVISION)
        ours += [normal(line.text) for line in boot.lines]
        if len(ours) >= len(recording) or not isinstance(boot.outcome, bootlog.Restart) or name in ENDINGS:
            break
        cause = boot.outcome.cause
        assert boot.outcome == bootlog.Restart(bootlog.SW_RESET)
    if name == "normal":  # the following lines are printed by the app
        assert isinstance(boot.outcome, bootlog.RunApp)
        recording = recording[: len(ours)]
    elif name in ENDINGS:
        assert boot.outcome == ENDINGS[name]
    differences = list(
        difflib.unified_diff(recording, ours[: len(recording)], "recorded", "ours", n=1, lineterm="")
    )
    assert not differences, "\n".join(differences)


def test_intact_flash_starts_the_app_that_is_in_it(flash: Flash) -> None:
    boot = bootlog.boot(flash, bootlog.POWERON_RESET, REVISION)
    assert isinstance(boot.outcome, bootlog.RunApp)
    assert image.unpack_elf(boot.outcome.segment0) == ELF
    assert boot.outcome.offset == 0x10000


def test_flipped_bootloader_bit_prints_two_different_checksums(flash: Flash) -> None:
    flip(flash, 0x1000 + 0x80)
    boot = bootlog.boot(flash, bootlog.POWERON_RESET, REVISION)
    assert re.match(r"csum err:0x(\w+)!=0x(?!\1$)\w+$", texts(boot)[-4])


def test_time_stamps_follow_the_uart_and_never_decrease(flash: Flash) -> None:
    boot = bootlog.boot(flash, bootlog.POWERON_RESET, REVISION)
    stamps = [int(found[1]) for text in texts(boot) if (found := re.match(r"[IWE] \((\d+)\)", text))]
    assert stamps == sorted(stamps)
    assert stamps[0] == 29  # as in the recorded logs
    table = next(int(text[3:].split(")")[0]) for text in texts(boot) if "Partition Table:" in text)
    assert 45 <= table <= 60  # 49 in the recorded logs
    assert boot.end_ms >= stamps[-1]


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (12, 9, "boot_comm: mismatch chip ID, expected 0, found 9"),
        (15, 400 & 0xFF, "boot_comm: Image requires chip rev >= v4.0, but chip is v3.1"),
        (17, 200, "boot_comm: Image requires chip rev <= v2.0, but chip is v3.1"),
        (1, 17, "esp_image: image at 0x10000 segment count 17 exceeds max 16"),
        (24, 0x24, "esp_image: Segment 0 load address 0x3f400024, doesn't match data 0x00010020"),
        (28, 1, "esp_image: invalid segment length 0x"),
    ],
)
def test_app_header_that_does_not_fit_is_refused(flash: Flash, offset: int, value: int, message: str) -> None:
    app = bytearray(APP)
    app[offset] = value
    if offset == 15:
        app[16] = 400 >> 8
    if offset == 17:
        app[18] = 0
    rewrite(flash, 0x10000, bytes(app))
    boot = bootlog.boot(flash, bootlog.POWERON_RESET, REVISION)
    tail = [text.split(") ", 1)[1] for text in texts(boot)[-3:]]
    assert tail[0].startswith(message)
    assert tail[1:] == [
        "boot: Factory app partition is not bootable",
        "boot: No bootable app partitions in the partition table",
    ]


def test_bootloader_for_another_chip_stops_itself(flash: Flash) -> None:
    bootloader = bytearray(BOOTLOADER)
    bootloader[12] = 9  # chip id of the ESP32-S3
    rewrite(flash, 0x1000, bytes(bootloader))
    boot = bootlog.boot(flash, bootlog.POWERON_RESET, REVISION)
    assert texts(boot)[-1].endswith("boot_comm: mismatch chip ID, expected 0, found 9")
    assert boot.outcome == bootlog.Restart(bootlog.SW_RESET)


def test_damage_missed_by_the_checksum_is_found_by_the_hash(flash: Flash) -> None:
    for offset in (0x1234, 0x1235):
        flip(flash, 0x10000 + offset)
    assert "esp_image: Image hash failed - image is corrupt" in "\n".join(
        texts(bootlog.boot(flash, bootlog.POWERON_RESET, REVISION))
    )


def test_app_longer_than_its_partition_is_refused(flash: Flash) -> None:
    rewrite(flash, 0x8000, partition.to_binary(partition.parse_csv(CSV.replace("1M", "0x4000"))))
    boot = texts(bootlog.boot(flash, bootlog.POWERON_RESET, REVISION))
    assert f"esp_image: Image length {len(APP)} doesn't fit in partition length 16384" in "\n".join(boot)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (TABLE[:64] + b"\xff" * 0xBA0 + b"\x01" * 32, ""),
        (b"\x11\x22" + TABLE[2:], "partition 0 invalid magic number 0x2211"),
        (TABLE[:96] * 32, "partition table has no terminating entry, not valid"),
        (TABLE[:128] + TABLE[96:128] + TABLE[160:], "Only one MD5 checksum is allowed"),
        (
            TABLE[:8] + b"\0\0\0\x10" + TABLE[12:],
            "partition 0 invalid - offset 0x9000 size 0x10000000 exceeds",
        ),
    ],
)
def test_partition_table_is_checked_as_the_bootloader_does(flash: Flash, table: bytes, message: str) -> None:
    rewrite(flash, 0x8000, table[: partition.TABLE_LENGTH])
    boot = "\n".join(texts(bootlog.boot(flash, bootlog.POWERON_RESET, REVISION)))
    assert (f"flash_parts: {message}" in boot) == bool(message)
    assert ("load partition table error!" in boot) == bool(message)


def test_watchdog_reset_is_named_by_the_bootloader(flash: Flash) -> None:
    boot = texts(bootlog.boot(flash, 8, REVISION))
    assert boot[2] == "rst:0x8 (TG1WDT_SYS_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)"
    assert any(re.match(r"W \(\d+\) boot.esp32: PRO CPU has been reset by WDT", text) for text in boot)


def test_image_that_claims_more_than_the_flash_holds_ends_in_the_watchdog(flash: Flash) -> None:
    bootloader = bytearray(BOOTLOADER)
    bootloader[28:32] = (0x800000).to_bytes(4, "little")
    rewrite(flash, 0x1000, bytes(bootloader))
    boot = bootlog.boot(flash, bootlog.POWERON_RESET, REVISION)
    assert isinstance(boot.outcome, bootlog.Restart)
    assert boot.outcome.cause == bootlog.RTCWDT_RTC_RESET


def test_second_slot_boots_when_the_factory_app_is_damaged(flash: Flash) -> None:
    csv = CSV + "ota_0, app, ota_0, 0x110000, 1M\n"
    rewrite(flash, 0x8000, partition.to_binary(partition.parse_csv(csv)))
    flash.program(0x110000, APP)
    damage_app_bit(flash)
    boot = bootlog.boot(flash, bootlog.POWERON_RESET, REVISION)
    assert any("Factory app partition is not bootable" in text for text in texts(boot))
    assert isinstance(boot.outcome, bootlog.RunApp)
    assert boot.outcome.offset == 0x110000
