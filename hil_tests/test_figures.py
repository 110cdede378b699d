"""Every reported figure changes by exactly the size of a block that the test holds.

This detects a figure that is constant or that reports another memory type. The expected size comes from a heap walk.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from fixtures.device import boot_start
from fixtures.measure import Measure
from fixtures.memory import INTERNAL, PSRAM, Heaps, Memory
from fixtures.modes import CAMERA, VOICE, Modes
from hotpin_hil.analysis.heap_layout import BLOCK_OVERHEAD
from hotpin_hil.device import Device
from hotpin_hil.link.channel import Cursor

SIZES = {"internal": 1_236, "psram": 5_432}
"""Block size in bytes for each memory type. The sizes differ, and are neither powers of two nor multiples of each
other."""
SOURCE = "bytes of the held blocks and their headers (heap.blocks)"
MEMORIES = {"internal": INTERNAL, "psram": PSRAM}


@dataclass(frozen=True)
class Walk:
    """Used bytes of each memory type, headers included, from a walk of the heaps' blocks."""

    internal: int
    psram: int

    def __sub__(self, other: Walk) -> dict[str, int]:
        return {"internal": self.internal - other.internal, "psram": self.psram - other.psram}


def walk(device: Device) -> Walk:
    """Walks all blocks, and counts only the used ones: free blocks are listed with a negative size."""

    def used(memory: Memory) -> int:
        return sum(
            size + BLOCK_OVERHEAD for heap in device.blocks(memory.caps) for size in heap.blocks if size > 0
        )

    return Walk(used(INTERNAL), used(PSRAM))


def hold_both(device: Device, heaps: Heaps) -> dict[str, int]:
    """Holds a block of each memory type; returns the bytes that each block uses, header included."""
    before = walk(device)
    for name, memory in MEMORIES.items():
        heaps.hold(memory, SIZES[name])
    taken = walk(device) - before
    assert all(taken[name] >= SIZES[name] + BLOCK_OVERHEAD for name in SIZES), (
        f"according to the heap walk, the blocks use only {taken}"
    )
    return taken


@pytest.mark.requirement("LOG-05", "LOG-06")
def test_deltas_follow_held_blocks(device: Device, heaps: Heaps, measure: Measure) -> None:
    """Sets a baseline, holds blocks, and checks the deltas in the record. (fixtures/agreement.py compares the box with
    the record.)"""
    device.monitor(stop=True)
    start = device.mark()
    device.baseline(set=True)
    taken = hold_both(device, heaps)
    device.log("Held")
    event = device.wait_event("mem.sample", since=start, where=lambda event: event.data["context"] == "Held")
    expected = {"internal": taken["internal"], "dma": taken["internal"], "psram": taken["psram"]}
    expected["total"] = taken["internal"] + taken["psram"]
    for name, size in expected.items():
        measure(f"delta of {name}", event.data[f"delta_{name}"], "B", exact=-size, source=SOURCE)


def against_baseline(device: Device, since: Cursor, mode: str) -> dict[str, int]:
    """The figures in the log line that compares a mode with its baseline."""
    pattern = rf"{mode} mode against its baseline: internal ([+-]\d+), PSRAM ([+-]\d+) bytes"
    line = device.wait_line(pattern, since=since)
    found = re.search(pattern, line.text)
    assert found is not None
    return {"internal": int(found[1]), "psram": int(found[2])}


HOLES_B = 24
"""Tolerance in bytes: a block that is allocated again may be placed in another hole and then include a remainder of up
to 12 bytes, which is too small for another block."""


