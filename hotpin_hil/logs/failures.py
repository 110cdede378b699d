"""Failures that log lines report: allocations, heap checks, brown-outs, the camera, the boot, the task watchdog."""

from __future__ import annotations

import re

from hotpin_hil.logs.sink import EventSink
from hotpin_hil.logs.task_watchdog import WatchdogLines
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.boot_faults import rom_fault, start_up_fault
from hotpin_hil.protocol.log import ConsoleLine, LogLine
from hotpin_hil.protocol.reset import PANIC, reported_reset
from hotpin_hil.protocol.shortages import Denied, denied

# Failed allocations, as printed in the recorded logs and by this project's firmware.
_I2S_NO_MEM = re.compile(r"allocate DMA buffer failed|Error malloc dma buffer")
_ALLOC_FAILED = re.compile(r"(?i)alloc(?:ation)? failed|failed to allocate")
_NO_PSRAM = re.compile(r"Insufficient PSRAM: need (\d{1,10}) bytes, have (\d{1,10}) bytes")
_BLOCK_FAILED = re.compile(r"[Bb](?:uffer|lock) of (\d{1,10}) bytes failed despite (\d{1,10}) bytes")
_SIZE = re.compile(r"\b(\d{1,10})[ -]bytes?\b")
_CAMERA_FAILED = re.compile(
    r"Detected camera not supported|[Cc]amera (?:probe|init|config)\w{0,20} failed|Camera.{0,80}ESP_ERR_NOT_SUPPORTED"
)
_NO_FRAME = re.compile(r"Failed to get (?:the )?frame(?: on time|: timeout)")
_FRAME_BUFFER = re.compile(r"Allocating (\d{1,10}) Byte frame buffer in (\w{1,20})")
CRASH_TAG = "esp32.crash"
"""Tag of ESPHome's report of a crash in the previous run."""
_BROWN_OUT = re.compile(r"^\W{0,3}Brownout detector was triggered")
_CORRUPT = re.compile(
    r"CORRUPT HEAP: .{0,60}? at 0x[0-9a-fA-F]{8}(?:\. ?Expected 0x([0-9a-fA-F]{1,8}) got 0x([0-9a-fA-F]{1,8}))?"
)


class FailureLines:
    """Turns any component's errors and warnings, and failure texts without a header, into events."""

    def __init__(self, sink: EventSink) -> None:
        self._sink = sink
        self.watchdog = WatchdogLines(sink)
        """The report of the task watchdog that is being printed."""
        self._frame: tuple[int, str] | None = None
        """Size and memory of the camera's frame buffer, as the driver announced it."""

    def end_boot(self) -> None:
        """End the boot: complete the last report."""
        self.watchdog.end()
        self._frame = None

    def take_announcement(self, line: LogLine) -> None:
        """Remember the frame buffer that the camera driver is about to allocate."""
        found = _FRAME_BUFFER.search(line.text)
        if found is not None:
            self._frame = (int(found[1]), "psram" if "PSRAM" in found[2] else "dma")

    def take_text(self, line: ConsoleLine) -> bool:
        """Emit an event if a line without a header reports a failure; returns whether it does."""
        text = line.text
        place = self._sink.place(line.number, None)
        if _BROWN_OUT.match(text):
            self._sink.emit(ev.BrownOut(*place, text=ev.quote(text.strip())))
        elif (kind := rom_fault(text)) is not None:
            self._sink.emit(ev.BootFault(*place, kind=kind, text=ev.quote(text.strip())))
        elif (found := _CORRUPT.match(text)) is not None:
            expected, got = (int(value, 16) if value else None for value in found.groups())
            is_tail = "tail" in found[0]
            self._sink.emit(
                ev.HeapCorrupted(*place, text=ev.quote(text), is_tail=is_tail, expected=expected, got=got)
            )
        elif (reset := reported_reset(text)) is not None:
            self._sink.emit(ev.ResetReported(*place, kind=reset, text=ev.quote(text.strip())))
        elif (refused := denied("", text, is_complaint=False)) is not None:
            self._deny(line, None, "", refused)
        else:
            return False
        return True

    def take_complaint(self, line: LogLine) -> None:
        """Emit an event if a line of level E or W reports a failure."""
        place = self._sink.place(line.number, line.t_ms)
        text = line.text
        if (found := _NO_PSRAM.search(text) or _BLOCK_FAILED.search(text)) is not None:
            event: ev.LogEvent = ev.AllocationFailed(
                *place, kind="psram", text=ev.quote(text), size=int(found[1]), have=int(found[2])
            )
        elif line.tag in ("i2s_common", "I2S") and _I2S_NO_MEM.search(text):
            event = ev.AllocationFailed(
                *place, kind="i2s", text=ev.quote(text), memory="dma", consumer="I2S out of DMA memory"
            )
        elif (kind := start_up_fault(line.tag, text)) is not None:
            event = ev.BootFault(*place, kind=kind, text=ev.quote(text))
        elif _BROWN_OUT.match(text):
            event = ev.BrownOut(*place, text=ev.quote(text))
        elif (refused := denied(line.tag, text, is_complaint=True)) is not None:
            self._deny(line, line.t_ms, line.tag, refused)
            return
        elif _CAMERA_FAILED.search(text):
            event = ev.CameraFailed(*place, text=ev.quote(text))
        elif _NO_FRAME.search(text):
            event = ev.FrameMissed(*place, text=ev.quote(text))
        elif line.tag == CRASH_TAG:
            event = ev.ResetReported(*place, kind=PANIC, text=ev.quote(text.strip()))
        else:
            return
        self._sink.emit(event)

    def take_report(self, line: LogLine) -> None:
        """Emit an event if a line of any level has the reset reason that the firmware reports."""
        reset = reported_reset(line.text)
        if reset is not None:
            place = self._sink.place(line.number, line.t_ms)
            self._sink.emit(ev.ResetReported(*place, kind=reset, text=ev.quote(line.text.strip())))

    def _deny(self, line: LogLine | ConsoleLine, t_ms: int | None, tag: str, refused: Denied) -> None:
        text, size, memory = line.text, refused.size, refused.memory
        if refused.consumer == "camera frame buffer" and self._frame is not None:
            size, memory = self._frame
            text = f"{text} (announced before: {size} bytes in {memory})"
        kind = "memory"
        if tag == "TTS":
            kind = "tts"
        elif _ALLOC_FAILED.search(line.text) and not refused.function:
            kind = "other"
            size = size if size is not None else _size(line.text)
        self._sink.emit(
            ev.AllocationFailed(
                *self._sink.place(line.number, t_ms),
                kind=kind,
                text=ev.quote(text),
                size=size,
                caps=refused.caps,
                have=refused.have,
                function=refused.function,
                memory=memory,
                consumer="" if kind == "tts" else refused.consumer,
            )
        )


def _size(text: str) -> int | None:
    found = _SIZE.search(text)
    return int(found[1]) if found else None
