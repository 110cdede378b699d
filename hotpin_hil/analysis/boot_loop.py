"""Finds boot loops: runs in a row that end in the same way."""

from __future__ import annotations

from collections import Counter

from hotpin_hil.analysis.model import EVIDENCE_MAX, Confidence, Diagnosis, Evidence, Findings
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.reset import BROWN_OUT, SOFTWARE, WATCHDOG, reset_kind

RUNS_MIN = 3
"""Minimum number of runs in a row that count as a loop."""
SILENT_LINES = 16
"""The ROM prints at most about this many lines before the bootloader or the application prints its own."""
ROM = "ROM"
"""Stage of a run that did not reach the bootloader."""
_BY_WATCHDOG = "reset by a watchdog"
_SILENT = "restarted by software before the application printed anything"


class BootLoopHandler:
    """Tracks how each run ends. Reports three or more runs in a row that end the same way."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._end = ""
        """How the current run failed; empty if it has not failed yet."""
        self._line = 0
        self._stage = ""
        self._start = 0
        """Line in which the previous run started, if its start is known."""
        self._last_ms: int | None = None
        self._runs: list[Evidence] = []
        self._count = 0
        self._repeated = ""
        self._stages: Counter[str] = Counter()
        self._first_boot = 0

    def take_failure(self, event: ev.LogEvent, text: str) -> None:
        """Remember how a run fails: by a panic, a brown-out or a boot fault. Only its first failure counts."""
        if not self._end:
            self._end, self._line = text, event.line

    def take_boot_end(self, event: ev.BootEnded) -> None:
        """Remember the stage that a run reached."""
        self._stage, self._last_ms = event.stage, event.t_ms

    def take_boot(self, event: ev.BootStarted) -> None:
        """Count the run that ended before this boot."""
        if event.is_first or event.boot == 0:
            self._start = event.line
            return
        kind = reset_kind(event.code, event.cause)
        if not self._end and kind in (WATCHDOG, BROWN_OUT):
            self._end, self._line = _BY_WATCHDOG if kind == WATCHDOG else event.cause, event.line
        elif not self._end and kind == SOFTWARE and self._stage == ROM and self._is_silent(event):
            self._end, self._line = _SILENT, event.line
        self._end_run(event.boot - 1)
        self._start = event.line

    def _is_silent(self, event: ev.BootStarted) -> bool:
        return 0 < event.line - self._start <= SILENT_LINES

    def end(self, boot: int) -> None:
        """Handle the end of the log: the last run also counts if it failed the same way as the previous one."""
        if self._end and self._end == self._repeated:
            self._stage = ""
            self._end_run(boot)

    def _end_run(self, boot: int) -> None:
        end, self._end = self._end, ""
        if not end or end != self._repeated:
            self._repeated, self._count, self._runs, self._stages = end, 0, [], Counter()
            self._first_boot = boot
        if not end:
            return
        self._count += 1
        if self._stage:
            self._stages[self._stage] += 1
        if len(self._runs) < EVIDENCE_MAX:
            self._runs.append(Evidence(self._line, self._last_ms, end))
        if self._count >= RUNS_MIN:
            self._report()

    def _report(self) -> None:
        reached = ", ".join(
            f"{stage} ({'once' if count == 1 else f'{count} times'})"
            for stage, count in self._stages.most_common()
        )
        found = Diagnosis(
            "boot-loop",
            "Boot loop",
            f"The board restarted again and again: {self._count:,} runs in a row ended the same way: "
            f"{self._repeated}. They got as far as: {reached or 'unknown'}.",
            tuple(self._runs),
            "the cause that ends each run; see its own diagnosis",
            "fix the cause that ends the runs; to stop the restarts while you read the log, "
            "hold the chip in download mode",
            Confidence.FACT,
            self._first_boot,
        )
        key = f"{self._first_boot}"
        if self._count == RUNS_MIN:
            self._findings.add(key, found)
        else:
            self._findings.revise(key, found)
