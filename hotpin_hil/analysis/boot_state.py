"""State of the current boot, for the diagnoser's handlers."""

from __future__ import annotations

from dataclasses import replace

from hotpin_hil.analysis.contexts import after_transition, before_transition
from hotpin_hil.protocol import events as ev

CONTEXTS_KEPT = 32
_OTHER = {"camera": "voice", "voice": "camera"}


class BootState:
    """The newest samples, readings and heaps of a boot, and its mode. The diagnoser writes it, handlers read it."""

    def __init__(self) -> None:
        self.mode = ""
        """Mode after the last complete transition; empty before the first."""
        self.last: ev.Sample | None = None
        """The newest sample before the current event."""
        self.is_hotpin = False
        """Whether this is HotPin's firmware: HotPin's figures apply only to it."""
        self.heaps: ev.HeapsReported | None = None
        self.prints: dict[str, ev.HeapPrint] = {}
        """Newest reading printed by a component, by memory."""
        self.best: dict[str, ev.Sample] = {}
        """The sample with the most free internal memory, by context."""

    def start_boot(self) -> None:
        """Forget the mode, which is unknown at the start of a boot."""
        self.mode = ""

    def end_boot(self) -> None:
        """Forget the samples, readings and heaps of the boot. Its mode is forgotten when the next boot starts."""
        self.last, self.heaps = None, None
        self.prints, self.best = {}, {}

    def add_largest(self, event: ev.LargestPrint) -> None:
        """Add a largest block that was printed alone to the previous reading of the same memory."""
        known = self.prints.get(event.memory)
        if known is not None:
            self.prints[event.memory] = replace(known, largest=event.largest)

    def remember(self, sample: ev.Sample) -> None:
        """Store a sample. Called after the handlers, which compare it with the previous one."""
        self.last = sample
        best = self.best.get(sample.context)
        is_better = best is not None and sample.stats.internal_free > best.stats.internal_free
        if is_better or (best is None and len(self.best) < CONTEXTS_KEPT):
            self.best[sample.context] = sample

    def when(self, sample: ev.Sample) -> str:
        """Describe the state in which memory changed between the previous sample and this one."""
        to = after_transition(sample.context)
        if to:
            return f"during the transition to {to} mode"
        next_mode = before_transition(sample.context)
        mode = _OTHER[next_mode] if next_mode else self.mode
        return f"in {mode} mode" if mode else "before the first mode"
