"""Diagnoses: what they consist of, and where they are collected."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from hotpin_hil.analysis.catalogue import Known
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.fields import MEMORIES, MemoryStats

NAMES = {"internal": "internal memory", "dma": "DMA-capable memory", "psram": "PSRAM", "heap": "all heaps"}

EVIDENCE_MAX = 8
"""Lines of evidence kept of one diagnosis."""
FOUND_MAX = 200
"""Different diagnoses kept; a log has a handful."""


class Confidence(str, Enum):
    """How far a diagnosis can be relied on."""

    FACT = "fact"
    """The log itself states it."""
    INFERENCE = "inference"
    """It fits the log; something else could look the same."""

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Evidence:
    """A line of the log that supports a diagnosis. Its text may hold anything: escape it before showing it."""

    line: int
    t_ms: int | None
    text: str


@dataclass(frozen=True)
class Diagnosis:
    """One thing that was wrong, with its evidence and its remedy."""

    id: str
    """"DIAG-01" … "DIAG-04" of the guide's troubleshooting section, or the catalogue's name."""
    name: str
    finding: str
    """One sentence, or two."""
    evidence: tuple[Evidence, ...]
    cause: str
    """The most likely cause."""
    remedy: str
    confidence: Confidence
    boot: int
    """Boot of the log, from 0, in which it was first seen."""
    count: int = 1
    """How many times the log shows it."""


class Findings:
    """The diagnoses of a log, each kind once, in the order in which they were first seen."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Diagnosis] = {}

    def add(self, key: str, found: Diagnosis) -> None:
        """Keep a diagnosis, or count it if its kind is known.

        Args:
            key: tells diagnoses of the same id apart.
            found: the diagnosis.
        """
        known = self._found.get((found.id, key))
        if known is not None:
            more = tuple(one for one in found.evidence if one not in known.evidence)
            evidence = (*known.evidence, *more)[:EVIDENCE_MAX]
            self._found[found.id, key] = replace(known, count=known.count + 1, evidence=evidence)
        elif len(self._found) < FOUND_MAX:
            self._found[found.id, key] = found

    def revise(self, key: str, found: Diagnosis) -> None:
        """Replace a diagnosis by one that says more, if it was kept; its count stays."""
        known = self._found.get((found.id, key))
        if known is not None:
            self._found[found.id, key] = replace(found, count=known.count)

    def note(self, known: Known, event: ev.LogEvent, text: str, key: str = "") -> None:
        """Add an entry of the catalogue; text: the evidence, at the place of the event."""
        confidence = Confidence.FACT if known.is_fact else Confidence.INFERENCE
        evidence = (Evidence(event.line, event.t_ms, text),)
        self.add(
            key,
            Diagnosis(
                known.id,
                known.name,
                known.finding,
                evidence,
                known.cause,
                known.remedy,
                confidence,
                event.boot,
            ),
        )

    def result(self) -> list[Diagnosis]:
        """All diagnoses."""
        return list(self._found.values())


def sample_evidence(sample: ev.Sample) -> Evidence:
    """A sample as evidence."""
    return Evidence(sample.line, sample.t_ms, sample_text(sample))


def sample_text(sample: ev.Sample) -> str:
    """Context and figures of a sample."""
    return f'"{sample.context}": {figures(sample.stats)}'


def figures(stats: MemoryStats) -> str:
    """Free, largest and fragmentation of each memory as text."""
    return ", ".join(
        f"{memory} {free} free, largest {largest}, {percent} %"
        for memory in MEMORIES
        for free, largest, percent in (stats.memory(memory),)
    )
