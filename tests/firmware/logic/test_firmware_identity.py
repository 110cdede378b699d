"""Tests the identity in the boot event: it must contain strings of any length from the app description completely, and
the right name of each reset reason."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from hotpin_hil.protocol.fragments import EventAssembler
from hotpin_hil.protocol.records import Record, RecordScanner
from tests.support.native_board import Board, build_drivers_test

FIELD_BYTES = 32
"""Size of version, project_name and idf_ver in ESP-IDF's esp_app_desc_t; a text that fills its field has no NUL."""
LONGEST = {name: (name + "-0123456789" * 3)[:FIELD_BYTES] for name in ("project", "version", "idf")}
PARAMS = {"project": "project_name", "version": "project_version", "idf": "idf_version"}


RESET_REASONS = {
    # reset cause of the ROM (soc/reset_reasons.h) → name of the reset reason
    1: "POWERON",
    3: "SW",
    5: "DEEPSLEEP",
    6: "SDIO",
    7: "TASK_WDT",
    8: "INT_WDT",
    9: "WDT",
    10: "UNKNOWN",  # the ROM has this cause, but ESP-IDF has no reason for it
    15: "BROWNOUT",
}


def boot_records(folder: Path, texts: dict[str, str], **params: object) -> list[Record]:
    board = Board(folder, build_drivers_test())
    result = board.run("boot_event", **{PARAMS[name]: text for name, text in texts.items()}, **params)
    assert not re.search("^WRONG", result.text, re.MULTILINE), result.text
    found = RecordScanner().feed(result.text.encode())
    return [record for record in found if isinstance(record, Record) and record.event == "boot"]


def assembled(records: list[Any]) -> Any:
    """Joins the records of an event; only the last record may complete the event."""
    assembler = EventAssembler()
    *parts, boot = [assembler.feed(record, index) for index, record in enumerate(records)]
    assert not any(parts)
    assert boot is not None
    return boot


def test_texts_that_fill_their_fields_arrive_whole(tmp_path: Path) -> None:
    boot = assembled(boot_records(tmp_path, LONGEST))
    assert {name: boot.data[name] for name in LONGEST} == LONGEST
    assert "build" in boot.data


@pytest.mark.parametrize("letter", ['"', "\N{LATIN SMALL LETTER E WITH ACUTE}"])
def test_texts_that_must_be_escaped_arrive_whole_in_several(tmp_path: Path, letter: str) -> None:
    text = letter * (FIELD_BYTES // len(letter.encode()))
    records = boot_records(tmp_path, dict.fromkeys(LONGEST, text))
    assert len(records) > 1
    boot = assembled(records)
    assert {name: boot.data[name] for name in LONGEST} == dict.fromkeys(LONGEST, text)
    assert "build" in boot.data


@pytest.mark.parametrize("cause", RESET_REASONS)
def test_reset_reason_has_its_name(tmp_path: Path, cause: int) -> None:
    """This is a host test, because a test on a board can cause only some of the resets."""
    boot = assembled(boot_records(tmp_path, {}, rom_cause=cause))
    assert boot.data["reset_reason"] == RESET_REASONS[cause]
