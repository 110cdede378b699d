"""The events and replies of a board in each test, collected from the notes of results.jsonl.

Broken firmware may send anything, so malformed data is ignored and counted, and is not an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hotpin_hil.evidence.lines import (
    AllocationsNote,
    ComplaintNote,
    EventNote,
    HeapNote,
    Moment,
    PanicLog,
    ReplyNote,
    ResultsLine,
    SeriesNote,
    SliceLog,
)
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.decode import Place, decode_event
from hotpin_hil.protocol.errors import ProtocolError
from hotpin_hil.protocol.memory_history import HistoryRow, parse_flash_history
from hotpin_hil.report.heap_map import DrawnHeap
from hotpin_hil.report.timeline import LEVELS, Mark, MarkKind, Span, Timeline, TimelineSample
from hotpin_hil.report.waterfall import Step

GAP_MS = 500
"""Gap in the drawing between two consecutive boots."""

_Taken = EventNote | ReplyNote | ComplaintNote | HeapNote | SeriesNote | AllocationsNote | SliceLog | PanicLog
_TAKEN = (EventNote, ReplyNote, ComplaintNote, HeapNote, SeriesNote, AllocationsNote, SliceLog, PanicLog)


@dataclass(frozen=True)
class Ledger:
    """The steps of a mode transition; `change` is None if its event is missing."""

    test: str
    change: ev.ModeChange | None
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class HeapPicture:
    """The heaps with some capabilities, read after a failure."""

    why: str
    caps: str
    wanted: int | None
    heaps: tuple[DrawnHeap, ...]


@dataclass
class BootStory:
    """The data of one boot of a board; times in ms since boot."""

    board: str | None
    boot: str | None
    samples: list[TimelineSample] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    changes: list[tuple[int, ev.ModeChange]] = field(default_factory=list)
    thresholds: list[tuple[float, Mapping[str, int]]] = field(default_factory=list)
    last_ms: int = 0

    @property
    def spans(self) -> list[Span]:
        """The known modes of the board between transitions."""
        found = []
        since, mode = 0, ""
        for t_ms, change in self.changes:
            if mode:
                found.append(Span(mode, since, max(since, t_ms - change.duration_ms)))
            since, mode = t_ms, change.to if change.ok else change.mode or change.start
        if mode:
            found.append(Span(mode, since, max(since, self.last_ms)))
        return [span for span in found if span.end_ms > span.start_ms]


@dataclass
class TestStory:
    """All data about one test besides its measurements."""

    __test__ = False  # not a test class, despite its name

    test: str
    boots: list[BootStory] = field(default_factory=list)
    events: list[EventNote] = field(default_factory=list)
    """The board's "event" notes, in order."""
    ledgers: list[Ledger] = field(default_factory=list)
    heaps: list[HeapPicture] = field(default_factory=list)
    series: list[SeriesNote] = field(default_factory=list)
    allocations: list[AllocationsNote] = field(default_factory=list)
    slices: list[SliceLog] = field(default_factory=list)
    panics: list[PanicLog] = field(default_factory=list)
    complaints: list[ComplaintNote] = field(default_factory=list)
    """The board's error and warning lines, if the test failed."""
    histories: list[tuple[HistoryRow, ...]] = field(default_factory=list)
    """The histories in flash that the test stored, each with the oldest row first."""
    regions: list[ReplyNote] = field(default_factory=list)
    """Replies to `heap.regions`."""
    odd: int = 0
    """Number of malformed notes."""

    @property
    def changes(self) -> list[ev.ModeChange]:
        return [change for boot in self.boots for _, change in boot.changes]

    @property
    def marks(self) -> list[Mark]:
        return [mark for boot in self.boots for mark in boot.marks]


def read_stories(notes: Iterable[ResultsLine]) -> dict[str, TestStory]:
    """Collect the story of each test from its notes and logs; the tests are in the order of their first lines."""
    stories: dict[str, TestStory] = {}
    for line in notes:
        if isinstance(line, _TAKEN):
            story = stories.setdefault(line.test, TestStory(line.test))
            try:
                _take(story, line)
            except (KeyError, TypeError, ValueError, AttributeError, ProtocolError):
                story.odd += 1
    return stories


def timeline_of(
    boots: Sequence[BootStory], defaults: Mapping[str, int], *, resets: bool = True
) -> Timeline | None:
    """Join the boots of a board into one timeline; None without samples.

    Args:
        boots: the boots, in order.
        defaults: the thresholds at the start of each boot.
        resets: whether to mark the start of each boot.
    """
    samples: list[TimelineSample] = []
    marks: list[Mark] = []
    spans: list[Span] = []
    thresholds: list[tuple[float, Mapping[str, int]]] = []
    offset = 0.0
    for number, boot in enumerate(boots):
        if number and resets:
            marks.append(Mark(offset, MarkKind.RESET, f"boot {boot.boot}"))
        samples += [
            TimelineSample(offset + sample.t_ms, sample.context, sample.stats) for sample in boot.samples
        ]
        marks += [Mark(offset + mark.t_ms, mark.kind, mark.text) for mark in boot.marks]
        spans += [Span(span.mode, offset + span.start_ms, offset + span.end_ms) for span in boot.spans]
        if defaults:
            thresholds.append((offset, defaults))
        thresholds += [(offset + at, levels) for at, levels in boot.thresholds]
        offset += boot.last_ms + GAP_MS
    return Timeline(samples, marks, spans, thresholds) if samples else None


