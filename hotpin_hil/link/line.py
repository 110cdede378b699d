"""Serial line of pytest-embedded's `dut`, on every kind of board."""

from __future__ import annotations

from typing import Any

from hotpin_hil.link.channel import Channel


def line_of(dut: Any) -> Any:
    """The service with `channel`, `hard_reset()` and `flash(app)`.

    It is `dut.serial` (HilIdfSerial), in QEMU `dut.qemu` (HilQemu).
    """
    serial = getattr(dut, "serial", None)
    return serial if serial is not None else getattr(dut, "qemu", None)


def channel_of(dut: Any) -> Channel | None:
    """The channel of a `dut`, None if its service is not the harness's."""
    channel = getattr(line_of(dut), "channel", None)
    return channel if isinstance(channel, Channel) else None
