"""Stack use of each task along its call chains, from gcc's call graphs.

    python -m hotpin_hil.boards.stack_use firmware/build-native

reads the `.ci` files that gcc writes next to the object files with `-fcallgraph-info=su`. The host build has them; a
build by ESP-IDF has them with `idf.py -D CMAKE_C_FLAGS=-fcallgraph-info=su build`. Functions that the build does not
compile, such as the C library's, count as 0 bytes; `limit` leaves room for them. Calls through pointers are followed if
`INDIRECT` names their targets.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from hotpin_hil.paths import FIRMWARE_DIR

TASKS = {
    # task name: (the function that the task runs, its source file)
    "main": ("app_main", "main.c"),
    "mem_monitor": ("task_main", "mem_monitor.c"),
    "mem_history": ("history_task", "memory_history.c"),
    "state": ("state_task", "state_manager.c"),
    "hil_console": ("console_task", "console_task.c"),
    "stt_capture": ("capture", "stt_pipeline.c"),
    "tts_playback": ("playback", "tts_playback.c"),
    "LOAD0": ("load_task", "cmd_log.c"),
    "lock": ("hold_drivers", "cmd_sys.c"),
}

INDIRECT: Mapping[str, tuple[str, ...]] = {
    # caller: the targets of its calls through pointers; NAME* matches all functions that start with NAME
    "task_main": ("periodic",),
    "mem_observe_sample": ("memory_*.c:observe",),
    "mem_observe_warning": ("memory_*.c:warned",),
    "mem_observe_snapshot": ("memory_*.c:logged",),
    "mem_observe_set_state": ("memory_*.c:entered",),
    "mem_observe_failed": ("memory_*.c:failed",),
    "do_step": (
        "enter_step",
        "measure",
        "start_camera",
        "camera_controller_deinit",
        "audio_driver_init",
        "audio_driver_deinit",
        "stt_pipeline_start",
        "stt_pipeline_stop",
        "stop_tts",
        "mode_settle_down",
        "settle_up",
    ),
    "admit": ("camera_controller_*blocks", "audio_driver_blocks", "stt_pipeline_blocks"),
    "playback": ("playback_done",),
    "state_task": ("announce",),
    "mem_observe_adapt": ("memory_adapt.c:adapt",),
    "announce": ("on_warning_*", "on_recovery_*"),
    "callback_calls_run": ("callback_call_*",),
    "hide_foreground": ("hide_line",),
    "telemetry_unlock": ("show_line",),
    "memory_manager_optimize_report": ("is_monitor",),  # in other tasks mem.reclaim and admit reach run()
    "run": ("is_admitted", "block_fits", "enough_free"),
    "run_one": ("reclaim_played_stream", "run_slot", "call_from_reclaimer"),
    "memory_optimize_run_pending": ("reserve_drivers", "release_drivers"),
    "find_cause": ("is_other_mode_scattered",),
    "attempt": ("restart_drivers",),
    "console_dispatch": ("cmd_*.c:*", "api_cases_*.c:case_*"),
    "hil_console_before_init": ("api_cases_*.c:case_*",),
    "console_task": ("shut_down_and_restart", "start_to_hold"),
}

MONITOR = "mem_monitor"
MONITOR_SHARE = 0.75
"""At least 25 % of the memory manager's stack must stay unused (guide)."""
FORMAT_BYTES = 2_000
"""Stack that newlib's printf, and so ESP_LOGx, needs. Source: idf_probe.md, recorded from ESP-IDF."""
LOGS = {"esp_log_write", "esp_log", "printf", "vprintf", "snprintf", "vsnprintf", "fprintf"}
"""Functions of the C library and ESP-IDF that format text."""


