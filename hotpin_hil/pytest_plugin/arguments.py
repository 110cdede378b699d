"""Keeps pytest from taking the value of an option for a path of tests.

Pytest looks for pytest.ini before it has loaded its plugins, hence before it knows `--port`: in
`pytest --port /dev/ttyUSB0` it takes /dev/ttyUSB0 for a path, makes /dev the root folder and does not find
pytest.ini. `--port=/dev/ttyUSB0` has only one reading, so that is what it is given instead.

It looks only at paths that exist, but that may change: the workers of pytest-xdist read the same command line
(`config.invocation_params.args`) when the run has made what it names (`--alluredir`, `--junitxml`, …).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest


def join_values(arguments: Sequence[str], read: Callable[[Sequence[str]], object]) -> list[str]:
    """The same command line, with `--option=value` for each `--option value`.

    read: what a command line means, once all options are known. What would mean something else when joined
    is left apart: a flag and a path of tests, an option of two values.
    """
    meant = read(arguments)
    joined: list[str] = []
    for at, argument in enumerate(arguments, start=1):
        if joined and joined[-1].startswith("--") and not argument.startswith("-"):
            tried = [*joined[:-1], f"{joined[-1]}={argument}"]
            if _reads_as(read, [*tried, *arguments[at:]], meant):
                joined = tried
                continue
        joined.append(argument)
    return joined


def _reads_as(read: Callable[[Sequence[str]], object], arguments: Sequence[str], meant: object) -> bool:
    try:
        return read(arguments) == meant
    except pytest.UsageError:
        return False
