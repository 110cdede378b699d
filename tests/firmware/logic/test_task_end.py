"""Tests waiting for the memory of deleted tasks, with the native runtime's heap and idle tasks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hotpin_hil.paths import FIRMWARE_DIR
from tests.native.test_native_runtime import assert_checks_hold
from tests.support.native_board import Board, build_drivers_test

COMPONENTS = FIRMWARE_DIR / "components"


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path, build_drivers_test())


@pytest.mark.parametrize("case", ["task_ended", "task_still_runs"])
def test_the_wait_ends_when_the_memory_is_free(board: Board, case: str) -> None:
    assert_checks_hold(board.run(case))


def test_the_wait_times_out_when_no_idle_task_runs(board: Board) -> None:
    result = board.run("task_keeps_the_processor")
    assert_checks_hold(result)
    # Up to one tick less, because the first tick had already started.
    assert 49 <= result.value("TASKS waited_ms") <= 60


PINNING = re.compile(r"\b(?:xTaskCreatePinnedToCore|xTaskCreateStaticPinnedToCore|audio_worker_start)(?=\()")


def arguments(text: str, start: int) -> list[str]:
    """Arguments of the call whose opening parenthesis is at `start`."""
    found, depth = [""], 0
    for letter in text[start:]:
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            break
        if letter == "," and depth == 1:
            found.append("")
        else:
            found[-1] += letter
    return [argument.strip() for argument in found]


def test_tasks_are_pinned_by_the_names_of_cores() -> None:
    """A core must not be a number: a single-core build does not have core 1."""
    cores = {}
    for path in sorted(COMPONENTS.rglob("*.c")):
        text = path.read_text(encoding="utf-8")
        for call in PINNING.finditer(text):
            cores[path.name, call.start()] = arguments(text, call.end())[-1]
    passed_on = {"core", "BaseType_t core"}  # audio_worker.c: the caller chooses the core
    assert set(cores.values()) - passed_on == {"TASK_CORE_DRIVERS", "TASK_CORE_SOUND"}, cores


NAME_BYTES = 15
"""Length of a task's name in FreeRTOS (CONFIG_FREERTOS_MAX_TASK_NAME_LEN with the NUL: 16)."""
NAMING = re.compile(r"\b(?:xTaskCreate\w*|audio_worker_start)(?=\()")


def test_names_of_tasks_are_kept_whole() -> None:
    """A name must not be too long: xTaskGetHandle() does not find a truncated one."""
    named = {}
    for path in sorted(COMPONENTS.rglob("*.c")):
        text = path.read_text(encoding="utf-8")
        texts = dict(re.findall(r"#define (\w+) (\"[^\"]*\")", text))
        for call in NAMING.finditer(text):
            name = arguments(text, call.end())[1]
            named[path.name, call.start()] = texts.get(name, name)
    literal = [name.strip('"') for name in named.values() if name.startswith('"')]
    assert {"mem_monitor", "state", "hil_console", "stt_capture", "tts_playback"} <= set(literal), named
    assert [name for name in literal if len(name) > NAME_BYTES] == []
