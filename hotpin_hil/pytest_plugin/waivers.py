"""The waivers of a run: `--waivers FILE`, or waivers.toml at the root of the project."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from hotpin_hil.boards.kind import BoardKind
from hotpin_hil.evidence.waivers import FILE_NAME, Waivers, load_waivers


def add_option(group: pytest.OptionGroup) -> None:
    """Add the option to pytest's command line."""
    group.addoption(
        "--waivers",
        metavar="FILE",
        help="accepted deviations, see docs/verdicts.md "
        f"(default: {FILE_NAME} at the root of the project, if it exists)",
    )


def run_waivers(
    config: pytest.Config, kind: BoardKind, requirements: Collection[str], started: str
) -> Waivers:
    """The waivers that apply to this kind of board.

    Args:
        config: Configuration of the run.
        kind: Kind of board.
        requirements: The known requirement ids.
        started: Start of the run, ISO 8601.

    Raises:
        UsageError: The file cannot be read, or a row is wrong.
    """
    named = config.option.waivers
    path = config.invocation_params.dir / named if named else config.rootpath / FILE_NAME
    if not named and not path.exists():
        return Waivers(started)
    loaded = load_waivers(path, requirements)
    return Waivers(started, [waiver for waiver, kinds in loaded if kind.value in kinds])
