"""Tests the list of registered tasks and the priority that each gets."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.c_build import build

MODULE = build("priority_list", ["memory_priority/src/priority_list.c"], ["priority_list.h"])
lib, new = MODULE.lib, MODULE.new


def entry(normal: int = 6, pressed: int = 2) -> Any:
    made = new("memory_priority_t *")
    made.normal, made.pressed = normal, pressed
    return made


@pytest.mark.parametrize(
    ("priority", "is_valid"), [(0, False), (1, True), (24, True), (25, False), (2**32 - 1, False)]
)
def test_priority_is_above_idle_and_one_of_the_kernels(priority: int, is_valid: bool) -> None:
    assert bool(lib.priority_is_valid(priority, 25)) == is_valid


def listed(first: Any) -> list[Any]:
    found, item = [], first[0]
    while item != MODULE.ffi.NULL:
        found.append(item)
        item = item.next
    return found


def test_entry_is_registered_once_and_removed_from_any_place() -> None:
    first = new("memory_priority_t **")
    one, two, three = entry(), entry(), entry()
    assert all(lib.priority_add(first, item) for item in (one, two, three))
    assert not any(lib.priority_add(first, item) for item in (one, two, three))
    assert listed(first) == [three, two, one]
    assert lib.priority_remove(first, two)
    assert not lib.priority_remove(first, two)
    assert listed(first) == [three, one]
    assert lib.priority_remove(first, three)
    assert lib.priority_remove(first, one)
    assert listed(first) == []
    assert lib.priority_add(first, two)


def change(item: Any, is_pressed: bool) -> int | None:
    priority = new("unsigned *")
    return int(priority[0]) if lib.priority_change(item, is_pressed, priority) else None


def test_priority_is_set_only_when_the_pressure_changes() -> None:
    item = entry(normal=6, pressed=2)
    assert change(item, False) is None
    assert change(item, True) == 2
    assert item.is_pressed
    assert change(item, True) is None
    assert change(item, False) == 6
    assert not item.is_pressed
    assert change(item, False) is None
