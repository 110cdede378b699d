"""The TTS decoder allocates its 64 KB block only if another 32 KB remain free, and otherwise logs the reason."""

from __future__ import annotations

import re

import pytest

from fixtures.measure import Measure
from fixtures.memory import DMA, INTERNAL, KB, PSRAM, SMALLEST_STEP, Heaps
from hotpin_hil.analysis.heap_layout import BLOCK_OVERHEAD, fits_one, largest_request
from hotpin_hil.device import Device, DeviceError
from hotpin_hil.protocol.log import LogLine

STREAM_BUFFER = 64 * KB
REQUIRED = STREAM_BUFFER + 32 * KB
PSRAM_START, PSRAM_END = 0x3F80_0000, 0x3FC0_0000
"""Addresses where the ESP32 maps its 4 MB of PSRAM (facts: heap_init in every recorded log)."""

INSUFFICIENT = r"Insufficient PSRAM: need (\d+) bytes, have (\d+) bytes"
ADDRESS = r"(0x3[0-9a-f]{7})"


def numbers_in(line: LogLine, pattern: str) -> tuple[str, ...]:
    """Groups of `pattern` in the log line that matches it."""
    match = re.search(pattern, line.text)
    assert match is not None
    return match.groups()


def open_error(device: Device) -> str:
    """Try to open the stream; returns the error's name, or `none`."""
    try:
        device.tts_open()
    except DeviceError as error:
        return error.err
    return "none"


def close_error(device: Device) -> str:
    """Try to close the stream; returns the error's name, or `none`."""
    try:
        device.tts_close()
    except DeviceError as error:
        return error.err
    return "none"


@pytest.mark.requirement("TTS-01")
def test_stream_buffer_is_64_kb_of_psram(device: Device, heaps: Heaps, measure: Measure) -> None:
    """Opens a stream and compares the bytes that this takes, read directly from all heaps, with the firmware's
    figures."""
    start = device.mark()
    before = {memory.name: heaps.free(memory.caps) for memory in (INTERNAL, DMA, PSRAM)}
    device.tts_open()
    after = {memory.name: heaps.free(memory.caps) for memory in (INTERNAL, DMA, PSRAM)}
    cost = STREAM_BUFFER + BLOCK_OVERHEAD
    measure(
        "PSRAM taken",
        before["psram"] - after["psram"],
        "B",
        exact=cost,
        source="guide: 64 KB in PSRAM, + header",
    )
    measure(
        "internal memory taken", before["internal"] - after["internal"], "B", exact=0, source="guide: PSRAM"
    )

    for context, free in (
        ("Before TTS Allocation", before["psram"]),
        ("After TTS Allocation", after["psram"]),
    ):
        box = device.wait_box(context, since=start)
        measure(f"PSRAM free in {context!r}", box.stats.psram_free, "B", exact=free, source="heap.probe")

    said = " | ".join(line.text for line in device.log_lines(start) if line.tag == "TTS")
    for what, number in (
        ("asked", STREAM_BUFFER),
        ("free before", before["psram"]),
        ("free after", after["psram"]),
        ("largest after", device.probe(PSRAM.caps).largest),
    ):
        measure(
            f"log says {what}", str(number) in said, exact=True, source=f"direct read: {number} B in {said!r}"
        )
    address = int(numbers_in(device.wait_line(ADDRESS, since=start), ADDRESS)[0], 16)
    measure(
        "the buffer lies in PSRAM",
        PSRAM_START <= address <= PSRAM_END - STREAM_BUFFER,
        exact=True,
        source=f"logged {address:#x}, PSRAM is {PSRAM_START:#x}..{PSRAM_END:#x}",
    )
    device.tts_close()


@pytest.mark.requirement("TTS-02")
def test_exactly_the_required_psram_is_enough(device: Device, heaps: Heaps, measure: Measure) -> None:
    heaps.leave(PSRAM, REQUIRED)
    assert fits_one(heaps.regions(PSRAM), STREAM_BUFFER), (
        "the largest block must not be the limiting factor here"
    )
    measure(
        "error with 98,304 B free", open_error(device), exact="none", source="guide: need 65,536 + 32,768 B"
    )
    measure(
        "free PSRAM while open",
        heaps.free(PSRAM.caps),
        "B",
        exact=REQUIRED - STREAM_BUFFER - BLOCK_OVERHEAD,
        source="the buffer was really taken",
    )


