"""Tests the virtual board's parts one by one: framing, reset circuit, flash, program."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpin_hil.virtual import slip
from hotpin_hil.virtual.flash import Flash, FlashRangeError
from hotpin_hil.virtual.process import Program
from hotpin_hil.virtual.reset import ResetCircuit

# SLIP


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=5), st.integers(min_value=1, max_value=7))
def test_slip_frames_survive_any_cut(packets: list[bytes], step: int) -> None:
    decoder = slip.Decoder()
    stream = b"".join(slip.encode(packet) for packet in packets)
    assert _dribble(decoder, stream, step) == packets
    assert decoder.dropped == 0


@pytest.mark.parametrize(
    "bad", [b"\xc0a\xdbb\xc0", b"\xc0a\xdb\xc0", b"\xc0" + b"x" * (slip.MAX_FRAME + 1) + b"\xc0"]
)
def test_slip_drops_a_malformed_frame_and_takes_the_next(bad: bytes) -> None:
    decoder = slip.Decoder()
    assert decoder.feed(bad) == []
    assert decoder.dropped == 1
    assert decoder.feed(slip.encode(b"ok")) == [b"ok"]


def _dribble(decoder: slip.Decoder, stream: bytes, step: int) -> list[bytes]:
    """Frames that the decoder finds when `stream` arrives in pieces of `step` bytes."""
    return [frame for at in range(0, len(stream), step) for frame in decoder.feed(stream[at : at + step])]


@pytest.mark.parametrize("step", [1, 4096, 1 << 20])
def test_slip_limit_counts_decoded_bytes(step: int) -> None:
    packet = (b"\xc0\xdb" * slip.MAX_FRAME)[: slip.MAX_FRAME]  # its length doubles when it is encoded
    decoder = slip.Decoder()
    assert _dribble(decoder, slip.encode(packet), step) == [packet]
    assert _dribble(decoder, slip.encode(packet + b"\xdb"), step) == []
    assert decoder.dropped == 1
    assert _dribble(decoder, slip.encode(b"ok"), step) == [b"ok"]


# Reset circuit


@dataclass
class Bench:
    """The reset circuit, with a capacitor whose charging the test controls."""

    events: list[str] = field(default_factory=list)
    pending: list[Callable[[], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.circuit = ResetCircuit(
            lambda: self.events.append("reset"),
            lambda download: self.events.append("download" if download else "run"),
            self.call_later,
        )

    def call_later(self, _seconds: float, action: Callable[[], None]) -> Bench._Timer:
        self.pending.append(action)
        return Bench._Timer(self, action)

    @dataclass
    class _Timer:
        bench: Bench
        action: Callable[[], None]

        def cancel(self) -> None:
            self.bench.pending.remove(self.action)

    def lines(self, *states: tuple[int, int]) -> list[str]:
        for dtr, rts in states:
            self.circuit.set_lines(bool(dtr), bool(rts))
        return self.events

    def rise(self) -> None:
        action = self.pending[0]
        action()


def test_esptools_classic_sequence_enters_download() -> None:
    bench = Bench()
    assert bench.lines((0, 0), (0, 1), (1, 1), (1, 0), (0, 0)) == ["reset", "download"]
    assert bench.pending == []


def test_hard_reset_runs_the_app() -> None:
    assert Bench().lines((0, 0), (0, 1), (0, 0)) == ["reset", "run"]


def test_opening_a_port_as_pyserial_does_resets_nothing() -> None:
    assert Bench().lines((1, 0), (1, 1), (0, 0)) == []


def test_capacitor_releases_the_chip_while_both_lines_stay_asserted() -> None:
    bench = Bench()
    assert bench.lines((0, 1), (1, 1)) == ["reset"]
    bench.rise()
    assert bench.lines((1, 0), (0, 0)) == ["reset", "run"]


def test_lines_dropped_together_release_the_chip() -> None:
    bench = Bench()
    assert bench.lines((0, 1), (1, 1), (0, 0)) == ["reset", "run"]
    assert bench.pending == []


def test_falling_back_into_reset_stops_the_capacitor() -> None:
    bench = Bench()
    assert bench.lines((0, 1), (1, 1), (0, 1)) == ["reset"]
    assert bench.pending == []


# Flash


@pytest.fixture
def flash(tmp_path: Path) -> Iterator[Flash]:
    flash = Flash(tmp_path / "flash.bin", 1 << 20)
    yield flash
    flash.close()


def test_new_flash_is_erased_and_keeps_what_is_written(flash: Flash) -> None:
    assert flash.read(0, flash.size).count(0xFF) == flash.size
    flash.program(0x1234, b"hello")
    again = Flash(flash.path, flash.size)
    assert again.read(0x1234, 5) == b"hello"
    again.close()


def test_programming_only_clears_bits(flash: Flash) -> None:
    flash.program(10, b"\xf0\x0f\xff")
    flash.program(10, b"\x3c\x3c\x00")
    assert flash.read(10, 3) == b"\x30\x0c\x00"


def test_erase_takes_whole_sectors_and_no_others(flash: Flash) -> None:
    flash.program(0, bytes(0x5000))
    flash.erase(0x1800, 0x900)
    assert [flash.read(sector, 0x1000).count(0) for sector in range(0, 0x5000, 0x1000)] == [
        *(0x1000, 0, 0, 0x1000, 0x1000)
    ]


@pytest.mark.parametrize(("offset", "length"), [(1 << 20, 1), (0, (1 << 20) + 1), (-1, 1), (0xFFFFFFFF, 4)])
def test_flash_refuses_ranges_outside_the_chip(flash: Flash, offset: int, length: int) -> None:
    for operation in (flash.read, flash.erase, flash.md5):
        with pytest.raises(FlashRangeError):
            operation(offset, length)
    with pytest.raises(FlashRangeError):
        flash.program(offset, bytes(length))


# Program


def test_program_in_memory_cannot_change() -> None:
    program = Program(b"\x7fELF content", "0" * 64)
    try:
        for change in (
            lambda: os.pwrite(program.fd, b"x", 0),
            lambda: os.ftruncate(program.fd, 1),
            lambda: os.ftruncate(program.fd, 100),
            lambda: fcntl.fcntl(program.fd, fcntl.F_ADD_SEALS, 0),
        ):
            with pytest.raises(PermissionError):
                change()
        assert os.pread(program.fd, 100, 0) == b"\x7fELF content"
    finally:
        os.close(program.fd)
