"""Catalogue of the task watchdog's reports: which task kept a core busy, and what to do."""

from __future__ import annotations

import re

from hotpin_hil.analysis.catalogue import DECODE, Known
from hotpin_hil.protocol import events as ev

_IDLE = re.compile(r"IDLE\d?")


def of_task_watchdog(event: ev.TaskWatchdog) -> Known:
    """The entry for a report of the task watchdog."""
    tasks = event.tasks
    doubled = sorted({task for task in tasks if tasks.count(task) > 1 and not _IDLE.fullmatch(task)})
    if doubled:
        return Known(
            "task-watchdog",
            "Task watchdog: a task was leaked",
            f"Several tasks with the same name did not feed the task watchdog: {', '.join(doubled)}.",
            "a task is created repeatedly (for example on every reconnect), but the old tasks never end",
            "create it once, or end the old task first; unsubscribe a task from the watchdog when it ends",
            is_fact=False,
        )
    starved = {
        core
        for task, core in zip(tasks, event.cores or ("",) * len(tasks), strict=True)
        if _IDLE.fullmatch(task)
    }
    busy = {
        core: task for core, task in event.running.items() if core in starved and not _IDLE.fullmatch(task)
    }
    if busy:
        who = ", ".join(f"{task} on core {core}" for core, task in sorted(busy.items()))
        return Known(
            "task-watchdog",
            f"Task watchdog: a core was kept busy by {', '.join(sorted(set(busy.values())))}",
            f"The idle task did not run in time, because another task kept its core busy: {who}.",
            "this task computes, polls or spins without blocking (the report names the task at its end)",
            "let the task block or delay in its loop, lower its priority, or split the work; decode the backtrace",
            is_fact=True,
        )
    ran = ", ".join(
        f"{task} on core {core}" for core, task in sorted(event.running.items()) if not _IDLE.fullmatch(task)
    )
    own = [task for task in tasks if task in event.running.values()]
    if own:
        return Known(
            "task-watchdog",
            f"Task watchdog: {', '.join(own)} did not feed it",
            f"{', '.join(own)} did not feed the task watchdog in time, although it was running ({ran}).",
            "the task computes, polls or waits in a loop without feeding the watchdog or returning to its main loop",
            f"split the work, or feed the watchdog in the loop; {DECODE}",
            is_fact=True,
        )
    is_whole = all(set(core.split("/")) <= event.running.keys() for core in event.cores if core)
    if tasks and event.running and is_whole and not ran and not any(map(_IDLE.fullmatch, tasks)):
        return Known(
            "task-watchdog",
            f"Task watchdog: {', '.join(tasks)} waits too long",
            f"{', '.join(tasks)} did not feed the task watchdog in time; all cores were idle, so it was waiting.",
            "the task waits for a lock, a queue, a socket or a delay for longer than the time-out of the watchdog",
            "find what it waits for (a lock that is never given, a blocking call), and limit the wait",
            is_fact=False,
        )
    return Known(
        "task-watchdog",
        "Task watchdog",
        f"Tasks did not feed the task watchdog in time: {', '.join(tasks) or 'the log names none'}"
        + (f"; {ran} ran instead." if ran else "."),
        "the task hangs, waits too long, or ended without unsubscribing from the watchdog",
        "the backtraces printed with it show where the cores were",
        is_fact=True,
    )
