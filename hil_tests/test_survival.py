"""After a reset, RTC memory contains exactly the last boot's statistics, and the board reports no damaged data."""

from __future__ import annotations

import pytest

from fixtures.measure import Measure
from fixtures.memory import Survivor, survivors
from hotpin_hil.device import BoardInfo, Device, LastBoot

pytestmark = pytest.mark.requirement("TRN-09")

LOGS = (20, 0, 3, 0, 12)
"""Number of snapshots that the test adds in each boot. After a boot with many snapshots comes a boot with few, which
uses the same memory."""
ROUNDS = 8
STEP = 148
"""Distance between flipped bits, in bytes: about one flip in each of the 16 snapshots."""
FURTHER = 61
"""Bytes by which the flipped bits move from round to round; odd, so that each round damages other members."""


def identity(last: LastBoot) -> str:
    """Boot count and boot id that the board reports for the last boot."""
    return f"{last.boot_count} {last.boot_id}"


def logged(device: Device, count: int) -> list[Survivor]:
    """Log `count` snapshots; returns all snapshots that the board keeps of this boot."""
    for number in range(count):
        device.log(f"Survivor {number}")
    return survivors(device.history())


def test_each_boot_finds_the_last_boot_and_no_earlier_one(device: Device, measure: Measure) -> None:
    for boot, count in enumerate(LOGS, 1):
        info = device.info()
        before = logged(device, count)
        device.reboot()
        last = device.last()
        is_same = identity(last) == f"{info.boot_count} {info.b}"
        measure(f"boot {boot}: id and count of the last boot", is_same, exact=True, source="sys.info before")
        measure(
            f"boot {boot}: snapshots", len(last.snapshots), exact=len(before), source="mem.history before"
        )
        measure(
            f"boot {boot}: same snapshots",
            survivors(last.snapshots) == before,
            exact=True,
            source="mem.history",
        )


def test_last_boot_is_found_if_its_count_is_unknown(device: Device, measure: Measure) -> None:
    """Boots without NVS, so that the boot count is 0. The next boot must still recognize this boot as the newest."""
    logged(device, 2)
    device.fail_call("nvs_open", boot=True)
    info: BoardInfo = device.reboot()
    measure("boot count without NVS", info.boot_count, exact=0, source="telemetry.h: unknown")
    before = logged(device, 1)
    device.reboot()
    last = device.last()
    is_same = identity(last) == f"0 {info.b}"
    measure("id and count of the last boot", is_same, exact=True, source="sys.info before")
    measure("same snapshots", survivors(last.snapshots) == before, exact=True, source="mem.history before")


def test_damaged_snapshots_are_not_reported(device: Device, measure: Measure) -> None:
    """Flips bits throughout the snapshots' RTC memory and resets. Each snapshot reported afterwards must match the
    logged data."""
    reported = 0
    for number in range(ROUNDS):
        info = device.info()
        before = logged(device, 16)
        device.flip_rtc(number * FURTHER % STEP, STEP)
        device.reboot()
        last = device.last()
        wrong = [snapshot for snapshot in survivors(last.snapshots) if snapshot not in before]
        if last.snapshots and last.boot_id == info.b:
            reported += len(last.snapshots)
        elif last.snapshots:
            wrong = []  # from an older boot, so there is nothing in `before` to compare them with
        measure(
            f"round {number}: snapshots that nobody logged",
            len(wrong),
            exact=0,
            source="a CRC protects each snapshot",
        )
    measure("some snapshots were reported", reported > 0, exact=True, source="not all are damaged")


def test_damaged_snapshots_hide_no_others(device: Device, measure: Measure) -> None:
    """Flips one bit in the newest, a middle and the oldest snapshot of a full history. All others must be reported."""
    device.monitor(stop=True)
    contexts = [f"<{number:02d}>" for number in range(len(logged(device, 16)))]
    for context in contexts:
        device.log(context)
    before = survivors(device.history())
    assert [context for context, _, _ in before] == contexts[::-1]
    damaged = {contexts[-1], contexts[len(contexts) // 2], contexts[0]}
    for context in damaged:
        places = device.find_in_rtc(int.from_bytes(context.encode(), "little"))
        assert places, f"the snapshot {context} is not in RTC memory"
        for at in places:
            device.flip_rtc(at)
    device.reboot()
    expected = [snapshot for snapshot in before if snapshot[0] not in damaged]
    found = survivors(device.last().snapshots)
    measure("snapshots", len(found), exact=len(expected), source="only the damaged snapshots are missing")
    measure("all others are reported", found == expected, exact=True, source="mem.history before")


def test_damaged_identity_of_the_last_boot_is_not_reported(device: Device, measure: Measure) -> None:
    """Flips a bit in each copy of the boot's id, or in the count before it. The next boot must not report the damaged
    identity."""
    for distance in (0, 2, -4, -2):
        info = device.info()
        device.log("Survivor")
        places = device.find_in_rtc(int(info.b, 16))
        measure(
            f"copies of the boot id in RTC memory, offset {distance:+d}",
            len(places),
            min=1,
            source="the firmware keeps the boot id in RTC_NOINIT memory",
        )
        for at in places:
            device.flip_rtc(at + distance)
        device.reboot()
        last = device.last()
        is_right = last.boot_id is None or last.boot_id != info.b or last.boot_count == info.boot_count
        measure(f"count for the id, {distance:+d}", is_right, exact=True, source="CRC of id and count")
        invented = last.boot_id is not None and abs(int(last.boot_id, 16) ^ int(info.b, 16)) in (1, 1 << 16)
        measure(
            f"an id with one bit flipped, {distance:+d}", invented, exact=False, source="CRC of id and count"
        )
