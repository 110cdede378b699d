"""Compares the figures of each shipped profile with its recording, and boots the firmware on it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from hotpin_hil.paths import NATIVE_ELFS_FILE
from hotpin_hil.virtual import profile as profiles
from tests.conftest import shared_data
from tests.support.virtual_board import Boards, Console, native_flash_image

RECORDED = {
    # profile: its recorded log, and the bytes free at the start of app_main in that log
    "recorded": ("serialmonitorlogs_a67f01a.txt", 4_364_844),
    "recorded-17cac49": ("SerialMonitor_Logs_17cac49.txt", 4_364_836),
    "recorded-a794485": ("serial_monitor_a794485.txt", 4_365_196),
    "recorded-2a9fccf": ("serial_monitor_2a9fccf.txt", 4_419_408),
}
FIRST_MUTEX = 96
"""Bytes used by the recorded application's first mutex, which is allocated between the start of app_main and the first
box."""
RESERVED_DMA = 16 * (8_704 + 4)


def recorded_lines(log: str) -> list[str]:
    """The lines of a recorded log, without colours and times."""
    text = re.sub(r"\x1b\[[\d;]*m", "", shared_data(f"real_logs/{log}").read_text(errors="replace"))
    return [re.sub(r"^([IWE]) \(\d+\) ", r"\1 ", line.rstrip()) for line in text.splitlines()]


def heap_lines(lines: list[str]) -> list[str]:
    """The lines with memory figures at boot."""
    pattern = r"[IWE] (heap_init: At |esp_psram: )"
    return [line for line in lines if re.match(pattern, line)]


@pytest.mark.parametrize("name", RECORDED)
def test_memory_map_and_free_memory_are_the_recorded_ones(name: str) -> None:
    log, free_at_main = RECORDED[name]
    profile = profiles.load(name)
    (build,) = json.loads(shared_data("real_logs/facts.json").read_text())[log]["builds"]
    types = {"D/IRAM": "DIRAM"}
    assert [(heap.start, heap.length, heap.type) for heap in profile.heaps[:-1]] == [
        (int(region["addr"], 0), region["len"], types.get(region["type"], region["type"]))
        for region in build["heap_regions"]
    ]
    assert profile.heaps[-1] == profiles.HeapRegion(0x3F800000, 4 << 20, "SPIRAM")
    assert profile.psram_mb == build["psram_mb_found"]
    assert profile.boot_heap().stats("DEFAULT").free == free_at_main == build["free_heap_at_main"]


@pytest.mark.parametrize("name", ["recorded", "recorded-17cac49"])  # the other logs have no box
def test_first_box_of_the_recording_follows_from_the_profile(name: str) -> None:
    facts = json.loads(shared_data("real_logs/facts.json").read_text())
    box: dict[str, Any] = facts[RECORDED[name][0]]["first_box_values"]
    heaps = profiles.load(name).boot_heap()
    assert {
        "internal.free": heaps.stats("INTERNAL").free - FIRST_MUTEX,
        "internal.largest": heaps.stats("INTERNAL").largest,
        "dma.free": heaps.stats("DMA").free - FIRST_MUTEX,
        "dma.largest": heaps.stats("DMA").largest,
        "psram.free": heaps.stats("SPIRAM").free,
        "psram.largest": heaps.stats("SPIRAM").largest,
        "total.free": heaps.stats("DEFAULT").free - FIRST_MUTEX,
    } == {key: box[key] for key in box if key.endswith((".free", ".largest"))}


def test_no_two_profiles_share_a_mac_or_a_folder() -> None:
    macs = {profiles.load(name).mac for name in profiles.names()}
    assert len(macs) == len(profiles.names())
    assert {profiles.load(name).name for name in profiles.names()} == set(profiles.names())


def test_tight_dma_profile_differs_from_the_default_only_in_dma_memory() -> None:
    default, tight = profiles.load().boot_heap(), profiles.load("tight-dma").boot_heap()
    taken = default.stats("DMA").free - tight.stats("DMA").free
    assert (
        RESERVED_DMA <= taken <= RESERVED_DMA + 512
    )  # a block includes the remainder of its hole if the remainder is too small for another block
    assert default.stats("SPIRAM") == tight.stats("SPIRAM")


Start = Callable[[str], Console]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the firmware on a reset board of a profile."""
    with ExitStack() as stack:

        def started(name: str) -> Console:
            place = tmp_path / f"{name}-0"
            place.mkdir()
            (place / "flash.bin").write_bytes(native_flash_image())
            boards = Boards(tmp_path, NATIVE_ELFS_FILE, profile=name, time_scale=5.0)
            stack.callback(boards.stop)
            console = stack.enter_context(Console(boards.url))
            console.reset()
            return console

        yield started


@pytest.mark.parametrize("name", [*RECORDED, "no-psram", "tight-dma"])
def test_firmware_starts_with_the_memory_of_the_profile(name: str, start: Start) -> None:
    console = start(name)
    output = console.expect(r"chip revision.*?Calling app_main\(\)\n").group(0)
    ours = heap_lines([re.sub(r"^([IWE]) \(\d+\) ", r"\1 ", line) for line in output.splitlines()])
    free_at_main = int(console.expect(r'@! \{[^\n]*"free_at_main":(\d+)').group(1))
    expected = profiles.load(name).boot_heap()
    assert free_at_main == expected.stats("DEFAULT").free
    if name in RECORDED:
        log, recorded_free = RECORDED[name]
        assert free_at_main == recorded_free
        recorded = recorded_lines(log)
        recorded = recorded[: next(i for i, line in enumerate(recorded) if "Calling app_main()" in line)]
        assert ours == heap_lines(recorded)
    console.send("@1 heap.regions\n")
    reported: dict[int, int] = {}
    more = True
    while more:
        record = console.expect(r"@1 (\{[^\n]*\})\*[0-9A-F]{4}").group(1)
        reported |= {int(at): int(size) for at, size in re.findall(r'"start":(\d+),"length":(\d+)', record)}
        more = bool(json.loads(record).get("more"))
    assert reported == {heap.start: heap.length for heap in expected.heaps()}


def test_board_without_psram_prints_esp_idfs_messages(start: Start) -> None:
    output = start("no-psram").expect(r"quad_psram.*?cpu_start: Multicore app\n").group(0)
    assert [re.sub(r" \(\d+\)", "", line) for line in output.splitlines()[1:4]] == [
        "E quad_psram: PSRAM ID read error: 0x00000000, PSRAM chip not found or not supported",
        "E esp_psram: PSRAM enabled but initialization failed. Bailing out.",
        "I cpu_start: Failed to init external RAM; continuing without it.",
    ]


def test_tight_dma_warns_with_the_camera_on(start: Start) -> None:
    console = start("tight-dma")
    warning = console.expect(r"@! (\{[^\n]*mem\.warning[^\n]*DMA_LOW[^\n]*\})\*[0-9A-F]{4}").group(1)
    record = json.loads(warning)
    assert record["value"] < record["threshold"] == 35 * 1024
