"""Checks that regressions.toml matches the firmware; `python -m tests.system.releases.run` plants its regressions."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from hotpin_hil.evidence.compare import compare_releases
from hotpin_hil.evidence.release_changes import SUBJECTS
from hotpin_hil.evidence.releases import read_release
from hotpin_hil.paths import PROJECT_ROOT
from tests.support.release_runs import SmallRun
from tests.system.defects.catalogue import planted
from tests.system.releases.run import PART, PlantedRegression, load_regressions

ROWS = load_regressions()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.defect.name)
def test_regression_can_be_planted(row: PlantedRegression, tmp_path: Path) -> None:
    for edit in row.defect.edits:
        (tmp_path / edit.file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT_ROOT / edit.file, tmp_path / edit.file)
    with planted(row.defect, tmp_path):
        pass
    assert all(text.split(", ")[0] in SUBJECTS for text in row.expected)


def test_tests_of_the_part_exist() -> None:
    for test in PART:
        file, _, name = test.partition("::")
        assert (
            f"def {name}(" in (PROJECT_ROOT / file).read_text() if name else (PROJECT_ROOT / file).is_file()
        )


def test_expected_regression_is_found_or_missing(tmp_path: Path) -> None:
    row = next(row for row in ROWS if row.defect.name == "voice-mode-takes-2-kb-more")
    base = read_release(SmallRun(seed=1).write(tmp_path / "base"), "base")
    for more, is_named in ((2_048, True), (1_024, False)):
        worse = replace(SmallRun(seed=2), voice_more=more).write(tmp_path / str(more))
        found = compare_releases([base], read_release(worse, "candidate"))
        assert (row.missing(found.regressions) == []) is is_named
