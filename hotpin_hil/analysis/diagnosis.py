"""Diagnoses memory problems from a log's events: name, evidence, cause and remedy.

    for diagnosis in diagnose(read_events(log)): ...

Pure: events in, diagnoses out. A diagnosis is a fact if the log itself states it, and an inference if it also relies on
experience from recorded logs.
"""

from __future__ import annotations

from collections.abc import Iterable, KeysView

from hotpin_hil.analysis import catalogue
from hotpin_hil.analysis.boot_catalogue import BOOT_FAULTS
from hotpin_hil.analysis.boot_loop import BootLoopHandler
from hotpin_hil.analysis.boot_state import BootState
from hotpin_hil.analysis.camera_catalogue import CAMERA_NO_FRAME, of_camera
from hotpin_hil.analysis.crash import CrashHandler
from hotpin_hil.analysis.fragmentation import FragmentationHandler
from hotpin_hil.analysis.leak_handler import LeakHandler, StaleStatistics
from hotpin_hil.analysis.matched_state import OF_HOTPIN, StateLeak
from hotpin_hil.analysis.model import Diagnosis, Evidence, Findings
from hotpin_hil.analysis.psram import PsramHandler
from hotpin_hil.analysis.shortage import ShortageHandler
from hotpin_hil.analysis.watchdog_catalogue import of_task_watchdog
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.boot_faults import NO_APP, ROM_MARK


def diagnose(events: Iterable[ev.LogEvent]) -> list[Diagnosis]:
    """All diagnoses, in the order of their first evidence."""
    diagnoser = Diagnoser()
    for event in events:
        diagnoser.feed(event)
    return diagnoser.result()


