"""Kinds of diagnoses: the severity of each, and the topics that every log is searched for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hotpin_hil.compat import StrEnum
from hotpin_hil.protocol import boot_faults as faults


class Gravity(StrEnum):
    """Severity of a diagnosis, the worst first."""

    FATAL = "fatal"
    """The firmware crashed, was reset, or did not start."""
    FAILURE = "failure"
    """An operation of the firmware failed."""
    RISK = "risk"
    """The firmware still works, but a failure is approaching."""
    NOTE = "note"
    """A figure in the log is misleading."""

    @property
    def rank(self) -> int:
        """Position in the order of severity; 0 is the worst."""
        return list(Gravity).index(self)


PANIC = "panic-"
"""Prefix of the ids of panics without a better explanation; the panic's cause follows."""
LEAK, FRAGMENTED = "a memory leak", "fragmented memory"
"""Topics that need readings of free memory."""
ANY_PANIC = "a panic, an abort or a failed assertion"


@dataclass(frozen=True)
class DiagnosisTopic:
    """Kinds of diagnoses that a reader sees as one topic."""

    name: str
    gravity: Gravity
    ids: tuple[str, ...]


TOPICS = (
    DiagnosisTopic(
        ANY_PANIC,
        Gravity.FATAL,
        (
            PANIC, "iram-heap", "heap-poison", "jump-to-data", "deleted-object", "stack-smashing",
            "interrupt-watchdog", "cache-error", "cpu-lockup", "panic-before", "DIAG-04",
        ),
    ),
    DiagnosisTopic("a stack overflow", Gravity.FATAL, ("stack-overflow",)),
    DiagnosisTopic("an overwritten heap", Gravity.FATAL, ("corrupt-heap",)),
    DiagnosisTopic("a reset by a watchdog", Gravity.FATAL, ("hardware-watchdog",)),
    DiagnosisTopic("a brown-out", Gravity.FATAL, ("brown-out",)),
    DiagnosisTopic(
        "a board that does not start",
        Gravity.FATAL,
        (
            faults.BLANK_FLASH, faults.BOOT_LOADER_DAMAGED, faults.FLASH_READ, faults.PARTITION_TABLE,
            faults.NO_APP, faults.APP_DAMAGED, faults.APP_TOO_LARGE, faults.SECURE_BOOT,
            faults.WRONG_CHIP, faults.FLASH_SIZE,
        ),
    ),
    DiagnosisTopic("a boot loop", Gravity.FATAL, ("boot-loop",)),
    DiagnosisTopic("a failed allocation", Gravity.FAILURE, ("DIAG-01", "psram-exhausted")),
    DiagnosisTopic("missing PSRAM", Gravity.FAILURE, (faults.NO_PSRAM,)),
    DiagnosisTopic("a report of the task watchdog", Gravity.FAILURE, ("task-watchdog",)),
    DiagnosisTopic(
        "a camera that does not work",
        Gravity.FAILURE,
        ("camera-reinit", "camera-not-found", "camera-not-supported", "camera-no-frame"),
    ),
    DiagnosisTopic(LEAK, Gravity.RISK, ("DIAG-03", "heap-trace")),
    DiagnosisTopic(FRAGMENTED, Gravity.RISK, ("DIAG-02",)),
    DiagnosisTopic("figures that mislead", Gravity.NOTE, ("stale-statistics", "fragmentation-figure")),
)  # fmt: skip
"""Every id of a diagnosis, by topic."""

_TOPIC_OF = {id_: topic for topic in TOPICS for id_ in topic.ids}


def topic_of(id_: str) -> DiagnosisTopic:
    """The topic of a diagnosis by its id."""
    return _TOPIC_OF.get(id_) or _TOPIC_OF[PANIC if id_.startswith(PANIC) else id_]


class Outcome(StrEnum):
    """Result of the search for a topic."""

    FOUND = "found"
    NOT_FOUND = "not found"
    NOT_JUDGED = "not judged"
    """The log has too few readings to decide."""


@dataclass(frozen=True)
class LookedFor:
    """A topic and the outcome of the search for it."""

    topic: str
    outcome: Outcome
    why: str = ""
    """Why the outcome is NOT_JUDGED; empty for other outcomes."""


def looked_for(
    ids: Iterable[str], *, has_panic: bool, has_series: bool, has_largest: bool
) -> tuple[LookedFor, ...]:
    """The topics that were searched for in a log, with the results.

    Args:
        ids: the ids of the log's diagnoses.
        has_panic: whether there was a panic of any kind.
        has_series: whether there were enough readings of one memory type for a leak verdict.
        has_largest: whether the log prints a largest free block.
    """
    found = {topic_of(id_).name for id_ in ids} | ({ANY_PANIC} if has_panic else set())
    missing = {
        LEAK: "" if has_series else "no memory was read often enough in one boot",
        FRAGMENTED: "" if has_largest else "the log prints no largest free block",
    }
    return tuple(
        LookedFor(
            topic.name,
            Outcome.FOUND
            if topic.name in found
            else (Outcome.NOT_JUDGED if missing.get(topic.name) else Outcome.NOT_FOUND),
            "" if topic.name in found else missing.get(topic.name, ""),
        )
        for topic in TOPICS
    )
