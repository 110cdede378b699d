"""Tests the thresholds learned for each state: they follow the lowest values, and survive only if intact and for the
same firmware."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.support.c_build import build

KB = 1024
MODULE = build(
    "adapt_logic",
    ["memory_adapt/src/adapt_logic.c", "memory_manager/src/mem_logic.c", "telemetry/src/telemetry_crc.c"],
    ["adapt_logic.h"],
)
ffi, lib, new = MODULE.ffi, MODULE.lib, MODULE.new
ENOUGH = 10
CYCLES = 1_000
DEFAULTS = {
    "internal_ram_warning": 50 * KB,
    "internal_ram_critical": 20 * KB,
    "dma_capable_warning": 35 * KB,
    "dma_capable_critical": 20 * KB,
    "psram_warning": 500 * KB,
    "psram_critical": 200 * KB,
    "fragmentation_warning": 30,
    "fragmentation_critical": 50,
}
USUAL = {
    "camera": {"internal": 173_043, "dma": 173_043, "psram": 3_992_368},
    "voice": {"internal": 176_307, "dma": 176_307, "psram": 4_055_184},
}


def stats(state: str, less: int = 0) -> Any:
    """Statistics of a window in this state, with `less` bytes less free memory than usual."""
    values = {name: free - less for name, free in USUAL[state].items()}
    fields = {f"{name}_watermark": free for name, free in values.items()}
    return new("memory_stats_t *", {**fields, **{f"{name}_free": free for name, free in values.items()}})


class Store:
    def __init__(self, firmware: bytes = b"firmware") -> None:
        self.firmware = new("uint8_t[]", firmware)
        self.store = new("adapt_store_t *")
        lib.adapt_clear(self.store, self.firmware)

    def learn(self, state: str, windows: int = ENOUGH, less: int = 0) -> None:
        for _ in range(windows):
            lib.adapt_learn(self.store, state.encode(), stats(state, less), ENOUGH)

    def apply(self, state: str, less: int = 0, **levels: int) -> dict[str, int]:
        """Applies the store to a check in this state; returns the thresholds that differ from the defaults."""
        given = {**DEFAULTS, **levels}
        thresholds = new("memory_thresholds_t *", given)
        name = new("char[]", state.encode())
        lib.adapt_apply(self.store, name, stats(state or "camera", less), ENOUGH, thresholds)
        return {name: getattr(thresholds, name) for name in given if getattr(thresholds, name) != given[name]}


def learned(lowest: int) -> int:
    return lowest - MODULE.const("ADAPT_MARGIN") - lowest // MODULE.const("ADAPT_MARGIN_SHARE")


def test_thresholds_are_the_lowest_values_minus_a_margin() -> None:
    store = Store()
    store.learn("camera", ENOUGH - 1)
    assert store.apply("camera", less=20 * KB) == {}, "not enough windows"
    store.learn("camera", 1, less=1_000)
    store.learn("camera", 5, less=100 * KB)
    expected = {name: learned(free - 1_000) for name, free in USUAL["camera"].items()}
    assert store.apply("camera", less=100 * KB) == {
        "internal_ram_warning": expected["internal"],
        "dma_capable_warning": expected["dma"],
        "psram_warning": expected["psram"],
    }, "later windows change nothing"
    assert store.apply("voice", less=100 * KB) == {}
    assert store.apply("", less=100 * KB) == {}


def test_ten_kilobytes_more_than_usual_are_below_the_threshold() -> None:
    for state, usual in USUAL.items():
        store = Store()
        store.learn(state)
        free = usual["internal"] - 10 * KB
        assert free < store.apply(state, less=10 * KB)["internal_ram_warning"]


def test_threshold_is_not_raised_for_a_memory_that_is_free_again() -> None:
    store = Store()
    store.learn("voice")
    usual = USUAL["voice"]["internal"]
    margin = usual - learned(usual)
    assert "internal_ram_warning" in store.apply("voice", less=margin - margin // 2 + 1)
    assert "internal_ram_warning" not in store.apply("voice", less=margin - margin // 2)


def test_thresholds_only_become_stricter() -> None:
    store = Store()
    store.learn("camera")
    stricter = {"internal_ram_warning": 172_000, "dma_capable_warning": 172_000, "psram_warning": 3_990_000}
    assert store.apply("camera", less=100 * KB, **stricter) == {}
    tiny = Store()
    tiny.learn("camera", less=USUAL["camera"]["internal"] - 100)
    assert "internal_ram_warning" not in tiny.apply("camera", less=170_000), "no wrap below 0"


def test_a_thousand_ordinary_windows_are_above_the_thresholds() -> None:
    rng = random.Random(6)
    store = Store()
    for state in USUAL:
        for _ in range(ENOUGH):
            lib.adapt_learn(store.store, state.encode(), stats(state, rng.randint(0, 2 * KB)), ENOUGH)
    for _ in range(CYCLES):
        for state, usual in USUAL.items():
            less = rng.randint(0, 2 * KB)
            changed = store.apply(state, less=less)
            assert usual["internal"] - less >= changed.get("internal_ram_warning", 0)
            assert usual["psram"] - less >= changed.get("psram_warning", 0)


def test_states_beyond_the_table_and_long_names_are_not_learned() -> None:
    store = Store()
    window = stats("camera")
    for name in (b"a name that is too long", b"one", b"two", b"three"):
        lib.adapt_learn(store.store, name, window, ENOUGH)
    assert [ffi.string(entry.state) for entry in store.store.entries] == [b"one", b"two"]


def test_store_is_kept_for_the_same_firmware_only() -> None:
    store = Store()
    store.learn("camera")
    assert lib.adapt_open(store.store, store.firmware)
    assert store.store.entries[0].windows == ENOUGH
    assert not lib.adapt_open(store.store, new("uint8_t[]", b"another!"))
    assert store.store.entries[0].windows == 0
    assert bytes(store.store.firmware) == b"another!"


@pytest.mark.parametrize("position", range(0, 66, 5))
def test_damaged_store_is_cleared(position: int) -> None:
    store = Store()
    store.learn("camera")
    size = ffi.offsetof("adapt_store_t", "crc") + 2
    ffi.buffer(store.store)[position % size : position % size + 1] = bytes(
        [ffi.buffer(store.store)[position % size][0] ^ 1]
    )
    assert not lib.adapt_open(store.store, store.firmware)
    assert lib.adapt_open(store.store, store.firmware), "the cleared store is valid"
    assert store.apply("camera", less=100 * KB) == {}
