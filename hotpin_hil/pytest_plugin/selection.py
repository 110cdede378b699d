"""Selection and order of tests: `--requirement ID` and `--order-seed N`."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from hotpin_hil.errors import HilError
from hotpin_hil.evidence.requirements import load_requirements


def requirement_ids(item: pytest.Item) -> tuple[str, ...]:
    """The ids in the `requirement` marks of a test, each once, from the outermost mark inwards."""
    marks = reversed(list(item.iter_markers("requirement")))
    return tuple(dict.fromkeys(requirement for mark in marks for requirement in mark.args))


class SelectionPlugin:
    """Deselects the tests that have none of the wanted requirements."""

    def __init__(self, wanted: list[str], requirements: Path) -> None:
        """Check the ids.

        Args:
            wanted: requirement ids.
            requirements: the requirements file.

        Raises:
            pytest.UsageError: an id is not in the file, or the file cannot be read.
        """
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
    """Shuffles the tests, identically in each worker, to reveal verdicts that depend on the order."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        random.Random(self._seed).shuffle(items)
