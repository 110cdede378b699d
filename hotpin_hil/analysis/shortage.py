"""DIAG-01: an allocation or a transition failed because of a memory shortage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hotpin_hil.analysis.boot_state import BootState
from hotpin_hil.analysis.contexts import BEFORE_TTS, before_transition
from hotpin_hil.analysis.explanations import failed_call
from hotpin_hil.analysis.model import (
    EVIDENCE_MAX,
    NAMES,
    Confidence,
    Diagnosis,
    Evidence,
    Findings,
    sample_evidence,
)
from hotpin_hil.analysis.psram import PSRAM_WARNING, PsramHandler
from hotpin_hil.protocol import events as ev
from hotpin_hil.protocol.panic import Panic
from hotpin_hil.protocol.shortages import CHECK_FAILED, caps_text, consumer_of

INTERNAL_MAX = 600 * 1024
"""Bytes; no chip of the family except the P4 has more internal memory, so more free memory is mostly PSRAM."""
_REMEDIES = {
    "psram": "check that PSRAM was found at boot (CONFIG_SPIRAM, mode, speed); allocate less, or free it first",
    "dma": "free internal memory: move large buffers to PSRAM, allocate drivers' buffers first and keep them",
    "internal": "free internal memory: move large buffers to PSRAM; make stacks and queues smaller",
    "": "print the free size and the largest free block before the allocation; free or shorten what grows, and move "
    "large buffers to PSRAM",
}
I2S_BUFFERS = "four blocks of 4,080 and four of 2,040 bytes, 25,980 in all"
_CONSUMER_REMEDIES = {
    "camera frame buffer": "enable PSRAM (CONFIG_SPIRAM; in the Arduino IDE the board's option PSRAM), or use a "
    "smaller frame size, a higher JPEG compression or fewer frame buffers",
    "TLS connection": "free internal memory before connecting; use smaller TLS buffers (CONFIG_MBEDTLS_DYNAMIC_BUFFER, "
    "CONFIG_MBEDTLS_ASYMMETRIC_CONTENT_LEN), fewer connections at a time, or mbedTLS in PSRAM",
    "Python object": "call gc.collect() before large allocations, allocate large buffers once at the start, or use a "
    "board and firmware with PSRAM",
    "Bluetooth": "release the memory of the unused controller mode (esp_bt_controller_mem_release), start Bluetooth "
    "before other memory is taken, or use NimBLE instead of Bluedroid",
}
"""Remedies for components that have their own."""
CHECK_LINES = 10
"""A failed ESP_ERROR_CHECK at most this many lines after a failed allocation reports the same failure."""
INCIDENT_MS = 1_000
"""Maximum time between reports by different components about the same shortage."""
RETRY_MS = 50
"""Maximum time between a component's reports of its first and second attempt."""
_NO_MEMORY = "ESP_ERR_NO_MEM"

Failure = ev.AllocationFailed | ev.Transition


@dataclass
class _Shortage:
    """A failed allocation or transition; later events of the log may add details."""

    event: Failure
    sample: ev.Sample | None
    print: ev.HeapPrint | None
    best: ev.Sample | None
    """The sample with the same context and the most free memory, for comparison."""
    heaps: ev.HeapsReported | None


