"""Failures that log lines report: allocations, the camera, the task watchdog."""

from __future__ import annotations

import re

from hotpin_hil.logs.sink import EventSink
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.log import LogLine

# Failed allocations, as recorded boards and this project's firmware print them.
_I2S_NO_MEM = re.compile(r"allocate DMA buffer failed")
_ALLOC_FAILED = re.compile(r"(?i)alloc(?:ation)? failed|failed to allocate")
_NO_PSRAM = re.compile(r"Insufficient PSRAM: need (\d+) bytes, have (\d+) bytes")
_BLOCK_FAILED = re.compile(r"[Bb](?:uffer|lock) of (\d+) bytes failed despite (\d+) bytes")
_SIZE = re.compile(r"\b(\d+)[ -]bytes?\b")
_CAMERA_FAILED = re.compile(
    r"Detected camera not supported|[Cc]amera (?:probe|init)\w* failed|Camera.*ESP_ERR_NOT_SUPPORTED"
)
WATCHDOG_TAG = "task_wdt"
_TASK = re.compile(r" ?- (.+?) \((?:CPU [\d/]+|any)\)")
_TASKS_MAX = 100


class FailureLines:
    """Turns any component's errors and warnings into events."""

    def __init__(self, sink: EventSink) -> None:
        self._sink = sink
        self._watchdog: tuple[int, int | None, list[str]] | None = None
        """Line, time and tasks of the watchdog report being printed."""

    def take_complaint(self, line: LogLine) -> None:
        """Emit an event if a line of level E or W reports a failed allocation or camera."""
        place = self._sink.place(line.number, line.t_ms)
        text = line.text
        if (found := _NO_PSRAM.search(text) or _BLOCK_FAILED.search(text)) is not None:
            event: ev.LogEvent = ev.AllocationFailed(
                *place, kind="psram", text=ev.quote(text), size=int(found[1]), have=int(found[2])
            )
        elif line.tag == "i2s_common" and _I2S_NO_MEM.search(text):
            event = ev.AllocationFailed(*place, kind="i2s", text=ev.quote(text))
        elif _ALLOC_FAILED.search(text):
            size = _SIZE.search(text)
            kind = "tts" if line.tag == "TTS" else "other"
            event = ev.AllocationFailed(
                *place, kind=kind, text=ev.quote(text), size=int(size[1]) if size else None
            )
        elif _CAMERA_FAILED.search(text):
            event = ev.CameraFailed(*place, text=ev.quote(text))
        else:
            return
        self._sink.emit(event)

    def take_task_watchdog(self, line: LogLine) -> None:
        """Collect the lines of a task watchdog report (`task_wdt`)."""
        if line.text.startswith("Task watchdog got triggered"):
            self.end_task_watchdog()
            self._watchdog = (line.number, line.t_ms, [])
        elif self._watchdog is not None:
            found = _TASK.match(line.text)
            if found is not None and len(self._watchdog[2]) < _TASKS_MAX:
                self._watchdog[2].append(found[1])
            elif line.text.startswith("Tasks currently running"):
                self.end_task_watchdog()

    def end_task_watchdog(self) -> None:
        """Emit the finished task watchdog report, if any."""
        if self._watchdog is not None:
            number, t_ms, tasks = self._watchdog
            self._watchdog = None
            self._sink.emit(ev.TaskWatchdog(*self._sink.place(number, t_ms), tasks=tuple(tasks)))
