"""Tests firmware/examples/minimal, which uses memory_manager without any other part of the HotPin firmware.

Its host build runs on a board without PSRAM until it has filled and emptied its cache twice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import pytest

from hotpin_hil.logs.reader import read_events
from hotpin_hil.paths import FIRMWARE_DIR
from hotpin_hil.protocol.events import MemoryWarning, Sample
from tests.architecture.test_firmware_layering import all_requirements, requirements
from tests.support.native_board import Board
from tests.support.native_build import build_native

EXAMPLE = FIRMWARE_DIR / "examples" / "minimal"
BLOCK_BYTES = 4096 + 4
"""Size of a block of the example's cache, plus the heap's header."""
ABSORBED_BYTES = 3 * 12
"""Additional bytes that the blocks may use: in each of the three heaps, the last block may include a remainder that is
too small for another block."""
MONITOR_TASK_BYTES = 2408
WARNING_BYTES = 50 * 1024
"""MEMORY_THRESHOLDS_DEFAULT"""
LAST_SAMPLE = '"snapshot":40,'
"""Part of the last record that is read. At this point the third cycle has begun, but has not yet raised a warning."""


def components() -> list[str]:
    """The components in EXTRA_COMPONENT_DIRS of the example."""
    return re.findall(r"\$\{hotpin_components\}/(\w+)", (EXAMPLE / "CMakeLists.txt").read_text("utf-8"))


@dataclass(frozen=True)
class Output:
    """The example's output."""

    text: str
    boxes: list[Sample]
    changes: list[MemoryWarning]
    """Warnings and recoveries."""

    def box(self, context: str) -> list[Sample]:
        return [box for box in self.boxes if box.context == context]


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Output:
    program = build_native(
        "native-minimal",
        "minimal.elf",
        f"-DHOTPIN_APP={EXAMPLE}",
        f"-DHOTPIN_COMPONENTS={';'.join(components())}",
        "-DHOTPIN_PACKAGE=OFF",
    )
    run = Board(tmp_path_factory.mktemp("board"), program, "no-psram").start("", psram_bytes=0)
    run.read_until(LAST_SAMPLE.encode())
    run.line.close()
    text = run.wait().text.partition(LAST_SAMPLE)[0]  # a third cycle may have begun
    events = read_events(text.encode())
    boxes = [event for event in events if isinstance(event, Sample) and event.source == "box"]
    return Output(text, boxes, [event for event in events if isinstance(event, MemoryWarning)])


def test_example_has_only_what_memory_manager_requires() -> None:
    needed = {"memory_manager", *all_requirements("memory_manager")}
    assert sorted(components()) == sorted(needed)
    assert requirements(EXAMPLE / "main") <= needed


@pytest.mark.parametrize("cycle", [0, 1])
def test_boxes_show_the_memory_that_the_cache_takes_and_gives_back(output: Output, cycle: int) -> None:
    empty, empty_again = output.box("Cache empty")[cycle : cycle + 2]
    full = output.box("Cache full")[cycle]
    blocks = int(re.findall(r"the cache has (\d+) blocks", output.text)[cycle])
    assert blocks > 40
    taken = empty.stats.internal_free - full.stats.internal_free
    assert 0 <= taken - blocks * BLOCK_BYTES <= ABSORBED_BYTES
    assert empty.delta["internal"] == -MONITOR_TASK_BYTES
    assert full.delta["internal"] == -MONITOR_TASK_BYTES - taken
    least = min(box.stats.total_free for box in output.box("Cache full")[: cycle + 1])
    assert full.stats.total_minimum_free == least
    assert empty_again.stats == replace(
        empty.stats, timestamp_ms=empty_again.stats.timestamp_ms, total_minimum_free=least
    )


def test_each_cycle_raises_one_warning_and_one_recovery(output: Output) -> None:
    full = [box.stats.internal_free for box in output.box("Cache full")]
    empty = [box.stats.internal_free for box in output.box("Cache empty")][1:]
    assert max(full) < WARNING_BYTES < min(empty)
    expected = []
    for cycle in range(2):
        expected.append(("INTERNAL_LOW", False, full[cycle], WARNING_BYTES))
        expected.append(("INTERNAL_LOW", True, empty[cycle], WARNING_BYTES))
    assert [
        (change.type, change.recovered, change.value, change.threshold) for change in output.changes
    ] == expected
    said = [int(text) for text in re.findall(r"minimal: \w+ at (\d+) bytes free", output.text)]
    assert said == [value for _, _, value, _ in expected]


def test_warning_comes_with_a_box_of_its_sample(output: Output) -> None:
    warning = output.changes[0]
    box = output.box("Memory Warning")[0]
    assert box.stats.internal_free == warning.value


def test_without_psram_thresholds_of_0_raise_no_warning(output: Output) -> None:
    assert output.boxes[0].stats.psram_free == 0
    assert "PSRAM_" not in output.text


def without_times(text: str) -> list[str]:
    """The lines without the parts that differ from run to run: log times, some members of records, checksums."""
    text = re.sub(r"^([EWI]) \(\d+\)", r"\1", text.replace("\r", ""), flags=re.MULTILINE)
    return re.sub(r',"(timestamp_ms|t|n)":\d+|,"b":"\w+"|\*[0-9A-F]{4}$', "", text, flags=re.MULTILINE).split(
        "\n"
    )


def test_output_in_the_readme_is_what_the_example_prints(output: Output) -> None:
    readme = (EXAMPLE / "README.md").read_text("utf-8")
    [shown] = re.findall(r"^```text\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)
    printed = without_times(output.text)
    at = 0
    for line in without_times(shown)[:-1]:
        if line != "…":
            assert line in printed[at:], f"not printed, or in another order: {line}"
            at += printed[at:].index(line) + 1
