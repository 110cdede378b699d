"""DIAG-04: crashes during mode transitions."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hotpin_hil.analysis import catalogue
from hotpin_hil.analysis.contexts import before_transition
from hotpin_hil.analysis.model import (
    EVIDENCE_MAX,
    Confidence,
    Diagnosis,
    Evidence,
    Findings,
    figures,
    sample_text,
)
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.boot_faults import STOPS_START
from hotpin_hil.protocol.panic import Panic
from hotpin_hil.protocol.reset import WATCHDOG, reset_kind

_ORDERLY_RESETS = ("POWERON_RESET", "SW_RESET", "DEEPSLEEP_RESET", "SDIO_RESET")
"""Reset causes that do not follow a crash."""


_CONSEQUENCES = ("abort", "assert", "failed allocation")
NEAR_LINES, NEAR_MS = 40, 5_000
"""A failure at most this far before a panic may be its cause."""
BACKTRACE_MAX = 12


@dataclass
class _Crash:
    """The events of a crash."""

    boot: int
    to: str
    """Target mode of the transition; empty outside a transition."""
    before: Evidence | None
    panic: ev.PanicSeen | None = None
    reset: ev.BootStarted | None = None
    reason: ev.ResetReason | None = None
    survived: ev.Survived | None = None


class CrashHandler:
    """Diagnoses panics and resets. A crash during a mode transition is also reported as DIAG-04."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._begun: Evidence | None = None
        """Evidence of a transition in progress."""
        self._begun_to = ""
        self._ended_ms = -1
        """Board time at the end of the last transition. A sample from before that time starts no new transition."""
        self._crash: _Crash | None = None
        self._failure: ev.LogEvent | None = None
        """The last failed allocation or boot fault of this boot, which an abort may follow."""
        self._reset: tuple[str, str] | None = None
        """The diagnosis of the reset that started this boot."""
        self._unsettled: tuple[ev.BootStarted, catalogue.Known, list[Evidence]] | None = None
        """A watchdog reset and its evidence. The ROM's next line may show that a damaged flash is its cause."""
        self._has_failed = self._had_failed = False
        """Whether the log of this run, and of the previous run, shows how the run failed."""
        self._watchdog: catalogue.Known | None = None
        """The last report of the task watchdog in this boot."""

    # --- Transitions ---

    def take_transition_start(self, event: ev.TransitionStarted) -> None:
        """Remember the transition in progress, so that a crash can be attributed to it."""
        text = f"=== TRANSITION TO {event.to.upper()} MODE ==="
        self._begin(event.to, Evidence(event.line, event.t_ms, text))

    def take_transition(self, event: ev.Transition) -> None:
        """Note that the transition in progress has ended, unless its end is missing from the log."""
        if event.result != "unfinished":  # emitted only after the boot has ended
            self._begun = None
            self._ended_ms = event.t_ms if event.t_ms is not None else -1

    def take_sample(self, sample: ev.Sample) -> None:
        """Treat a sample logged before a transition as evidence that the transition is in progress.

        A record that was taken before the last transition ended is not such evidence. A box may be printed even later,
        so it counts only if that transition is already known to be in progress.
        """
        to = before_transition(sample.context)
        if not to:
            return
        is_new = sample.source == "record" and sample.stats.timestamp_ms >= self._ended_ms
        if is_new or (self._begun is not None and self._begun_to == to):
            self._begin(to, Evidence(sample.line, sample.t_ms, sample_text(sample)))

    def _begin(self, to: str, evidence: Evidence) -> None:
        self._begun, self._begun_to = evidence, to

    # --- Crashes ---

    def take_panic(self, event: ev.PanicSeen) -> None:
        """Diagnose a panic, and start a crash report."""
        known = catalogue.of_panic(event.panic, event.regions)
        known = self._explained(known, event)
        self._has_failed = True
        key = "" if known.id == "corrupt-heap" else event.panic.cause
        self._findings.note(known, event, event.panic.headline, key)
        for text in (*_details(event.panic), _backtrace(event.panic)):
            if text:
                self._findings.support(known.id, key, Evidence(event.line, event.t_ms, text))
        self.end()
        self._crash = _Crash(event.boot, self._begun_to if self._begun else "", self._begun, panic=event)

    def _explained(self, known: catalogue.Known, event: ev.PanicSeen) -> catalogue.Known:
        """The entry of a panic, with the failure just before it as its cause."""
        before, panic = self._failure, event.panic
        if panic.cause == "task watchdog" and self._watchdog is not None:
            return replace(
                known,
                name="Panic: the task watchdog stopped the firmware",
                finding=self._watchdog.finding,
                cause=self._watchdog.cause,
                remedy=self._watchdog.remedy,
            )
        if before is None or not _is_near(before, event):
            return known
        if panic.cause in _CONSEQUENCES and known.id.startswith("panic-"):
            return replace(
                known, cause=f"a consequence of the failure reported just before it, in line {before.line:,}"
            )
        if known.id == "deleted-object":
            return replace(
                known,
                cause=f"probably a result of the failure in line {before.line:,} that the code did not check",
            )
        return known

    def take_boot(self, boot: ev.BootStarted) -> None:
        """Diagnose the reset that started this boot, and complete or start a crash report.

        A reset without a panic counts as a crash only if it happened during a transition.
        """
        crash = self._crash
        is_after_panic = crash is not None and crash.panic is not None and crash.reset is None
        known = catalogue.of_reset(boot, after_panic=is_after_panic)
        is_stopped = isinstance(self._failure, ev.BootFault) and self._failure.kind in STOPS_START
        self._failure, self._reset, self._watchdog = None, None, None
        self._had_failed, self._has_failed = self._has_failed or known is not None, False
        if known is not None and known.id == "hardware-watchdog":
            self._unsettled = None if is_stopped else (boot, known, [])
        elif known is not None:
            text = boot.cause or f"a boot without a banner, detected by: {boot.sign}"
            key = "" if known is catalogue.BROWN_OUT_RESET else boot.cause
            self._findings.note(known, boot, text, key)
            self._reset = (known.id, key)
        if is_after_panic and crash is not None:
            crash.reset = boot
        else:
            self.end()
            if self._begun is not None and boot.cause not in _ORDERLY_RESETS and boot.boot > 0:
                self._crash = _Crash(boot.boot - 1, self._begun_to, self._begun, reset=boot)
        self._begun = None

    def settle(self, event: ev.LogEvent | None = None) -> None:
        """Report the pending watchdog reset, unless `event` shows its cause: that the chip cannot start."""
        if self._unsettled is None or isinstance(event, ev.ResetPlace):
            return
        (boot, known, places), self._unsettled = self._unsettled, None
        if isinstance(event, ev.BootFault) and event.boot == boot.boot and event.kind in STOPS_START:
            return
        self._findings.note(known, boot, boot.cause, boot.cause)
        self._reset = (known.id, boot.cause)
        for place in places:
            self._findings.support(*self._reset, place)

    def take_failure(self, event: ev.LogEvent) -> None:
        """Remember a failed allocation, a boot fault or a camera failure, which may explain a following panic."""
        self._failure = event

    def take_watchdog(self, known: catalogue.Known) -> None:
        """Remember the report of the task watchdog, which may end in a panic."""
        self._watchdog, self._has_failed = known, True

    def take_brown_out(self) -> None:
        """Note that this run ended in a brown-out."""
        self._has_failed = True

    def take_reported(self, event: ev.ResetReported) -> None:
        """Report a failure of the last run, unless the log shows it."""
        if self._had_failed:
            return
        known = catalogue.of_reported_reset(event)
        if self._reset == (known.id, "reported"):
            self._findings.support(known.id, "reported", Evidence(event.line, event.t_ms, event.text))
        else:
            self._findings.note(known, event, event.text, "reported")
            self._reset = (known.id, "reported")

    def take_reset_place(self, event: ev.ResetPlace) -> None:
        """Add the program counter to the diagnosis of the watchdog reset."""
        place = Evidence(event.line, event.t_ms, event.text)
        if self._unsettled is not None:
            self._unsettled[2].append(place)
        elif self._reset is not None:
            self._findings.support(*self._reset, place)

    def take_reason(self, event: ev.ResetReason) -> None:
        """Add the reset reason that the firmware reports to the crash report, if one is open."""
        if self._crash is not None and self._crash.reason is None:
            self._crash.reason = event

    def take_survived(self, event: ev.Survived) -> None:
        """Add the statistics that survived the reset to the crash report, if one is open."""
        crash = self._crash
        if crash is None or crash.survived is not None:
            return
        crash.survived = event
        crash.to = crash.to or before_transition(event.context)

    def end_boot(self) -> None:
        """Forget when the last transition ended, because the next boot's time starts at 0."""
        self.settle()
        self._ended_ms = -1

    def end(self) -> None:
        """Report the current crash as DIAG-04, if it happened during a mode transition."""
        crash, self._crash = self._crash, None
        if crash is None or not crash.to:
            return
        how = (
            crash.panic.panic.cause
            if crash.panic
            else (crash.reset.cause if crash.reset else "") or "a reset"
        )
        self._findings.add(
            f"{crash.to} {how}",
            Diagnosis(
                "DIAG-04",
                "Crash during a mode transition",
                f"The board crashed during the transition to {crash.to} mode: {how}.",
                tuple(_chain(crash)[:EVIDENCE_MAX]),
                _cause(crash),
                "find the step in the backtrace; increase the stabilisation delays only if it names a driver",
                Confidence.FACT if crash.panic else Confidence.INFERENCE,
                crash.boot,
            ),
        )


