"""Tests the console log, which replaces pytest-embedded's queue and listener process."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from pytest_embedded.log import PexpectProcess

from hotpin_hil.link.console_log import ConsoleLog


def test_put_writes_the_file_at_once_byte_for_byte(tmp_path: Path) -> None:
    log = ConsoleLog(tmp_path / "folder" / "dut.log")
    log.put(b"I (1) A: \xff\xfe\r\nhalf ")
    log.put("a line\n")
    assert (tmp_path / "folder" / "dut.log").read_bytes() == b"I (1) A: \xff\xfe\r\nhalf a line\n"
    log.close()


def test_expect_reads_the_console_log(tmp_path: Path) -> None:
    log = ConsoleLog(tmp_path / "dut.log")
    with (tmp_path / "dut.log").open("rb") as file:
        expect = PexpectProcess(file)
        log.put(b"Hello ")
        log.put(b"world\r\n")
        expect.expect("Hello (w.*)\r\n", timeout=1)
        assert expect.match[1] == b"world"
    log.close()


def test_terminal_gets_whole_lines_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = ConsoleLog(tmp_path / "dut.log", terminal=sys.__stdout__)
    with redirect_stdout(log):  # type: ignore[type-var]
        print("from esptool")
        log.put(b"one\r\ntwo")
    assert capfd.readouterr().out == "from esptool\none\n"
    log.close()


def test_late_bytes_after_the_end_are_dropped(tmp_path: Path) -> None:
    log = ConsoleLog(tmp_path / "dut.log")
    log.close()
    log.put(b"late")
    assert (tmp_path / "dut.log").read_bytes() == b""
