"""The wraps of the allocation profile against the exact heap model, on the board's own memory map."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from hotpin_hil.paths import FIRMWARE_DIR, PROJECT_ROOT
from hotpin_hil.virtual import profile as profiles
from tests.support.c_build import COMPONENTS, COVERAGE, compiler

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
RUN_BUDGET_S = 120


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("memory_profile") / "driver"
    flags = ["-std=gnu17", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"]
    sanitize = ["-fsanitize=undefined", "-fno-sanitize-recover=all"]
    wrapped = re.findall(
        r"heap_caps_\w+_base|heap_caps_free",
        (PROFILE / "CMakeLists.txt").read_text().partition("foreach(name IN ITEMS")[2],
    )
    done = subprocess.run(
        [
            compiler(),
            *(*flags, *sanitize, *COVERAGE),
            *(f"-I{path}" for path in INCLUDES),
            *map(str, SOURCES),
            *(f"-Wl,--wrap={name}" for name in wrapped),
            "-o",
            str(out),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("seed", range(3))
def test_profile_equals_the_walk_of_all_heaps_after_each_step(driver: Path, seed: int) -> None:
    """Of malloc, calloc, aligned_alloc, realloc in place, moved and refused, and free, from all callers."""
    done = subprocess.run(
        [str(driver), str(seed), str(STEPS)],
        input="".join(f"{line}\n" for line in profiles.load().boot_lines()),
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_BUDGET_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    counts = {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", done.stdout)}
    assert counts["moved"] > 10, "resized blocks must move"
    assert counts["failed"] > 10, "some allocations must fail"
    assert counts["refused"] > 10, "some blocks must keep their size"
    assert counts["code"] > 0, "some blocks for code must have an address on the instruction bus"
    assert counts["no_slot"] > 0, "the table must overflow"
    assert counts["with_ns"] > counts["without_ns"] > 0
