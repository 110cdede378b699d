"""Checks the values of a dataclass against its annotations, because JSON data can have any type."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any


def check_fields(record: Any) -> None:
    """Check the fields of a dataclass, and of the dataclasses in it.

    Raises:
        TypeError: A value has another type than its annotation; the message names the field.
    """
    for name, hint, fits in _checks(record.__class__):
        value = getattr(record, name)
        if not fits(value):
            raise TypeError(f"{name} is {_short(value)}, not {_name(hint)}")


_Check = Callable[[Any], bool]
"""Returns whether a value has the type of an annotation. Checks are cached: a run's results have 30,000 lines."""


@cache
def _checks(record: Any) -> list[tuple[str, Any, _Check]]:
    hints = typing.get_type_hints(record)
    return [(field.name, hints[field.name], _check(hints[field.name])) for field in fields(record)]


@cache
def _check(hint: Any) -> _Check:
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return lambda value: True
    if origin in (typing.Union, types.UnionType):
        checks = [_check(option) for option in options]
        return lambda value: any(check(value) for check in checks)
    if origin is tuple:
        item = _check(options[0])
        return lambda value: isinstance(value, tuple) and all(map(item, value))
    if origin is Mapping:
        member = _check(options[1])
        return lambda value: isinstance(value, Mapping) and all(map(member, value.values()))
    if hint in (int, float):
        return lambda value: isinstance(value, (int, hint)) and not isinstance(value, bool)
    if is_dataclass(hint):
        return lambda value: isinstance(value, typing.cast("type", hint)) and _has_right_fields(value)
    return lambda value: isinstance(value, hint)


def _has_right_fields(record: Any) -> bool:
    check_fields(record)
    return True


def _name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not issubclass(hint, Enum) else str(hint)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
