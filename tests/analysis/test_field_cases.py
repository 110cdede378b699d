"""Analyses logs that people pasted into public bug reports. Each case checks its own parts of the JSON result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hotpin_hil.cli.analyze import analyze_file
from hotpin_hil.errors import HilError
from tests.conftest import SHARED_DIR, shared_data

FOLDER = SHARED_DIR / "field_cases"
CASES = sorted(path.name.removesuffix(".expect.txt") for path in FOLDER.glob("*.expect.txt"))


def result(path: Path) -> dict[str, Any] | None:
    """The JSON result of a case's log; None if the log is refused."""
    try:
        analysis = analyze_file(str(path))
    except HilError:
        return None
    document: dict[str, Any] = json.loads(json.dumps(analysis.to_json()))
    return document


@pytest.mark.parametrize("name", CASES or ["K01_1"])
def test_case_is_read_as_an_expert_reads_it(name: str) -> None:
    expected = shared_data(f"field_cases/{name}.expect.txt").read_text().splitlines()
    found = result(FOLDER / f"{name}.txt")
    checks = [line.removeprefix("check: ") for line in expected if line.startswith("check: ")]
    assert checks
    assert [check for check in checks if not eval(check, {"d": found, "json": json})] == []
