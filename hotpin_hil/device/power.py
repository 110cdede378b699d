"""Resets that come from the supply: a power-on or a brown-out that nobody asked for."""

from __future__ import annotations

from hotpin_hil.link.channel import Channel, Cursor, Reset

SUPPLY_REMEDY = (
    "check the supply (5 V, 2 A at the board), the cable and whatever else may pull EN; "
    "if the test asked for it, wait_ready() must follow"
)

_POWER_ON = 0x1
_BROWN_OUT = 0xF
"""The ROM's codes of a chip that had lost power, wholly or nearly: soc/reset_reasons.h of ESP-IDF."""
BROWN_OUT = "Brownout detector was triggered"
"""IDF's handler says so and then resets the chip by software."""
_BROWN_OUT_NEAR = 300
"""Bytes between that text and the banner of the reset that follows."""
_REASONS = ("POWERON", "BROWNOUT")
"""`reset_reason` of the boot event, which tells it too where the ROM prints no banner (GPIO15 low)."""


def power_failure(channel: Channel, since: Cursor | None = None) -> str:
    """The newest unasked reset since then, in words, if the supply is its likely cause; empty if not."""
    resets = [reset for reset in channel.resets(since) if not reset.asked]
    if resets and _is_power(channel, resets[-1]):
        return f"the board was reset in mid-test by a loss of power ({resets[-1].name})"
    everything = channel.records()
    for record in reversed(channel.records(since)):
        reason = record.data.get("reset_reason")
        is_unasked = record.boot != everything[0].boot and not channel.was_asked(record.boot)
        if record.event == "boot" and reason in _REASONS and is_unasked:
            return f"the board was reset in mid-test by a loss of power ({reason})"
    return ""


def _is_power(channel: Channel, reset: Reset) -> bool:
    if reset.cause in (_POWER_ON, _BROWN_OUT):
        return True
    before = channel.text()[max(0, reset.offset - _BROWN_OUT_NEAR) : reset.offset]
    return BROWN_OUT.encode() in before