class ShortageHandler:
    """Reports a failure caused by a memory shortage, together with the memory before it."""

    def __init__(self, findings: Findings, state: BootState, psram: PsramHandler) -> None:
        self._findings = findings
        self._state = state
        self._psram = psram
        self._shortage: _Shortage | None = None

    def take_transition(self, event: ev.Transition) -> None:
        """Process a transition that failed because of a memory shortage."""
        if event.result == "failed" and (event.missing or event.error == _NO_MEMORY):
            self.take_failure(event)

    def take_failure(self, event: Failure) -> None:
        """Process a failed allocation or transition.

        Reports of the same incident are merged; the most detailed one is kept.
        """
        current = self._shortage
        if current is not None and _is_same_incident(current.event, event):
            # Prefer the most detailed report: a transition's record over a line, a driver's line over a bare failure.
            if isinstance(event, ev.Transition) and event.missing:
                current.event = event
            return
        self.end()
        state = self._state
        best = state.best.get(state.last.context) if state.last else None
        reading = _nearest(state.prints, _memory_of(event))
        self._shortage = _Shortage(event, state.last, reading, best, state.heaps)

    def take_panic(self, panic: Panic) -> None:
        """Add the failed call to the open incident, if it is an ESP_ERROR_CHECK that does not name one."""
        short, call = self._shortage, failed_call(panic)
        if short is None or not call or not isinstance(short.event, ev.AllocationFailed):
            return
        if _is_check(short.event) and not short.event.consumer:
            consumer, memory = consumer_of(call)
            short.event = replace(short.event, function=call, consumer=consumer, memory=memory)

    def take_sample(self, sample: ev.Sample) -> None:
        """End the incident with the first sample taken after it, or add statistics from before the failing operation.

        Statistics that the firmware writes after a failure may have been taken before it.
        """
        short = self._shortage
        if short is None or short.event.t_ms is None:
            return
        if sample.stats.timestamp_ms > short.event.t_ms:
            self.end()
        elif before_transition(sample.context) or sample.context == BEFORE_TTS:
            short.sample, short.best, short.print = sample, self._state.best.get(sample.context), None

    def take_heaps(self, event: ev.HeapsReported) -> None:
        """Add the heaps to the open incident. A test requests them after a failure."""
        if self._shortage is not None and self._shortage.heaps is None:
            self._shortage.heaps = event

    def end(self) -> None:
        """Report the current shortage, if any."""
        short, self._shortage = self._shortage, None
        if short is None:
            return
        event = short.event
        if isinstance(event, ev.AllocationFailed) and event.kind == "psram":
            self._psram.report(event, event.have, event.text)
        missing, consumer, text = _missing_block(event, is_hotpin=self._state.is_hotpin)
        memory_before, evidence = _memory_before(short)
        evidence.append(Evidence(event.line, event.t_ms, text))
        holder, confidence = self._holder(short, evidence)
        if short.heaps is not None:
            heaps = ", ".join(
                f"0x{heap.start:08X} {heap.free:,}/{heap.largest:,}"
                for heap in short.heaps.heaps
                if heap.free
            )
            evidence.append(Evidence(short.heaps.line, short.heaps.t_ms, f"heaps, free/largest: {heaps}"))
        self._findings.add(
            consumer,
            Diagnosis(
                "DIAG-01",
                f"ESP_ERR_NO_MEM: {consumer}",
                f"{missing}; {memory_before}.",
                tuple(evidence[:EVIDENCE_MAX]),
                holder,
                _remedy(event),
                confidence,
                event.boot,
            ),
        )

    def _holder(self, short: _Shortage, evidence: list[Evidence]) -> tuple[str, Confidence]:
        """Find what used the memory, by comparison with the same state at another time. Adds to `evidence`."""
        memory = _memory_of(short.event)
        sample, best = short.sample, short.best
        if sample is not None and best is not None and best.line != sample.line:
            more = best.stats.memory(memory)[0] - sample.stats.memory(memory)[0]
            if more > 0:
                evidence.append(sample_evidence(best))
                when = f"line {best.line}" if best.t_ms is None else f"{best.t_ms / 1000:,.1f} s"
                return (
                    f"{more:,} more bytes of {NAMES[memory]} were allocated than at {when} in the same state "
                    f'("{best.context}"); none of the mode\'s drivers allocated them',
                    Confidence.FACT,
                )
        event, fall = short.event, self._psram.fall
        is_used_up = sample is not None and sample.stats.psram_free < PSRAM_WARNING
        if memory == "psram" and is_used_up and fall is not None:
            evidence.append(sample_evidence(fall.before))
            return f"{fall}", Confidence.FACT
        if isinstance(event, ev.AllocationFailed) and event.kind == "tts":
            return (
                "queued 4 KB audio chunks were allocated from DMA memory one by one "
                "(this exhausted DMA memory in recorded logs, with 4 MB of PSRAM free)",
                Confidence.INFERENCE,
            )
        return (
            "the log does not show which code used the memory, because it has no statistics in the same state",
            Confidence.INFERENCE,
        )


def _nearest(prints: Mapping[str, ev.HeapPrint], memory: str) -> ev.HeapPrint | None:
    """The newest reading of a memory type; of any other type if there is none."""
    if memory in prints or not prints:
        return prints.get(memory)
    return max(prints.values(), key=lambda reading: reading.line)


def _memory_of(event: Failure) -> str:
    """The memory type that ran short; "dma" if the log does not show it."""
    if isinstance(event, ev.AllocationFailed) and event.memory and event.memory != "heap":
        return event.memory
    return "psram" if isinstance(event, ev.AllocationFailed) and event.kind == "psram" else "dma"


def _memory_before(short: _Shortage) -> tuple[str, list[Evidence]]:
    """Describe the memory before the failure; also returns the evidence."""
    event, sample, reading = short.event, short.sample, short.print
    memory = _memory_of(event)
    if sample is not None and (reading is None or reading.line < sample.line):
        free, largest, _ = sample.stats.memory(memory)
        when = _how_long_before(sample.t_ms, event.t_ms)
        text = f"{when} {free:,} bytes of {NAMES[memory]} were free, and the largest block was {largest:,}"
        return text, [sample_evidence(sample)]
    if reading is not None:
        when = _how_long_before(reading.t_ms, event.t_ms)
        text = f"{when} {reading.free:,} bytes of {NAMES[reading.memory]} were free"
        if reading.largest is not None:
            text += f", and the largest block was {reading.largest:,}"
        text += _judge(event, reading)
        shown = f"{reading.tag}: {reading.free} bytes of {NAMES[reading.memory]} free"
        return text, [Evidence(reading.line, reading.t_ms, shown)]
    return "the log does not show the memory before the failure", []


