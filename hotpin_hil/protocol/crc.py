"""CRC-16/CCITT-FALSE, the checksum of records and requests."""

from __future__ import annotations

import binascii

_INITIAL = 0xFFFF


def crc16(data: bytes) -> int:
    """CRC-16/CCITT-FALSE: polynomial 0x1021, initial value 0xFFFF, not reflected.

    The check value of "123456789" is 0x29B1.
    """
    return binascii.crc_hqx(data, _INITIAL)
