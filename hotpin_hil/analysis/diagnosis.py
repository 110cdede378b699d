"""From a log's events to what was wrong with memory: by name, with the lines that show it and what to do.

    for diagnosis in diagnose(read_events(log)): ...

Pure: events go in, diagnoses come out. What the log states is a fact; what only follows from it together with
what recorded boards have taught is called an inference.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

from hotpin_hil.analysis import catalogue
from hotpin_hil.analysis.catalogue import Known
from hotpin_hil.analysis.leak import LeakVerdict
from hotpin_hil.analysis.matched_state import MatchedStates, StateLeak, same_figures
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.events import LogEvent
from hotpin_hil.protocol.fields import MEMORIES, MemoryStats

NAMES = {"internal": "internal memory", "dma": "DMA-capable memory", "psram": "PSRAM", "heap": "all heaps"}

FRAGMENTATION_PERCENT = 30
"""The guide's threshold of a warning."""
PSRAM_WARNING, PSRAM_CRITICAL = 500 * 1024, 200 * 1024
"""Bytes; the guide's thresholds."""
CAMERA_BLOCK, CAMERA_COST = 32_768, 37_780
"""Bytes of DMA-capable memory: the camera's largest block, and all it takes (recorded boards)."""
I2S_BLOCK, I2S_COST = 4_080, 25_980
"""The same for the I2S driver."""
I2S_BUFFERS = "four blocks of 4,080 and four of 2,040 bytes, 25,980 in all"
INCIDENT_MS = 1_000
"""What different components say of one shortage comes within this time."""
RETRY_MS = 50
"""And what one of them says of its second attempt, within this."""
LOW_PERCENT = 10
"""A memory that was below this was not fragmented."""
EVIDENCE_MAX = 8
LEAKS_KEPT, LEAKS_DRAWN = 500, 24
"""Verdicts kept, and those whose readings are."""
FOUND_MAX = 200
"""Different diagnoses kept; a log has a handful."""

_BEFORE = re.compile(r"Before (Camera|Voice) Transition")
_BEFORE_TTS = "Before TTS Allocation"
_AFTER = re.compile(r"After (?:(Camera|Voice) Transition|Error Recovery)")
_CONTEXTS_KEPT = 32
_SELF_MADE_RESETS = ("POWERON_RESET", "SW_RESET", "DEEPSLEEP_RESET", "SDIO_RESET")
"""Causes that no crash leads to."""


class Confidence(str, Enum):
    FACT = "fact"
    """The log itself says so."""
    INFERENCE = "inference"
    """It fits what the log says; something else could look the same."""

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Evidence:
    """A line of the log that shows it. The text may hold anything: show it escaped."""

    line: int
    t_ms: int | None
    text: str


@dataclass(frozen=True)
class Diagnosis:
    id: str
    """"DIAG-01" … "DIAG-04" of the guide's troubleshooting section, or the catalogue's name."""
    name: str
    finding: str
    """One sentence, or two."""
    evidence: tuple[Evidence, ...]
    cause: str
    """What most likely led to it."""
    remedy: str
    confidence: Confidence
    boot: int
    """0-based boot of the log that it was first seen in."""
    count: int = 1
    """How many times the log shows it."""


def diagnose(events: Iterable[LogEvent]) -> list[Diagnosis]:
    """All that the events show, in the order in which it was first seen."""
    diagnoser = Diagnoser()
    for event in events:
        diagnoser.feed(event)
    return diagnoser.result()


@dataclass
class _Shortage:
    """A failed allocation or transition whose circumstances are still being told."""

    event: ev.AllocationFailed | ev.Transition
    sample: ev.Sample | None
    print: ev.HeapPrint | None
    best: ev.Sample | None
    """The sample of the same context with most memory free, for comparison."""
    heaps: ev.HeapsReported | None


@dataclass(frozen=True)
class _Rise:
    """How a memory's fragmentation grew from one sample to the next."""

    points: int
    before: ev.Sample | None
    after: ev.Sample
    state: str


