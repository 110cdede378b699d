"""Checks every page: the target file and heading of each link must exist, and the files named in the text must
exist."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from hotpin_hil.paths import PROJECT_ROOT

PAGES = sorted(
    str(page.relative_to(PROJECT_ROOT))
    for pattern in ("*.md", "docs/*.md", "firmware/README.md", "firmware/*/*/README.md")
    for page in PROJECT_ROOT.glob(pattern)
)
TOP = ("docs", "firmware", "fixtures", "hil_tests", "hotpin_hil", "tests")
PACKAGES = (
    "analysis",
    "boards",
    "cli",
    "device",
    "evidence",
    "link",
    "logs",
    "protocol",
    "pytest_plugin",
    "report",
    "virtual",
)
"""Folders that pages may name without `hotpin_hil/`."""
MADE = ("firmware/build", "firmware/components/*/build", "hil_tests/test_first.py")
"""Files made by a build or by the reader of a page."""


@cache
def text_of(page: str) -> str:
    return (PROJECT_ROOT / page).read_text(encoding="utf-8")


@cache
def anchors(path: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def named_files(text: str) -> list[str]:
    """Names of files and folders in a page's text, as globs relative to the root; names with placeholders are
    skipped."""
    found = []
    for name in re.findall(r"`([\w.*-]+(?:/[\w.*-]+)*/?)(?:::\w+)?`", text):
        first, slash, _ = name.partition("/")
        if not slash or "NAME" in name or "GROUP" in name:
            continue
        if first in TOP:
            found.append(name)
        elif first in PACKAGES and not name.endswith("/"):
            found.append(f"hotpin_hil/{name}")
    return [name for name in found if not name.startswith(MADE)]


@pytest.mark.parametrize("page", PAGES)
def test_every_link_has_a_target(page: str) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text_of(page)):
        path = (PROJECT_ROOT / page).parent / target if target else PROJECT_ROOT / page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), f"{target}#{anchor}"


@pytest.mark.parametrize("page", PAGES)
def test_every_named_file_exists(page: str) -> None:
    missing = [name for name in named_files(text_of(page)) if not any(PROJECT_ROOT.glob(name))]
    assert not missing
