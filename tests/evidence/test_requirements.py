"""Checks that requirements.toml, the marks of the suite's tests, and the requirements document agree.

A requirement without a test would make a green table meaningless.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hotpin_hil.compat import tomllib
from hotpin_hil.paths import PROJECT_ROOT, REQUIREMENTS_FILE
from tests.conftest import shared_data

BOARD_KINDS = {"hardware", "qemu", "virtual"}
PRIORITIES = {"must", "later"}


def rows() -> list[dict[str, Any]]:
    """Every row of requirements.toml, as a plain dictionary."""
    return list(tomllib.loads(REQUIREMENTS_FILE.read_text(encoding="utf-8"))["requirement"])


def ids_in_document(text: str) -> list[str]:
    """Requirement ids in bold in a document; a range such as THR-01…07 is expanded."""
    found = []
    for head, prefix, first, last in re.findall(r"(\*\*([A-Z]+)-(\d\d)(?:…(\d\d))?\*\*)", text):
        assert head
        for number in range(int(first), int(last or first) + 1):
            found.append(f"{prefix}-{number:02d}")
    return found


def ids_in_module(source: str) -> Iterator[str]:
    """Ids in the marks and `requirement=` arguments of a test module, from its syntax tree."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Attribute) and node.func.attr == "requirement":
            for argument in node.args:
                assert isinstance(argument, ast.Constant), (
                    "write requirement ids as literals, so that this test can find them"
                )
                yield str(argument.value)


def ids_with_tests() -> dict[str, list[str]]:
    """Maps each requirement id to the suite's files that have a test of it."""
    tested: dict[str, list[str]] = {}
    for module in sorted((PROJECT_ROOT / "hil_tests").glob("test_*.py")):
        for identifier in ids_in_module(module.read_text(encoding="utf-8")):
            tested.setdefault(identifier, []).append(module.name)
    return tested


def test_rows_are_complete_and_unique() -> None:
    seen: set[str] = set()
    for row in rows():
        identifier = row["id"]
        assert identifier not in seen, f"{identifier} occurs twice in requirements.toml"
        seen.add(identifier)
        assert row["text"].strip(), identifier
        assert row["source"].strip(), identifier
        assert row["priority"] in PRIORITIES, identifier
        assert row["kinds"], identifier
        assert set(row["kinds"]) <= BOARD_KINDS, identifier
        assert set(row) <= {"id", "text", "source", "priority", "kinds", "pending"}, identifier


def test_ids_are_those_of_the_requirements_document() -> None:
    document = ids_in_document(shared_data("REQUIREMENTS.md").read_text(encoding="utf-8"))
    assert len(document) == len(set(document)), "the document names an id twice"
    assert {row["id"] for row in rows()} == set(document)


def test_only_pending_enhancements_have_priority_later() -> None:
    for row in rows():
        is_pending = row["id"].startswith("FUT-") and "pending" in row
        assert (row["priority"] == "later") == is_pending, row["id"]


def test_source_is_a_section_of_the_guide() -> None:
    guide = shared_data("mission/memory_management_guide.md").read_text(encoding="utf-8")
    headings = set()
    for line in guide.splitlines():
        if line.startswith("#"):
            # "### 4. Proactive Memory Checks", "### main.c (Lines ~125)", "### Symptom: High Fragmentation"
            title = re.sub(r"^#+\s*(\d+\.\s*)?(Symptom:\s*)?", "", line)
            headings.add(re.sub(r"\s*\(.*\)$", "", title).strip())
    for row in rows():
        for part in row["source"].split(" / "):
            assert part in headings, f"{row['id']}: the guide has no section {part!r}"


def test_every_requirement_that_is_not_pending_has_a_test() -> None:
    tested = ids_with_tests()
    missing = [row["id"] for row in rows() if "pending" not in row and row["id"] not in tested]
    assert not missing, (
        f"no test in hil_tests/ has the requirements {missing}: write one, or say why with `pending`"
    )


def test_pending_requirements_have_no_test() -> None:
    tested = ids_with_tests()
    stale = {row["id"]: tested[row["id"]] for row in rows() if "pending" in row and row["id"] in tested}
    assert not stale, f"these have tests, so they are not pending: {stale}"


def test_tests_name_known_requirements_only() -> None:
    known = {row["id"] for row in rows()}
    unknown = {identifier: files for identifier, files in ids_with_tests().items() if identifier not in known}
    assert not unknown, f"requirements.toml has no such id: {unknown}"


def test_pending_reason_is_given() -> None:
    for row in rows():
        if "pending" in row:
            assert len(row["pending"].strip()) > 10, row["id"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- **THR-01…03** a, b, c", ["THR-01", "THR-02", "THR-03"]),
        ("**BOOT-01** x. **BOOT-02** y", ["BOOT-01", "BOOT-02"]),
        ("as BOOT-01 says", []),
    ],
)
def test_ids_are_read_from_a_document(text: str, expected: list[str]) -> None:
    assert ids_in_document(text) == expected


def test_ids_are_read_from_marks_alone() -> None:
    source = '@pytest.mark.requirement("TTS-02", "TTS-03")\ndef test_x():\n    "API-01"\n'
    assert list(ids_in_module(source)) == ["TTS-02", "TTS-03"]


def test_suite_files_have_no_fixed_sleep() -> None:
    """A sleep makes a test slow or flaky; the suite waits for output of the board instead."""
    for path in [*(PROJECT_ROOT / "hil_tests").glob("*.py"), *(PROJECT_ROOT / "fixtures").glob("*.py")]:
        calls = [
            node
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("sleep")
        ]
        assert not calls, f"{Path(path).name} sleeps at line {calls[0].lineno}"
