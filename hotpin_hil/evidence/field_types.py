"""Checks the values of a dataclass against its annotations, because JSON data can have any type."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any


def check_fields(record: Any) -> None:
    """Check the fields of a dataclass, and of the dataclasses in it.

    Raises:
        TypeError: A value has another type than its annotation; the message names the field.
    """
    for name, hint in _hints(record.__class__).items():
        value = getattr(record, name)
        if not _fits(value, hint):
            raise TypeError(f"{name} is {_short(value)}, not {_name(hint)}")


@cache
def _hints(record: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(record)
    return {field.name: hints[field.name] for field in fields(record)}


def _fits(value: Any, hint: Any) -> bool:
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, option) for option in options)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(item, options[0]) for item in value)
    if origin is Mapping:
        return isinstance(value, Mapping) and all(_fits(item, options[1]) for item in value.values())
    if hint in (int, float):
        return isinstance(value, (int, hint)) and not isinstance(value, bool)
    if is_dataclass(hint) and isinstance(value, typing.cast("type", hint)):
        check_fields(value)
    return isinstance(value, hint)


def _name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not issubclass(hint, Enum) else str(hint)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
