"""Requests and replies, events, log lines and boxes of one board, over one channel.

A request is repeated with the same id and text until an undamaged reply arrives; the firmware executes it once. Every
record carries the boot id and a sequence number, so no reset and no lost record goes unnoticed: if it invalidates the
result of a call, the call raises BoardReset or LostRecord.

Use it from one test thread; another thread reads the channel.
"""

from __future__ import annotations

import re
import secrets
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from hotpin_hil.device import budgets
from hotpin_hil.device.errors import (
    NOISE_REMEDY,
    BoardReset,
    DeviceError,
    LostRecord,
    MissingEvent,
    NoisyLine,
    NoReply,
    ProtocolError,
    SupplyFailed,
    UnexpectedEvent,
)
from hotpin_hil.device.power import BROWN_OUT, SUPPLY_REMEDY, power_failure
from hotpin_hil.link.channel import Channel, Cursor
from hotpin_hil.protocol.answers import BoardInfo, Event, merge_parts, parse_answer
from hotpin_hil.protocol.box import Box, BoxFinder, BrokenBox
from hotpin_hil.protocol.fragments import EventAssembler
from hotpin_hil.protocol.log import LineSplitter, LogLine, parse_log_line
from hotpin_hil.protocol.records import Record
from hotpin_hil.protocol.request import HARNESS_ID_MAX, encode_request

_PANIC = re.compile(
    rb"Guru Meditation Error[^\r\n]*|abort\(\) was called[^\r\n]*|assert failed[^\r\n]*"
    rb"|Task watchdog got triggered[^\r\n]*|Brownout detector was triggered|\*\*\*ERROR\*\*\*[^\r\n]*"
)
_CONFIRMATIONS = 2
"""Number of identical replies that prove that a missing record next to them is not part of the reply."""
_CABLE = "check the cable and the baud rate"
_NO_CONSOLE_REMEDY = "is this a build with the HIL console, and is the baud rate right?"

_CRC = "CRC"
_DAMAGED_REQUEST = {_CRC, "SYNTAX", "TOO_LONG", "UNKNOWN_COMMAND", "BAD_ARGUMENT"}
"""Errors that a damaged request can cause. (Without its '*', it looks like a request without a checksum.)"""

Where = Callable[[Event], bool]


