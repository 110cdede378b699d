"""Requests on the wire: `@<id> <command> [key=value …]*<crc>`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hotpin_hil.errors import UsageError
from hotpin_hil.protocol.crc import crc16

REQUEST_MAX = 240
"""Longest request without its newline, bytes."""

HARNESS_ID_MAX = 59_999
"""Largest id that the harness gives to its requests; tests that send requests themselves use larger ones."""
ID_MAX = 65_535
"""Largest id of a request."""

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.,;:+/=|")


def encode_request(request_id: int, command: str, args: Mapping[str, Any]) -> bytes:
    """Encode a request.

    Args:
        request_id: 1 to 65535.
        command: for example "mem.stats".
        args: by name. None omits the argument; True is sent as 1, a list as comma-separated values.

    Raises:
        UsageError: a value is not printable ASCII, or the request is too long.
    """
    words = [str(request_id), command]
    words += [f"{key}={_value(command, key, value)}" for key, value in args.items() if value is not None]
    body = " ".join(words).encode("ascii")
    line = b"@%s*%04X" % (body, crc16(body))
    if len(line) > REQUEST_MAX:
        raise UsageError(
            f"request '{command}' is {len(line)} bytes long, but the limit is {REQUEST_MAX}",
            "split it into several requests",
        )
    return line + b"\n"


def _value(command: str, key: str, value: Any) -> str:
    if isinstance(value, bool):
        text = str(int(value))
    elif isinstance(value, (list, tuple)):
        text = ",".join(str(item) for item in value)
    else:
        text = str(value)
    if text and _PLAIN.issuperset(text):
        return text
    # '*' introduces the checksum, so the console refuses it inside a value, quoted or not.
    if not all(" " <= char <= "~" and char != "*" for char in text):
        raise UsageError(f"'{command}' {key}={text!r}: only printable ASCII without '*' can be sent")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
