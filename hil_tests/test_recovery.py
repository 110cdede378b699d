"""After a crash, a watchdog, a flashing or a transition that was cut, the board comes back by a reset or by flashing
it again, and it is told which it was.

Shows ROB-02 but for the brown-out, which nothing on the bench can cause yet: the requirement is pending until then.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from fixtures.device import start_over
from fixtures.flashing import cut_flashing
from fixtures.measure import Measure
from fixtures.modes import VOICE, Modes
from hotpin_hil.boards.kind import BoardKind
from hotpin_hil.device import BoardReset, Device, NoReply, budgets

SOURCE = "REQUIREMENTS.md ROB-02"

COMPLAINT = re.compile(rb"E \(\d+\) (esp_image|boot): [^\r\n]+")
"""Of the second-stage boot loader, when it finds no app that it can start."""
SILENCE_S = 0.2

CRASHES = {
    # kind of sys.panic: what the chip prints, the reset reason that the next start reports
    "abort": (r"abort\(\) was called", "PANIC"),
    "null": (r"LoadProhibited", "PANIC"),
    "store": (r"StoreProhibited", "PANIC"),
    "stack": (r"stack overflow|Unhandled debug exception|Debug exception reason: Stack canary", "PANIC"),
    "heap": (r"assert failed|CORRUPT HEAP", "PANIC"),
    "wdt": (r"Interrupt wdt timeout", "INT_WDT"),
}


def crash(device: Device, kind: str) -> None:
    """Makes the firmware crash, and asks it something afterwards."""
    start = device.mark()
    device.command("sys.panic", kind=kind)
    device.channel.wait(lambda: device.channel.resets(start) or None, budgets.BOOT_S)
    device.info()


@pytest.mark.parametrize("kind", CRASHES)
def test_crash_ends_in_a_reset_that_tells_its_cause(device: Device, measure: Measure, kind: str) -> None:
    """The board is back by itself; whoever asks in between is told what happened."""
    printed, reason = CRASHES[kind]
    before = device.info()
    with pytest.raises(BoardReset) as reset:
        crash(device, kind)
    said = bool(re.search(printed, str(reset.value)))
    measure("the error says what the chip said", said, exact=True, source=f"{printed} in: {reset.value}")
    after = device.wait_ready()
    measure("reset reason", after.reset_reason, exact=reason, source="esp_reset_reason()")
    measure("starts", after.boot_count - before.boot_count, exact=1, source="one reset, no loop")
    measure("it works", device.mode().mode, exact="camera", source=SOURCE)


def test_byte_access_to_iram_panics_where_the_chip_is_real(
    device: Device, board_kind: BoardKind, measure: Measure
) -> None:
    """What a byte buffer without MALLOC_CAP_8BIT ran into on recorded boards, seven times."""
    if board_kind is BoardKind.HARDWARE:
        with pytest.raises(BoardReset) as reset:
            crash(device, "iram")
        measure(
            "it is a LoadStoreError",
            "LoadStoreError" in str(reset.value),
            exact=True,
            source=str(reset.value),
        )
        device.wait_ready()
        return
    start = device.mark()
    device.command("sys.panic", kind="iram")
    line = device.wait_line("this chip is emulated", since=start)
    measure(
        "an emulated chip says so", line.level, exact="E", source="no evidence of the chip", klass="modelled"
    )


@pytest.mark.parametrize(
    "share",
    [
        pytest.param(0, id="at_once", marks=pytest.mark.soak),
        pytest.param(50, id="half_way"),
        pytest.param(99, id="at_the_end", marks=pytest.mark.soak),
    ],
)
def test_flashing_that_was_cut_is_mended_by_flashing_again(
    dut: Any, device: Device, measure: Measure, share: int
) -> None:
    """The flash is left as a cut leaves it: erased for the new image, and written up to some byte."""
    elf_sha256 = device.info().elf_sha256
    cut_flashing(dut, Path(dut.app.bin_file), share)
    start = device.mark()
    dut.serial.hard_reset()
    complaint = device.channel.wait(lambda: COMPLAINT.search(device.channel.text(start)), budgets.BOOT_S)
    measure(
        "the boot loader complains", complaint is not None, exact=True, source="boot_logs: no bootable app"
    )
    with pytest.raises(NoReply) as silence:
        device.wait_ready(timeout_s=SILENCE_S)
    told = "did not start" in str(silence.value)
    measure("the suite says that it did not start", told, exact=True, source=str(silence.value))
    dut.serial.flash()
    info = device.wait_ready()
    measure("ELF SHA-256 after flashing again", info.elf_sha256, exact=elf_sha256, source=SOURCE)
    measure("it works", device.mode().mode, exact="camera", source=SOURCE)


def test_power_cut_in_a_transition_is_a_fresh_start(
    dut: Any, device: Device, modes: Modes, measure: Measure
) -> None:
    """A reset over EN is a power-on to the chip. It comes at another moment of the transition each time."""
    memory = None
    for delay in range(0, 500, 100):
        device.settle(down=delay)
        began = device.info().t
        device.set_mode(VOICE, wait=False)
        while device.info().t - began < delay:
            pass
        info = start_over(dut, device)
        measure(f"{delay} ms: reset reason", info.reset_reason, exact="POWERON", source="EN")
        measure(f"{delay} ms: mode", device.mode().mode, exact="camera", source="a fresh start")
        device.monitor(stop=True)
        now = modes.read()
        if memory is not None:
            measure(
                f"{delay} ms: memory other than at the start before",
                str(now - memory),
                exact="{}",
                source=SOURCE,
            )
        memory = now
