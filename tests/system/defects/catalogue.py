"""The catalogue of defects: for each defect, the change to plant, and the requirement that must fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hotpin_hil.evidence.toml_tables import read_tables

FOLDER = Path(__file__).with_name("catalogue")


@dataclass(frozen=True)
class Edit:
    """Replaces `old`, which occurs exactly once in `file`, with `new`."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Defect:
    """A small change that breaks the firmware, and the requirement with the tests that must catch it."""

    name: str
    what: str
    requirement: str
    edits: tuple[Edit, ...]
    diagnoses: tuple[str, ...] = ()
    """Ids and names of the diagnoses that the report and the analyser must make. Other diagnoses are errors. Empty: not
    checked."""
    blames: str = ""
    """Text in the reason of the failure, with "{line}" for the line of the first edit; empty: not checked."""

    def reason_in(self, root: Path) -> str:
        """The text of `blames` for the checkout at `root`, which has the planted defect."""
        edit = self.edits[0]
        text = (root / edit.file).read_text(encoding="utf-8")
        return self.blames.format(line=text.count("\n", 0, text.index(edit.new)) + 1)


def load(folder: Path = FOLDER) -> list[Defect]:
    """Load all rows of the catalogue, file by file. Raises ValueError if two have the same name."""
    defects = []
    for path in sorted(folder.glob("*.toml")):
        defects += [_read(row) for row in read_tables(path, "defect")]
    names = [defect.name for defect in defects]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"more than one defect is named {', '.join(sorted(twice))} (rename one)")
    return defects


def _read(row: dict[str, Any]) -> Defect:
    edits = tuple(Edit(**edit) for edit in row["edits"])
    return Defect(**{**row, "edits": edits, "diagnoses": tuple(row.get("diagnoses", ()))})


@contextmanager
def planted(defect: Defect, root: Path) -> Iterator[None]:
    """Context manager: plants the defect in the checkout at `root`. Raises ValueError if `old` does not occur once."""
    before: dict[Path, str] = {}
    try:
        for edit in defect.edits:
            path = root / edit.file
            text = path.read_text(encoding="utf-8")
            if text.count(edit.old) != 1:
                raise ValueError(
                    f"defect {defect.name!r}: {edit.file} has its 'old' text {text.count(edit.old)} times, not "
                    "once (bring the defect's row in tests/system/defects/catalogue up to date)"
                )
            before.setdefault(path, text)
            path.write_text(text.replace(edit.old, edit.new), encoding="utf-8")
        yield
    finally:
        for path, text in before.items():
            path.write_text(text, encoding="utf-8")
