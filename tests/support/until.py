"""Waits for a result of another process or thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_S = 240.0
"""Timeout of a wait in seconds. It is long, because a busy machine may be many times slower than an idle one, and only
a failing test waits until the timeout."""
STEP_S = 0.005

Answer = TypeVar("Answer")


def until(query: Callable[[], Answer], shown: Callable[[], object] = lambda: "it did not happen") -> Answer:
    """Repeats a query until its answer is true in a Boolean context, and returns that answer.

    Args:
        query: Called repeatedly; an exception ends the wait.
        shown: Makes the error message from the last, false answer.

    Raises:
        AssertionError: The answer is still false after PATIENCE_S.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not (answer := query()):
        assert time.monotonic() < deadline, shown()
        time.sleep(STEP_S)
    return answer
