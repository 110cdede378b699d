"""Errors of the wire protocol."""

from __future__ import annotations

from hotpin_hil.errors import FirmwareError


class ProtocolError(FirmwareError):
    """The firmware sent an intact record that does not follow the protocol."""
