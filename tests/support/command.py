"""Runs a tool of this repository from the command line."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import NoReturn

INTERRUPTED = 130


def run_command(main: Callable[[], int]) -> NoReturn:
    """Exit with the status that `main` returns. SIGTERM has the effect of Ctrl-C, so that `main` ends its processes and
    removes its copies of the checkout."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