class Diagnoser:
    """Passes each event to the handlers that need it. Its memory use does not grow with the log."""

    def __init__(self) -> None:
        self._findings = Findings()
        self._state = BootState()
        self._psram = PsramHandler(self._findings, self._state)
        self._shortage = ShortageHandler(self._findings, self._state, self._psram)
        self._fragmentation = FragmentationHandler(self._findings, self._state)
        self._crash = CrashHandler(self._findings)
        self._loop = BootLoopHandler(self._findings)
        self._stale = StaleStatistics(self._findings)
        self._leaks = LeakHandler(self._findings)
        self._boot = 0
        self._fault = ""
        """Kind of the last boot fault of this boot."""
        self._has_records = False
        """Whether this boot sends its samples as records."""

    @property
    def leaks(self) -> list[StateLeak]:
        """The leak verdicts of the finished boots; only the first LEAKS_KEPT."""
        return self._leaks.leaks

    @property
    def keys(self) -> KeysView[tuple[str, str]]:
        """Id and key of each diagnosis so far.

        A diagnosis that depends on the end of a boot or of an incident is added only then.
        """
        return self._findings.keys

    @property
    def found(self) -> dict[tuple[str, str], Diagnosis]:
        """The diagnoses so far, by id and key."""
        return dict(zip(self.keys, self._findings.result(), strict=True))

    def feed(self, event: ev.LogEvent) -> None:
        """Pass the next event of the log to the handlers that it concerns."""
        if event.boot != self._boot or isinstance(event, ev.BootStarted):
            self._end_boot()
            self._boot = event.boot
        self._crash.settle(event)
        self._leaks.feed(event)
        self._state.is_hotpin = self._state.is_hotpin or isinstance(event, OF_HOTPIN)
        match event:
            case ev.HeapPrint():
                self._state.add_print(event)
            case ev.LargestPrint():
                self._state.add_largest(event)
            case ev.BootEnded():
                self._loop.take_boot_end(event)
            case ev.BootStarted():
                self._loop.take_boot(event)
                self._crash.take_boot(event)
                self._state.start_boot(event)
            case ev.ResetReason():
                self._crash.take_reason(event)
            case ev.Survived():
                self._crash.take_survived(event)
            case ev.Sample():
                self._sample(event)
            case ev.HeapsReported():
                self._state.heaps = event
                self._fragmentation.take_heaps()
                self._shortage.take_heaps(event)
            case ev.TransitionStarted():
                self._crash.take_transition_start(event)
            case ev.Transition():
                self._crash.take_transition(event)
                if event.result == "complete":
                    self._state.mode = event.to
                self._shortage.take_transition(event)
            case ev.ResetPlace():
                self._crash.take_reset_place(event)
            case ev.BootFault():
                self._crash.take_failure(event)
                self._loop.take_failure(event, BOOT_FAULTS[event.kind].name)
                self._boot_fault(event)
            case ev.ResetReported():
                self._crash.take_reported(event)
            case ev.BrownOut():
                self._crash.take_brown_out()
                self._loop.take_failure(event, catalogue.BROWN_OUT_RESET.name)
                self._findings.note(catalogue.BROWN_OUT_RESET, event, event.text)
            case ev.HeapTrace() if event.allocations:
                self._findings.note(catalogue.of_heap_trace(event), event, f"{event.bytes} bytes in trace")
            case ev.HeapCorrupted():
                self._findings.note(catalogue.of_heap_check(event), event, event.text)
            case ev.AllocationFailed():
                self._crash.take_failure(event)
                self._shortage.take_failure(event)
            case ev.MemoryWarning(recovered=False):
                self._psram.take_warning(event)
                self._fragmentation.take_warning(event)
            case ev.PanicSeen():
                self._loop.take_failure(event, event.panic.headline)
                self._shortage.take_panic(event.panic)
                self._crash.take_panic(event)
            case ev.TaskWatchdog():
                known = of_task_watchdog(event)
                self._crash.take_watchdog(known)
                ran = "".join(f", core {core} ran {task}" for core, task in sorted(event.running.items()))
                self._findings.note(known, event, f"task watchdog: {', '.join(event.tasks)}{ran}")
                if event.backtrace:
                    self._findings.support(known.id, "", Evidence(event.line, event.t_ms, event.backtrace))
            case ev.CameraFailed():
                self._crash.take_failure(event)
                is_new = self._state.is_power_on and not self._state.is_hotpin
                camera = of_camera(event, is_power_on=is_new)
                if camera is not None:
                    self._findings.note(camera, event, event.text)
            case ev.FrameMissed():
                self._crash.take_failure(event)
                self._findings.note(CAMERA_NO_FRAME, event, event.text)

    def result(self) -> list[Diagnosis]:
        """End the current boot and return all diagnoses."""
        self._end_boot()
        self._loop.end(self._boot)
        self._crash.end()
        return self._findings.result()

    def _boot_fault(self, event: ev.BootFault) -> None:
        """Diagnose a boot fault. "No application" after another fault is only evidence of that fault."""
        is_end = event.kind == NO_APP or event.text.startswith(ROM_MARK)
        if is_end and self._fault not in ("", event.kind):
            self._findings.support(self._fault, "", Evidence(event.line, event.t_ms, event.text))
            return
        self._fault = event.kind
        self._findings.note(BOOT_FAULTS[event.kind], event, event.text)

    def _sample(self, sample: ev.Sample) -> None:
        self._fragmentation.judge_figure(sample)
        if sample.source == "record":
            self._has_records = True
        elif self._has_records:
            return  # this box repeats a record
        self._crash.take_sample(sample)
        self._shortage.take_sample(sample)
        self._stale.take_sample(sample)
        self._fragmentation.take_sample(sample)
        self._psram.take_sample(sample)
        self._state.remember(sample)

    def _end_boot(self) -> None:
        self._shortage.end()
        self._leaks.end_boot(self._boot)
        self._state.end_boot()
        self._stale.end_boot()
        self._fragmentation.end_boot()
        self._psram.end_boot()
        self._crash.end_boot()
        self._fault = ""
        self._has_records = False
