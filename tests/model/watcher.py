"""Checks everything that the firmware sends without a request, in order of arrival."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fixtures.memory import DEFAULT_THRESHOLDS
from tests.model.board import Item
from tests.model.levels import Change, Levels
from tests.model.memory import FIELDS, Memory, expect
from tests.model.rings import Boxes, Events, FailureSlots, History
from tests.model.schedule import SLACK_MS, WORD, Schedule

FAILURE_SPAN_MS = 2000
"""A time longer than any operation with failing allocations."""

Row = dict[str, Any]


@dataclass
class Snapshot:
    """An expected snapshot: its context and, if known, its figures."""

    context: str
    figures: Mapping[str, int] | None = None


class Watcher:
    """The model of one boot; it checks the board's output."""

    def __init__(self, now_us: int) -> None:
        self.memory = Memory()
        self.schedule = Schedule()
        self.boxes, self.events, self.history, self.failures = Boxes(), Events(), History(), FailureSlots()
        self.levels, self.thresholds = Levels(), dict(DEFAULT_THRESHOLDS)
        self.boot_id: str | None = None
        self.boot_event: Row | None = None
        self.modes: list[Row] = []
        self.playbacks: list[Row] = []
        self.logged: deque[Snapshot] = deque()
        """Expected snapshots, in the order in which the script caused them."""
        self.callbacks = 0
        """Registered pairs of callbacks."""
        self.callback_logs = False
        self.calls: list[Row] = []
        self.since_us = self.now_us = now_us
        """Start of the operation in progress, and current time."""
        self._follow: deque[Snapshot] = deque()
        self._announced: list[Row] = []
        self._n: int | None = None
        self._t: int | None = None
        self._part: Row | None = None
        self._dropped_event = 0

    def is_quiet(self) -> bool:
        """Whether all expected output has arrived."""
        return not (self.boxes.waiting or self.logged or self._follow or self._announced or self._part)

    def outstanding(self) -> str:
        """Describes the expected output that has not arrived."""
        waiting = (list(self.boxes.waiting), list(self.logged), list(self._follow), self._announced)
        return "boxes {}, snapshots {}, after a warning {}, announced {}".format(*waiting)

    def check_quiet(self) -> None:
        """Check that all expected output has arrived."""
        expect(self.is_quiet(), f"outstanding: {self.outstanding()}")
        expect(self.boxes.reported == self.boxes.dropped,
               f"{self.boxes.dropped} boxes were dropped, {self.boxes.reported} are reported")  # fmt: skip
        if self.schedule.is_overdue(self.now_us) and not self.schedule.congested:
            expect(False, f"no sample at {self.now_us} us, interval {self.schedule.interval_ms} ms")

    def fail(self, size: int, caps: int, function: str) -> None:
        """Note that the next request makes this allocation fail."""
        self.failures.put({"size": size, "caps": caps, "function": function, "at_us": self.now_us})

    def jumped(self, now_us: int) -> None:
        """Note that the clock has jumped."""
        self.since_us = self.now_us = now_us
        self._t = None

    # --- Arriving output ---

    def absorb(self, items: list[Item], now_us: int) -> None:
        """Process the output that arrived while the clock ran to `now_us`; empties the list."""
        self.now_us = now_us
        for item in items:
            if item.head == "box":
                waiting, context = self.boxes.waiting, item.data["context"]
                expect(bool(waiting), f"a box {context!r} that was not logged, or was dropped")
                expect(waiting[0] == context, f"a box {context!r}, the oldest one is {waiting[0]!r}")
                waiting.popleft()
                continue
            self._check_record(item.data)
            if item.head == "!":
                self._event(item.data)
        items.clear()

    def _check_record(self, data: Row) -> None:
        self.boot_id = self.boot_id or data["b"]
        expect(data["b"] == self.boot_id, f"boot id {data['b']} in boot {self.boot_id}")
        expect(self._n is None or data["n"] == self._n + 1, f"record number {data['n']} after {self._n}")
        self._n = data["n"]
        later_ms = (data["t"] - (data["t"] if self._t is None else self._t)) % WORD
        age_ms = self.unwrapped_age_ms(data["t"])
        expect(later_ms < WORD // 2 and age_ms >= -1, f"t={data['t']} after {self._t}, at {self.now_us} us")
        self._t = data["t"]

    def unwrapped_age_ms(self, stamp_ms: int) -> int:
        """Milliseconds since a 32-bit time stamp, even if its counter has wrapped; negative if it is in the future."""
        age = (self.now_us // 1000 - stamp_ms) % WORD
        return age if age < WORD // 2 else age - WORD

    def taken_us(self, stamp_ms: int) -> int:
        """A time stamp in microseconds without wrapping. It must lie within the current operation."""
        taken_us = (self.now_us // 1000 - self.unwrapped_age_ms(stamp_ms)) * 1000
        expect(self.since_us - SLACK_MS * 1000 <= taken_us <= self.now_us + 1000,
               f"time stamp {stamp_ms} ms is not within {self.since_us} to {self.now_us} us")  # fmt: skip
        return taken_us

    def _event(self, data: Row) -> None:
        name = data["event"]
        if name == "mem.sample":
            whole = {**(self._part or {}), **data}
            self._part = whole if data.get("more") else None
            if self._part is None:
                self._snapshot(whole)
            return
        expect(self._part is None, f"event {name} inside a sample")
        if name in ("mem.warning", "mem.recovered"):
            self._announced.append(data)
            keys = ("timestamp_ms", "type", "value", "threshold")
            kind = "warning" if name == "mem.warning" else "recovered"
            self.events.put({"kind": kind, **{key: data[key] for key in keys}})
        elif name == "mem.alloc_failed":
            self._alloc_failed(data)
        elif name == "log.dropped":
            self._dropped_event = data["boxes"]
        elif name == "boot":
            self.boot_event = data
        elif name == "mode":
            self.modes.append(data)
        elif name == "mem.reclaimed":
            expect(data["gain"] >= 0, f"a negative gain in {data}")
        else:
            expect(name == "tts", f"unknown event {data}")
            self.playbacks.append(data)

    def _alloc_failed(self, data: Row) -> None:
        failure = self.failures.take()
        expect(failure is not None, f"no allocation failed, but {data}")
        assert failure is not None
        said = {key: data[key] for key in ("size", "caps", "function", "lost")}
        late_ms = (data["timestamp_ms"] - failure.pop("at_us") // 1000 + FAILURE_SPAN_MS) % WORD
        expect(said == failure and late_ms <= 2 * FAILURE_SPAN_MS, f"{data} is reported, {failure} is due")
        keys = ("timestamp_ms", "size", "caps", "function")
        self.events.put({"kind": "alloc_failed", **{key: data[key] for key in keys}})

    # --- Snapshots ---

    def _snapshot(self, data: Row) -> None:
        context = data["context"]
        stats = {name: data[name] for name in FIELDS}
        expect(
            data["snapshot"] == self.history.newest + 1,
            f"snapshot {data['snapshot']} after {self.history.newest}",
        )
        self.history.put({"sequence": data["snapshot"], "context": context, **stats})
        self._count_drops(data)
        taken_us = self.taken_us(stats["timestamp_ms"])
        if self._follow:
            self._check_snapshot(self._follow.popleft(), context, stats)
        elif context == "Periodic":
            self._check_snapshot(Snapshot(context, self.memory.known), context, stats)
            self.schedule.sampled(taken_us)
            expect(not len(self.failures), "a periodic sample, but failed allocations are not reported")
            self.memory.new_window(stats)
            self._check_levels(self.levels.check(stats, self.thresholds), stats)
        else:
            expect(bool(self.logged), f"snapshot {context!r}, which the script did not cause")
            self._check_snapshot(self.logged.popleft(), context, stats)
        self.memory.check_delta(data, context)

    def _check_snapshot(self, wanted: Snapshot, context: str, stats: Row) -> None:
        expect(context == wanted.context, f"snapshot {context!r} instead of {wanted.context!r}")
        if context == "Memory Warning":  # the snapshot must be a copy of the sample that was checked
            for name, value in (wanted.figures or {}).items():
                expect(stats[name] == value, f"{context}: {name} is {stats[name]}, the sample had {value}")
            return
        self.memory.check(stats, context, wanted.figures)

    def _count_drops(self, data: Row) -> None:
        self.boxes.put(data["context"])
        self.boxes.reported += data["boxes_dropped"]
        expect(self._dropped_event == data["boxes_dropped"],
               f"{data['boxes_dropped']} boxes dropped, log.dropped says {self._dropped_event}")  # fmt: skip
        self._dropped_event = 0

    # --- Levels ---

    def expect_check(self, stats: Mapping[str, int]) -> list[Change]:
        """Note the records and boxes that must follow the next check of these figures. Pass the result to
        `confirm_check`."""
        changes = self.levels.check(stats, self.thresholds)
        self._follow.extend(self._followers(changes, stats))
        return changes

    def confirm_check(self, changes: list[Change]) -> None:
        """Compare the announced level changes with the expected changes after the check."""
        self._compare(changes, None)

    def _check_levels(self, changes: list[Change], stats: Row) -> None:
        self._compare(changes, stats["timestamp_ms"])
        self._follow.extend(self._followers(changes, stats))

    def _followers(self, changes: list[Change], stats: Mapping[str, int]) -> list[Snapshot]:
        followers = []
        if any(not change.recovered for change in changes):
            followers.append(Snapshot("Memory Warning", stats))
        if self.callbacks and self.callback_logs:
            names = {False: "Warning Callback", True: "Recovery Callback"}
            for number, change in enumerate(changes):
                # While monitoring is off, the first log creates the task that writes the logs, so later figures are
                # unknown.
                steady = number == 0 or self.schedule.interval_ms > 0
                followers.append(Snapshot(names[change.recovered], self.memory.known if steady else None))
        return followers

    def _compare(self, changes: list[Change], stamp_ms: int | None) -> None:
        said = [(row["event"], row["type"], row["value"], row["threshold"]) for row in self._announced]
        names = {False: "mem.warning", True: "mem.recovered"}
        wanted = [
            (names[change.recovered], change.type, change.value, change.threshold) for change in changes
        ]
        expect(said == wanted, f"announced {said} instead of {wanted}")
        stamps = {row["timestamp_ms"] for row in self._announced}
        expect(
            len(stamps) <= 1 and (stamp_ms is None or stamps <= {stamp_ms}),
            f"times {stamps}, sample {stamp_ms}",
        )
        for stamp in stamps:
            self.taken_us(stamp)
        self._announced.clear()
        for change in changes:
            call = {"kind": "recovered" if change.recovered else "warning", "type": change.type,
                    "value": change.value, "threshold": change.threshold, "timestamp_ms": min(stamps)}  # fmt: skip
            self.calls += [{"callback": number, **call} for number in range(self.callbacks)]