def default_thresholds(stories: Iterable[TestStory]) -> Mapping[str, int]:
    """The thresholds of the first boot that reports them, before any test sets others."""
    for story in stories:
        for boot in story.boots:
            if boot.thresholds:
                return boot.thresholds[0][1]
    return {}


def _take(story: TestStory, line: _Taken) -> None:
    match line:
        case EventNote():
            _event(story, line)
        case ReplyNote():
            _reply(story, line)
        case ComplaintNote():
            if line.t is None:
                raise ValueError("a complaint without board time")
            story.complaints.append(line)
        case HeapNote():
            _heap(story, line)
        case SeriesNote():
            story.series.append(line)
        case AllocationsNote():
            story.allocations.append(line)
        case SliceLog():
            story.slices.append(line)
        case PanicLog():
            story.panics.append(line)


def _boot(story: TestStory, moment: Moment) -> BootStory:
    key = moment.board, moment.boot
    if not story.boots or (story.boots[-1].board, story.boots[-1].boot) != key:
        story.boots.append(BootStory(*key))
    boot = story.boots[-1]
    if isinstance(moment.t, int):
        boot.last_ms = max(boot.last_ms, moment.t)
    return boot


def _event(story: TestStory, line: EventNote) -> None:
    boot = _boot(story, line.moment)
    story.events.append(line)
    place = Place(len(story.events), len(story.boots) - 1, line.t)
    match decode_event(line.event, line.data, place):
        case ev.Sample() as sample:
            boot.samples.append(TimelineSample(sample.stats.timestamp_ms, sample.context, sample.stats))
        case ev.ModeChange() as change:
            boot.changes.append((_time(line), change))
            if not change.ok:
                text = f"{change.start} to {change.to} failed at {change.step}: {change.error}"
                boot.marks.append(Mark(_time(line), MarkKind.MODE_FAILED, text))
        case ev.MemoryWarning() as warning:
            kind = MarkKind.RECOVERED if warning.recovered else MarkKind.WARNING
            text = f"{warning.type}: {warning.value:,} (threshold {warning.threshold:,})"
            boot.marks.append(Mark(_time(line), kind, text))
        case ev.AllocationFailed() as failed:
            text = f"{failed.size:,} B with capabilities {failed.caps:#x} in {failed.function}"
            boot.marks.append(Mark(_time(line), MarkKind.ALLOC_FAILED, text))


def _time(line: EventNote | ReplyNote) -> int:
    """Board time of a line, ms. Raises TypeError if it has none."""
    if not isinstance(line.t, int):
        raise TypeError("a line without board time")
    return line.t


def _reply(story: TestStory, line: ReplyNote) -> None:
    boot = _boot(story, line.moment)
    if line.command == "mode.ledger":
        steps = tuple(
            Step(**{name: entry[name] for name in Step.__annotations__}) for entry in line.data["ledger"]
        )
        if steps:
            story.ledgers.append(Ledger(story.test, _change_of(steps, boot), steps))
    elif line.command == "heap.regions":
        regions = [dict(heap) for heap in line.data["regions"]]
        story.regions.append(replace(line, data={"regions": regions}))
    elif line.command == "mem.history":
        rows = parse_flash_history(line.data, line.command).rows
        story.histories.append(tuple(reversed(rows)))
    elif line.command == "mem.thresholds":
        wanted = [level for levels in LEVELS.values() for level in levels]
        boot.thresholds.append((_time(line), {name: int(line.data[name]) for name in wanted}))


def _change_of(steps: Sequence[Step], boot: BootStory) -> ev.ModeChange | None:
    """The newest transition that matches a ledger. A transition refused before its first step has no ledger."""
    failed = {step.step for step in steps if not step.ok}
    done = not failed and not any(step.undo for step in steps)
    for _, change in reversed(boot.changes):
        if change.ok is done and (done or change.step in failed):
            return change
    return None


def _heap(story: TestStory, line: HeapNote) -> None:
    heaps = tuple(
        DrawnHeap(int(heap.heap), int(heap.at), tuple(map(int, heap.blocks)), bool(heap.truncated))
        for heap in line.heaps
        if heap.blocks
    )
    if heaps:
        story.heaps.append(HeapPicture(line.why, line.caps, line.wanted, heaps))
