"""Mode transitions, from records and from log lines of this firmware or the original firmware."""

from __future__ import annotations

import re
from typing import NamedTuple

from hotpin_hil.logs.sink import EventSink
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.log import LogLine

_TO_MODE = re.compile(r"=== TRANSITION TO (CAMERA|VOICE) MODE ===")
_MODE_DONE = re.compile(r"(Camera|Voice) mode transition complete")
_MODE_FAILED = re.compile(
    r"Failed to (?:acquire I2S mutex|(?:de)?init\w* (?:camera|audio)|transition)|"
    r"(?:Camera|Voice) mode transition failed"
)
_CHANGED = re.compile(r"(init|camera|voice|error|shutdown) -> (camera|voice) in (\d+) ms")
_NO_ROOM = re.compile(
    r"No room for (camera|voice) mode: (.+) block \d+, (\d+) bytes, is missing; "
    r"the largest free block is (\d+) of (\d+) bytes free"
)
_ERR_NAME = re.compile(r"\bESP_(?:ERR_\w+|FAIL)\b")
_NOTHING_RECORDED = ("", -1)


class _Begun(NamedTuple):
    """A transition that has not ended yet."""

    to: str
    line: int
    t_ms: int | None


class TransitionTracker:
    """Pairs the start and the end of each transition, and drops log lines that only repeat a record."""

    def __init__(self, sink: EventSink) -> None:
        self._sink = sink
        self._begun: _Begun | None = None
        self._recorded: tuple[str, int] = _NOTHING_RECORDED
        """Target and duration (ms) of the latest recorded transition, which the next line repeats."""

    def take_record(self, change: ev.ModeChange) -> None:
        """Emit the transition that a `mode` event reports."""
        self._begun = None
        if change.ok:
            self._recorded = (change.to, change.duration_ms)
        self._sink.emit(
            ev.Transition(
                change.line,
                change.boot,
                change.t_ms,
                to=change.to,
                result="complete" if change.ok else "failed",
                duration_ms=change.duration_ms,
                text="" if change.ok else _failed_text(change),
                step=change.step,
                error="" if change.ok else change.error,
                block=change.block,
                missing=change.missing or None,
                largest=change.largest or None,
            )
        )

    def take_first_manager(self, line: LogLine) -> None:
        """Start or end a transition by a line of the original firmware's state manager (`STATE_MGR`)."""
        if (found := _TO_MODE.search(line.text)) is not None:
            self._begin(line, found[1].lower())
        elif (found := _MODE_DONE.search(line.text)) is not None:
            self._end(line, found[1].lower(), "complete")
        elif self._begun is not None and line.level == "E" and _MODE_FAILED.search(line.text):
            self._end(line, self._begun.to, "failed")

    def take_manager(self, line: LogLine) -> None:
        """Emit the transition or failed allocation in a line of this project's state manager (`STATE`).

        In a log without records, these lines are the only source of transitions.
        """
        place = self._sink.place(line.number, line.t_ms)
        if (found := _CHANGED.fullmatch(line.text)) is not None:
            to, duration = found[2], int(found[3])
            if self._recorded != (to, duration):
                self._begun = None
                self._sink.emit(ev.Transition(*place, to=to, result="complete", duration_ms=duration))
            self._recorded = _NOTHING_RECORDED
        elif (found := _NO_ROOM.fullmatch(line.text)) is not None:
            self._sink.emit(
                ev.AllocationFailed(
                    *place,
                    kind="transition",
                    text=ev.quote(line.text),
                    size=int(found[3]),
                    have=int(found[5]),
                )
            )

    def end_boot(self) -> None:
        """Emit the transition in progress, if there is one, as unfinished."""
        if self._begun is not None:
            begun, self._begun = self._begun, None
            place = self._sink.place(begun.line, begun.t_ms)
            self._sink.emit(ev.Transition(*place, to=begun.to, result="unfinished", start_line=begun.line))

    def _begin(self, line: LogLine, to: str) -> None:
        self.end_boot()
        self._begun = _Begun(to, line.number, line.t_ms)
        self._sink.emit(ev.TransitionStarted(*self._sink.place(line.number, line.t_ms), to=to))

    def _end(self, line: LogLine, to: str, result: str) -> None:
        begun, self._begun = self._begun, None
        duration = start = None
        if begun is not None and begun.to == to and begun.t_ms is not None and line.t_ms is not None:
            duration, start = max(0, line.t_ms - begun.t_ms), begun.line
        error = _ERR_NAME.search(line.text)
        self._sink.emit(
            ev.Transition(
                *self._sink.place(line.number, line.t_ms),
                to=to,
                result=result,
                duration_ms=duration,
                start_line=start,
                text=ev.quote(line.text) if result != "complete" else "",
                error=error[0] if error else "",
            )
        )


def _failed_text(change: ev.ModeChange) -> str:
    """Description of a failed transition."""
    step, error = change.step or None, change.error or None
    text = f"{change.start} -> {change.to} failed at step {step}: {error}"
    if change.missing:
        text += f", no block of {change.missing} bytes"
    if change.block:
        text += f" for {change.block}, largest free block {change.largest}"
    return ev.quote(text)
