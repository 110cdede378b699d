"""Checks that every upper limit on a measured time is generous enough for a busy machine."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotpin_hil.paths import PROJECT_ROOT

ROOM_S = 5
"""Smallest allowed upper limit in seconds. Tests with tighter limits must be in tests/system/benchmarks."""
CLOCKS = {"monotonic", "perf_counter", "process_time"}


def is_measured_time(node: ast.expr) -> bool:
    return isinstance(node, ast.BinOp) and any(
        isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute) and part.func.attr in CLOCKS
        for part in ast.walk(node)
    )


def tight_limits(source: str) -> Iterator[int]:
    """Line numbers of assertions that limit a measured time to less than ROOM_S."""
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Assert) and isinstance(node.test, ast.Compare)):
            continue
        left, (operator, *_), (limit, *_) = node.test.left, node.test.ops, node.test.comparators
        if is_measured_time(left) and isinstance(operator, ast.Lt | ast.LtE):
            named = isinstance(limit, ast.Name) and limit.id == "PATIENCE_S"
            enough = isinstance(limit, ast.Constant) and limit.value >= ROOM_S
            if not named and not enough:
                yield node.lineno


@pytest.mark.parametrize(
    ("limit", "lines"),
    [("5", []), ("PATIENCE_S", []), ("0.04", [1]), ("PROMPT_S", [1]), ("0.05 + PROMPT_S", [1])],
)
def test_a_tight_limit_is_seen(limit: str, lines: list[int]) -> None:
    assert list(tight_limits(f"assert time.monotonic() - began < {limit}")) == lines


def test_upper_limits_on_measured_time_leave_room() -> None:
    tight = [
        f"{file.relative_to(PROJECT_ROOT)}:{line}"
        for file in sorted(Path(PROJECT_ROOT, "tests").rglob("*.py"))
        for line in tight_limits(file.read_text())
    ]
    assert tight == [], "move the measurement into tests/system/benchmarks"
