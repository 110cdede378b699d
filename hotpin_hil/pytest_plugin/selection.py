"""`--requirement ID`: the tests that show these requirements, and no others. `--order-seed N`: in another order."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from hotpin_hil.errors import HilError
from hotpin_hil.evidence.requirements import load_requirements


def requirement_ids(item: pytest.Item) -> tuple[str, ...]:
    """The ids of all `requirement` marks of a test, each once, outermost mark first."""
    marks = reversed(list(item.iter_markers("requirement")))
    return tuple(dict.fromkeys(one for mark in marks for one in mark.args))


class SelectionPlugin:
    """Deselects what shows none of `wanted`; a UsageError if one of them is not in `requirements`."""

    def __init__(self, wanted: list[str], requirements: Path) -> None:
        self._wanted = set(wanted)
        try:
            known = load_requirements(requirements)
        except HilError as error:
            raise pytest.UsageError(str(error)) from error
        unknown = sorted(self._wanted - set(known))
        if unknown:
            raise pytest.UsageError(f"--requirement: {requirements.name} has no {', '.join(unknown)}")

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        kept = [item for item in items if self._wanted.intersection(requirement_ids(item))]
        left_out = [item for item in items if item not in kept]
        if left_out:
            config.hook.pytest_deselected(items=left_out)
            items[:] = kept


class OrderPlugin:
    """Shuffles the tests, the same way in each worker: the order must not matter to a verdict."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        random.Random(self._seed).shuffle(items)