def _how_long_before(reading_ms: int | None, event_ms: int | None) -> str:
    """Text such as `5.9 s before the failure`, because an old reading proves little about the moment of failure."""
    if reading_ms is None or event_ms is None:
        return "at some time before the failure"
    return f"{max(0, event_ms - reading_ms) / 1000:.1f} s before the failure"


def _is_check(event: Failure) -> bool:
    return event.text.startswith(CHECK_FAILED)


def _is_same_incident(first: Failure, second: Failure) -> bool:
    if _is_check(second) and first.boot == second.boot and not _is_check(first):
        return second.line - first.line <= CHECK_LINES
    if first.boot != second.boot or first.t_ms is None or second.t_ms is None:
        return False
    apart_ms = abs(second.t_ms - first.t_ms)
    if (
        isinstance(first, ev.AllocationFailed)
        and isinstance(second, ev.AllocationFailed)
        and first.kind == second.kind
    ):
        return first.text != second.text and apart_ms <= RETRY_MS
    return apart_ms <= INCIDENT_MS


def _missing_block(event: Failure, *, is_hotpin: bool) -> tuple[str, str, str]:
    """Describe the missing block and who requested it; also returns the text of the log line."""
    if isinstance(event, ev.Transition):
        what = event.block or f"step {event.step}" if event.step else f"{event.to} mode"
        if event.missing:
            largest = f"; the largest free block was {event.largest:,}" if event.largest else ""
            missing = f"A block of {event.missing:,} bytes for {what} was not available{largest}"
        else:
            missing = f"Memory for {what} was not available; the log does not name the block"
        return missing, f"no room for {event.to} mode", event.text
    if event.kind == "i2s":
        buffers = f"buffers ({I2S_BUFFERS})" if is_hotpin else "DMA buffers"
        return f"I2S did not get its {buffers}", "I2S out of DMA memory", event.text
    if event.kind == "tts":
        size = f" of {event.size:,} bytes" if event.size else ""
        return f"An audio chunk{size} could not be allocated", "TTS out of DMA memory", event.text
    if event.kind == "psram":
        size = f"{event.size:,} bytes" if event.size else "a block"
        return f"A request for {size} of PSRAM was refused", "PSRAM exhausted", event.text
    size = f" of {event.size:,} bytes" if event.size is not None else ""
    consumer = "no room for a mode" if event.kind == "transition" else event.consumer or "a failed allocation"
    what = f" for the {event.consumer}" if event.consumer else ""
    if event.caps is not None:
        what += f" with capabilities 0x{event.caps:x} ({caps_text(event.caps)})"
    elif event.memory:
        what += f" in {NAMES[event.memory]}"
    by = f" by {event.function}" if event.function else ""
    return f"A block{size}{what} could not be allocated{by}{_have(event)}", consumer, event.text


def _have(event: ev.AllocationFailed) -> str:
    """The free bytes in the failure's log line."""
    if event.have is None or event.kind == "transition":
        return ""
    is_mostly_psram = event.memory in ("dma", "internal") and event.have > INTERNAL_MAX
    mostly = ", most of it PSRAM, which this block cannot use" if is_mostly_psram else ""
    return f" ({event.have:,} bytes were free in all heaps{mostly})"


def _judge(event: Failure, reading: ev.HeapPrint | None) -> str:
    """The kind of shortage, if a reading and the block's size show it."""
    size = event.size if isinstance(event, ev.AllocationFailed) else event.missing
    if reading is None or size is None:
        return ""
    largest = reading.largest
    if reading.free < size:
        return "; too little memory was free"
    if largest is None:
        return ""
    if largest < size:
        return "; enough was free in total, but no block was large enough: fragmentation"
    return "; a block of this size was free, so it lacked the requested capability or had been taken by then"


def _remedy(event: Failure) -> str:
    if isinstance(event, ev.AllocationFailed):
        if event.kind == "i2s":
            return "check that every block can be placed, not the sum; start I2S before memory becomes fragmented"
        if event.kind == "tts":
            return "queue audio in PSRAM, and copy only the chunk being played to DMA memory"
        if event.kind == "psram":
            return "free buffers first; keep the margin that the check requires"
        if event.kind != "transition":
            if event.consumer in _CONSUMER_REMEDIES:
                return _CONSUMER_REMEDIES[event.consumer]
            return _REMEDIES.get(event.memory, _REMEDIES[""])
    return "free the memory that the comparison shows, or restart its owner; check for the block before the transition"
