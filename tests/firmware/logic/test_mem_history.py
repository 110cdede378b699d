"""Tests the rows of the history: when they are due, their content, and the validation of groups in flash."""

from __future__ import annotations

import random
from typing import Any

import pytest

from hotpin_hil.protocol import memory_history
from hotpin_hil.protocol.memory_history import REASONS, HistoryRow
from tests.support.c_build import build

MODULE = build(
    "mem_history",
    [
        "memory_history/src/history_group.c",
        "memory_history/src/history_window.c",
        "telemetry/src/telemetry_crc.c",
        "memory_manager/src/mem_observe.c",
    ],
    ["history_group.h", "history_window.h"],
)
ffi, lib, new, const = MODULE.ffi, MODULE.lib, MODULE.new, MODULE.const
REGULAR, CRITICAL, REQUESTED = range(3)
MINUTE = 60_000


def row(sequence: int, **values: Any) -> Any:
    made = new("memory_history_row_t *")
    made.sequence = sequence
    for name, value in values.items():
        setattr(made, name, value)
    return made


def group_with(first: int, count: int) -> tuple[Any, int]:
    group = new("history_group_t *")
    size = 0
    for sequence in range(first, first + count):
        size = lib.history_group_add(
            group, row(sequence, boot_count=7, uptime_s=sequence * 600, state=b"camera")
        )
    return group, size


# --- Groups ---


