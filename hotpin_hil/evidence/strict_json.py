"""Reads a line of JSON; rejects NaN, infinity, huge numbers, duplicate keys and deep nesting, which no run writes."""

from __future__ import annotations

import json
from typing import Any

from hotpin_hil.evidence.model import NUMBER_MAX

DEPTH_MAX = 32
"""Maximum nesting of arrays and objects; a line that a run writes has fewer than 10 levels."""


def read_object(line: bytes) -> dict[str, Any]:
    """Parse a line that must be one JSON object in ASCII.

    Raises:
        ValueError: The line is anything else; the message says what is wrong.
    """
    if not line.isascii():
        byte = next(byte for byte in line if byte > 0x7F)
        raise ValueError(f"the byte 0x{byte:02x} is not ASCII")
    try:
        found = _DECODER.decode(line.decode("ascii"))
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from error
    except RecursionError:
        raise ValueError(f"more than {DEPTH_MAX} levels of nesting") from None
    if not isinstance(found, dict):
        raise ValueError("not an object")
    if line.count(b"[") + line.count(b"{") > DEPTH_MAX and _is_deeper(found, DEPTH_MAX):
        raise ValueError(f"more than {DEPTH_MAX} levels of nesting")
    return found


def _is_deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, (dict, list)):
        return False
    children = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(child, levels - 1) for child in children)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        doubled = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {doubled[:40]!r} occurs twice")
    return found


def _float(text: str) -> float:
    number = float(text)
    if abs(number) > NUMBER_MAX:
        raise ValueError(f"the number {text[:20]} ({len(text)} characters) is out of range")
    return number


def _int(text: str) -> int:
    _float(text)  # before int(), which refuses more than 4,300 digits with a different message
    return int(text)


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_float, parse_int=_int, parse_constant=_refuse
)
