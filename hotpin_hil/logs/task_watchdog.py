"""Reports of the task watchdog: the tasks that did not feed it, the tasks that ran instead, and the backtrace."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from hotpin_hil.logs.sink import EventSink
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.log import ConsoleLine, LogLine

TAG = "task_wdt"
_FIRST = "Task watchdog got triggered"
_RUNNING_TITLE = "Tasks currently running:"
_TASK = re.compile(r" ?- (.{1,60}?) \((?:CPU ([\d/]{1,8})|any)\)")
_RUNNING = re.compile(r"CPU (\d): (.{1,60})")
_TASKS_MAX = 100
_LINES_MAX = 12
"""Maximum distance of a report's backtrace, in lines."""


@dataclass
class _Report:
    line: int
    t_ms: int | None
    last_line: int
    tasks: list[str] = field(default_factory=list)
    cores: list[str] = field(default_factory=list)
    running: dict[str, str] = field(default_factory=dict)
    backtrace: str = ""
    is_plain: bool = False
    """Its lines have no header, as in ESP-IDF before v3.1."""


class WatchdogLines:
    """Collects the lines of a report, and emits it when it ends."""

    def __init__(self, sink: EventSink) -> None:
        self._sink = sink
        self._report: _Report | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether a report without headers is being printed, so that the next line matters regardless of its text."""
        return self._report is not None and self._report.is_plain

    def take_text(self, line: ConsoleLine) -> bool:
        """Collect a line without a header of a report; returns whether it is one."""
        is_first = line.text.startswith(_FIRST)
        if not is_first and not self.is_waiting:
            return False
        if (
            is_first
            or line.text.startswith(_RUNNING_TITLE)
            or _TASK.match(line.text)
            or _RUNNING.match(line.text)
        ):
            self.take(LogLine("E", None, TAG, line.text, line.offset, line.number))
            if is_first and self._report is not None:
                self._report.is_plain = True
            return True
        self.end()
        return False

    def take(self, line: LogLine) -> None:
        """Collect the lines of a task watchdog report (`task_wdt`)."""
        if line.text.startswith(_FIRST):
            self.end()
            self._report = _Report(line.number, line.t_ms, line.number)
        report = self._report
        if report is None:
            return
        report.last_line = line.number
        task = _TASK.match(line.text)
        if task is not None and len(report.tasks) < _TASKS_MAX:
            report.tasks.append(task[1])
            report.cores.append(task[2] or "")
        elif (running := _RUNNING.match(line.text)) is not None:
            report.running[running[1]] = running[2].strip()

    def take_backtrace(self, line: ConsoleLine) -> bool:
        """Add a backtrace to the report if it follows soon; returns whether it does."""
        report = self._report
        if report is None or line.number - report.last_line > _LINES_MAX:
            return False
        report.backtrace = report.backtrace or ev.quote(line.text.strip())
        return True

    def end(self) -> None:
        """Emit the report, if there is one."""
        report, self._report = self._report, None
        if report is not None:
            self._sink.emit(
                ev.TaskWatchdog(
                    *self._sink.place(report.line, report.t_ms),
                    tasks=tuple(report.tasks),
                    cores=tuple(report.cores),
                    running=report.running,
                    backtrace=report.backtrace,
                )
            )