@dataclass
class Graph:
    """Call graph: functions with their stack frames and callees. A function is named `function` or `file:function`."""

    frames: dict[str, int] = field(default_factory=dict)
    calls: dict[str, set[str]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    """File of each function."""

    def find(self, function: str, file: str) -> str | None:
        """The full name of a function; None if the build does not have it."""
        return next(iter(self._like(function, file)), None)

    def targets(self, pattern: str) -> list[str]:
        """Full names of the functions that match a pattern of `INDIRECT`."""
        file, _, function = pattern.rpartition(":")
        return self._like(function, file or "*")

    def _like(self, function: str, file: str) -> list[str]:
        return [
            name
            for name, own_file in self.files.items()
            if fnmatchcase(function_of(name), function) and fnmatchcase(own_file, file)
        ]


_NODE = re.compile(
    r'node: \{ title: "([^"]+)" label: "[^"]*?([^"/\\]+):\d+:\d+\\n(\d+) bytes \((?:static|dynamic|dynamic,bounded)\)'
)
_EDGE = re.compile(r'edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"')
INDIRECT_CALL = "__indirect_call"


def function_of(name: str) -> str:
    """The function's name, without the file."""
    return name.rpartition(":")[2]


def read(files: Iterable[Path]) -> Graph:
    """Read call graphs. Wrapped functions (`--wrap`) are followed into their wrappers."""
    graph = Graph()
    for path in files:
        text = path.read_text(encoding="utf-8", errors="replace")
        for name, file, size in _NODE.findall(text):
            graph.frames[name] = max(int(size), graph.frames.get(name, 0))
            graph.files[name] = file
        for source, target in _EDGE.findall(text):
            graph.calls.setdefault(source, set()).add(target)
    for caller, targets in graph.calls.items():
        if INDIRECT_CALL in targets:
            for pattern in INDIRECT.get(function_of(caller), ()):
                targets.update(name for name in graph.targets(pattern) if name != caller)
        for target in list(targets):
            if target.startswith("__real_"):
                targets.add(target.removeprefix("__real_"))
            elif function_of(caller) != f"__wrap_{target}" and f"__wrap_{target}" in graph.frames:
                targets.add(f"__wrap_{target}")
    return graph


@dataclass(frozen=True)
class StackUse:
    """The deepest call chain of a task: the chain that needs the most stack."""

    bytes: int
    chain: tuple[str, ...]
    logs: bool
    """Whether the task calls a function of `LOGS`, directly or indirectly."""


def deepest(graph: Graph, start: str) -> StackUse:
    """The deepest call chain that starts at a function; a recursive call counts once."""
    known: dict[str, tuple[int, tuple[str, ...]]] = {}
    open_calls: set[str] = set()

    def visit(name: str) -> tuple[int, tuple[str, ...]]:
        if name in known:
            return known[name]
        if name in open_calls:
            return 0, ()
        open_calls.add(name)
        below = max((visit(target) for target in sorted(graph.calls.get(name, ()))), default=(0, ()))
        open_calls.discard(name)
        known[name] = (graph.frames.get(name, 0) + below[0], (function_of(name), *below[1]))
        return known[name]

    size, chain = visit(start)
    return StackUse(size, chain, logs=any(function_of(name) in LOGS for name in known))


def stack_use(folder: Path) -> dict[str, StackUse]:
    """Stack use by task, for the tasks of `TASKS` that a build has; empty if the build has no call graphs."""
    graph = read(sorted((folder / "esp-idf").rglob("*.ci")))
    starts = {task: graph.find(*function) for task, function in TASKS.items()}
    return {task: deepest(graph, start) for task, start in starts.items() if start is not None}


@dataclass(frozen=True)
class Task:
    """A row of the table of tasks in firmware/README.md."""

    stack: int
    priority: int
    core: int | None
    """None: any."""


def documented_tasks() -> dict[str, Task]:
    """The table of tasks in firmware/README.md, by name."""
    text = (FIRMWARE_DIR / "README.md").read_text(encoding="utf-8")
    section = text.partition("\n## Tasks\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)`[^|]*\| ([\d,+ ]+) \| (\d+) \| (any|\d)", section, re.MULTILINE)
    return {
        name: Task(
            sum(int(part.replace(",", "")) for part in stack.split("+")),
            int(priority),
            None if core == "any" else int(core),
        )
        for name, stack, priority, core in rows
    }


def limit(task: str, stack: int, use: StackUse) -> int:
    """Stack that the deepest chain of a task may need, in bytes.

    For the monitor, MONITOR_SHARE of its stack; for any other task, the stack minus FORMAT_BYTES if the task logs.
    """
    if task == MONITOR:
        return int(stack * MONITOR_SHARE)
    return stack - (FORMAT_BYTES if use.logs else 0)


def main() -> int:
    """Print the stack use of a build's tasks. The exit status is 1 if a chain is too deep, 2 without call graphs."""
    tasks = documented_tasks()
    uses = stack_use(Path(sys.argv[1]))
    too_deep = False
    for task, use in uses.items():
        most = limit(task, tasks[task].stack, use)
        too_deep |= use.bytes > most
        print(f"{task:14} {use.bytes:6} of {most:6}  {'logs' if use.logs else '':4}  {' > '.join(use.chain)}")
    if not uses:
        print(f"{sys.argv[1]} has no call graphs: build it with -fcallgraph-info=su", file=sys.stderr)
        return 2
    return int(too_deep)


if __name__ == "__main__":
    sys.exit(main())
