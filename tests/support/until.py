"""Waits for what another process or thread does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_S = 240.0
"""Longest wait. A busy machine takes many times longer than an idle one, and only a failing test waits so long."""
STEP_S = 0.005

Answer = TypeVar("Answer")


def until(query: Callable[[], Answer], shown: Callable[[], object] = lambda: "it did not happen") -> Answer:
    """Repeats a query until its answer is true in a Boolean context, and returns that answer.

    Args:
        query: What to ask; an exception ends the wait.
        shown: Makes the message for an answer that stays false.

    Raises:
        AssertionError: The answer is still false after PATIENCE_S.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not (answer := query()):
        assert time.monotonic() < deadline, shown()
        time.sleep(STEP_S)
    return answer
