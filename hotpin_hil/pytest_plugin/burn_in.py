"""Options of a burn-in, and its progress on the terminal."""

from __future__ import annotations

import argparse
import re
import sys
from typing import Any

import pytest

from hotpin_hil.printable import printable
from hotpin_hil.pytest_plugin.board import worker_id

DEFAULT_HOURS = 0.1


def add_options(group: pytest.OptionGroup) -> None:
    """Add the options of a burn-in."""
    group.addoption(
        "--hours",
        type=float,
        default=DEFAULT_HOURS,
        metavar="H",
        help="with -m burn_in: hours on the host's clock until the last round starts (default: %(default)g)",
    )
    group.addoption(
        "--burn-in-seed",
        type=_seed_and_round,
        metavar="SEED[:ROUND]",
        help="with -m burn_in: draw the rounds from this seed, and start with this round (default: a new seed per "
        "board, which is printed)",
    )


def check_options(option: Any) -> None:
    """Check the values.

    Raises:
        UsageError: a value is not allowed.
    """
    if not 0 < option.hours < float("inf"):
        raise pytest.UsageError(f"--hours must be greater than 0, but is {option.hours:g}")


def _seed_and_round(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)(?::([1-9]\d*))?", text, re.ASCII)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not SEED or SEED:ROUND, such as 4711:118")
    return int(match[1]), int(match[2] or 1)


def write_progress(config: pytest.Config, text: str) -> None:
    """Write a line to the terminal at once, also while pytest captures output, and from a pytest-xdist worker.

    Args:
        config: Configuration of this process.
        text: The line. Control characters are replaced.
    """
    line = printable(text)
    capture: Any = config.pluginmanager.get_plugin("capturemanager")
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    with capture.global_and_fixture_disabled():
        if worker_id(config):  # its terminal reporter writes nowhere, but its stderr is the terminal
            sys.stderr.write(f"{line}\n")  # in one piece, because the other workers also write
            sys.stderr.flush()
        elif reporter is not None:
            reporter.ensure_newline()
            reporter.write_line(line)
            reporter.flush()
