"""The command that runs one test again on the same kind of board."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

SOAK, BURN_IN = "soak", "burn_in"
LONG_MARKS = (SOAK, BURN_IN)
"""Markers of tests that run only on request (pytest.ini)."""


def rerun_command(kind: str, where: Sequence[str], options: Any, nodeid: str) -> str:
    """Build the shell command for one test.

    Args:
        kind: name of the kind of board.
        where: options that name the board.
        options: the options of the run; the command repeats those that affect a single test.
        nodeid: the test.
    """
    words = ["pytest", "--target", "esp32", "--board", kind, *where]
    count = getattr(options, "count", None) or 1
    if count > 1:
        words += ["--count", str(count)]
    if options.markexpr in LONG_MARKS:
        # Without it, pytest deselects the test even if the command line names it.
        words += ["-m", options.markexpr]
    if options.markexpr == BURN_IN:
        words += ["--hours", f"{options.hours:g}"]
    if options.time_scale is not None:
        words += ["--time-scale", f"{options.time_scale:g}"]
    if options.board_profile is not None:
        words += ["--board-profile", str(options.board_profile)]
    return shlex.join([*words, nodeid])