@pytest.mark.requirement("TTS-02")
@pytest.mark.parametrize(
    "short", [SMALLEST_STEP, 32 * KB - 2 * KB], ids=["one_step_short", "only_the_margin_missing"]
)
def test_safety_margin_refuses_below_the_required_psram(
    device: Device, heaps: Heaps, measure: Measure, short: int
) -> None:
    """Leaves less PSRAM than required: opening a stream must be refused. The allocator works in steps of 4 bytes, so
    98,300 is the largest size below 98,304."""
    free = REQUIRED - short
    heaps.leave(PSRAM, free)
    assert fits_one(heaps.regions(PSRAM), STREAM_BUFFER), (
        "the largest block must not be the limiting factor here"
    )
    start = device.mark()
    measure(
        f"error with {free} B free",
        open_error(device),
        exact="ESP_ERR_NO_MEM",
        source="guide: result of open",
    )
    needed, had = numbers_in(device.wait_line(INSUFFICIENT, since=start), INSUFFICIENT)
    measure("needed bytes in the message", int(needed), "B", exact=REQUIRED, source="guide: 65,536 + 32,768")
    measure("available bytes in the message", int(had), "B", exact=free, source="direct read (heap.probe)")
    measure(
        "free PSRAM afterwards", heaps.free(PSRAM.caps), "B", exact=free, source="a refusal takes no memory"
    )


@pytest.mark.requirement("TTS-03")
def test_refusal_leaks_nothing_and_ends_when_memory_is_back(
    device: Device, heaps: Heaps, measure: Measure
) -> None:
    untouched = [heaps.free(memory.caps) for memory in (INTERNAL, DMA, PSRAM)]
    held = heaps.leave(PSRAM, REQUIRED - SMALLEST_STEP)
    low = [heaps.free(memory.caps) for memory in (INTERNAL, DMA, PSRAM)]
    for _ in range(3):
        measure("error while memory is short", open_error(device), exact="ESP_ERR_NO_MEM", source="guide")
    for memory, free in zip((INTERNAL, DMA, PSRAM), low, strict=True):
        measure(
            f"{memory.name} free after three refusals",
            heaps.free(memory.caps),
            "B",
            exact=free,
            source="no leak",
        )
    measure(
        "closing after the refusals",
        close_error(device),
        exact="ESP_ERR_INVALID_STATE",
        source="no stream is open",
    )

    heaps.release(held)
    measure("error once memory is back", open_error(device), exact="none", source="requirement TTS-03")
    device.tts_close()
    for memory, free in zip((INTERNAL, DMA, PSRAM), untouched, strict=True):
        measure(f"{memory.name} free at the end", heaps.free(memory.caps), "B", exact=free, source="no leak")


@pytest.mark.requirement("TTS-04")
def test_enough_in_sum_but_no_block_is_refused_with_its_own_message(
    device: Device, heaps: Heaps, measure: Measure
) -> None:
    """Leaves about twice the required PSRAM, but in pieces of 32 KB. Opening a stream must be refused, with these
    figures in the message."""
    piece = 32 * KB
    heaps.leave(PSRAM, 12 * (piece + BLOCK_OVERHEAD) + 8 * KB)
    heaps.split(PSRAM, block=piece, count=12)
    free = heaps.free(PSRAM.caps)
    regions = heaps.regions(PSRAM)
    measure("sum of the free PSRAM blocks", free, "B", min=REQUIRED, source="the sum is enough")
    assert not fits_one(regions, STREAM_BUFFER)

    start = device.mark()
    measure("error", open_error(device), exact="ESP_ERR_NO_MEM", source="requirement TTS-04")
    largest = largest_request(regions)
    device.wait_line(rf"\b{largest}\b", since=start)
    errors = [line.text for line in device.log_lines(start) if line.tag == "TTS" and line.level == "E"]
    said = " | ".join(errors)
    measure(
        "figures in the message",
        " ".join(re.findall(r"\d+", said)),
        exact=f"{STREAM_BUFFER} {largest} {free}",
        source="the missing block, the largest free block, free PSRAM",
    )
    measure(
        "the message complains about the sum",
        "Insufficient PSRAM: need" in said,
        exact=False,
        source="fragmentation has its own message",
    )
    measure(
        "free PSRAM afterwards", heaps.free(PSRAM.caps), "B", exact=free, source="a refusal takes no memory"
    )
