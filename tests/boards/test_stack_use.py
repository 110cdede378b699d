"""Tests the computation of the stack use of call chains from gcc's call graphs."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotpin_hil.boards.stack_use import FORMAT_BYTES, StackUse, documented_tasks, limit, stack_use

NODE = 'node: {{ title: "{name}" label: "{function}\\n/src/{file}:1:1\\n{size} bytes (static)" }}\n'
EDGE = 'edge: {{ sourcename: "{caller}" targetname: "{target}" label: "/src/x.c:1:1" }}\n'


def write(folder: Path, frames: dict[str, int], calls: list[tuple[str, str]], file: str) -> None:
    text = "".join(
        NODE.format(name=name, function=name.rpartition(":")[2], file=file, size=size)
        for name, size in frames.items()
    )
    text += "".join(EDGE.format(caller=caller, target=target) for caller, target in calls)
    (folder / "esp-idf").mkdir(exist_ok=True)
    (folder / "esp-idf" / f"{file}.ci").write_text(text)


def test_deepest_chain_crosses_files_pointers_and_wrappers(tmp_path: Path) -> None:
    task = "/src/mem_monitor.c:task_main"
    write(
        tmp_path,
        {task: 100, "short": 10},
        [(task, "short"), (task, "__indirect_call"), (task, "wrapped"), ("short", "snprintf")],
        "mem_monitor.c",
    )
    write(
        tmp_path,
        {"/src/memory_manager.c:periodic": 30, "wrapped": 5, "__wrap_wrapped": 50},
        [("__wrap_wrapped", "__real_wrapped"), ("wrapped", task)],
        "memory_manager.c",
    )
    uses = stack_use(tmp_path)
    assert list(uses) == ["mem_monitor"]
    assert uses["mem_monitor"].bytes == 100 + 50 + 5
    assert uses["mem_monitor"].chain == ("task_main", "__wrap_wrapped", "wrapped")
    assert uses["mem_monitor"].logs


def test_build_without_call_graphs_has_no_tasks(tmp_path: Path) -> None:
    assert stack_use(tmp_path) == {}


@pytest.mark.parametrize(
    ("task", "logs", "most"),
    [("state", False, 5_000), ("state", True, 5_000 - FORMAT_BYTES), ("mem_monitor", True, 3_750)],
)
def test_limit_leaves_room_for_what_is_not_compiled(task: str, logs: bool, most: int) -> None:
    assert limit(task, 5_000, StackUse(0, (), logs)) == most


def test_table_of_tasks_is_read() -> None:
    tasks = documented_tasks()
    assert (tasks["main"].stack, tasks["mem_monitor"].priority) == (3_584 + 512, 1)