@dataclass(frozen=True)
class _Fall:
    """How much PSRAM went from one sample to the next."""

    bytes: int
    before: ev.Sample
    after: ev.Sample
    state: str

    def __str__(self) -> str:
        return (
            f'{self.bytes:,} bytes of PSRAM went {self.state} (from "{self.before.context}" to '
            f'"{self.after.context}")'
        )


@dataclass
class _Crash:
    """The chain of a crash, link by link."""

    boot: int
    to: str
    """Mode that the transition led to; empty while nothing shows that there was one."""
    before: Evidence | None
    panic: ev.PanicSeen | None = None
    reset: ev.BootStarted | None = None
    reason: ev.ResetReason | None = None
    survived: ev.Survived | None = None


class Diagnoser:
    """`diagnose` for a stream; what it keeps does not grow with the log."""

    def __init__(self) -> None:
        self.leaks: list[StateLeak] = []
        """The verdicts on every boot that has ended, as many as are kept."""
        self._found: dict[tuple[str, str], Diagnosis] = {}
        self._states = MatchedStates()
        self._boot = 0
        self._heaps: ev.HeapsReported | None = None
        self._mode = ""
        self._begun: Evidence | None = None
        self._begun_to = ""
        self._ended_ms = -1
        """Board's time at which the last transition ended: a sample of before then tells of no new one."""
        self._crash: _Crash | None = None
        self._last: ev.Sample | None = None
        self._before: ev.Sample | None = None
        self._by_context: dict[str, ev.Sample] = {}
        self._prints: dict[str, ev.HeapPrint] = {}
        self._shortage: _Shortage | None = None
        self._is_summed: bool | None = None
        """Whether the fragmentation figure counts separate heaps; None before the first sample."""
        self._has_records = False
        """Whether this boot's samples come as records."""
        self._early: list[ev.MemoryWarning] = []
        """Fragmentation warnings that came before the first sample."""
        self._rises: dict[str, _Rise] = {}
        """The steepest rise of each memory's fragmentation since it was low."""
        self._fragmented: set[str] = set()
        self._unlocated: dict[str, tuple[ev.Sample, _Rise]] = {}
        """Those of them for which no map has told the heap yet."""
        self._fall: _Fall | None = None
        """The largest fall of PSRAM since there was enough of it."""
        self._camera_worked = False

    def feed(self, event: LogEvent) -> None:
        """Take in the next event."""
        if event.boot != self._boot or isinstance(event, ev.BootStarted):
            self._end_boot()
            self._boot = event.boot
        self._states.feed(event)
        match event:
            case ev.HeapPrint():
                self._prints[event.memory] = event
            case ev.BootStarted():
                self._start(event)
            case ev.ResetReason():
                if self._crash is not None and self._crash.reason is None:
                    self._crash.reason = event
            case ev.Survived():
                self._survive(event)
            case ev.Sample():
                self._sample(event)
            case ev.HeapsReported():
                self._map(event)
            case ev.TransitionStarted():
                self._begin(
                    event.to, event.line, event.t_ms, f"=== TRANSITION TO {event.to.upper()} MODE ==="
                )
            case ev.Transition():
                self._transition(event)
            case ev.AllocationFailed():
                self._short(event)
            case ev.MemoryWarning(recovered=False):
                self._warning(event)
            case ev.PanicSeen():
                self._panic(event)
            case ev.TaskWatchdog():
                known = catalogue.of_task_watchdog(event.tasks)
                self._note(known, event, f"task watchdog: {', '.join(event.tasks)}")
            case ev.CameraFailed():
                if "not supported" in event.text or "NOT_SUPPORTED" in event.text:
                    self._note(catalogue.CAMERA_NOT_SUPPORTED, event, event.text)

    def result(self) -> list[Diagnosis]:
        """What was found so far."""
        self._end_boot()
        self._end_crash()
        return list(self._found.values())

    # --- Findings ---

    def _add(self, key: str, found: Diagnosis) -> None:
        """Counts it, or keeps it with its evidence when it is the first of its kind."""
        known = self._found.get((found.id, key))
        if known is not None:
            more = tuple(one for one in found.evidence if one not in known.evidence)
            evidence = (*known.evidence, *more)[:EVIDENCE_MAX]
            self._found[found.id, key] = replace(known, count=known.count + 1, evidence=evidence)
        elif len(self._found) < FOUND_MAX:
            self._found[found.id, key] = found

    def _note(self, known: Known, event: LogEvent, text: str, key: str = "") -> None:
        confidence = Confidence.FACT if known.is_fact else Confidence.INFERENCE
        evidence = (Evidence(event.line, event.t_ms, text),)
        self._add(
            key,
            Diagnosis(
                known.id,
                known.name,
                known.finding,
                evidence,
                known.cause,
                known.remedy,
                confidence,
                self._boot,
            ),
        )

    # --- Boots and crashes ---

    def _start(self, boot: ev.BootStarted) -> None:
        crash = self._crash
        is_after_panic = crash is not None and crash.panic is not None and crash.reset is None
        known = catalogue.of_reset(boot, after_panic=is_after_panic)
        text = boot.cause or f"a boot without banner, shown by: {boot.sign}"
        if known is not None:
            self._note(known, boot, text, boot.cause)
        if is_after_panic and crash is not None:
            crash.reset = boot
        else:
            self._end_crash()
            if self._begun is not None and boot.cause not in _SELF_MADE_RESETS and boot.boot > 0:
                self._crash = _Crash(boot.boot - 1, self._begun_to, self._begun, reset=boot)
        self._begun, self._mode = None, ""

    def _end_boot(self) -> None:
        self._end_shortage()
        for leak in self._states.end_boot(self._boot):
            if len(self.leaks) < LEAKS_KEPT:
                has_room = len(self.leaks) < LEAKS_DRAWN
                self.leaks.append(leak if has_room else replace(leak, values=()))
            if leak.verdict is LeakVerdict.LEAK:
                self._leak(leak)
        self._heaps = None
        self._last = self._before = None
        self._prints, self._by_context = {}, {}
        self._is_summed, self._early, self._has_records = None, [], False
        self._rises, self._fragmented, self._unlocated = {}, set(), {}
        self._fall = None
        self._ended_ms = -1

    def _panic(self, event: ev.PanicSeen) -> None:
        known = catalogue.of_panic(event.panic, event.regions)
        self._note(known, event, event.panic.headline, event.panic.cause)
        self._end_crash()
        self._crash = _Crash(event.boot, self._begun_to if self._begun else "", self._begun, panic=event)

    def _survive(self, event: ev.Survived) -> None:
        crash = self._crash
        if crash is None or crash.survived is not None:
            return
        crash.survived = event
        found = _BEFORE.fullmatch(event.context)
        if found is not None and not crash.to:
            crash.to = found[1].lower()

    def _end_crash(self) -> None:
        """DIAG-04, if the crash came in a transition."""
        crash, self._crash = self._crash, None
        if crash is None or not crash.to:
            return
        evidence = [crash.before] if crash.before else []
        cause = "the log does not tell"
        if crash.panic is not None:
            panic = crash.panic.panic
            evidence.append(Evidence(crash.panic.line, crash.panic.t_ms, panic.headline))
            cause = catalogue.of_panic(panic, crash.panic.regions).name
        if crash.reset is not None:
            text = crash.reset.cause or f"the next boot is shown by its {crash.reset.sign}"
            evidence.append(Evidence(crash.reset.line, None, f"reset: {text}"))
            if crash.panic is None and crash.reset.cause in catalogue.WATCHDOG_RESETS:
                cause = f"a hardware watchdog: {catalogue.WATCHDOG_RESETS[crash.reset.cause]}"
        if crash.reason is not None:
            evidence.append(
                Evidence(crash.reason.line, crash.reason.t_ms, f"the firmware says: {crash.reason.reason}")
            )
        if crash.survived is not None:
            text = f'survived the reset: "{crash.survived.context}", {_figures(crash.survived.stats)}'
            evidence.append(Evidence(crash.survived.line, crash.survived.t_ms, text))
        how = (
            crash.panic.panic.cause
            if crash.panic
            else (crash.reset.cause if crash.reset else "") or "a reset"
        )
        self._add(
            f"{crash.to} {how}",
            Diagnosis(
                "DIAG-04",
                "Crash during a mode transition",
                f"The board crashed on its way to {crash.to} mode: {how}.",
                tuple(evidence[:EVIDENCE_MAX]),
                cause,
                "see which step the backtrace is in; increase the stabilisation delays only if it names a driver",
                Confidence.FACT if crash.panic else Confidence.INFERENCE,
                crash.boot,
            ),
        )

    # --- Transitions ---

    def _begin(self, to: str, line: int, t_ms: int | None, text: str) -> None:
        self._begun, self._begun_to = Evidence(line, t_ms, text), to

    def _transition(self, event: ev.Transition) -> None:
        if event.result != "unfinished":  # that is said when the boot is over already
            self._begun = None
            self._ended_ms = event.t_ms if event.t_ms is not None else -1
        if event.result == "complete":
            self._mode = event.to
            self._camera_worked |= event.to == "camera"
        elif event.result == "failed" and (event.missing or event.error == "ESP_ERR_NO_MEM"):
            self._short(event)

    # --- Samples ---

    def _sample(self, sample: ev.Sample) -> None:
        if self._is_summed is None:
            self._is_summed = _is_summed(sample.stats)
            for early in self._early:
                self._warning(early)
        if sample.source == "record":
            self._has_records = True
        elif self._has_records:
            return  # it says again what a record has said
        self._open(sample)
        self._complete_shortage(sample)
        self._compare_pair(sample)
        if not self._is_summed:
            self._fragmentation(sample)
        self._unplaceable(sample)
        self._note_fall(sample)
        if sample.stats.psram_free < PSRAM_CRITICAL and sample.stats.psram_largest > 0:
            self._psram(sample, sample.stats.psram_free, _sample_text(sample))
        self._remember(sample)

    def _open(self, sample: ev.Sample) -> None:
        """Statistics from before a transition are the first link of a crash in it.

        A record tells of a transition by itself, unless that is over when the record is written; a box may be printed
        still later, so it only adds to what has told of one.
        """
        found = _BEFORE.fullmatch(sample.context)
        if found is None:
            return
        to = found[1].lower()
        is_new = sample.source == "record" and sample.stats.timestamp_ms >= self._ended_ms
        if is_new or (self._begun is not None and self._begun_to == to):
            self._begin(to, sample.line, sample.t_ms, _sample_text(sample))

    def _remember(self, sample: ev.Sample) -> None:
        self._last = sample
        best = self._by_context.get(sample.context)
        is_better = best is not None and sample.stats.internal_free > best.stats.internal_free
        if is_better or (best is None and len(self._by_context) < _CONTEXTS_KEPT):
            self._by_context[sample.context] = sample

    def _compare_pair(self, sample: ev.Sample) -> None:
        found = _BEFORE.fullmatch(sample.context)
        if found is not None:
            self._before = sample
            return
        before, self._before = self._before, None
        if before is None or before.context.replace("Before", "After") != sample.context:
            return
        if same_figures(before.stats, sample.stats):
            self._note(
                catalogue.STALE_STATISTICS,
                sample,
                f'"{sample.context}" repeats line {before.line}: {_figures(sample.stats)}',
            )

    def _fragmentation(self, sample: ev.Sample) -> None:
        """DIAG-02: a memory has become fragmented."""
        for memory in MEMORIES:
            if memory == "internal" and _same_heaps(sample.stats):
                continue  # told once
            percent = sample.stats.memory(memory)[2]
            if percent < LOW_PERCENT:
                self._rises.pop(memory, None)
            if percent < FRAGMENTATION_PERCENT:
                self._fragmented.discard(memory)
                self._unlocated.pop(memory, None)
            was = self._last.stats.memory(memory)[2] if self._last is not None else 0
            steepest = self._rises.get(memory)
            if percent > was and (steepest is None or percent - was > steepest.points):
                self._rises[memory] = _Rise(percent - was, self._last, sample, self._state_of(sample))
            if percent >= FRAGMENTATION_PERCENT and memory not in self._fragmented:
                self._fragmented.add(memory)
                found = self._fragment(memory, sample, self._rises[memory])
                self._add(f"{memory} {self._rises[memory].state}", found)
                if self._heaps is None:
                    self._unlocated[memory] = sample, self._rises[memory]

    def _map(self, event: ev.HeapsReported) -> None:
        """A map may come after what it explains: a test asks for it when it has failed."""
        self._heaps = event
        for memory, (sample, rise) in self._unlocated.items():
            key = ("DIAG-02", f"{memory} {rise.state}")
            if key in self._found:
                self._found[key] = replace(self._fragment(memory, sample, rise), count=self._found[key].count)
        self._unlocated = {}
        if self._shortage is not None and self._shortage.heaps is None:
            self._shortage.heaps = event

    def _state_of(self, sample: ev.Sample) -> str:
        """In which state memory changed between the sample before and this one."""
        after = _AFTER.fullmatch(sample.context)
        if after is not None and after[1]:
            return f"during the transition to {after[1].lower()} mode"
        before = _BEFORE.fullmatch(sample.context)
        mode = {"Camera": "voice", "Voice": "camera"}[before[1]] if before else self._mode
        return f"in {mode} mode" if mode else "before the first mode"

    def _fragment(self, memory: str, sample: ev.Sample, rise: _Rise) -> Diagnosis:
        free, largest, percent = sample.stats.memory(memory)
        evidence = [one for one in (rise.before, rise.after) if one is not None]
        evidence += [sample] if sample is not rise.after else []
        shown = [_evidence(one) for one in evidence]
        region = self._most_scattered(memory)
        if region is not None and self._heaps is not None:
            shown.append(Evidence(self._heaps.line, self._heaps.t_ms, region))
        since = (
            f'from "{rise.before.context}" to "{rise.after.context}"'
            if rise.before
            else "before the first statistics"
        )
        name = NAMES[memory]
        return Diagnosis(
            "DIAG-02",
            "High fragmentation",
            f"{name[0].upper()}{name[1:]} is fragmented by {percent} %: {free:,} bytes are free, the largest block "
            f"is {largest:,}. Most of it came {rise.state} ({since}: {rise.points:+d} points); "
            f"{region or 'which heap it is, this log does not show'}.",
            tuple(shown),
            "blocks of different lifetime lie between each other: what was taken in that state and stays "
            "splits what is free",
            "release in the reverse order of taking; take what stays before what comes and goes; "
            "restart the audio driver to merge DMA memory",
            Confidence.FACT,
            sample.boot,
        )

    def _most_scattered(self, memory: str) -> str | None:
        """The heap that most free bytes lie outside the largest block of, by the newest map."""
        if self._heaps is None:
            return None
        caps = {"internal": "INTERNAL", "dma": "DMA", "psram": "SPIRAM"}[memory]
        heaps = [one for one in self._heaps.heaps if caps in one.caps.split(",") and "8BIT" in one.caps]
        if not heaps:
            return None
        worst = max(heaps, key=lambda one: one.free - one.largest)
        return f"heap 0x{worst.start:08X}: {worst.free:,} bytes free, largest block {worst.largest:,}"

    def _unplaceable(self, sample: ev.Sample) -> None:
        """DIAG-02 where the percentage says nothing: enough is free, but not the block that a driver needs."""
        free, largest, _ = sample.stats.memory("dma")
        for who, block, cost in (("the camera", CAMERA_BLOCK, CAMERA_COST), ("I2S", I2S_BLOCK, I2S_COST)):
            if not self._is_summed or free < cost or largest >= block:
                continue
            self._add(
                f"dma {who}",
                Diagnosis(
                    "DIAG-02",
                    "High fragmentation",
                    f"{free:,} bytes of DMA-capable memory are free, {who} takes {cost:,} with a block of {block:,} "
                    f"in it, and the largest free block is {largest:,}.",
                    (_evidence(sample),),
                    "free memory lies in pieces between blocks that stay",
                    "check for the block, not for the sum; release in the reverse order of taking",
                    Confidence.FACT,
                    sample.boot,
                ),
            )

    # --- Shortage ---

    def _short(self, event: ev.AllocationFailed | ev.Transition) -> None:
        told = self._shortage
        if told is not None and _is_same_incident(told.event, event):
            # The transition's record says more than the line; what a driver printed says more than that it failed.
            if isinstance(event, ev.Transition) and event.missing:
                told.event = event
            return
        self._end_shortage()
        best = self._by_context.get(self._last.context) if self._last else None
        self._shortage = _Shortage(event, self._last, self._prints.get(_memory_of(event)), best, self._heaps)

    def _complete_shortage(self, sample: ev.Sample) -> None:
        """Statistics taken before the failure may be written after it."""
        short = self._shortage
        if short is None or short.event.t_ms is None:
            return
        if sample.stats.timestamp_ms > short.event.t_ms:
            self._end_shortage()
        elif _BEFORE.fullmatch(sample.context) or sample.context == _BEFORE_TTS:
            short.sample, short.best, short.print = sample, self._by_context.get(sample.context), None

    def _end_shortage(self) -> None:
        """DIAG-01."""
        short, self._shortage = self._shortage, None
        if short is None:
            return
        event = short.event
        if isinstance(event, ev.AllocationFailed) and event.kind == "psram":
            self._psram(event, event.have, event.text)
        missing, who, text = _missing_block(event)
        evidence = []
        memory_before = "memory before it is not in the log"
        memory = _memory_of(event)
        if short.sample is not None and (short.print is None or short.print.line < short.sample.line):
            free, largest, _ = short.sample.stats.memory(memory)
            when = _how_long_before(short.sample.t_ms, event.t_ms)
            memory_before = (
                f"{when} {free:,} bytes of {NAMES[memory]} were free, the largest block {largest:,}"
            )
            evidence.append(_evidence(short.sample))
        elif short.print is not None:
            when = _how_long_before(short.print.t_ms, event.t_ms)
            memory_before = f"{when} {short.print.free:,} bytes of {NAMES[short.print.memory]} were free"
            shown = f"{short.print.tag}: {short.print.free} bytes of {NAMES[short.print.memory]} free"
            evidence.append(Evidence(short.print.line, short.print.t_ms, shown))
        evidence.append(Evidence(event.line, event.t_ms, text))
        holder, confidence = self._holder(short, memory, evidence)
        if short.heaps is not None:
            heaps = ", ".join(
                f"0x{one.start:08X} {one.free:,}/{one.largest:,}" for one in short.heaps.heaps if one.free
            )
            evidence.append(Evidence(short.heaps.line, short.heaps.t_ms, f"heaps, free/largest: {heaps}"))
        self._add(
            who,
            Diagnosis(
                "DIAG-01",
                f"ESP_ERR_NO_MEM: {who}",
                f"{missing}; {memory_before}.",
                tuple(evidence[:EVIDENCE_MAX]),
                holder,
                _remedy(event),
                confidence,
                event.boot,
            ),
        )

    def _holder(self, short: _Shortage, memory: str, evidence: list[Evidence]) -> tuple[str, Confidence]:
        """Who held the memory: found by comparison with the same state at another time."""
        sample, best = short.sample, short.best
        if sample is not None and best is not None and best.line != sample.line:
            more = best.stats.memory(memory)[0] - sample.stats.memory(memory)[0]
            if more > 0:
                evidence.append(_evidence(best))
                when = f"line {best.line}" if best.t_ms is None else f"{best.t_ms / 1000:,.1f} s"
                return (
                    f"{more:,} bytes more of {NAMES[memory]} were held than at {when} in the same state "
                    f'("{best.context}"): none of the mode\'s drivers holds them',
                    Confidence.FACT,
                )
        event = short.event
        is_used_up = sample is not None and sample.stats.psram_free < PSRAM_WARNING
        if memory == "psram" and is_used_up and self._fall is not None:
            evidence.append(_evidence(self._fall.before))
            return f"{self._fall}", Confidence.FACT
        if isinstance(event, ev.AllocationFailed) and event.kind == "tts":
            return (
                "audio chunks of 4 KB that wait to be played were taken from DMA memory one by one "
                "(recorded boards: DMA memory drained so, with 4 MB of PSRAM free)",
                Confidence.INFERENCE,
            )
        return (
            "who held it, this log does not show: it has no statistics of the same state",
            Confidence.INFERENCE,
        )

    def _note_fall(self, sample: ev.Sample) -> None:
        if self._last is None:
            return
        before, after = self._last.stats.psram_free, sample.stats.psram_free
        if before >= PSRAM_WARNING:
            self._fall = None
        if before - after > (self._fall.bytes if self._fall else 0):
            self._fall = _Fall(before - after, self._last, sample, self._state_of(sample))

    def _psram(self, event: LogEvent, free: int | None, text: str) -> None:
        have = f": {free:,} bytes are free" if free is not None else ""
        went = f" {self._fall}." if self._fall is not None else ""
        before = (_evidence(self._fall.before),) if self._fall is not None else ()
        self._add(
            "",
            Diagnosis(
                "psram-exhausted",
                "PSRAM exhausted",
                f"PSRAM is nearly used up{have}.{went}",
                (*before, Evidence(event.line, event.t_ms, text)),
                "large buffers are held, or were never given back: frame buffers, streams, recordings",
                "compare the statistics of the same state over time; bound every queue that lies in PSRAM",
                Confidence.FACT,
                event.boot,
            ),
        )

    def _warning(self, event: ev.MemoryWarning) -> None:
        if event.memory == "psram" and event.level == "CRIT":
            self._psram(event, event.value, event.text)
        elif event.memory == "frag" and self._is_summed is None and len(self._early) < EVIDENCE_MAX:
            self._early.append(event)
        elif event.memory == "frag" and self._is_summed:
            self._note(catalogue.SUMMED_FRAGMENTATION, event, event.text)

    # --- Leaks ---

    def _leak(self, leak: StateLeak) -> None:
        """DIAG-03."""
        assert leak.leak is not None
        slope, low, high = leak.leak.slope, leak.leak.low, leak.leak.high
        name = NAMES[leak.memory]
        self._add(
            f"{leak.memory} {leak.state}",
            Diagnosis(
                "DIAG-03",
                "Memory slowly decreasing",
                f"{name[0].upper()}{name[1:]} {leak.state} becomes less by {slope:.1f} bytes per cycle "
                f"(between {low:.1f} and {high:.1f}), over {leak.leak.cycles} cycles.",
                (
                    Evidence(
                        leak.settled_line,
                        None,
                        f"first reading after warm-up ({leak.leak.warm_up} dropped): {leak.settled:,} bytes free",
                    ),
                    Evidence(
                        leak.last_line, None, f"last of {leak.readings} readings: {leak.last:,} bytes free"
                    ),
                ),
                f"a leak of about {slope:.0f} bytes in every cycle, block headers included",
                "compare allocations and frees of one cycle (heap tracing); look for what is made anew in each",
                Confidence.FACT,
                leak.boot,
            ),
        )


