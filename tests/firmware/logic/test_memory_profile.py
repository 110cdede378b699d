"""Compares the wrappers of the allocation profile with the exact heap model, on the board's own memory map."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hotpin_hil.paths import FIRMWARE_DIR, PROJECT_ROOT
from tests.support.c_build import COMPONENTS
from tests.support.c_program import build_driver, run_driver

FAKES = PROJECT_ROOT / "tests" / "fakes"
HEAP_MODEL = FIRMWARE_DIR / "native" / "heap"
PROFILE = COMPONENTS / "memory_profile"
SOURCES = [
    FAKES / "profile_driver.c",
    PROFILE / "src/memory_profile.c",
    PROFILE / "src/profile_table.c",
    *sorted(HEAP_MODEL.glob("*.c")),
]
INCLUDES = [PROFILE / "include", PROFILE / "src", HEAP_MODEL, FAKES, FIRMWARE_DIR / "native/include"]
STEPS = 1500


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    wrapped = re.findall(
        r"heap_caps_\w+_base|heap_caps_free",
        (PROFILE / "CMakeLists.txt").read_text().partition("foreach(name IN ITEMS")[2],
    )
    wraps = [f"-Wl,--wrap={name}" for name in wrapped]
    return build_driver(tmp_path_factory.mktemp("memory_profile"), SOURCES, INCLUDES, *wraps)


@pytest.mark.parametrize("seed", range(3))
def test_profile_equals_the_walk_of_all_heaps_after_each_step(driver: Path, seed: int) -> None:
    """Covers malloc, calloc, aligned_alloc, realloc (in place, moved, refused) and free, from all kinds of callers."""
    counts = run_driver(driver, seed, STEPS)
    assert counts["moved"] > 10, "resized blocks must move"
    assert counts["failed"] > 10, "some allocations must fail"
    assert counts["refused"] > 10, "some blocks must keep their size"
    assert counts["code"] > 0, "some blocks for code must have an address on the instruction bus"
    assert counts["no_slot"] > 0, "the table must overflow"
    assert counts["with_ns"] - counts["without_ns"] == 2_000, (
        "the profile enters two critical sections per pair"
    )
