"""Checks that a log gives the same facts however it was captured, with any prefixes, line endings, encodings and
colours."""

from __future__ import annotations

import gzip
import lzma
from pathlib import Path
from typing import Any

import pytest

from hotpin_hil.analysis.analyze import analyze
from hotpin_hil.cli.analyze import analyze_file
from hotpin_hil.logs.prefix import find_prefix
from hotpin_hil.protocol.headers import OtherHeaders
from tests.conftest import shared_data
from tests.logs.captures import VARIANTS

LOGS = (
    "SerialMonitor_Logs_17cac49.txt",
    "SerialMonitor_Logs_e2a27ac.txt",
    "serial_monitor_2a9fccf.txt",
    "serial_monitor_a794485.txt",
    "serialmonitorlogs_a67f01a.txt",
)
OF_THE_CAPTURE = ("bytes", "ends_with_newline", "format")


def facts(log: bytes, chunk: int = 1 << 16) -> dict[str, Any]:
    """What the analysis finds in a log, without what it finds about the capture itself."""
    found = analyze((log[at : at + chunk] for at in range(0, len(log), chunk)), "log").facts
    form = found["format"]
    kept = {name: value for name, value in found.items() if name not in OF_THE_CAPTURE}
    return kept | {name: form[name] for name in ("timestamp_reversals", "lines_with_second_header")}


@pytest.mark.parametrize("name", LOGS)
def test_every_capture_of_a_recorded_log_gives_the_same_facts(name: str) -> None:
    log = shared_data(f"real_logs/{name}").read_bytes()
    plain = facts(log)
    different = [variant for variant, capture in VARIANTS.items() if facts(capture(log), 5_001) != plain]
    assert different == []


SHORT = (
    b"ets Jul 29 2019 12:21:46\n\nrst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\n"
    b"I (312) main_task: Calling app_main()\nI (5200) app: Free heap: 181220 bytes\n\n"
    b"E (14000) app: buffer allocation failed\n  indented remark\n"
)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_capture_of_a_short_log_gives_the_same_facts(variant: str) -> None:
    assert facts(VARIANTS[variant](SHORT), 7) == facts(SHORT)


def test_time_stamps_may_begin_and_end_within_a_log() -> None:
    """Time stamps may begin within a log, because a key in `idf.py monitor` turns them on and off."""
    part = b"".join(b"I (%d) app: tick %d\n" % (time, time) for time in range(1_000, 9_000))
    log = (
        VARIANTS["quoted"](part) + part + VARIANTS["idf_monitor"](part) + part + VARIANTS["arduino_ide"](part)
    )
    assert facts(log)["log_levels"]["I"] >= 0.97 * 40_000


@pytest.mark.parametrize(
    "text",
    [
        b"I (1) a: x\nI (2) b: y\nI (3) a: z\n",
        b"I (1) wifi:I (2) b: y\nI (3) wifi:I (4) b: y\nI (5) c: z\n",
        b"I (9) http: got 'E (1) a: x'\nI (10) http: got 'E (2) a: x'\n",
        b"Free heap: 1 bytes\nFree heap: 2 bytes\n",
    ],
)
def test_text_of_the_board_is_not_taken_for_a_prefix(text: bytes) -> None:
    assert find_prefix(text) is None


def test_header_within_an_unread_line_is_counted() -> None:
    log = b"I (1000) a: x\n" * 3 + b"worker 7 said I (90000) b: y\n"
    assert analyze([log], "log").unreadable["header within a line"] == 1


@pytest.mark.parametrize(
    ("line", "level", "t_ms", "tag"),
    [
        (b"I (10:15:01.120) app: start", "I", 36_901_120, "app"),
        (b"W (2026-03-01 10:15:01.120) app: start", "W", 36_901_120, "app"),
        (b"E cpu_start: Failed to init external RAM!", "E", None, "cpu_start"),
        (b"[ 61250][E][main.cpp:37] loop(): text", "E", 61_250, "main.cpp"),
        (b"[E][WiFiClient.cpp:258] connect(): text", "E", None, "WiFiClient.cpp"),
        (b"[D][debug:123]: Free Heap Size: 123456 bytes", "D", None, "debug"),
        (b"[C][wifi:600]: text", "I", None, "wifi"),
    ],
)
def test_other_headers_are_read(line: bytes, level: str, t_ms: int | None, tag: str) -> None:
    header = OtherHeaders().read(line)
    assert header is not None
    assert header[0].decode() == level
    assert (int(header[1]) if header[1] else None) == t_ms
    assert header[2].decode() == tag
    assert analyze([line + b"\n"], "log").facts["log_levels"] == {level: 1}


def test_clocks_of_esp_log_and_of_the_arduino_core_are_apart() -> None:
    core = "[{0:6}][I][main.cpp:7] loop(): x\n".format
    lines = [f"W ({20_000 + t}) wifi: x\n{core(t)}{core(t + 50)}" for t in range(3_000, 9_000, 500)]
    assert analyze(["".join(lines).encode()], "log").boot_count == 1
    assert analyze(["".join((*lines, core(40), core(90), lines[0])).encode()], "log").boot_count == 2


def test_midnight_is_not_a_boot() -> None:
    log = b"I (23:59:59.900) a: x\nI (00:00:00.100) a: y\nI (00:00:09.100) a: z\n"
    assert analyze([log], "log").facts["log_levels"] == {"I": 3}
    assert analyze([log], "log").boot_count <= 1


@pytest.mark.parametrize("name", ["log.gz", "log.xz", "log.zst"])
def test_compressed_log_is_read(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zstandard = pytest.importorskip("zstandard")
    compress = {"gz": gzip.compress, "xz": lzma.compress, "zst": zstandard.compress}[name[4:]]
    path = tmp_path / name
    log = b"".join(b"I (%d) a: %d\n" % (number, number * 7919) for number in range(9_000))
    whole = compress(log)
    path.write_bytes(whole)
    assert analyze_file(str(path)).facts["log_levels"] == {"I": 9_000}
    assert capsys.readouterr().err == ""
    path.write_bytes(whole[: len(whole) * 3 // 4])
    cut = analyze_file(str(path))
    assert 4_000 < cut.facts["lines"] < 9_000
    assert cut.unreadable == {"file": 1}
    assert cut.quotes[0].line == cut.facts["lines"]
    assert "cut off" in cut.quotes[0].reason
    path.write_bytes(whole + whole)
    assert analyze_file(str(path)).facts["log_levels"] == {"I": 18_000}
