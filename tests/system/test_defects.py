"""Checks that the catalogue of defects matches the current firmware, and that planting leaves no trace."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hotpin_hil.evidence.requirements import load_requirements
from hotpin_hil.paths import PROJECT_ROOT, REQUIREMENTS_FILE
from tests.system.defects.catalogue import Defect, Edit, load, planted
from tests.system.defects.run import Outcome

DEFECTS = load()


def test_catalogue_has_the_promised_size() -> None:
    assert len(DEFECTS) >= 30
    assert len({defect.requirement for defect in DEFECTS}) >= 30


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_defect_can_be_planted_and_names_a_requirement_that_a_virtual_board_shows(
    defect: Defect, tmp_path: Path
) -> None:
    for edit in defect.edits:
        (tmp_path / edit.file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT_ROOT / edit.file, tmp_path / edit.file)
    with planted(defect, tmp_path):
        assert all(
            (tmp_path / edit.file).read_text() != (PROJECT_ROOT / edit.file).read_text()
            for edit in defect.edits
        )
    for edit in defect.edits:
        assert (tmp_path / edit.file).read_text() == (PROJECT_ROOT / edit.file).read_text()
    requirement = load_requirements(REQUIREMENTS_FILE)[defect.requirement]
    assert requirement.is_must
    assert "virtual" in requirement.kinds


def test_missing_place_is_named_and_no_file_is_changed(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("one two")
    defect = Defect("half", "", "X", (Edit("a.c", "one", "1"), Edit("a.c", "three", "3")))
    with (
        pytest.raises(ValueError, match=r"'half': a\.c has its 'old' text 0 times"),
        planted(defect, tmp_path),
    ):
        pass
    assert (tmp_path / "a.c").read_text() == "one two"


def test_reason_names_the_line_of_the_first_edit(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("one\ntwo\nthree\n")
    edits = (Edit("a.c", "two", "leak;\ntwo"), Edit("a.c", "one", "zero\none"))
    defect = Defect("name", "what", "A-01", edits, blames="f, a.c:{line}")
    with planted(defect, tmp_path):
        assert defect.reason_in(tmp_path) == "f, a.c:3"
    assert Outcome({"A-01": "16 B from f, a.c:3"}, 1, blame="f, a.c:3").catches("A-01")
    assert not Outcome({"A-01": "16 B from f, a.c:4"}, 1, blame="f, a.c:3").catches("A-01")
    assert not Outcome({"B-01": "f, a.c:3"}, 1, blame="f, a.c:3").catches("A-01")
    assert Outcome({"A-01": "any"}, 1).catches("A-01")