class Console:
    """One board's console."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.boot: str | None = None
        """Boot id of the expected boot, from `wait_ready` or the first reply; None before."""
        self._accepted = Cursor()
        """Only a reset after this moment raises BoardReset."""
        self.on_reply: list[Callable[[str, dict[str, Any]], None]] = []
        """Called in order for each reply, with its command."""
        self.on_ready: list[Callable[[], None]] = []
        """Called in order after each boot that `wait_ready` has waited for."""
        # Random, so that a stored reply to an earlier session's request does not match.
        self._id = secrets.randbelow(HARNESS_ID_MAX)
        self._events: list[Event] = []
        self._assembler = EventAssembler()
        self._assembled = 0
        self._boxes: list[Box | BrokenBox] = []
        self._box_finder = BoxFinder()
        self._box_text_end = 0

    # --- commands ---

    def command(self, name: str, *, timeout_s: float = budgets.REPLY_S, **args: Any) -> dict[str, Any]:
        """Send a command and wait for its reply.

        Args:
            name: for example "mem.stats".
            timeout_s: wait per attempt, seconds. The request is resent on timeout or on a damaged reply; the call takes
                at most `timeout_s * (1 + budgets.REPEATS)`.
            args: the command's arguments, see `encode_request`.

        Returns:
            The fields of the reply, all its records joined.

        Raises:
            DeviceError: the firmware refused or failed.
            NoReply: no reply arrived.
            BoardReset: the board was reset during the wait.
            LostRecord: the firmware executed the command twice, because the request was damaged in transit.
            NoisyLine: the serial line corrupts bytes.
            PortError: the port was lost.
        """
        return merge_parts(self.command_parts(name, timeout_s=timeout_s, **args))

    def command_parts(
        self, name: str, *, timeout_s: float = budgets.REPLY_S, **args: Any
    ) -> list[dict[str, Any]]:
        """Like `command`, with the same errors, but returns the fields of each record of the reply separately."""
        request_id = self._id = self._id % HARNESS_ID_MAX + 1
        request = encode_request(request_id, name, args)
        self._check_reset(self._accepted, f"before '{name}'")
        start = last_send = self.channel.mark()
        self.channel.send(request)
        give_up = self.channel.deadline(timeout_s * (1 + budgets.REPEATS))
        for sends in range(1, budgets.SENDS_MAX + 1):
            patience = give_up.remaining_s()
            if sends < budgets.SENDS_MAX:
                patience = min(patience, timeout_s)
            parts = self.channel.wait(
                lambda since=last_send: self._reply(name, request_id, start, since),  # type: ignore[misc]
                patience,
            )
            if parts:
                self._adopt(parts[-1])
                reply = merge_parts([part.data for part in parts])
                if reply.get("ok") is not True:
                    raise DeviceError(name, reply)
                for on_reply in self.on_reply:
                    on_reply(name, reply)
                return [part.data for part in parts]
            if give_up.remaining_s() <= 0 or sends == budgets.SENDS_MAX:
                break
            last_send = self.channel.mark()
            # Send no newline first: it would make the firmware execute the rest of a damaged request as a request
            # without a checksum. If this request directly follows that rest, the firmware finds it by its checksum.
            self.channel.send(request)
        heard = len(self.channel.text(start))
        message = (
            f"no reply to '{name}', sent {sends} times in {timeout_s * (1 + budgets.REPEATS):.1f} s; "
            f"{heard} bytes arrived in that time{self._panic(start)}"
        )
        refusals = (*self.channel.records(start), *self.channel.repeated(start))
        wrong = sum(record.data.get("err") == _CRC for record in refusals)
        if wrong:
            raise NoisyLine(
                f"{message}; the board reported {wrong} times that the request's checksum is wrong",
                NOISE_REMEDY,
            )
        raise NoReply(
            message,
            heard,
            "" if heard else _NO_CONSOLE_REMEDY,
            self.channel.noise(start),
        )

    def _reply(self, name: str, request_id: int, start: Cursor, last_send: Cursor) -> list[Record] | None:
        """The complete reply; [] if the request must be repeated; None while the reply may still arrive."""
        answers = [r for r in self.channel.records(start) if r.kind == "reply" and r.id == request_id]
        again = [r for r in self.channel.repeated(start) if r.kind == "reply" and r.id == request_id]
        parts = sorted((r for r in answers if not _refused(r)), key=lambda r: r.n)
        if parts and not parts[-1].more and all(part.boot == (self.boot or part.boot) for part in parts):
            if sum(not part.more for part in parts) > 1:
                raise LostRecord(
                    f"'{name}' was executed twice because the request was damaged in transit", _CABLE
                )
            # If a record before the last one is missing, it may belong to this reply. Repeating the request
            # shows whether it does.
            suspect = any(gap.n < parts[-1].n for gap in self.channel.gaps(start))
            arrivals = [parts[-1], *(r for r in again if not r.more)]
            if not suspect or len(arrivals) > _CONFIRMATIONS:
                return parts
            if arrivals[-1].offset >= last_send.offset:
                return []
        refused = [r for r in (*answers, *again) if _refused(r) and r.data["err"] != "CRC"]
        if len(refused) > 1:
            return refused[-1:]  # refused twice, so a damaged request is not the cause
        self._check_reset(start, f"during '{name}'")
        damaged = any(r.offset >= last_send.offset for r in answers if r not in parts)
        if damaged or self.channel.corrupt(last_send):
            return []
        return None

    def _adopt(self, record: Record) -> None:
        if self.boot is None:
            self.boot = record.boot
            self._accepted = Cursor(record.offset, self.channel.mark().index)

    def _check_noise(self, since: Cursor, what: str) -> None:
        """Raise NoisyLine if the serial line has corrupted bytes after `since`.

        If it has, neither a missing record nor a damaged text is evidence against the firmware.
        """
        noise = self.channel.noise(since)
        if noise.corrupted_in_transit:
            raise NoisyLine(f"{what}; the serial line is noisy: {noise}", NOISE_REMEDY)

    def _check_reset(self, since: Cursor, when: str) -> None:
        if self.boot is None:
            return
        resets = self.channel.resets(max(since, self._accepted))
        if not resets and self.channel.boot in (None, self.boot):
            return
        how = f" ({resets[-1].name})" if resets else ""
        panic = self._panic(self._accepted)
        message = f"the board was reset{how} {when}{panic}"
        if (not panic or BROWN_OUT in panic) and power_failure(self.channel, self._accepted):
            raise SupplyFailed(message, SUPPLY_REMEDY)
        raise BoardReset(message, "if the test requested it, call wait_ready() afterwards")

    def _panic(self, since: Cursor) -> str:
        found = [text.decode(errors="replace") for text in _PANIC.findall(self.channel.text(since))]
        return f"; it printed: {'; '.join(dict.fromkeys(found[-2:]))}" if found else ""

    # --- starting ---

    def wait_ready(self, timeout_s: float = budgets.BOOT_S) -> BoardInfo:
        """Wait for a boot newer than the known one, and adopt its boot id.

        Args:
            timeout_s: time limit, see `Deadline`.

        Returns:
            The board's identity, from the boot event or from `sys.info`.

        Raises:
            NoReply: the firmware did not start; the message quotes the chip's output.
            SupplyFailed: the brown-out detector fired.
            DeviceError and other errors of `command`: the boot event was lost, and `sys.info` failed.
        """
        info = self._wait_ready(timeout_s)
        for on_ready in self.on_ready:
            on_ready()
        return info

    def _wait_ready(self, timeout_s: float) -> BoardInfo:
        began_s = time.monotonic()
        found = self.channel.wait(self._new_boot, timeout_s)
        if found is _LOOPING:
            timeout_s, found = time.monotonic() - began_s, None
        if found is not None and found is not _DAMAGED:
            self.boot = found.boot
            self._accepted = Cursor(self.channel.records()[found.index].offset, found.index)
            return parse_answer(BoardInfo, found.data, "event 'boot'")
        began = self._began()
        if found is None and not any(record.offset > began for record in self.channel.records()):
            last = [line for line in self.text(self._accepted).splitlines() if line.strip()][-1:]
            last_line = f"its last line was {last[0].strip()!r}" if last else "it printed nothing"
            starts = self._starts()
            message = f"the firmware did not start within {timeout_s:.3g} s"
            message += f", and the chip was reset {starts} times" if starts > 1 else ""
            message += f"; {last_line}{self._panic(self._accepted)}"
            if message.endswith(BROWN_OUT):
                raise SupplyFailed(message, SUPPLY_REMEDY)
            raise NoReply(
                message,
                len(self.channel.text(self._accepted)),
                "flash it again; if it prints nothing, check power and baud rate",
                self.channel.noise(self._accepted),
            )
        # The boot event was lost or damaged; `sys.info` returns the same data.
        self.boot = None
        reply = self.command("sys.info")
        self._accepted = self.channel.mark()
        return parse_answer(BoardInfo, reply, "reply to 'sys.info'")

    def _began(self) -> int:
        """Offset of the last reset banner since the known boot."""
        resets = self.channel.resets(self._accepted)
        return resets[-1].offset if resets else self._accepted.offset

    def _starts(self) -> int:
        """Number of boots since the harness last reset the chip."""
        reset_from = self.channel.reset_from
        return sum(reset.offset >= reset_from for reset in self.channel.resets(self._accepted))

    def _new_boot(self) -> Event | None:
        self._take_events()
        began = self._began()
        records = self.channel.records()
        for event in reversed(self._events):
            if event.name == "boot" and event.boot != self.boot and records[event.index].offset >= began:
                return event
        if self._starts() > budgets.STARTS_MAX:
            return _LOOPING
        return _DAMAGED if self.channel.corrupt(Cursor(began)) else None

    def barrier(self) -> None:
        """Wait until all earlier output has arrived, so that lost records are detected.

        Raises the errors of `command`.
        """
        self.command("heap.probe", caps="DMA")

    # --- events ---

    def mark(self) -> Cursor:
        """The position after everything received so far, to be passed as `since`."""
        return self.channel.mark()

    def _take_events(self) -> None:
        for index, record in enumerate(self.channel.records(Cursor(0, self._assembled)), self._assembled):
            self._assembled = index + 1
            event = self._assembler.feed(record, index)
            if event is not None:
                self._events.append(event)

    def _matching(self, name: str | None, since: Cursor, where: Where | None) -> list[Event]:
        self._take_events()
        return [
            event
            for event in self._events
            if event.index >= since.index and name in (None, event.name) and (where is None or where(event))
        ]

    def _check_gaps(self, since: Cursor, what: str, until: int | None = None) -> None:
        gaps = [gap for gap in self.channel.gaps(since) if until is None or gap.seen_at <= until]
        if gaps:
            numbers = ", ".join(str(gap.n) for gap in gaps[:5])
            raise LostRecord(
                f"{len(gaps)} record(s) were lost (n = {numbers}{', …' if len(gaps) > 5 else ''}), "
                f"so it is unknown {what}",
                _CABLE,
            )

    def events(self, name: str | None = None, *, since: Cursor, where: Where | None = None) -> list[Event]:
        """Events that have arrived after `since`.

        Args:
            name: None for all.
            since: the cursor where the search starts.
            where: condition on the event.

        Raises:
            LostRecord: a record sent after `since` was lost.
        """
        found = self._matching(name, since, where)
        self._check_gaps(since, f"whether there was another event{f' {name!r}' if name else ''}")
        return found

    def wait_event(
        self, name: str, timeout_s: float = budgets.EVENT_S, *, since: Cursor, where: Where | None = None
    ) -> Event:
        """Wait for the first matching event after `since`; it may have arrived already.

        Args:
            name: name of the event.
            timeout_s: time limit, see `Deadline`.
            since: the cursor where the search starts.
            where: condition on the event.

        Raises:
            MissingEvent: the event did not arrive, although the board is alive.
            LostRecord: a missing record may have been the event.
            NoisyLine: the event did not arrive, and the serial line corrupts bytes.
            NoReply: the board is silent.
            BoardReset: the board was reset during the wait.
        """

        def found() -> Event | None:
            events = self._matching(name, since, where)
            if not events and name != "boot":
                self._check_reset(since, f"while waiting for event '{name}'")
            return events[0] if events else None

        event = self.channel.wait(found, timeout_s)
        if event is None:
            self.barrier()
            self._check_gaps(since, f"whether event '{name}' came")
            self._check_noise(since, f"event '{name}' did not arrive within {timeout_s:g} s")
            others = Counter(other.name for other in self._matching(None, since, None))
            seen = ", ".join(f"{other} ({times})" for other, times in others.items()) or "none"
            raise MissingEvent(
                f"event '{name}' did not arrive within {timeout_s:g} s; events since then: {seen}"
            )
        self._check_gaps(since, f"whether there was an earlier event '{name}'", until=event.index)
        return event

    def no_event(self, name: str, *, since: Cursor, where: Where | None = None) -> None:
        """Check that no matching event has been sent since the cursor `since`.

        Raises:
            UnexpectedEvent: one was sent.
            LostRecord: a record sent after `since` was lost.
            NoReply: the board is silent.
            BoardReset: the board was reset.
        """
        self.barrier()
        found = self._matching(name, since, where)
        if found:
            fields = {key: value for key, value in found[0].data.items() if key not in ("event", "b", "n")}
            raise UnexpectedEvent(f"{len(found)} forbidden event(s) '{name}'; the first: {fields}")
        self._check_gaps(since, f"whether event '{name}' came")

    # --- console text ---

    def text(self, since: Cursor) -> str:
        """Everything received after `since`, as text; bytes that are not UTF-8 become U+FFFD."""
        return self.channel.text(since).decode("utf-8", errors="replace")

    def log_lines(self, since: Cursor) -> list[LogLine]:
        """The complete log lines (in ESP_LOG's format) after `since`."""
        lines = LineSplitter(since.offset).feed(self.channel.text(since))
        return [parsed for parsed in map(parse_log_line, lines) if parsed is not None]

    def wait_line(self, pattern: str, timeout_s: float = budgets.EVENT_S, *, since: Cursor) -> LogLine:
        """Wait for the first log line after `since` whose text matches a pattern (re.search).

        Raises:
            MissingEvent: no such line arrived, although the board is alive.
            NoisyLine: no such line arrived, and the serial line corrupts bytes.
            NoReply: the board is silent.
            BoardReset: the board was reset during the wait.
        """
        regex = re.compile(pattern)

        def found() -> LogLine | None:
            line = next((line for line in self.log_lines(since) if regex.search(line.text)), None)
            if line is None:
                self._check_reset(since, f"while waiting for the line {pattern!r}")
            return line

        line = self.channel.wait(found, timeout_s)
        if line is None:
            self.barrier()
            self._check_noise(since, f"no log line matched {pattern!r} within {timeout_s:g} s")
            raise MissingEvent(f"no log line matched {pattern!r} within {timeout_s:g} s")
        return line

    # --- boxes ---

    def _take_boxes(self) -> list[Box | BrokenBox]:
        text = self.channel.text(Cursor(self._box_text_end))
        self._box_text_end += len(text)
        self._boxes += self._box_finder.feed(text)
        return self._boxes

    def boxes(self, since: Cursor, context: str | None = None) -> list[Box]:
        """Complete boxes that started after `since`, even if other tasks' lines interrupt them."""
        return [
            box
            for box in self._take_boxes()
            if isinstance(box, Box) and box.offset >= since.offset and context in (None, box.context)
        ]

    def broken_boxes(self, since: Cursor) -> list[BrokenBox]:
        """Boxes after `since` that were cut off or do not have the guide's layout.

        Raises:
            NoisyLine: the serial line may have damaged them.
        """
        broken = [
            box for box in self._take_boxes() if isinstance(box, BrokenBox) and box.offset >= since.offset
        ]
        if broken:
            self._check_noise(since, f"a statistics box is damaged: {broken[0].reason}")
        return broken

    def wait_box(self, context: str, timeout_s: float = budgets.BOX_S, *, since: Cursor) -> Box:
        """Wait for the first box with this context after `since`.

        Raises:
            ProtocolError: a box does not have the guide's layout.
            MissingEvent: no such box arrived, although the board is alive.
            NoisyLine: the box is missing or damaged, and the serial line corrupts bytes.
            NoReply: the board is silent.
            BoardReset: the board was reset during the wait.
        """

        def found() -> Box | None:
            boxes = self.boxes(since, context)
            if not boxes:
                for broken in self.broken_boxes(since):
                    raise ProtocolError(f"a statistics box does not have the guide's layout: {broken.reason}")
                self._check_reset(since, f"while waiting for the box '{context}'")
            return boxes[0] if boxes else None

        box = self.channel.wait(found, timeout_s)
        if box is None:
            self.barrier()
            self._check_noise(since, f"no statistics box '{context}' arrived within {timeout_s:g} s")
            raise MissingEvent(f"no statistics box '{context}' arrived within {timeout_s:g} s")
        return box


def _refused(reply: Record) -> bool:
    """Whether the firmware refused the request with an error that a damaged request can also cause."""
    return reply.data.get("ok") is False and reply.data.get("err") in _DAMAGED_REQUEST


_LOOPING = Event("looping", {}, 0, "", 0, -1)
"""Placeholder for a boot event that will not arrive."""

_DAMAGED = Event("damaged", {}, 0, "", 0, -1)
"""Placeholder for a boot event that arrived damaged."""
