"""Keeps pytest from taking the value of an option for a path of tests.

Pytest looks for pytest.ini before it has loaded its plugins, hence before it knows `--port`: in
`pytest --port /dev/ttyUSB0` it takes /dev/ttyUSB0 for a path, makes /dev the root folder and does not find
pytest.ini. `--port=/dev/ttyUSB0` has only one reading, so that is what it is given instead.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path


def join_values(
    arguments: Sequence[str], tests: Collection[str], made_by_the_run: Collection[str] = ()
) -> list[str]:
    """The same command line, with `--option=value` for `--option value` where the value is an existing path.

    tests: the paths that remain once all options are known; they are no option's value.
    made_by_the_run: options whose path the run makes, so that it need not exist yet.
    """
    joined: list[str] = []
    for argument in arguments:
        before = joined[-1] if joined else ""
        is_value = (
            before.startswith("--")
            and len(before) > len("--")
            and "=" not in before
            and not argument.startswith("-")
            and argument not in tests
            and (before in made_by_the_run or Path(argument).exists())
        )
        if is_value:
            joined[-1] = f"{before}={argument}"
        else:
            joined.append(argument)
    return joined
