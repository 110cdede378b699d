"""What a board said in each test, put together from the notes of results.jsonl (shapes: evidence.lines).

A broken firmware may send anything: what does not have its shape is left out and counted, never an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hotpin_hil.evidence import lines
from hotpin_hil.evidence.lines import Line
from hotpin_hil.protocol.fields import FIELDS, MemoryStats
from hotpin_hil.report.heap_map import DrawnHeap
from hotpin_hil.report.timeline import LEVELS, Mark, MarkKind, Span, Timeline, TimelineSample
from hotpin_hil.report.waterfall import Step

GAP_MS = 500
"""Between two boots that are drawn one after the other."""

_OPTIONAL = {name for name, value in vars(MemoryStats).items() if value is None}
_REQUIRED = [one.name for one in FIELDS if one.name not in _OPTIONAL]


@dataclass(frozen=True)
class Change:
    """A change of mode as its event tells it."""

    start: str
    to: str
    ok: bool
    duration_ms: int
    step: str
    """Of the failure, empty when none is known."""
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Ledger:
    """The steps of a change of mode; the change itself is None where its event was not seen."""

    test: str
    change: Change | None
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class HeapPicture:
    """The heaps of some capabilities when a test failed."""

    why: str
    caps: str
    wanted: int | None
    heaps: tuple[DrawnHeap, ...]


@dataclass
class BootStory:
    """What one boot of a board said, times in ms since it began."""

    board: str | None
    boot: str | None
    samples: list[TimelineSample] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    changes: list[tuple[int, Change]] = field(default_factory=list)
    thresholds: list[tuple[float, Mapping[str, int]]] = field(default_factory=list)
    last_ms: int = 0

    @property
    def spans(self) -> list[Span]:
        """From change to change the mode that the board was in, as far as that is known."""
        found = []
        since, mode = 0, ""
        for t_ms, change in self.changes:
            if mode:
                found.append(Span(mode, since, max(since, t_ms - change.duration_ms)))
            since, mode = t_ms, change.to if change.ok else str(change.data.get("mode") or change.start)
        if mode:
            found.append(Span(mode, since, max(since, self.last_ms)))
        return [span for span in found if span.end_ms > span.start_ms]


@dataclass
class TestStory:
    """All that is known of one test besides its measurements."""

    __test__ = False  # its name starts like a test class: pytest leaves it alone

    test: str
    boots: list[BootStory] = field(default_factory=list)
    events: list[Line] = field(default_factory=list)
    """Of the board, in their order: "event" notes."""
    ledgers: list[Ledger] = field(default_factory=list)
    heaps: list[HeapPicture] = field(default_factory=list)
    series: list[Line] = field(default_factory=list)
    slices: list[Line] = field(default_factory=list)
    panics: list[Line] = field(default_factory=list)
    complaints: list[Line] = field(default_factory=list)
    """What was logged as an error or a warning, if the test failed."""
    regions: list[Line] = field(default_factory=list)
    """Answers that say what is free in each heap."""
    raw: list[Line] = field(default_factory=list)
    odd: int = 0
    """Notes whose content did not have its shape."""

    @property
    def changes(self) -> list[Change]:
        return [change for boot in self.boots for _, change in boot.changes]

    @property
    def marks(self) -> list[Mark]:
        return [mark for boot in self.boots for mark in boot.marks]


def read_stories(told: Iterable[Line]) -> dict[str, TestStory]:
    """The story of each test that these notes and logs tell of, in the order of their first words."""
    stories: dict[str, TestStory] = {}
    for line in told:
        take = _TAKERS.get(line.get("about", ""))
        if take is None:
            continue
        story = stories.setdefault(line["test"], TestStory(line["test"]))
        try:
            take(story, line)
        except (KeyError, TypeError, ValueError, AttributeError):
            story.odd += 1
    return stories


def timeline_of(
    boots: Sequence[BootStory], defaults: Mapping[str, int], *, resets: bool = True
) -> Timeline | None:
    """One after the other the boots of a board; None if they hold no sample.

    defaults: the thresholds in force from a boot's start on. resets: whether the boots' starts are marked.
    """
    samples: list[TimelineSample] = []
    marks: list[Mark] = []
    spans: list[Span] = []
    thresholds: list[tuple[float, Mapping[str, int]]] = []
    offset = 0.0
    for number, boot in enumerate(boots):
        if number and resets:
            marks.append(Mark(offset, MarkKind.RESET, f"boot {boot.boot}"))
        samples += [TimelineSample(offset + one.t_ms, one.context, one.stats) for one in boot.samples]
        marks += [Mark(offset + one.t_ms, one.kind, one.text) for one in boot.marks]
        spans += [Span(one.mode, offset + one.start_ms, offset + one.end_ms) for one in boot.spans]
        if defaults:
            thresholds.append((offset, defaults))
        thresholds += [(offset + at, levels) for at, levels in boot.thresholds]
        offset += boot.last_ms + GAP_MS
    return Timeline(samples, marks, spans, thresholds) if samples else None


def default_thresholds(stories: Iterable[TestStory]) -> Mapping[str, int]:
    """Those of the first boot that was asked for them: no test has set others by then."""
    for story in stories:
        for boot in story.boots:
            if boot.thresholds:
                return boot.thresholds[0][1]
    return {}


def _boot(story: TestStory, line: Line) -> BootStory:
    key = line["board"], line["boot"]
    if not story.boots or (story.boots[-1].board, story.boots[-1].boot) != key:
        story.boots.append(BootStory(*key))
    boot = story.boots[-1]
    if isinstance(line["t"], int):
        boot.last_ms = max(boot.last_ms, line["t"])
    return boot


def _event(story: TestStory, line: Line) -> None:
    boot = _boot(story, line)
    story.events.append(line)
    name, data, t_ms = line["event"], line["data"], line["t"]
    if name == "mem.sample":
        boot.samples.append(TimelineSample(int(data["timestamp_ms"]), str(data["context"]), _stats(data)))
    elif name == "mode":
        _mode(boot, t_ms, data)
    elif name in _MARKS:
        kind, text = _MARKS[name]
        boot.marks.append(Mark(t_ms, kind, text(data)))


def _mode(boot: BootStory, t_ms: int, data: Mapping[str, Any]) -> None:
    change = Change(
        start=str(data["from"]),
        to=str(data["to"]),
        ok=data["ok"] is True,
        duration_ms=int(data["duration_ms"]),
        step=str(data.get("step") or ""),
        data=data,
    )
    boot.changes.append((t_ms, change))
    if not change.ok:
        text = f"{change.start} to {change.to} failed at {change.step}: {data.get('err', '')}"
        boot.marks.append(Mark(t_ms, MarkKind.MODE_FAILED, text))


def _stats(data: Mapping[str, Any]) -> MemoryStats:
    values = {one.name: data[one.name] for one in FIELDS if one.name in data}
    if any(type(values.get(name)) is not int for name in _REQUIRED):
        raise ValueError("a sample without one of its figures")
    return MemoryStats(**values)


def _reply(story: TestStory, line: Line) -> None:
    boot = _boot(story, line)
    if line["command"] == "mode.ledger":
        steps = tuple(
            Step(**{name: entry[name] for name in Step.__annotations__}) for entry in line["data"]["ledger"]
        )
        if steps:
            story.ledgers.append(Ledger(story.test, _change_of(steps, boot), steps))
    elif line["command"] == "heap.regions":
        story.regions.append({**line, "data": {"regions": [dict(heap) for heap in line["data"]["regions"]]}})
    elif line["command"] == "mem.thresholds":
        wanted = [level for levels in LEVELS.values() for level in levels]
        boot.thresholds.append((line["t"], {name: int(line["data"][name]) for name in wanted}))


def _change_of(steps: Sequence[Step], boot: BootStory) -> Change | None:
    """The newest change that a ledger can be of: one that was refused before its first step has none."""
    failed = {step.step for step in steps if not step.ok}
    done = not failed and not any(step.undo for step in steps)
    for _, change in reversed(boot.changes):
        if change.ok is done and (done or change.step in failed):
            return change
    return None


def _complaint(story: TestStory, line: Line) -> None:
    story.complaints.append({**line, "t": int(line["t"]), "text": str(line["text"])})


def _heap(story: TestStory, line: Line) -> None:
    heaps = tuple(
        DrawnHeap(
            int(one["heap"]), int(one["at"]), tuple(map(int, one["blocks"])), bool(one.get("truncated"))
        )
        for one in line["heaps"]
        if one["blocks"]
    )
    if heaps:
        story.heaps.append(HeapPicture(str(line["why"]), str(line["caps"]), line["wanted"], heaps))


def _warning(data: Mapping[str, Any]) -> str:
    return f"{data['type']}: {data['value']:,} (threshold {data['threshold']:,})"


def _alloc_failed(data: Mapping[str, Any]) -> str:
    return f"{data['size']:,} B with capabilities {data['caps']:#x} in {data.get('function', '')}"


_MARKS: dict[str, tuple[MarkKind, Callable[[Mapping[str, Any]], str]]] = {
    "mem.warning": (MarkKind.WARNING, _warning),
    "mem.recovered": (MarkKind.RECOVERED, _warning),
    "mem.alloc_failed": (MarkKind.ALLOC_FAILED, _alloc_failed),
}

_TAKERS: dict[str, Callable[[TestStory, Line], None]] = {
    lines.EVENT: _event,
    lines.REPLY: _reply,
    lines.COMPLAINT: _complaint,
    lines.HEAP: _heap,
    lines.SERIES: lambda story, line: story.series.append(line),
    lines.SLICE: lambda story, line: story.slices.append(line),
    lines.PANIC: lambda story, line: story.panics.append(line),
    lines.RAW: lambda story, line: story.raw.append(line),
}
