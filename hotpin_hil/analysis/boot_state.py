"""What the boot at hand has shown so far: the background that an event is judged against."""

from __future__ import annotations

from hotpin_hil.analysis.contexts import after_transition, before_transition
from hotpin_hil.protocol import events as ev

CONTEXTS_KEPT = 32
_OTHER = {"camera": "voice", "voice": "camera"}


class BootState:
    """Newest samples, readings and heaps of a boot, and its mode. The diagnoser fills it, the handlers read it."""

    def __init__(self) -> None:
        self.mode = ""
        """Mode after the last complete transition; empty before the first."""
        self.last: ev.Sample | None = None
        """The sample before the event at hand."""
        self.heaps: ev.HeapsReported | None = None
        self.prints: dict[str, ev.HeapPrint] = {}
        """Newest reading that a component has printed, by memory."""
        self.best: dict[str, ev.Sample] = {}
        """By context, the sample with most internal memory free."""

    def start_boot(self) -> None:
        """The chip has started: no mode is known."""
        self.mode = ""

    def end_boot(self) -> None:
        """Forget everything but the mode."""
        self.last, self.heaps = None, None
        self.prints, self.best = {}, {}

    def remember(self, sample: ev.Sample) -> None:
        """Take a sample, after the handlers have seen it."""
        self.last = sample
        best = self.best.get(sample.context)
        is_better = best is not None and sample.stats.internal_free > best.stats.internal_free
        if is_better or (best is None and len(self.best) < CONTEXTS_KEPT):
            self.best[sample.context] = sample

    def when(self, sample: ev.Sample) -> str:
        """In which state memory changed between the sample before and this one, in words."""
        to = after_transition(sample.context)
        if to:
            return f"during the transition to {to} mode"
        next_mode = before_transition(sample.context)
        mode = _OTHER[next_mode] if next_mode else self.mode
        return f"in {mode} mode" if mode else "before the first mode"
