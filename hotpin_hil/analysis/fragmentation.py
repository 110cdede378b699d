"""DIAG-02: fragmented memory."""

from __future__ import annotations

from dataclasses import dataclass

from hotpin_hil.analysis import catalogue
from hotpin_hil.analysis.boot_state import BootState
from hotpin_hil.analysis.model import (
    EVIDENCE_MAX,
    NAMES,
    Confidence,
    Diagnosis,
    Evidence,
    Findings,
    sample_evidence,
)
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.fields import MEMORIES, MemoryStats

FRAGMENTATION_PERCENT = 30
"""The guide's warning threshold."""
LOW_PERCENT = 10
"""Below this, a memory type is not fragmented."""
CAMERA_BLOCK, CAMERA_COST = 32_768, 37_780
"""Bytes of DMA-capable memory: the camera's largest block, and its total need (from recorded logs)."""
I2S_BLOCK, I2S_COST = 4_080, 25_980
"""The same two figures for the I2S driver."""
_DRIVERS = (("the camera", CAMERA_BLOCK, CAMERA_COST), ("I2S", I2S_BLOCK, I2S_COST))
_CAPS = {"internal": "INTERNAL", "dma": "DMA", "psram": "SPIRAM"}


@dataclass(frozen=True)
class _Rise:
    """A rise in the fragmentation of a memory type from one sample to the next."""

    points: int
    before: ev.Sample | None
    after: ev.Sample
    state: str


