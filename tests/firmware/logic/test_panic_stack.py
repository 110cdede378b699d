"""sys.panic kind=stack overwrites the stack exactly down to its end, so that the board detects it at once."""

from __future__ import annotations

import subprocess
from pathlib import Path

from hotpin_hil.paths import FIRMWARE_DIR, PROJECT_ROOT
from tests.support.c_build import COMPONENTS, compiler
from tests.support.native_board import build_drivers_test

SOURCES = [
    PROJECT_ROOT / "tests/fakes/panic_overflow.c",
    COMPONENTS / "hil_console/src/hooks/panic_kinds.c",
]
RUN_BUDGET_S = 60


def test_overflow_writes_every_word_down_to_the_end_and_none_beyond(tmp_path: Path) -> None:
    program = tmp_path / "overflow"
    configuration = build_drivers_test().parent / "config"
    includes = [
        COMPONENTS / "common/include",
        COMPONENTS / "hil_console/src/console",
        COMPONENTS / "hil_console/src/hooks",
        FIRMWARE_DIR / "native/include",
        configuration,
    ]
    flags = ["-std=gnu17", "-Os", "-Wall", "-Wextra", "-Werror", "-fno-stack-protector"]
    paths = [f"-I{path}" for path in includes]
    subprocess.run([compiler(), *flags, *paths, *map(str, SOURCES), "-o", str(program)], check=True)
    said = subprocess.run([program], capture_output=True, text=True, check=True, timeout=RUN_BUDGET_S).stdout
    assert said.startswith("ok: "), said
