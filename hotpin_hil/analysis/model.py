"""Diagnoses, and the class that collects them."""

from __future__ import annotations

from collections import Counter
from collections.abc import KeysView
from dataclasses import dataclass, replace

from hotpin_hil.analysis.catalogue import Known
from hotpin_hil.analysis.kinds import Gravity, topic_of
from hotpin_hil.compat import StrEnum
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.fields import MEMORIES, MemoryStats

NAMES = {"internal": "internal memory", "dma": "DMA-capable memory", "psram": "PSRAM", "heap": "all heaps"}

EVIDENCE_MAX = 8
"""Maximum number of lines of evidence per diagnosis."""
FOUND_MAX = 200
"""Maximum number of different diagnoses; a typical log has a handful."""


class Confidence(StrEnum):
    """How certain a diagnosis is."""

    FACT = "fact"
    """The log itself states the cause."""
    INFERENCE = "inference"
    """The log fits the diagnosis, but another cause could look the same."""


@dataclass(frozen=True)
class Evidence:
    """A line of the log that supports a diagnosis. Its text is unchecked: escape it before display."""

    line: int
    t_ms: int | None
    text: str


@dataclass(frozen=True)
class Diagnosis:
    """One problem, with its evidence and remedy."""

    id: str
    """"DIAG-01" … "DIAG-04" of the guide's troubleshooting section, or the catalogue's name."""
    name: str
    finding: str
    """One or two sentences."""
    evidence: tuple[Evidence, ...]
    cause: str
    """The most likely cause."""
    remedy: str
    confidence: Confidence
    boot: int
    """First boot with the problem, from 0."""
    count: int = 1
    """Number of occurrences in the log."""
    subject: str = ""
    """Distinguishes diagnoses with the same id: the memory, the state, the consumer."""

    @property
    def gravity(self) -> Gravity:
        """Severity of the diagnosis's topic."""
        return topic_of(self.id).gravity


class Findings:
    """The diagnoses of a log, each kind once, in the order of their first evidence."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Diagnosis] = {}
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, key: str, found: Diagnosis) -> None:
        """Add a diagnosis. If one with the same id and key exists, count it and add the new evidence to it.

        Args:
            key: distinguishes diagnoses with the same id.
            found: the diagnosis.
        """
        known = self._found.get((found.id, key))
        if known is None and len(self._found) == FOUND_MAX:
            return
        self._counts[found.id, key] += 1
        if known is None:
            self._found[found.id, key] = replace(found, subject=key)
        elif len(known.evidence) < EVIDENCE_MAX:
            more = tuple(line for line in found.evidence if line not in known.evidence)
            self._found[found.id, key] = replace(known, evidence=(*known.evidence, *more)[:EVIDENCE_MAX])

    def revise(self, key: str, found: Diagnosis) -> None:
        """Replace an earlier diagnosis, if there is one, with a more detailed one, and keep its count."""
        known = self._found.get((found.id, key))
        if known is not None:
            self._found[found.id, key] = replace(found, subject=key)

    def note(self, known: Known, event: ev.LogEvent, text: str, key: str = "") -> None:
        """Add a catalogue entry as a diagnosis. The evidence is `text`, at the line of the event."""
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

    def support(self, id_: str, key: str, evidence: Evidence) -> None:
        """Add a line of evidence to an earlier diagnosis, if there is one."""
        known = self._found.get((id_, key))
        if known is not None and evidence not in known.evidence and len(known.evidence) < EVIDENCE_MAX:
            self._found[id_, key] = replace(known, evidence=(*known.evidence, evidence))

    @property
    def keys(self) -> KeysView[tuple[str, str]]:
        """Id and key of each diagnosis so far."""
        return self._found.keys()

    def result(self) -> list[Diagnosis]:
        """All diagnoses, each with the number of its occurrences."""
        return [replace(found, count=self._counts[name]) for name, found in self._found.items()]


def sample_evidence(sample: ev.Sample) -> Evidence:
    """The sample's context and figures as evidence."""
    return Evidence(sample.line, sample.t_ms, sample_text(sample))


def sample_text(sample: ev.Sample) -> str:
    """The sample's context and figures as text."""
    return f'"{sample.context}": {figures(sample.stats)}'


def figures(stats: MemoryStats) -> str:
    """Free, largest and fragmentation of each memory type as text."""
    return ", ".join(
        f"{memory} {free} free, largest {largest}, {percent} %"
        for memory in MEMORIES
        for free, largest, percent in (stats.memory(memory),)
    )
