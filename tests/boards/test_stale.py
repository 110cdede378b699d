"""Tests the notice that a build is older than the firmware's sources."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hotpin_hil.boards.artifacts import read_build
from hotpin_hil.boards.kind import BoardKind
from hotpin_hil.boards.stale import notice_if_stale
from tests.support.fake_build import write_build

BUILT_AT, LATER = 1_000, 2_000


@pytest.fixture
def firmware(tmp_path: Path) -> Path:
    """Folder of firmware sources with an up-to-date build."""
    firmware = tmp_path / "firmware"
    write_build(firmware / "build-native")
    for name in ("components/memory_manager/src/mem_log.c", "main/main.c", "native/kernel/task.c"):
        (firmware / name).parent.mkdir(parents=True)
        (firmware / name).touch()
    for name in (
        "CMakeLists.txt",
        "partitions.csv",
        "sdkconfig.defaults",
        "components/memory_manager/README.md",
    ):
        (firmware / name).touch()
    for path in firmware.rglob("*"):
        os.utime(path, (BUILT_AT, BUILT_AT))
    return firmware


def notice(firmware: Path, kind: BoardKind = BoardKind.VIRTUAL) -> str:
    return notice_if_stale(read_build(firmware / "build-native", BoardKind.VIRTUAL), kind, firmware)


def change(path: Path) -> None:
    os.utime(path, (LATER, LATER))


def test_build_as_new_as_its_sources_gets_no_notice(firmware: Path) -> None:
    change(firmware / "components/memory_manager/README.md")
    assert notice(firmware) == ""


@pytest.mark.parametrize("name", ["components/memory_manager/src/mem_log.c", "main/main.c", "partitions.csv"])
def test_changed_source_is_named_with_the_remedy(firmware: Path, name: str) -> None:
    change(firmware / name)
    assert notice(firmware) == f"note: build-native is older than firmware/{name}; build it: make native"


def test_several_changed_sources_are_counted(firmware: Path) -> None:
    change(firmware / "main/main.c")
    change(firmware / "partitions.csv")
    assert "firmware/main/main.c and 1 more" in notice(firmware)


def test_host_runtime_counts_only_for_the_virtual_board(firmware: Path) -> None:
    change(firmware / "native/kernel/task.c")
    assert notice(firmware, BoardKind.QEMU) == ""
    assert "native/kernel/task.c" in notice(firmware)


def test_build_outside_the_firmware_is_not_compared(firmware: Path, tmp_path: Path) -> None:
    change(firmware / "main/main.c")
    build = read_build(write_build(tmp_path / "elsewhere"), BoardKind.VIRTUAL)
    assert notice_if_stale(build, BoardKind.VIRTUAL, firmware) == ""
