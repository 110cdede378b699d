"""DIAG-03: free memory that decreases in the same state. DIAG-02 if only the largest block decreases."""

from __future__ import annotations

from dataclasses import replace

from hotpin_hil.analysis import catalogue
from hotpin_hil.analysis.contexts import before_transition
from hotpin_hil.analysis.leak import LeakVerdict
from hotpin_hil.analysis.matched_state import MatchedStates, ShrinkingBlock, StateLeak, same_figures
from hotpin_hil.analysis.model import NAMES, Confidence, Diagnosis, Evidence, Findings, figures
from hotpin_hil.protocol import events as ev

LEAKS_KEPT, LEAKS_DRAWN = 500, 24
"""Maximum number of kept verdicts, and of verdicts kept with their readings."""


class LeakHandler:
    """Collects readings in the same state, and looks for a leak in them when the boot ends."""

    def __init__(self, findings: Findings) -> None:
        self.leaks: list[StateLeak] = []
        """Verdicts on the finished boots; only the first LEAKS_KEPT."""
        self._findings = findings
        self._states = MatchedStates()

    def feed(self, event: ev.LogEvent) -> None:
        """Add the event's readings of free memory to the series that are searched for leaks."""
        self._states.feed(event)

    def end_boot(self, boot: int) -> None:
        """Look for leaks in the readings of the boot that ended."""
        for leak in self._states.end_boot(boot):
            if len(self.leaks) < LEAKS_KEPT:
                has_room = len(self.leaks) < LEAKS_DRAWN
                self.leaks.append(leak if has_room else replace(leak, values=()))
            if leak.verdict is LeakVerdict.LEAK:
                self._report(leak)
        for shrinking in self._states.shrinking:
            self._report_fragmentation(shrinking)

    def _report(self, leak: StateLeak) -> None:
        assert leak.leak is not None
        slope, low, high = leak.leak.slope, leak.leak.low, leak.leak.high
        name = NAMES[leak.memory]
        warm_up = f"first reading after warm-up ({leak.leak.warm_up} dropped): {leak.settled:,} bytes free"
        last = f"last of {leak.readings} readings: {leak.last:,} bytes free"
        self._findings.add(
            f"{leak.memory} {leak.state}",
            Diagnosis(
                "DIAG-03",
                "Memory slowly decreasing",
                f"{name[0].upper()}{name[1:]} {leak.state} decreases by {slope:.1f} bytes per cycle "
                f"(between {low:.1f} and {high:.1f}), over {leak.leak.cycles} cycles.",
                (Evidence(leak.settled_line, None, warm_up), Evidence(leak.last_line, None, last)),
                f"a leak of about {slope:.0f} bytes in every cycle, block headers included",
                "compare allocations and frees of one cycle (heap tracing); look for objects that every cycle creates",
                Confidence.INFERENCE if leak.is_weak else Confidence.FACT,
                leak.boot,
            ),
        )

    def _report_fragmentation(self, shrinking: ShrinkingBlock) -> None:
        free, largest = shrinking.free, shrinking.largest
        name = NAMES[largest.memory]
        self._findings.add(
            f"{largest.memory} {largest.state}",
            Diagnosis(
                "DIAG-02",
                "Fragmentation grows",
                f"The largest free block of {name} {largest.state} falls from {largest.settled:,} to "
                f"{largest.last:,} bytes over {largest.readings} readings, while the free memory stays at about "
                f"{free.last:,} bytes (it was {free.settled:,}).",
                (
                    Evidence(largest.settled_line, None, f"largest free block {largest.settled:,} bytes"),
                    Evidence(largest.last_line, None, f"largest free block {largest.last:,} bytes"),
                ),
                "blocks of different lifetime are interleaved, so that free memory is split into ever smaller pieces",
                "allocate long-lived blocks at the start; reuse buffers; allocate blocks of equal size from a pool",
                Confidence.INFERENCE,
                largest.boot,
            ),
        )


class StaleStatistics:
    """Reports statistics logged after a transition that only repeat the statistics logged before it."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._before: ev.Sample | None = None

    def end_boot(self) -> None:
        """Forget the statistics from before a transition: they are only compared within a boot."""
        self._before = None

    def take_sample(self, sample: ev.Sample) -> None:
        """Report a sample that repeats the sample from before the same transition."""
        if before_transition(sample.context):
            self._before = sample
            return
        before, self._before = self._before, None
        if before is None or before.context.replace("Before", "After") != sample.context:
            return
        if same_figures(before.stats, sample.stats):
            text = f'"{sample.context}" repeats line {before.line}: {figures(sample.stats)}'
            self._findings.note(catalogue.STALE_STATISTICS, sample, text)