class FragmentationHandler:
    """Reports a fragmented memory type, with the steepest rise of its fragmentation and the affected heap."""

    def __init__(self, findings: Findings, state: BootState) -> None:
        self._findings = findings
        self._state = state
        self._is_summed: bool | None = None
        """Whether the fragmentation figure sums over separate heaps; None before the first sample."""
        self._early: list[ev.MemoryWarning] = []
        """Fragmentation warnings from before the first sample."""
        self._rises: dict[str, _Rise] = {}
        """The steepest rise of each memory type since its fragmentation was low."""
        self._fragmented: set[str] = set()
        self._unlocated: dict[str, tuple[ev.Sample, _Rise]] = {}
        """Fragmented memory types for which the heap is still unknown."""

    def end_boot(self) -> None:
        """Forget the readings and warnings of the finished boot."""
        self._is_summed, self._early = None, []
        self._rises, self._fragmented, self._unlocated = {}, set(), {}

    def judge_figure(self, sample: ev.Sample) -> None:
        """Determine from a boot's first sample how the firmware computes fragmentation."""
        if self._is_summed is None:
            self._is_summed = _is_summed(sample.stats)
            for early in self._early:
                self.take_warning(early)

    def take_warning(self, event: ev.MemoryWarning) -> None:
        """Process a fragmentation warning. Until the first sample shows how the figure is computed, only store it."""
        if event.memory != "frag":
            return
        if self._is_summed is None and len(self._early) < EVIDENCE_MAX:
            self._early.append(event)
        elif self._is_summed:
            self._findings.note(catalogue.SUMMED_FRAGMENTATION, event, event.text)

    def take_sample(self, sample: ev.Sample) -> None:
        """Check a sample's fragmentation: its percentages, or its largest blocks if they are meaningless."""
        if self._is_summed:
            self._check_blocks(sample)
        else:
            for memory in MEMORIES:
                if memory != "internal" or not _same_heaps(sample.stats):  # report equal heaps only once
                    self._check_percentage(memory, sample)

    def take_heaps(self) -> None:
        """Name the affected heap in earlier diagnoses, from the heap layout now in the boot state.

        A test requests the layout only after a failure.
        """
        for memory, (sample, rise) in self._unlocated.items():
            self._findings.revise(f"{memory} {rise.state}", self._diagnosis(memory, sample, rise))
        self._unlocated = {}

    def _check_percentage(self, memory: str, sample: ev.Sample) -> None:
        percent = sample.stats.memory(memory)[2]
        last = self._state.last
        if percent < LOW_PERCENT:
            self._rises.pop(memory, None)
        if percent < FRAGMENTATION_PERCENT:
            self._fragmented.discard(memory)
            self._unlocated.pop(memory, None)
        was = last.stats.memory(memory)[2] if last is not None else 0
        steepest = self._rises.get(memory)
        if percent > was and (steepest is None or percent - was > steepest.points):
            self._rises[memory] = _Rise(percent - was, last, sample, self._state.when(sample))
        if percent >= FRAGMENTATION_PERCENT and memory not in self._fragmented:
            self._fragmented.add(memory)
            rise = self._rises[memory]
            self._findings.add(f"{memory} {rise.state}", self._diagnosis(memory, sample, rise))
            if self._state.heaps is None:
                self._unlocated[memory] = sample, rise

    def _check_blocks(self, sample: ev.Sample) -> None:
        """Check whether enough memory is free for a driver, but no block that is large enough.

        Used for firmware whose percentages are meaningless.
        """
        free, largest, _ = sample.stats.memory("dma")
        for driver, block, cost in _DRIVERS:
            if free < cost or largest >= block:
                continue
            self._findings.add(
                f"dma {driver}",
                Diagnosis(
                    "DIAG-02",
                    "High fragmentation",
                    f"{free:,} bytes of DMA-capable memory are free. {driver[0].upper()}{driver[1:]} needs {cost:,}, "
                    f"including a block of {block:,}, but the largest free block is {largest:,}.",
                    (sample_evidence(sample),),
                    "free memory is split into pieces by long-lived blocks",
                    "check for the largest block, not for the sum; free in the reverse order of allocation",
                    Confidence.FACT,
                    sample.boot,
                ),
            )

    def _diagnosis(self, memory: str, sample: ev.Sample, rise: _Rise) -> Diagnosis:
        free, largest, percent = sample.stats.memory(memory)
        evidence = [edge for edge in (rise.before, rise.after) if edge is not None]
        evidence += [sample] if sample is not rise.after else []
        shown = [sample_evidence(each) for each in evidence]
        heaps = self._state.heaps
        region = None if heaps is None else _most_scattered(memory, heaps)
        if region is not None and heaps is not None:
            shown.append(Evidence(heaps.line, heaps.t_ms, region))
        since = (
            f'from "{rise.before.context}" to "{rise.after.context}"'
            if rise.before
            else "before the first statistics"
        )
        name = NAMES[memory]
        return Diagnosis(
            "DIAG-02",
            "High fragmentation",
            f"{name[0].upper()}{name[1:]} is {percent} % fragmented: {free:,} bytes are free, and the largest block "
            f"has {largest:,}. The steepest rise was {rise.state} ({since}: {rise.points:+d} points); "
            f"{region or 'the log does not show which heap is affected'}.",
            tuple(shown),
            "blocks of different lifetime are interleaved: long-lived blocks allocated in that state "
            "split the free memory",
            "free in the reverse order of allocation; allocate long-lived blocks before short-lived ones; "
            "restart the audio driver to merge DMA memory",
            Confidence.FACT,
            sample.boot,
        )


def _most_scattered(memory: str, reported: ev.HeapsReported) -> str | None:
    """Describe the heap that has the most free bytes outside its largest block."""
    caps = _CAPS[memory]
    heaps = [heap for heap in reported.heaps if caps in heap.caps.split(",") and "8BIT" in heap.caps]
    if not heaps:
        return None
    worst = max(heaps, key=lambda heap: heap.free - heap.largest)
    return f"heap 0x{worst.start:08X}: {worst.free:,} bytes free, largest block {worst.largest:,}"


def _is_summed(stats: MemoryStats) -> bool:
    """Whether each percentage is 100 - 100 * largest / free, as if all heaps were one, and the first is above 0."""
    readings = [stats.memory(memory) for memory in MEMORIES]
    fits = all(free > 0 and percent == 100 - largest * 100 // free for free, largest, percent in readings)
    return fits and readings[0][2] > 0


def _same_heaps(stats: MemoryStats) -> bool:
    """Whether internal and DMA-capable memory have the same figures, because on the ESP32 they are the same heaps."""
    return stats.memory("internal") == stats.memory("dma")
