"""Facts about the whole run as names and values, for JUnit and Allure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def environment(qualification: Mapping[str, Any]) -> list[tuple[str, object]]:
    """The verdict, the kind of evidence, the boards, and all data about firmware and harness.

    Args:
        qualification: Content of qualification.json.
    """
    board = qualification["board"]
    boards = board.get("boards", [board])
    return [
        ("verdict", qualification["overall"]),
        ("evidence", qualification["evidence"]),
        ("run", qualification["run"]),
        ("board.kind", board["kind"]),
        ("board.mac", ", ".join(dict.fromkeys(str(each.get("mac", "unknown")) for each in boards))),
        *_flat("firmware", qualification["firmware"]),
        *_flat("harness", qualification["harness"]),
    ]


def _flat(name: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _flat(f"{name}.{key}", part)
    else:
        yield name, value