def _is_near(before: ev.LogEvent, event: ev.LogEvent) -> bool:
    is_soon = before.t_ms is None or event.t_ms is None or event.t_ms - before.t_ms <= NEAR_MS
    return is_soon and event.line - before.line <= NEAR_LINES


def _details(panic: Panic) -> list[str]:
    """The first lines that explain a panic, and the failed call."""
    return [*panic.details[:2], *(text for text in panic.details[2:] if text.startswith("expression: "))]


def _backtrace(panic: Panic) -> str:
    calls = " ".join(f"0x{frame.pc:08x}" for frame in panic.backtrace[:BACKTRACE_MAX])
    return f"backtrace: {calls}" if calls else ""


def _chain(crash: _Crash) -> list[Evidence]:
    chain = [crash.before] if crash.before else []
    if crash.panic is not None:
        chain.append(Evidence(crash.panic.line, crash.panic.t_ms, crash.panic.panic.headline))
    if crash.reset is not None:
        text = crash.reset.cause or f"no cause in the log; the next boot was detected by: {crash.reset.sign}"
        chain.append(Evidence(crash.reset.line, None, f"reset: {text}"))
    if crash.reason is not None:
        text = f"the firmware reports: {crash.reason.reason}"
        chain.append(Evidence(crash.reason.line, crash.reason.t_ms, text))
    if crash.survived is not None:
        text = f'survived the reset: "{crash.survived.context}", {figures(crash.survived.stats)}'
        chain.append(Evidence(crash.survived.line, crash.survived.t_ms, text))
    return chain


def _cause(crash: _Crash) -> str:
    if crash.panic is not None:
        return catalogue.of_panic(crash.panic.panic, crash.panic.regions).name
    if crash.reset is not None and reset_kind(crash.reset.code, crash.reset.cause) == WATCHDOG:
        return f"a hardware watchdog: {catalogue.watchdog_of(crash.reset.cause)}"
    return "the log does not show it"
