"""Prevents pytest from mistaking an option's value for a test path.

Pytest looks for pytest.ini before it loads its plugins; at that time it does not know `--port`. In
`pytest --port /dev/ttyUSB0` it treats /dev/ttyUSB0 as a path, makes /dev the rootdir and does not find pytest.ini.
`--port=/dev/ttyUSB0` is unambiguous, so this module rewrites the command line to that form.

Pytest only considers existing paths. But pytest-xdist workers read the same command line
(`config.invocation_params.args`) after the run has created the paths in it (`--alluredir`, `--junitxml`, …).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest


def join_values(arguments: Sequence[str], read: Callable[[Sequence[str]], object]) -> list[str]:
    """Rewrite each `--option value` to `--option=value`.

    Words stay separate if joining them would change the meaning: a flag and a test path, an option with two values.

    Args:
        arguments: the command line.
        read: parses a command line when all options are known.

    Returns:
        A command line with the same meaning.
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
