"""The state of a checkout, as the harness reads it and as the firmware's build does."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hotpin_hil.evidence.git_tree import read_tree
from hotpin_hil.paths import FIRMWARE_DIR

SCRIPT = FIRMWARE_DIR / "components" / "telemetry" / "build_commit.cmake"
NAME = "ä file.txt"


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "core.autocrlf=false")
    done = subprocess.run(
        ["git", "-C", str(folder), *who, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    folder = tmp_path / "check out"
    (folder / "firmware").mkdir(parents=True)
    for name in ("firmware/CMakeLists.txt", f"firmware/{NAME}", "notes.txt"):
        (folder / name).write_text("first\n", encoding="utf-8")
    (folder / ".gitignore").write_text("build/\n")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def read_by_build(folder: Path) -> tuple[str, str]:
    """Commit and hash of the changes, from the header that the firmware's build makes."""
    header = folder.parent / "build_commit.h"
    arguments = [f"-DSOURCES={folder}", "-DIDF=", f"-DOUT={header}", "-P", str(SCRIPT)]
    subprocess.run(["cmake", *arguments], check=True, capture_output=True)
    found = dict(re.findall(r'#define (\w+) "(.*)"', header.read_text()))
    return found["HOTPIN_COMMIT"], found["HOTPIN_DIRTY"]


def both(checkout: Path) -> str:
    """The hash of the changes below firmware/, which both readers must agree on."""
    folder = checkout / "firmware"
    tree = read_tree(folder)
    assert read_by_build(folder) == (tree.commit, tree.dirty)
    assert tree.commit == git(checkout, "rev-parse", "HEAD")
    return tree.dirty


def test_clean_checkout_has_commit_branch_and_tag(checkout: Path) -> None:
    git(checkout, "tag", "v1")
    git(checkout, "tag", "v1.0")
    tree = read_tree(checkout)
    assert (tree.commit, tree.branch, tree.tag) == (git(checkout, "rev-parse", "HEAD"), "main", "v1, v1.0")
    assert tree.doubt == both(checkout) == ""


def _change(folder: Path) -> None:
    (folder / "CMakeLists.txt").write_text("second\n")


def _delete(folder: Path) -> None:
    (folder / "CMakeLists.txt").unlink()


def _stage(folder: Path) -> None:
    (folder / NAME).write_bytes(b"\0binary")
    git(folder, "add", ".")


def _create(folder: Path) -> None:
    (folder / "ü new.c").write_text("new\n")
    (folder / "other.c").write_text("new\n")


@pytest.mark.parametrize("change", [_change, _delete, _stage, _create])
def test_every_kind_of_change_makes_a_tree_dirty(checkout: Path, change: Callable[[Path], None]) -> None:
    if change is _delete:
        git(checkout, "rm", "-q", "--cached", "notes.txt")  # outside of the firmware
    change(checkout / "firmware")
    tree = read_tree(checkout / "firmware")
    assert re.fullmatch("[0-9a-f]{12}", tree.dirty)
    assert tree.doubt == f"has uncommitted changes ({tree.dirty})"
    both(checkout)  # the build finds a deleted CMakeLists.txt in the index


def test_hash_identifies_the_changes(checkout: Path) -> None:
    new = checkout / "firmware" / "new.c"
    hashes = []
    for text in ("one\n", "two\n", "one\n"):
        new.write_text(text)
        hashes.append(both(checkout))
    new.rename(new.with_name("renamed.c"))
    hashes.append(both(checkout))
    assert hashes[0] == hashes[2]
    assert len(set(hashes)) == 3


def test_changes_elsewhere_do_not_count(checkout: Path) -> None:
    (checkout / "notes.txt").write_text("second\n")
    (checkout / "firmware" / "build").mkdir()
    (checkout / "firmware" / "build" / "a.o").write_text("ignored")
    assert both(checkout) == ""
    assert read_tree(checkout, ["notes.txt"]).dirty != ""


def test_branch_of_a_ci_checkout_comes_from_its_variables(checkout: Path) -> None:
    git(checkout, "checkout", "-q", "--detach")
    assert read_tree(checkout, environment={}).branch == ""
    assert read_tree(checkout, environment={"CI_COMMIT_REF_NAME": "release"}).branch == "release"


def test_copy_in_an_ignored_folder_is_not_of_the_commit_around_it(checkout: Path) -> None:
    copy = checkout / "build" / "firmware"
    copy.mkdir(parents=True)
    (copy / "CMakeLists.txt").write_text("changed\n")
    assert read_by_build(copy) == ("", "")
    assert read_tree(copy).doubt == f"is of an unknown commit ({copy} is not in git)"


def test_without_git_the_reason_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "alone").mkdir()
    assert "not a git repository" in read_tree(tmp_path / "alone").unknown
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read_tree(tmp_path).unknown == "git is not installed"