def test_ring_keeps_a_day_of_rows_and_leaves_room_in_the_partition() -> None:
    rows = const("HISTORY_GROUP_ROWS")
    entries = 2 + -(-lib.history_group_size(rows) // 32)
    assert rows * (const("HISTORY_GROUPS") - 1) + 1 == const("MEMORY_HISTORY_ROWS_MIN") >= 24 * 6
    assert entries * (const("HISTORY_GROUPS") + 1) <= 5 * 126 * 0.6, "one of the six pages must remain empty"


@pytest.mark.parametrize(
    ("sequence", "group", "place"),
    [(1, 0, 0), (6, 0, 5), (7, 1, 0), (150, 24, 5), (151, 0, 0), (2**32 - 1, 7, 2)],
)
def test_place_in_the_ring(sequence: int, group: int, place: int) -> None:
    assert (sequence - 1) // 6 % 25 == group
    assert (lib.history_group_of(sequence), lib.history_place_of(sequence)) == (group, place)


def test_key_names_the_group() -> None:
    key = new("char[4]")
    for number, name in {0: b"g00", 7: b"g07", 24: b"g24"}.items():
        lib.history_group_key(number, key)
        assert ffi.string(key) == name


def test_group_grows_by_a_row_and_begins_again_in_place_0() -> None:
    header = lib.history_group_size(0)
    group, size = group_with(7, 6)
    assert size == header + 6 * ffi.sizeof("memory_history_row_t")
    assert lib.history_group_valid(group, size, 1)
    size = lib.history_group_add(group, row(157))
    assert size == header + ffi.sizeof("memory_history_row_t")
    assert lib.history_group_valid(group, size, 1)


@pytest.mark.parametrize("count", range(1, 7))
def test_every_flipped_bit_is_found(count: int) -> None:
    group, size = group_with(1, count)
    raw = ffi.buffer(group, size)
    zero = ffi.offsetof("history_group_t", "zero")
    for bit in range(8 * size):
        raw[bit // 8] = bytes([raw[bit // 8][0] ^ 1 << bit % 8])
        valid = lib.history_group_valid(group, size, 0)
        assert not valid or zero <= bit // 8 < zero + 2, f"bit {bit}"
        raw[bit // 8] = bytes([raw[bit // 8][0] ^ 1 << bit % 8])


def test_cut_extended_or_misplaced_groups_are_invalid() -> None:
    group, size = group_with(1, 3)
    assert lib.history_group_valid(group, size, 0)
    for other in range(2 * size):
        assert lib.history_group_valid(group, other, 0) == (other == size)
    assert not lib.history_group_valid(group, size, 1), (
        "a group that was copied to another position must be invalid"
    )


def test_rows_out_of_sequence_or_with_unknown_values_are_invalid() -> None:
    def checked(change: Any) -> bool:
        group, size = group_with(1, 3)
        change(group)
        count = group.count
        last = ffi.new("memory_history_row_t *", group.rows[count - 1])
        lib.history_group_add(group, last)  # other content with a correct checksum
        return bool(lib.history_group_valid(group, size, 0))

    def state(group: Any) -> None:
        group.rows[1].state = b"x" * 12

    assert checked(lambda group: None)
    assert not checked(lambda group: setattr(group.rows[1], "sequence", 5))
    assert not checked(lambda group: setattr(group.rows[0], "sequence", 0))
    assert not checked(lambda group: setattr(group.rows[1], "reason", 3))
    assert not checked(state)


@pytest.mark.parametrize("seed", range(200))
def test_random_bytes_are_no_group(seed: int) -> None:
    """Random bytes must not pass the check; with a sanitizer, it must not read beyond them either."""
    dice = random.Random(seed)
    size = dice.randrange(ffi.sizeof("history_group_t") + 1)
    group = new("history_group_t *")
    content = bytearray(dice.randbytes(size))
    if size >= 4 and seed % 2:
        content[:4] = const("HISTORY_FORMAT").to_bytes(2, "little") + dice.randrange(65536).to_bytes(
            2, "little"
        )
    ffi.memmove(group, bytes(content), size)
    assert not lib.history_group_valid(group, size, dice.randrange(25))


def test_host_reads_what_the_firmware_stores() -> None:
    group, _ = group_with(7, 1)
    size = lib.history_group_add(
        group,
        row(
            8,
            boot_count=3,
            uptime_s=4,
            least_free=[10, 11, 12],
            least_largest=[20, 21, 22],
            worst_fragmentation=[30, 31, 32],
            reason=CRITICAL,
            warnings=5,
            failed_allocations=6,
            state=b"voice",
        ),
    )
    _, found = memory_history._rows_in("g01", bytes(ffi.buffer(group, size)))
    assert found == HistoryRow(8, 3, 4, 10, 20, 30, 11, 21, 31, 12, 22, 32, 5, 6, "critical", "voice")
    assert memory_history._rows_in("g02", bytes(ffi.buffer(group, size))) == []
    assert len(REASONS) == 3
    assert const("MEMORY_HISTORY_ROWS_MIN") == memory_history.ROWS_MIN


# --- The current row ---


def add(window: Any, at_ms: int, state: str = "camera", **values: int) -> None:
    stats = new("memory_stats_t *")
    stats.timestamp_ms = at_ms
    for name, value in values.items():
        setattr(stats, name, value)
    text = new("char[]", state.encode())
    observation = new("memory_observation_t *")
    observation.stats, observation.state = stats, text
    lib.history_window_add(window, observation)


def take(window: Any, now_ms: int, warnings: int = 0, failed: int = 0, reason: int = REGULAR) -> Any:
    out = new("memory_history_row_t *")
    counts = new("history_counts_t *")
    counts.warnings, counts.failed_allocations = warnings, failed
    lib.history_window_take(window, now_ms, MINUTE, reason, counts, out)
    return out


def due(window: Any, now_ms: int, critical: bool = False, rows_max: int = 2) -> int | None:
    reason = new("memory_history_reason_t *")
    is_due = lib.history_window_due(window, now_ms, MINUTE, critical, rows_max, reason)
    return int(reason[0]) if is_due else None


FIELDS = ("watermark", "largest", "fragmentation")


def test_row_has_the_lowest_and_the_worst_of_each_memory() -> None:
    window = new("history_window_t *")
    for place, memory in enumerate(("internal", "dma", "psram"), 1):
        names = [f"{memory}_{field}" for field in FIELDS]
        window = new("history_window_t *")
        for values in ((500, 300, 10), (400, 310, 40), (450, 290, 20)):
            add(window, 1000, **dict(zip(names, (value * place for value in values), strict=True)))
        found = take(window, 5999)
        at = place - 1
        assert [found.least_free[at], found.least_largest[at]] == [400 * place, 290 * place]
        assert found.worst_fragmentation[at] == 40 * place
        assert found.least_free[(at + 1) % 3] == 0
        assert found.uptime_s == 5


def test_next_row_begins_anew() -> None:
    window = new("history_window_t *")
    add(window, 0, internal_watermark=1, internal_fragmentation=9)
    take(window, 0)
    add(window, 1, internal_watermark=5, internal_fragmentation=2)
    found = take(window, 1)
    assert (found.least_free[0], found.worst_fragmentation[0]) == (5, 2)


def test_state_is_that_of_the_last_sample_and_is_cut_to_the_field() -> None:
    window = new("history_window_t *")
    add(window, 0, "a_very_long_state")
    assert ffi.string(take(window, 0).state) == b"a_very_long"
    add(window, 0, "voice")
    add(window, 0, "")
    found = take(window, 0)
    assert bytes(ffi.buffer(found.state)) == bytes(12)


def test_counts_are_cut_to_16_bits() -> None:
    window = new("history_window_t *")
    add(window, 0)
    found = take(window, 0, warnings=65_535, failed=65_536, reason=CRITICAL)
    assert (found.warnings, found.failed_allocations, found.reason) == (65_535, 65_535, CRITICAL)
    assert take(window, 0, warnings=7).warnings == 7


def test_row_is_due_after_the_interval_from_the_first_sample() -> None:
    window = new("history_window_t *")
    add(window, 5_000)
    add(window, 6_000)
    assert due(window, 5_000 + MINUTE - 1) is None
    assert due(window, 5_000 + MINUTE) == REGULAR
    take(window, 5_000 + MINUTE)
    assert due(window, 5_000 + 2 * MINUTE - 1) is None
    assert due(window, 5_000 + 2 * MINUTE) == REGULAR


def test_time_may_wrap() -> None:
    window = new("history_window_t *")
    add(window, 2**32 - 1000)
    assert due(window, MINUTE - 1001) is None
    assert due(window, MINUTE - 1000) == REGULAR


def test_critical_rows_are_limited_until_the_next_regular_row() -> None:
    window = new("history_window_t *")
    add(window, 0)
    for _ in range(2):
        assert due(window, 1, critical=True) == CRITICAL
        take(window, 1)
    assert due(window, 2, critical=True) is None
    assert due(window, MINUTE, critical=True) == CRITICAL
    take(window, MINUTE)
    assert due(window, MINUTE + 1, critical=True) == CRITICAL
    assert due(window, MINUTE + 1) is None


@pytest.mark.parametrize("kind", range(7))
def test_critical_warnings(kind: int) -> None:
    warning = new("memory_warning_t *")
    warning.type = kind
    warning.threshold_value = 49
    assert lib.history_is_critical(warning, 50) == (kind in (1, 3, 5))
    warning.threshold_value = 50
    assert lib.history_is_critical(warning, 50) == (kind in (1, 3, 5, 6))
