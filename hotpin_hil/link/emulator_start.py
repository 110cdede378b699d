"""Determines how a boot of the firmware in an emulator ended: ready, or stopped by a known emulator fault.

Espressif's QEMU gives each core its own PSRAM, so a lock in PSRAM that one core takes never becomes free for the other
core. Also, a core that the host pauses while the flash cache is off may read from the cache. Both cause a panic that
looks like a firmware fault. No test can cause a panic before the firmware is ready, so such a boot is repeated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hotpin_hil.link.channel import Channel, Cursor

KNOWN_PANICS = {
    "Interrupt wdt timeout on CPU1": "each core has its own PSRAM",
    "Cache disabled but cached memory region accessed": "the host stopped a core while its cache was off",
}
"""Text of a panic -> the defect of QEMU behind it."""
WATCHDOG_RESETS = ("TG0WDT_SYS_RESET", "TG1WDT_SYS_RESET", "RTCWDT_RTC_RESET", "RTCWDT_SYS_RESET")
"""Watchdog resets. After a firmware panic, such a reset is the firmware's fault. Otherwise it is the emulator's fault,
even if it is the first reset of a boot: a reset through EN arms the bootloader's watchdog, which may fire before the
ROM prints anything."""
_TOO_SLOW = "the host was too slow for the bootloader's watchdog"
RESETS_MAX = 3
"""After this number of restarts, the wait for a boot ends, so that the test sees the cause."""
READY = b"Returned from app_main()"
"""Line of ESP-IDF's main task, for firmware that does not send the `boot` event."""
_PANIC = re.compile(rb"Guru Meditation Error|Task watchdog got triggered|abort\(\) was called")


@dataclass(frozen=True)
class Start:
    """Outcome of a boot; `fault` describes a known emulator fault and is empty if there was none."""

    fault: str = ""


def known_defect(console: str) -> str:
    """The QEMU defect that may have caused a panic; empty if none is known."""
    return next((defect for panic, defect in KNOWN_PANICS.items() if panic in console), "")


def judge_start(channel: Channel) -> Start | None:
    """Outcome of the first boot on this channel; None while the firmware is still booting."""
    resets = channel.resets()
    if not resets:
        return None
    begin = Cursor(resets[0].offset)
    text = channel.text(begin)
    ready = _ready_at(channel, text, begin)
    for panic, defect in KNOWN_PANICS.items():
        if panic.encode() in text[:ready]:
            return Start(f"{panic} ({defect})")
    whole = channel.text()
    for reset in resets:
        if (
            reset.name in WATCHDOG_RESETS
            and reset.offset < begin.offset + ready
            and not _PANIC.search(whole[: reset.offset])
        ):
            return Start(f"{reset.name} ({_TOO_SLOW})")
    return Start() if ready < len(text) or len(resets) > RESETS_MAX else None


def _ready_at(channel: Channel, text: bytes, begin: Cursor) -> int:
    """Offset in `text` of the firmware's ready message; the length of `text` if there is none."""
    events = [record.offset - begin.offset for record in channel.records() if record.event == "boot"]
    line = text.find(READY)
    return min([at for at in (*events, line) if at >= 0], default=len(text))
