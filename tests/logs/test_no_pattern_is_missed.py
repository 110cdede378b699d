"""Checks that no pattern of the handlers is forgotten by the scanner, which drops most lines unread.

The patterns are collected from the packages, so a new one is checked without a change here.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import string
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotpin_hil import logs, protocol
from hotpin_hil.logs.kinds import NOT_PLAIN, LineKinds
from hotpin_hil.logs.reader import LogReader, read_events

HEADERS = ("", "I (1000) app: ", "E (1000) app: ", "W (1000) MEM_MGR: ", "E (1000) boot: ", "E (1000) wifi: ")
VISIBLE = string.ascii_letters + string.digits + string.punctuation + " "


def patterns() -> Iterator[tuple[str, re.Pattern[str]]]:
    """All patterns for text in the modules of the two packages, also those in tables."""
    for package in (logs, protocol):
        for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(found.name)
            for name, value in vars(module).items():
                for number, pattern in enumerate(patterns_in(value)):
                    yield f"{found.name.removeprefix('hotpin_hil.')}.{name}.{number}", pattern


def patterns_in(value: Any) -> Iterator[re.Pattern[str]]:
    if isinstance(value, re.Pattern) and isinstance(value.pattern, str):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from patterns_in(part)
    elif isinstance(value, dict):
        yield from patterns_in(list(value.values()))


PATTERNS = dict(patterns())


def test_patterns_are_found() -> None:
    assert len(PATTERNS) > 80


@pytest.mark.parametrize("name", PATTERNS)
def test_a_line_with_an_event_is_not_counted_in_bulk(name: str) -> None:
    """A line that gives an event if it is read must be read."""
    pattern = PATTERNS[name]

    @settings(derandomize=True, max_examples=12, database=None, deadline=None)
    @given(
        st.from_regex(pattern, fullmatch=True, alphabet=st.sampled_from(sorted({*VISIBLE, *pattern.pattern})))
    )
    def check(text: str) -> None:
        for header in HEADERS:
            line = f"{header}{text}\n".encode()
            if NOT_PLAIN.search(LogReader().scan.line_kinds.of_lines(line)) is None:
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(LineKinds, "of_lines", lambda _, text: b"t" * text.count(b"\n"))
                    assert read_events(line) == []

    check()
