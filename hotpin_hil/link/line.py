"""Finds the serial line of pytest-embedded's `dut`, on every kind of board."""

from __future__ import annotations

from typing import Any

from hotpin_hil.link.channel import Channel


def line_of(dut: Any) -> Any:
    """The `dut`'s service with `channel`, `hard_reset()` and `flash(app)`.

    `dut.serial` (HilIdfSerial) on a serial port, `dut.qemu` (HilQemu) in QEMU.
    """
    serial = getattr(dut, "serial", None)
    return serial if serial is not None else getattr(dut, "qemu", None)


def channel_of(dut: Any) -> Channel | None:
    """The channel of a `dut`; None if the `dut` does not use the harness's services."""
    channel = getattr(line_of(dut), "channel", None)
    return channel if isinstance(channel, Channel) else None
