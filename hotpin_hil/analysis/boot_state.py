"""State of the current boot, for the diagnoser's handlers."""

from __future__ import annotations

from dataclasses import replace

from hotpin_hil.analysis.contexts import after_transition, before_transition
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.reset import POWER_ON, reset_kind

CONTEXTS_KEPT = 32
NEAR_LINES = 4
"""A largest block and a reading that are printed separately are at most this many lines apart."""
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
        self.is_power_on = False
        """Whether this boot follows a power-on, as the ROM prints it."""
        self.heaps: ev.HeapsReported | None = None
        self.prints: dict[str, ev.HeapPrint] = {}
        """Newest reading printed by a component, by memory."""
        self.best: dict[str, ev.Sample] = {}
        """The sample with the most free internal memory, by context."""
        self._largest: dict[str, ev.LargestPrint] = {}
        """Largest block that was printed before the first reading, by memory."""

    def start_boot(self, boot: ev.BootStarted) -> None:
        """Forget the mode, which is unknown at the start of a boot."""
        self.mode = ""
        self.is_power_on = reset_kind(boot.code, boot.cause) == POWER_ON

    def end_boot(self) -> None:
        """Forget the samples, readings and heaps of the boot. Its mode is forgotten when the next boot starts."""
        self.last, self.heaps = None, None
        self.prints, self.best = {}, {}
        self._largest = {}

    def add_print(self, event: ev.HeapPrint) -> None:
        """Store a reading, with the largest block of the same memory type if it was printed just before."""
        largest = self._largest.get(event.memory)
        is_new = largest is not None and event.line - largest.line <= NEAR_LINES
        if event.largest is None and largest is not None and is_new and largest.largest <= event.free:
            event = replace(event, largest=largest.largest)
        self.prints[event.memory] = event

    def add_largest(self, event: ev.LargestPrint) -> None:
        """Add a largest block that was printed alone to the previous reading of the same memory type."""
        known = self.prints.get(event.memory)
        if known is not None:
            self.prints[event.memory] = replace(known, largest=event.largest)
        else:
            self._largest[event.memory] = event

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
