"""Checks every C file of the repository against rules that clang-format does not cover."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hotpin_hil.paths import FIRMWARE_DIR, PROJECT_ROOT

FOLDERS = (
    FIRMWARE_DIR / "components",
    FIRMWARE_DIR / "examples",
    FIRMWARE_DIR / "main",
    FIRMWARE_DIR / "native",
    PROJECT_ROOT / "tests",
)
FILES = sorted(path for folder in FOLDERS for path in folder.rglob("*.[ch]"))
SPDX = " * SPDX-License-Identifier: Apache-2.0"
SECTION = re.compile(r"^/\* --- [A-Z].* --- \*/$")


def name_of(path: Path) -> str:
    return path.relative_to(PROJECT_ROOT).as_posix()


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def test_folders_have_c_files() -> None:
    assert all(any(path.is_relative_to(folder) for path in FILES) for folder in FOLDERS)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_file_begins_with_the_license_line(path: Path) -> None:
    assert lines_of(path)[:2] == ["/*", SPDX]


def test_section_titles_have_one_style() -> None:
    wrong = [
        f"{name_of(path)}:{number}: {line}"
        for path in FILES
        for number, line in enumerate(lines_of(path), 1)
        if line.startswith(("/// ", "/* ---", "/***", "// ---")) and not SECTION.match(line)
    ]
    assert wrong == []


def test_length_of_an_array_is_taken_with_array_size() -> None:
    length = re.compile(r"sizeof\(([\w.>-]+)\) / sizeof\(\1\[0\]\)")
    components = [path for path in FILES if not path.is_relative_to(FIRMWARE_DIR / "native")]
    wrong = [name_of(path) for path in components if length.search(path.read_text(encoding="utf-8"))]
    assert wrong == []
