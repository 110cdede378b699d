"""Tests the NVS partition of a board with the firmware: read back with esptool, or made by
esp_idf_nvs_partition_gen."""

from __future__ import annotations

import csv
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotpin_hil.paths import NATIVE_ELFS_FILE
from tests.support.nvs_reader import nvs_items, nvs_value
from tests.support.virtual_board import Boards, Console, native_flash_image, run_esptool

NVS = (0x9000, 0x6000)
NUMBER_TYPES = {"u8": 0x01, "i32": 0x14, "u32": 0x04, "i64": 0x18}


@pytest.fixture
def boards(tmp_path: Path) -> Iterator[Boards]:
    """A board with the firmware's host build in its flash."""
    place = tmp_path / "hotpin-5.4-0"
    place.mkdir()
    (place / "flash.bin").write_bytes(native_flash_image())
    boards = Boards(tmp_path, NATIVE_ELFS_FILE)
    yield boards
    boards.stop()


def starts(boards: Boards, resets: int) -> list[int]:
    """The boot counts that the firmware reports after each of `resets` resets."""
    counts = []
    with Console(boards.url) as console:
        for _ in range(resets):
            console.reset()
            counts.append(int(console.expect(r'@! \{[^\n]*"boot_count":(\d+)').group(1)))
    return counts


def generated(folder: Path, rows: list[tuple[str, str, str, str]]) -> Path:
    """An NVS partition made by Espressif's own generator."""
    with (folder / "nvs.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("key", "type", "encoding", "value"), *rows])
    generator = [sys.executable, "-m", "esp_idf_nvs_partition_gen", "generate"]
    subprocess.run(
        [*generator, folder / "nvs.csv", folder / "nvs.bin", hex(NVS[1])], check=True, capture_output=True
    )
    return folder / "nvs.bin"


def test_nvs_reader_reads_the_output_of_espressifs_tool(tmp_path: Path) -> None:
    rows = [
        ("first", "namespace", "", ""),
        ("tiny", "data", "u8", "171"),
        ("minus", "data", "i32", "-7"),
        ("text", "data", "string", "a string that takes more than one entry"),
        ("second", "namespace", "", ""),
        ("tiny", "data", "u8", "3"),
        ("raw", "data", "hex2bin", "00ff10"),
    ]
    partition = generated(tmp_path, rows).read_bytes()
    assert nvs_value(partition, "first", "tiny")[0] == 171
    assert struct.unpack_from("<i", nvs_value(partition, "first", "minus"))[0] == -7
    assert nvs_value(partition, "first", "text") == b"a string that takes more than one entry\0"
    assert nvs_value(partition, "second", "tiny")[0] == 3
    assert nvs_value(partition, "second", "raw/0") == b"\x00\xff\x10"
    with pytest.raises(KeyError):
        nvs_value(partition, "second", "minus")


def test_values_stored_by_the_firmware_are_read_back_through_esptool(boards: Boards, tmp_path: Path) -> None:
    counts = starts(boards, 3)
    assert counts == [counts[0], counts[0] + 1, counts[0] + 2]
    run_esptool(boards.url, "--after", "no-reset", "read-flash", *map(hex, NVS), str(tmp_path / "nvs.bin"))
    partition = (tmp_path / "nvs.bin").read_bytes()
    assert struct.unpack_from("<I", nvs_value(partition, "hotpin", "boots"))[0] == counts[-1]
    assert [key for _, key in nvs_items(partition)] == ["hotpin", "boots"]


def test_firmware_continues_from_a_partition_written_by_espressifs_tool(
    boards: Boards, tmp_path: Path
) -> None:
    rows = [("hotpin", "namespace", "", ""), ("boots", "data", "u32", "4711")]
    run_esptool(boards.url, "--after", "no-reset", "write-flash", hex(NVS[0]), str(generated(tmp_path, rows)))
    assert starts(boards, 1) == [4712]
