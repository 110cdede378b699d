"""Analyses one console log in a single pass."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from hotpin_hil.analysis.code_traces import CodeTrace, TraceCollector, trace_json
from hotpin_hil.analysis.decoding import TraceDecoder, with_calls
from hotpin_hil.analysis.diagnosis import Diagnoser
from hotpin_hil.analysis.excerpts import Excerpt
from hotpin_hil.analysis.facts import FactsBuilder
from hotpin_hil.analysis.kinds import Gravity, LookedFor, looked_for
from hotpin_hil.analysis.matched_state import StateLeak
from hotpin_hil.analysis.model import Diagnosis
from hotpin_hil.analysis.series import BOXES, FREE, LARGEST, NO_TAG, RECORDS, MemorySeries, SeriesBuilder
from hotpin_hil.analysis.summary import BootSummary, Lowest, SummaryBuilder, TransitionTimes
from hotpin_hil.logs.format import LEVELS
from hotpin_hil.logs.line_range import WHOLE, LineRange
from hotpin_hil.logs.reader import LogReader
from hotpin_hil.protocol import events as ev

QUOTES_FIRST, QUOTES_LAST = 20, 5
"""Maximum number of quoted unreadable texts, at the start of the log and again at its end."""


@dataclass(frozen=True)
class Complaints:
    """The number of errors or warnings with one tag."""

    level: str
    """"E" or "W"."""
    tag: str
    count: int


@dataclass(frozen=True)
class LogAnalysis:
    """Result of the analysis. Its texts come unchecked from a serial line: escape them."""

    facts: dict[str, Any]
    """Counts and line numbers (`facts` in docs/analyze.md)."""
    not_kept: dict[str, int]
    """Per list in `facts`: number of entries dropped after its first KEPT; empty for logs of usual size."""
    records: int
    """Undamaged records."""
    records_lost: int
    """Records missing between two records of one boot."""
    unreadable: dict[str, int]
    """Number of unreadable texts, by their apparent format."""
    quotes: tuple[ev.Unreadable, ...]
    """The first and the last unreadable texts."""
    boot_count: int
    boots: tuple[BootSummary, ...]
    """The first and the last boots."""
    lowest: tuple[Lowest, ...]
    """The lowest free size of each memory type, from any source."""
    series: tuple[MemorySeries, ...]
    """All readings of memory, by source."""
    complaints: tuple[Complaints, ...]
    """Errors, then warnings, the most frequent first."""
    transitions: tuple[ev.Transition, ...]
    """The first transitions."""
    transition_count: int
    transition_times: tuple[TransitionTimes, ...]
    panics: tuple[ev.PanicSeen, ...]
    """The first panics."""
    leaks: tuple[StateLeak, ...]
    diagnoses: tuple[Diagnosis, ...]
    """The most severe first; within a severity, in the order of their first evidence."""
    looked_for: tuple[LookedFor, ...]
    part: LineRange = WHOLE
    excerpts: tuple[Excerpt, ...] = ()
    """The lines around the evidence, for each diagnosis; empty if the log could not be read twice."""
    traces: tuple[CodeTrace, ...] = ()
    """The first backtraces, registers and other code addresses."""
    traces_not_kept: int = 0

    @property
    def worst(self) -> Gravity | None:
        """Severity of the most severe diagnosis; None without diagnoses."""
        return self.diagnoses[0].gravity if self.diagnoses else None

    def decoded(self, decoder: TraceDecoder) -> LogAnalysis:
        """The analysis with its code addresses decoded.

        Raises:
            UsageError: the toolchain that the user named cannot read an ELF file.
        """
        traces = tuple(map(decoder.decode, self.traces))
        return replace(self, traces=traces, diagnoses=with_calls(self.diagnoses, traces))

    @property
    def is_log(self) -> bool:
        """Whether the log contains any ESP32 output."""
        boots = self.facts["boots"]
        seen = (self.facts["log_levels"], self.records, boots["rom_banners"], boots["rom_resets"])
        return any(seen) or bool(self.facts["panics"] or self.series or self.diagnoses)

    def to_json(self) -> dict[str, Any]:
        """The whole result as a JSON-serializable dict, without chart data."""
        return {
            "schema": 1,
            "worst": self.worst,
            "part": {"first_line": self.part.first, "last_line": self.part.last, "boot": self.part.boot},
            "facts": self.facts,
            "not_kept": self.not_kept,
            "records": self.records,
            "records_lost": self.records_lost,
            "unreadable": self.unreadable,
            "unreadable_quotes": [asdict(quote) for quote in self.quotes],
            "boot_count": self.boot_count,
            "boots": [asdict(replace(boot, story=None)) | {"how": boot.how} for boot in self.boots],
            "lowest": [asdict(lowest) for lowest in self.lowest],
            "direct_readings": [_printed_json(series) for series in self.series if _is_printed(series)],
            "memory_series": [series.to_json() for series in self.series],
            "complaints": [asdict(complaints) for complaints in self.complaints],
            "transition_count": self.transition_count,
            "transitions": [asdict(transition) for transition in self.transitions],
            "transition_times": [asdict(times) for times in self.transition_times],
            "panics": [_panic_json(panic) for panic in self.panics],
            "leaks": [_leak_json(leak) for leak in self.leaks],
            "diagnoses": self._diagnoses_json(),
            "looked_for": [asdict(topic) for topic in self.looked_for],
            "code": [trace_json(trace) for trace in self.traces],
            "code_not_kept": self.traces_not_kept,
        }

    def _diagnoses_json(self) -> list[dict[str, Any]]:
        excerpts = self.excerpts or ((),) * len(self.diagnoses)
        return [
            asdict(diagnosis)
            | {"gravity": diagnosis.gravity, "excerpt": [line._asdict() for line in excerpt]}
            for diagnosis, excerpt in zip(self.diagnoses, excerpts, strict=True)
        ]


def _is_printed(series: MemorySeries) -> bool:
    return series.quantity == FREE and series.source not in (RECORDS, BOXES)


def _printed_json(series: MemorySeries) -> dict[str, Any]:
    return {
        "tag": "" if series.source == NO_TAG else series.source,
        "memory": series.memory,
        "count": series.count,
        "lowest": series.lowest.bytes,
        "highest": series.highest.bytes,
        "lowest_line": series.lowest.line,
    }


def _panic_json(event: ev.PanicSeen) -> dict[str, Any]:
    panic = event.panic
    return {
        "line": event.line,
        "boot": event.boot,
        "cause": panic.cause,
        "headline": panic.headline,
        "core": panic.core,
        "task": panic.task,
        "details": list(panic.details),
        "elf_sha256": panic.elf_sha256,
        "cores": [
            {
                "core": state.core,
                "registers": {name: f"0x{value:08x}" for name, value in state.registers.items()},
                "backtrace": [str(frame) for frame in state.backtrace],
                "mark": state.mark,
            }
            for state in panic.states
        ],
        "core_dump_lines": panic.core_dump_lines,
        "core_dump_whole": panic.is_core_dump_whole,
    }


def _leak_json(leak: StateLeak) -> dict[str, Any]:
    known = asdict(replace(leak, values=())) | {"verdict": str(leak.verdict), "text": str(leak)}
    del known["values"]
    if leak.leak is not None:  # JSON has no infinite numbers
        known["leak"] = {
            name: value if not isinstance(value, float) or math.isfinite(value) else None
            for name, value in known["leak"].items()
        }
    return known


def analyze(chunks: Iterable[bytes], name: str, part: LineRange = WHOLE) -> LogAnalysis:
    """Analyse a log; memory use does not grow with its length.

    Args:
        chunks: the log, in chunks of any size.
        name: name of the log in the facts.
        part: the lines to analyse, as if they were a separate log.
    """
    reader = LogReader(part.first, part.boot)
    facts, summary, diagnoser = FactsBuilder(), SummaryBuilder(part.first, part.boot), Diagnoser()
    series, unreadable, traces = SeriesBuilder(), _Unreadables(), TraceCollector()
    if part != WHOLE:
        chunks = part.cut(chunks)

    def take(events: Iterable[ev.LogEvent]) -> None:
        for event in events:
            facts.feed(event)
            summary.feed(event)
            series.feed(event)
            diagnoser.feed(event)
            traces.feed(event)
            if isinstance(event, ev.Unreadable):
                unreadable.add(event)

    for chunk in chunks:
        take(reader.feed(chunk))
    take(reader.close())
    summary.close(reader.scan.headed_lines)
    scan = reader.scan
    tally = scan.tally
    counts = unreadable.counts + Counter(
        {
            "time stamp": len(tally.odd_stamps) + tally.not_kept["odd_stamps"],
            "header within a line": len(tally.hidden_headers) + tally.not_kept["hidden_headers"],
            "overlong line": scan.blocks.overlong_lines,
        }
    )
    diagnoses = tuple(sorted(diagnoser.result(), key=lambda diagnosis: diagnosis.gravity.rank))
    every = series.result()
    return LogAnalysis(
        facts=facts.result(name, reader),
        not_kept=dict(facts.not_kept),
        records=reader.records,
        records_lost=reader.records_lost,
        unreadable=dict(counts),
        quotes=unreadable.quotes,
        boot_count=summary.boots,
        boots=summary.kept_boots,
        lowest=tuple(summary.lowest.values()),
        series=every,
        complaints=tuple(
            Complaints(LEVELS[level], tag, count)
            for level, by_tag in tally.complaints.items()
            for tag, count in by_tag.most_common()
        ),
        transitions=tuple(summary.transitions),
        transition_count=summary.transition_count,
        transition_times=summary.transition_times,
        panics=tuple(summary.panics),
        leaks=tuple(diagnoser.leaks),
        diagnoses=diagnoses,
        looked_for=looked_for(
            (diagnosis.id for diagnosis in diagnoses),
            has_panic=bool(summary.panics),
            has_series=any(leak.leak is not None for leak in diagnoser.leaks),
            has_largest=any(shown.quantity == LARGEST for shown in every),
        ),
        part=part,
        traces=tuple(traces.traces),
        traces_not_kept=traces.not_kept,
    )


def with_damage(analysis: LogAnalysis, damage: str) -> LogAnalysis:
    """Add a note that only the first part of the file could be read.

    Args:
        analysis: analysis of the part that could be read.
        damage: why the rest could not be read.
    """
    last = analysis.part.first + analysis.facts["lines"] - 1
    quoted = ev.Unreadable(last, analysis.part.boot, None, what="file", reason=damage, quote="")
    return replace(analysis, unreadable=analysis.unreadable | {"file": 1}, quotes=(quoted, *analysis.quotes))


class _Unreadables:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._first: list[ev.Unreadable] = []
        self._last: deque[ev.Unreadable] = deque(maxlen=QUOTES_LAST)

    def add(self, event: ev.Unreadable) -> None:
        self.counts[event.what] += 1
        if len(self._first) < QUOTES_FIRST:
            self._first.append(event)
        else:
            self._last.append(event)

    @property
    def quotes(self) -> tuple[ev.Unreadable, ...]:
        return (*self._first, *self._last)