def _memory_of(event: ev.AllocationFailed | ev.Transition) -> str:
    """The memory that was short."""
    return "psram" if isinstance(event, ev.AllocationFailed) and event.kind == "psram" else "dma"


def _how_long_before(reading_ms: int | None, event_ms: int | None) -> str:
    """`5.9 s before it`: memory that was free long before says little of the moment."""
    if reading_ms is None or event_ms is None:
        return "at some time before it"
    return f"{max(0, event_ms - reading_ms) / 1000:.1f} s before it"


def _is_same_incident(
    first: ev.AllocationFailed | ev.Transition, second: ev.AllocationFailed | ev.Transition
) -> bool:
    if first.boot != second.boot or first.t_ms is None or second.t_ms is None:
        return False
    apart_ms = abs(second.t_ms - first.t_ms)
    if (
        isinstance(first, ev.AllocationFailed)
        and isinstance(second, ev.AllocationFailed)
        and first.kind == second.kind
    ):
        return first.text != second.text and apart_ms <= RETRY_MS
    return apart_ms <= INCIDENT_MS


def _missing_block(event: ev.AllocationFailed | ev.Transition) -> tuple[str, str, str]:
    """(what was missing, for whom, the line that says so)."""
    if isinstance(event, ev.Transition):
        what = event.block or f"step {event.step}" if event.step else f"{event.to} mode"
        if event.missing:
            largest = f"; the largest free block was {event.largest:,}" if event.largest else ""
            missing = f"A block of {event.missing:,} bytes for {what} was missing{largest}"
        else:
            missing = f"Memory for {what} was missing; which block, the log does not say"
        return missing, f"no room for {event.to} mode", event.text
    if event.kind == "i2s":
        return f"I2S did not get its buffers ({I2S_BUFFERS})", "I2S out of DMA memory", event.text
    if event.kind == "tts":
        size = f" of {event.size:,} bytes" if event.size else ""
        return f"An audio chunk{size} could not be had", "TTS out of DMA memory", event.text
    if event.kind == "psram":
        size = f"{event.size:,} bytes" if event.size else "A block"
        return f"{size} of PSRAM were asked for, and refused", "PSRAM exhausted", event.text
    size = f" of {event.size:,} bytes" if event.size is not None else ""
    who = "no room for a mode" if event.kind == "transition" else "a failed allocation"
    return f"A block{size} could not be had", who, event.text


