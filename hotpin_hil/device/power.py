"""Resets caused by the power supply: power-ons and brown-outs that the harness did not request."""

from __future__ import annotations

from hotpin_hil.link.channel import Channel, Cursor, Reset

SUPPLY_REMEDY = (
    "check the supply (5 V, 2 A at the board), the cable and anything else that may pull EN; "
    "if the test requested it, call wait_ready() afterwards"
)

_POWER_ON = 0x1
_BROWN_OUT = 0xF
"""The ROM's codes for a loss of power: soc/reset_reasons.h of ESP-IDF."""
BROWN_OUT = "Brownout detector was triggered"
"""Text of ESP-IDF's brown-out handler, which then resets the chip."""
_BROWN_OUT_NEAR = 300
"""Maximum number of bytes between that text and the banner of the following reset."""
_REASONS = ("POWERON", "BROWNOUT")
"""`reset_reason` in the boot event, in case the ROM prints no banner (GPIO15 low)."""


def power_failure(channel: Channel, since: Cursor | None = None) -> str:
    """Describe the newest unrequested reset after `since` (None: any), if a loss of power is its likely cause.

    Returns:
        For example "the board was reset during the test by a loss of power (POWERON_RESET)"; empty for any other cause.
    """
    resets = [reset for reset in channel.resets(since) if not reset.requested]
    if resets and _is_power(channel, resets[-1]):
        return f"the board was reset during the test by a loss of power ({resets[-1].name})"
    everything = channel.records()
    for record in reversed(channel.records(since)):
        reason = record.data.get("reset_reason")
        is_unasked = record.boot != everything[0].boot and not channel.was_requested(record.boot)
        if record.event == "boot" and reason in _REASONS and is_unasked:
            return f"the board was reset during the test by a loss of power ({reason})"
    return ""


def _is_power(channel: Channel, reset: Reset) -> bool:
    if reset.cause in (_POWER_ON, _BROWN_OUT):
        return True
    before = channel.text()[max(0, reset.offset - _BROWN_OUT_NEAR) : reset.offset]
    return BROWN_OUT.encode() in before
