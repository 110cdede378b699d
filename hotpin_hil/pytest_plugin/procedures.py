"""What each test does, in the words of its docstring."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

import pytest


def procedures(items: Iterable[pytest.Item]) -> dict[str, str]:
    """Node id without parameters -> docstring of the test's function, for each test that has one."""
    found = {}
    for item in items:
        text = inspect.getdoc(getattr(item, "function", None))
        if text and isinstance(item, pytest.Function):
            found[item.nodeid.partition("[")[0]] = text
    return found
