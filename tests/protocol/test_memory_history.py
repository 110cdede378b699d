"""Tests reading the memory history from a partition (made by esp_idf_nvs_partition_gen) and from the console."""

from __future__ import annotations

import csv
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hotpin_hil.cli.main import main
from hotpin_hil.protocol.crc import crc16
from hotpin_hil.protocol.errors import ProtocolError
from hotpin_hil.protocol.memory_history import COLUMNS, HistoryRow, parse_flash_history, rows_in_flash
from hotpin_hil.protocol.nvs import read_nvs
from hotpin_hil.report.history import history_lines, history_page

SIZE = 0x6000


def row(sequence: int, boot: int = 1, uptime_s: int = 600, reason: int = 0) -> bytes:
    values = (
        sequence,
        boot,
        uptime_s,
        300_000,
        200_000,
        4_000_000,
        110_000,
        100_000,
        3_900_000,
        1,
        2,
        3,
        reason,
        4,
        5,
    )
    return struct.pack("<3I3I3I3BB2H12s", *values, b"camera")


def group(*rows: bytes, format_: int = 0x4D48) -> str:
    content = len(rows).to_bytes(2, "little") + b"".join(rows)
    return (struct.pack("<4H", format_, len(rows), crc16(content), 0) + content[2:]).hex()


def partition(folder: Path, blobs: dict[str, str], namespace: str = "mem_history") -> bytes:
    lines = [("other", "namespace", "", ""), ("g00", "data", "hex2bin", "00ff")]
    lines += [(namespace, "namespace", "", ""), ("boots", "data", "u32", "7")]
    lines += [(key, "data", "hex2bin", text) for key, text in blobs.items()]
    with (folder / "nvs.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("key", "type", "encoding", "value"), *lines])
    generator = [sys.executable, "-m", "esp_idf_nvs_partition_gen", "generate"]
    files = [str(folder / "nvs.csv"), str(folder / "nvs.bin")]
    subprocess.run([*generator, *files, hex(SIZE)], check=True, capture_output=True)
    return (folder / "nvs.bin").read_bytes()


def test_blobs_are_read_across_pages(tmp_path: Path) -> None:
    blobs = {f"b{number}": bytes([number] * 900).hex() for number in range(12)}
    found = read_nvs(partition(tmp_path, blobs), "mem_history")
    assert {key: blob.hex() for key, blob in found.blobs.items()} == blobs
    assert found.sequence >= 3, "12 blobs of 900 bytes take three pages"
    assert read_nvs(partition(tmp_path, blobs), "missing").blobs == {}
    assert read_nvs(b"\xff" * SIZE, "mem_history").sequence == 0


def test_rows_are_read_oldest_first(tmp_path: Path) -> None:
    blobs = {"g00": group(row(151), row(152)), "g24": group(*(row(number) for number in range(145, 151)))}
    found = rows_in_flash(partition(tmp_path, blobs))
    assert [entry.sequence for entry in found] == list(range(145, 153))
    assert found[0] == HistoryRow(
        145,
        1,
        600,
        300_000,
        110_000,
        1,
        200_000,
        100_000,
        2,
        4_000_000,
        3_900_000,
        3,
        4,
        5,
        "regular",
        "camera",
    )


@pytest.mark.parametrize(
    ("key", "blob"),
    [
        ("g01", group(row(1))),
        ("g00", group(row(2))),
        ("g00", group(row(1), row(3))),
        ("g00", group(row(1), format_=0x4D49)),
        ("g00", group(row(1))[:-2]),
        ("g00", group(row(1)) + "00"),
        ("g00", "00"),
        ("boot", group(row(1))),
    ],
)
def test_foreign_and_damaged_groups_are_ignored(tmp_path: Path, key: str, blob: str) -> None:
    assert rows_in_flash(partition(tmp_path, {key: blob})) == []


def test_every_damaged_byte_of_an_entry_hides_the_group(tmp_path: Path) -> None:
    content = bytearray(partition(tmp_path, {"g00": group(row(1))}))
    at = content.index(bytes.fromhex(group(row(1))))
    assert len(rows_in_flash(content)) == 1
    for place in range(at - 32, at + 64):
        # Two fields are not checked: the span, which also follows from the size, and two reserved bytes.
        if place - at + 32 in (2, 26, 27):
            continue
        content[place] ^= 1
        assert rows_in_flash(content) == [], place - at
        content[place] ^= 1


def reply(**changes: Any) -> dict[str, Any]:
    values = dict.fromkeys(
        ("newest", "written", "damaged", "every_s", "bytes_internal", "stack_size", "observe_us"), 1
    )
    cells = [1] * (len(COLUMNS) - 2) + ["regular", "camera"]
    return {
        **values,
        "paused": True,
        "write_err": "ESP_OK",
        "fields": list(COLUMNS),
        "rows": [cells],
        **changes,
    }


def test_reply_of_the_console() -> None:
    found = parse_flash_history(reply(), "mem.history")
    assert (found.newest, found.rows[0].state, found.rows[0].psram_free) == (1, "camera", 1)
    for damage in ({"rows": [[1]]}, {"fields": []}, {"newest": "x"}):
        with pytest.raises(ProtocolError):
            parse_flash_history(reply(**damage), "mem.history")


def rows_of_two_boots(tmp_path: Path) -> list[HistoryRow]:
    entries = [row(1), row(2, uptime_s=1200, reason=1), row(3, boot=2, uptime_s=60)]
    return rows_in_flash(partition(tmp_path, {"g00": group(*entries)}))


def test_history_in_words_names_resets(tmp_path: Path) -> None:
    lines = history_lines(rows_of_two_boots(tmp_path))
    assert [line.split()[:4] for line in lines[1:3]] == [
        ["1", "1", "0:10:00", "regular"],
        ["2", "1", "0:20:00", "critical"],
    ]
    assert lines[3] == "-- reset: boot 2 --"
    assert "292 / 107, 1 %" in lines[1]
    assert lines[-1].startswith("3 rows from 2 boots; minimum free: internal 300,000 B")
    assert "12 warnings, 15 failed allocations" in lines[-1]


def test_history_as_a_page(tmp_path: Path) -> None:
    page = history_page(rows_of_two_boots(tmp_path), "a <file>")
    assert "a &lt;file&gt;" in page
    assert page.count("▲") == 1 + 3, "expected the axis label and one label per memory type"
    assert "<script" not in page


def test_command_reads_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows_of_two_boots(tmp_path)
    assert main(["history", str(tmp_path / "nvs.bin"), "--html", str(tmp_path / "out.html")]) == 0
    assert "reset: boot 2" in capsys.readouterr().out
    assert (tmp_path / "out.html").read_text().startswith("<!doctype html")
    (tmp_path / "empty.bin").write_bytes(b"\xff" * SIZE)
    for arguments in ([str(tmp_path / "empty.bin")], [], [str(tmp_path / "missing")]):
        assert main(["history", *arguments]) == 2
    said = capsys.readouterr().err
    assert "no history in" in said
    assert "give either FILE or --port" in said
    assert "cannot be read" in said


@pytest.mark.parametrize(
    ("uptime_s", "unit"),
    [(30, "seconds"), (59, "seconds"), (60, "minutes"), (3600, "hours"), (90_000, "hours")],
)
def test_time_axis_has_a_unit_that_fits_the_history(tmp_path: Path, uptime_s: int, unit: str) -> None:
    rows = rows_in_flash(partition(tmp_path, {"g00": group(row(1, uptime_s=1), row(2, uptime_s=uptime_s))}))
    assert f"{unit} of operation" in history_page(rows, "flash")