@pytest.mark.needs("camera")
@pytest.mark.requirement("TRN-03")
def test_modes_are_compared_with_their_own_baselines(
    device: Device, heaps: Heaps, modes: Modes, measure: Measure
) -> None:
    """Sets the baseline of each mode, then holds blocks before each of two mode changes. The comparison in the log must
    include all blocks held since the mode's baseline was set.

    Setting other baselines must not change the baselines of the modes.
    """
    modes.warm_up()
    for mode in (VOICE, CAMERA):
        modes.to(mode)
        device.baseline(set=True, state=mode)
    kept = {state: _levels(device, state) for state in (VOICE, CAMERA)}
    held = dict.fromkeys(MEMORIES, 0)
    for mode in (VOICE, CAMERA):
        taken = hold_both(device, heaps)
        held = {name: size + taken[name] for name, size in held.items()}
        start = device.mark()
        modes.to(mode)
        for name, figure in against_baseline(device, start, mode).items():
            measure(
                f"{mode} against its baseline: {name}",
                figure,
                "B",
                low=-held[name] - HOLES_B,
                high=-held[name] + HOLES_B,
                source=SOURCE,
            )
    device.baseline(set=True)
    device.baseline(set=True, state="own")
    for state, levels in kept.items():
        for name, figure in _levels(device, state).items():
            measure(
                f"baseline of {state}: change of {name}",
                figure - levels[name],
                exact=0,
                source="the baseline was not set again",
            )


def _levels(device: Device, state: str) -> dict[str, int]:
    baseline = device.baseline(state=state)
    return {name: baseline[name] for name in ("timestamp_ms", "internal", "dma", "psram", "total")}


@pytest.mark.requirement("TRN-05")
def test_ledger_shows_a_block_of_the_mode(device: Device, modes: Modes, measure: Measure) -> None:
    """Changes the mode: for each memory type, the ledger's steps must add up to the difference of two direct reads."""
    modes.warm_up()
    for mode in (VOICE, CAMERA):
        before = {name: heap_free(device, memory) for name, memory in MEMORIES.items()}
        modes.to(mode)
        after = {name: heap_free(device, memory) for name, memory in MEMORIES.items()}
        ledger = device.ledger()
        for name in MEMORIES:
            steps = sum(
                getattr(entry, f"{name}_after") - getattr(entry, f"{name}_before") for entry in ledger
            )
            measure(
                f"to {mode}: {name} gained in the steps",
                steps,
                "B",
                exact=after[name] - before[name],
                source="heap.probe before and after",
            )


def heap_free(device: Device, memory: Memory) -> int:
    return device.probe(memory.caps).free


NETWORK = re.compile(r"Modelled network: (\d+) bytes internal, (\d+) PSRAM in (\d+) blocks")
NETWORK_BLOCKS = [1_600] * 10 + [6_656, 3_584, 2_304]
"""Sizes in bytes of the modelled receive buffers and stacks (network_model's Kconfig)."""
SMALL_BLOCK, INTERNAL_LIMIT = 512, 58_900
PSRAM_BLOCK, PSRAM_LIMIT = 32_768, 65_544


@pytest.mark.requirement("BOOT-01")
def test_modelled_network_takes_what_it_says(device: Device, measure: Measure) -> None:
    """Computes which blocks, with their headers, the modelled network must allocate to use the configured amount of
    memory. The log line and the heap must match."""
    fixed = sum(size + BLOCK_OVERHEAD for size in NETWORK_BLOCKS)
    small = (INTERNAL_LIMIT - fixed) // (SMALL_BLOCK + BLOCK_OVERHEAD)
    in_psram = PSRAM_LIMIT // (PSRAM_BLOCK + BLOCK_OVERHEAD)
    line = device.wait_line(NETWORK.pattern, since=boot_start(device))
    said = NETWORK.fullmatch(line.text)
    assert said is not None
    internal, psram, blocks = map(int, said.groups())
    source = "network_model's Kconfig"
    measure("internal", internal, "B", exact=fixed + small * (SMALL_BLOCK + BLOCK_OVERHEAD), source=source)
    measure("PSRAM", psram, "B", exact=in_psram * (PSRAM_BLOCK + BLOCK_OVERHEAD), source=source)
    measure("blocks", blocks, exact=len(NETWORK_BLOCKS) + small + in_psram, source=source)
    held = [size for heap in device.blocks(INTERNAL.caps) for size in heap.blocks if size > 0]
    for size in {*NETWORK_BLOCKS, SMALL_BLOCK}:
        wanted = small if size == SMALL_BLOCK else NETWORK_BLOCKS.count(size)
        found = sum(size <= block < size + BLOCK_OVERHEAD * 4 for block in held)
        measure(f"missing blocks of {size} bytes", max(0, wanted - found), exact=0, source=source)
