"""Checks that docs/virtual-board.md names only tests and profiles that exist."""

from __future__ import annotations

import re

from hotpin_hil.paths import PROJECT_ROOT
from hotpin_hil.virtual import profile as profiles

TEXT = (PROJECT_ROOT / "docs" / "virtual-board.md").read_text()


def test_every_test_that_the_fidelity_table_names_exists() -> None:
    named = re.findall(r"`(test_\w+\.py)(?:::(test_\w+))?`", TEXT)
    assert len(named) > 15
    missing = []
    for file, test in named:
        sources = list((PROJECT_ROOT / "tests").rglob(file))
        if len(sources) != 1 or (test and f"def {test}(" not in sources[0].read_text()):
            missing.append(f"{file}::{test}")
    assert not missing


def test_every_shipped_profile_is_described() -> None:
    rows = re.findall(r"^\| `([\w.-]+)`", TEXT.split("## Profiles")[1].split("\n## ")[0], re.MULTILINE)
    assert sorted(rows) == profiles.names()
