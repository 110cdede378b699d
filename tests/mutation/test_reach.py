"""Tests the map from lines to the tests that reach them."""

from __future__ import annotations

from pathlib import Path

from tests.mutation.reach import Reach, TestRun, digest

FILE = "firmware/components/cups/src/cups.c"
REACH = Reach(
    "digest",
    runs=[
        TestRun("release", 0.1, {FILE: [10]}, release=True),
        TestRun("broad", 1, {FILE: [10, 11, 20], "other.c": list(range(100))}),
        TestRun("slow", 9, {FILE: [10]}),
        TestRun("specific", 2, {FILE: [10]}),
    ],
    executable={FILE: [10, 11, 20]},
    functions={FILE: [(8, 12), (18, 21)]},
)


def names(line: int, file: str = FILE) -> list[str]:
    return [run.name for run in REACH.tests(file, line)]


def test_quick_and_specific_tests_are_first_and_the_release_image_last() -> None:
    assert names(10) == ["specific", "slow", "broad", "release"]
    assert names(20) == ["broad"]
    assert names(10, "firmware/components/cups/src/unknown.c") == []


def test_line_without_code_is_reached_with_its_function_or_file() -> None:
    assert names(19) == ["broad"]
    assert names(2) == ["specific", "slow", "broad", "release"]


def test_digest_changes_with_a_source_and_not_with_a_build(tmp_path: Path) -> None:
    (tmp_path / "firmware/build-native").mkdir(parents=True)
    source, built = tmp_path / "firmware/a.c", tmp_path / "firmware/build-native/a.o"
    source.write_text("a")
    before = digest(tmp_path, ["firmware"])
    built.write_text("built")
    assert digest(tmp_path, ["firmware"]) == before
    source.write_text("b")
    assert digest(tmp_path, ["firmware"]) != before
