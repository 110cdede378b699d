"""Diagnosis of exhausted PSRAM."""

from __future__ import annotations

from dataclasses import dataclass

from hotpin_hil.analysis.boot_state import BootState
from hotpin_hil.analysis.model import Confidence, Diagnosis, Evidence, Findings, sample_evidence, sample_text
from hotpin_hil.protocol import events as ev

PSRAM_WARNING, PSRAM_CRITICAL = 500 * 1024, 200 * 1024
"""Bytes; the guide's thresholds."""


@dataclass(frozen=True)
class PsramFall:
    """A drop in free PSRAM from one sample to the next."""

    bytes: int
    before: ev.Sample
    after: ev.Sample
    state: str

    def __str__(self) -> str:
        return (
            f'{self.bytes:,} bytes of PSRAM were lost {self.state} (from "{self.before.context}" to '
            f'"{self.after.context}")'
        )


class PsramHandler:
    """Reports exhausted PSRAM, with the largest drop since PSRAM was last above the warning threshold."""

    def __init__(self, findings: Findings, state: BootState) -> None:
        self._findings = findings
        self._state = state
        self._fall: PsramFall | None = None

    @property
    def fall(self) -> PsramFall | None:
        """The largest drop since PSRAM was last above the warning threshold; None if there was no drop."""
        return self._fall

    def end_boot(self) -> None:
        """Forget the largest drop of the finished boot."""
        self._fall = None

    def take_sample(self, sample: ev.Sample) -> None:
        """Track the largest drop in free PSRAM, and report a sample below the critical level."""
        last = self._state.last
        free = sample.stats.psram_free
        if last is not None:
            before = last.stats.psram_free
            if before >= PSRAM_WARNING:
                self._fall = None
            if before - free > (self._fall.bytes if self._fall else 0):
                self._fall = PsramFall(before - free, last, sample, self._state.when(sample))
        if free < PSRAM_CRITICAL and sample.stats.psram_largest > 0:
            self.report(sample, free, sample_text(sample))

    def take_warning(self, event: ev.MemoryWarning) -> None:
        """Report that PSRAM is exhausted, if this is a critical warning about PSRAM."""
        if event.memory == "psram" and event.level == "CRIT":
            self.report(event, event.value, event.text)

    def report(self, event: ev.LogEvent, free: int | None, text: str) -> None:
        """Report that PSRAM is exhausted.

        Args:
            event: the event that shows it.
            free: free bytes, if known.
            text: text of the evidence.
        """
        have = f": {free:,} bytes are free" if free is not None else ""
        went = f" {self._fall}." if self._fall is not None else ""
        before = (sample_evidence(self._fall.before),) if self._fall is not None else ()
        self._findings.add(
            "",
            Diagnosis(
                "psram-exhausted",
                "PSRAM exhausted",
                f"PSRAM is nearly used up{have}.{went}",
                (*before, Evidence(event.line, event.t_ms, text)),
                "large buffers are still allocated or were never freed: frame buffers, streams, recordings",
                "compare the statistics in the same state over time; limit the length of every queue in PSRAM",
                Confidence.FACT,
                event.boot,
            ),
        )