def _remedy(event: ev.AllocationFailed | ev.Transition) -> str:
    if isinstance(event, ev.AllocationFailed):
        if event.kind == "i2s":
            return "check that every block can be placed, not the sum; start I2S before memory is split"
        if event.kind == "tts":
            return "queue audio in PSRAM, and copy to DMA memory only what is being played"
        if event.kind == "psram":
            return "free buffers first; keep the margin that the check asks for"
    return "free what the comparison shows, or restart its owner; check for the missing block before the transition"


def _is_summed(stats: MemoryStats) -> bool:
    """Whether the percentages are 100 - largest / free over all heaps together (rounded up), and tell something."""
    told = [stats.memory(memory) for memory in MEMORIES]
    fits = all(free > 0 and percent == 100 - largest * 100 // free for free, largest, percent in told)
    return fits and told[0][2] > 0


def _same_heaps(stats: MemoryStats) -> bool:
    """Internal and DMA-capable memory are the same heaps: so on the ESP32, when IRAM is not counted."""
    return stats.memory("internal") == stats.memory("dma")


def _evidence(sample: ev.Sample) -> Evidence:
    return Evidence(sample.line, sample.t_ms, _sample_text(sample))


def _sample_text(sample: ev.Sample) -> str:
    return f'"{sample.context}": {_figures(sample.stats)}'


def _figures(stats: MemoryStats) -> str:
    return ", ".join(
        f"{memory} {free} free, largest {largest}, {percent} %"
        for memory in MEMORIES
        for free, largest, percent in (stats.memory(memory),)
    )
